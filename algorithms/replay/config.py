"""Options of algorithms that learn from a replay buffer."""

from __future__ import annotations

from typing import Any, Literal

from ray.rllib.algorithms.algorithm_config import NotProvided

from edge_marl.algorithms.core.config import JointConfig
from edge_marl.algorithms.replay.buffer import TeamReward
from edge_marl.options import Count, CountOrZero, Positive, PositiveShare


class OffPolicyConfig(JointConfig):
    """Options of algorithms that learn from a replay of what was sampled.

    An iteration samples a fragment of every episode under way, keeps it, and makes as many
    updates as ``training_intensity`` allows.
    """

    def __init__(self, algo_class: type) -> None:
        super().__init__(algo_class=algo_class)
        self.tau = 1.0
        self.replay_capacity = 100_000
        self.num_steps_sampled_before_learning_starts = 2_000
        self.training_intensity = 4.0
        self.store_buffer_in_checkpoints = True
        # How steps are drawn; options of some algorithms only.
        self.n_step = 1
        self.replay_alpha = 0.0
        self.replay_beta = 0.4

    def training(
        self,
        *,
        team_reward: Literal["auto"] | TeamReward = NotProvided,
        tau: PositiveShare = NotProvided,
        replay_capacity: Count = NotProvided,
        num_steps_sampled_before_learning_starts: CountOrZero = NotProvided,
        training_intensity: Positive = NotProvided,
        store_buffer_in_checkpoints: bool = NotProvided,
        **kwargs: Any,
    ) -> OffPolicyConfig:
        """Set training options; those not given stay as they are.

        Args:
            team_reward: ``"sum"`` of the agents' rewards, ``"shared"`` where the environment gives
                every agent the team's, or ``"auto"``: as the environment says, ``"sum"`` if it does
                not.
            tau: how far target networks move towards the learning ones at an update of them; 1
                copies them.
            replay_capacity: environment steps that are kept.
            num_steps_sampled_before_learning_starts: environment steps, once.
            training_intensity: steps replayed per environment step sampled. With the train batch
                size this gives the number of updates of an iteration.
            store_buffer_in_checkpoints: keep the replay in checkpoints. Training continues
                exactly only with it.
            kwargs: options of :class:`JointConfig` and RLlib's, such as ``lr``, ``gamma``,
                ``grad_clip`` and ``train_batch_size_per_learner``, the steps of one update (with
                a GRU, as many fragments as make up so many steps).
        """
        given = {
            name: value
            for name, value in locals().items()
            if name not in ("self", "kwargs", "__class__") and value is not NotProvided
        }
        super().training(**kwargs)
        for name, value in given.items():
            setattr(self, name, value)
        return self

    def memory_needed(self, step_bytes: float) -> tuple[float, str]:
        """See :meth:`JointConfig.memory_needed`: the replay once it is full."""
        n_steps = self.replay_capacity
        return n_steps * step_bytes, f"a replay of {n_steps} steps (replay_capacity)"

    @property
    def fixed_options(self) -> dict[str, Any]:
        """See :attr:`JointConfig.fixed_options`; what is replayed was kept in this form."""
        return super().fixed_options | {"rollout_fragment_length": self.rollout_fragment_length}
