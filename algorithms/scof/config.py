"""Configure SCOF."""

from __future__ import annotations

from edge_marl.algorithms.replay.config import DecisionConfig
from edge_marl.algorithms.scof.algorithm import SCOF
from edge_marl.algorithms.scof.learner import SCOFLearner
from edge_marl.algorithms.scof.module import SCOFModule
from edge_marl.algorithms.scof.options import SCOFOptions


class SCOFConfig(DecisionConfig):
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

    @property
    def uses_state(self) -> bool:
        """Return False: clients see no more than their observations."""
        return False
