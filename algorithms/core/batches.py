"""Learn from train batches of fragments that the newest policy has played."""

from __future__ import annotations

from typing import Any

from ray.rllib.policy.sample_batch import SampleBatch, concat_samples

from edge_marl.algorithms.core.algorithm import JointAlgorithm
from edge_marl.algorithms.core.config import JointConfig
from edge_marl.algorithms.core.shards import shard_fragments
from edge_marl.algorithms.sampling.columns import Fragment
from edge_marl.algorithms.sampling.hindsight import with_rewards_of_actions
from edge_marl.errors import InputError

_PARTS = "parts"


class BatchConfig(JointConfig):
    """Configure an algorithm that learns from train batches, once from each."""

    def check_reward_delay(self, delay: int) -> None:
        """Refuse fragments in which no action's reward would be seen.

        Raises:
            InputError: if they are not longer than the delay.
        """
        T = self.get_rollout_fragment_length()
        if delay >= T:
            raise InputError(
                f"rollout_fragment_length: expected more than the {delay} steps after which "
                f"rewards are paid, found {T} (train_batch_size_per_learner over "
                "num_envs_per_env_runner)"
            )

    def memory_needed(self, step_bytes: float) -> tuple[float, str]:
        """Estimate the bytes of the fragments and of the rows chosen from them.

        See :meth:`JointConfig.memory_needed` for arguments and results.
        """
        n_steps = self.total_train_batch_size
        return (
            2 * n_steps * step_bytes,
            f"{n_steps} steps (train_batch_size_per_learner, rollout_fragment_length)",
        )


class BatchAlgorithm(JointAlgorithm):
    """Sample a train batch, learn from it, and hand out the weights."""

    def setup(self, config: Any) -> None:
        """Build env runners and learners."""
        self._parts: list[SampleBatch] = []  # of the batch that is being sampled
        super().setup(config)

    def lesson(self) -> dict[str, Any]:
        """Return the arguments of the learners' :meth:`.learner.JointLearner.learn`."""
        return {}

    def training_step(self) -> None:
        """Sample a train batch, learn from it and hand out the weights."""
        fragments = self._train_batch()
        if fragments is None:
            return
        parts = shard_fragments(fragments, self.n_learners)
        n_steps = [int(part[Fragment.VALID].sum()) for part in parts]
        self.learn_from(parts, n_steps, **self.lesson())
        self.sync_weights()

    def _train_batch(self) -> SampleBatch | None:
        """Sample about ``total_train_batch_size`` steps; return None when every runner was lost.

        The few steps that only show the end of an episode are counted too, so that batches do not
        differ in size by whole rounds of sampling.
        """
        parts = self._parts
        while sum(part[Fragment.VALID].size for part in parts) < self.config.total_train_batch_size:
            part = self.sample_fragments()
            if part is None:
                return None
            parts.append(part)
        self._parts = []
        fragments = parts[0] if len(parts) == 1 else concat_samples(parts)
        delay = self.env_runner.env.reward_delay
        if delay:
            fragments = SampleBatch(with_rewards_of_actions(fragments, delay))
        if self.reward_scaler is not None:
            fragments[Fragment.REWARDS] = fragments[Fragment.REWARDS] / self.reward_scaler.scale
        return fragments

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return what :meth:`set_state` needs to continue exactly from here."""
        state = super().get_state(*args, **kwargs)
        state[_PARTS] = [dict(part) for part in self._parts]
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from where ``state`` was taken."""
        super().set_state(state)
        self._parts = [SampleBatch(part) for part in state.get(_PARTS, ())]
