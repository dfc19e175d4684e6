"""Define the training iteration of MAPPO: sample, learn, hand out the weights."""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.ppo import PPO
from ray.rllib.policy.sample_batch import SampleBatch, concat_samples

from edge_marl.algorithms.core.algorithm import JointAlgorithm
from edge_marl.algorithms.core.shards import shard_fragments
from edge_marl.algorithms.sampling.columns import Fragment
from edge_marl.algorithms.sampling.hindsight import with_rewards_of_actions

_PARTS = "parts"


class MAPPO(JointAlgorithm, PPO):
    """Run MAPPO; :class:`edge_marl.algorithms.mappo.config.MAPPOConfig` builds and describes it."""

    @classmethod
    def get_default_config(cls) -> Any:
        """Return the configuration with all its defaults."""
        from edge_marl.algorithms.mappo.config import MAPPOConfig

        return MAPPOConfig()

    def setup(self, config: Any) -> None:
        """Build env runners and learners."""
        self._parts: list[SampleBatch] = []  # of the batch that is being sampled
        super().setup(config)

    def training_step(self) -> None:
        """Sample a train batch, learn from it and hand out the weights."""
        fragments = self._train_batch()
        if fragments is None:
            return
        parts = shard_fragments(fragments, self.n_learners)
        self.learn_from(
            parts,
            [int(part[Fragment.VALID].sum()) for part in parts],
            num_epochs=self.config.num_epochs,
            minibatch_size=self.config.minibatch_size,
            team_reward=self.team_reward,
        )
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
