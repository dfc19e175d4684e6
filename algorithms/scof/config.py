"""Configure SCOF."""

from __future__ import annotations

from edge_marl.algorithms.core.batches import BatchConfig
from edge_marl.algorithms.core.blocks import check_single_learner
from edge_marl.algorithms.scof.algorithm import SCOF
from edge_marl.algorithms.scof.learner import SCOFLearner
from edge_marl.algorithms.scof.module import SCOFModule
from edge_marl.algorithms.scof.options import SCOFOptions


class SCOFConfig(BatchConfig):
    """Configure SCOF: dueling Q-networks that are averaged in synchronous rounds.

    The method is that of Peng et al. 2024, "SCOF: security-aware computation offloading using
    federated reinforcement learning in industrial internet of things with edge computing", as the
    FAuNO paper adapts it (annex 11.2): without differential privacy, on the same observations and
    rewards.

    Every agent is a client with a replay of its own decisions. After each train batch it makes
    ``updates_per_batch`` updates of its network, sends the difference, and waits for the mean of
    all clients' (FedAvg, McMahan et al., 2017). All then decide by the same network, each on
    observations that are standardised by its own moments, if they are (as FedBN keeps those of
    batch normalisation, Li et al., 2021).
    """

    options_model = SCOFOptions
    algorithm_class = SCOF
    joint_learner_class = SCOFLearner
    joint_module_class = SCOFModule

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class)
        self.evaluation_config = {"explore": False}  # without random actions

    def validate(self) -> None:
        """Check all options, see :meth:`JointConfig.validate`."""
        super().validate()
        check_single_learner(self)

    def memory_needed(self, step_bytes: float) -> tuple[float, str]:
        """Estimate the bytes of a train batch and of all replays; see :class:`JointConfig`."""
        of_batch, what = super().memory_needed(step_bytes)
        n = self.replay_capacity
        kept = f"{n} decisions of each agent (replay_capacity)"
        return of_batch + n * step_bytes, f"{what} and {kept}"

    @property
    def uses_state(self) -> bool:
        """Return False: clients see no more than their observations."""
        return False
