"""Configure algorithms that learn from a replay buffer."""

from __future__ import annotations

from typing import ClassVar

from edge_marl.algorithms.core.config import JointConfig
from edge_marl.algorithms.core.options import JointOptions
from edge_marl.algorithms.replay.options import OffPolicyOptions


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
