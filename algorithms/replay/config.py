"""Configure algorithms that learn from a replay buffer."""

from __future__ import annotations

from typing import ClassVar

from edge_marl.algorithms.core.batches import BatchConfig
from edge_marl.algorithms.core.blocks import check_single_learner
from edge_marl.algorithms.core.config import JointConfig
from edge_marl.algorithms.core.options import JointOptions
from edge_marl.algorithms.replay.options import OffPolicyOptions


class DecisionConfig(BatchConfig):
    """Configure agents that keep their decisions, and learn after each train batch from these.

    Where the next decision of an agent comes k steps later, its transition has the discounted
    rewards of all k, and discounts what follows by the time that they took.
    """

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


class OffPolicyConfig(JointConfig):
    """Configure an algorithm that learns from a replay buffer.

    An iteration samples a fragment of every episode under way, keeps it, and makes as many
    updates as ``training_intensity`` allows.
    """

    options_model: ClassVar[type[JointOptions]] = OffPolicyOptions
    # How steps are sampled; options of some algorithms only.
    n_step = 1
    replay_alpha = 0.0
    replay_beta = 0.4

    def memory_needed(self, step_bytes: float) -> tuple[float, str]:
        """Estimate the memory of the full replay, see :meth:`JointConfig.memory_needed`."""
        n_steps = self.replay_capacity
        return n_steps * step_bytes, f"a replay of {n_steps} steps (replay_capacity)"
