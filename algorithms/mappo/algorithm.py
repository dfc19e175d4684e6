"""The iteration of MAPPO: sample, learn, hand out the weights."""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.ppo import PPO
from ray.rllib.core import ALL_MODULES, DEFAULT_MODULE_ID
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch, concat_samples
from ray.rllib.utils.metrics import (
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_MODULE_STEPS_TRAINED_LIFETIME,
    TIMERS,
)
from ray.tune.result import TRAINING_ITERATION

from edge_marl.algorithms.core.algorithm import JointAlgorithm
from edge_marl.algorithms.sampling.columns import Fragment

_PARTS = "parts"


class MAPPO(JointAlgorithm, PPO):
    """Built by :class:`edge_marl.algorithms.mappo.config.MAPPOConfig`, which describes it."""

    @classmethod
    def get_default_config(cls) -> Any:
        """The configuration with all its defaults."""
        from edge_marl.algorithms.mappo.config import MAPPOConfig

        return MAPPOConfig()

    def setup(self, config: Any) -> None:
        """Build env runners and learners."""
        self._parts: list[SampleBatch] = []  # of the batch that is being sampled
        super().setup(config)

    def training_step(self) -> None:
        """One iteration."""
        fragments = self._train_batch()
        if fragments is None:
            return
        steps = (LEARNER_RESULTS, ALL_MODULES, NUM_MODULE_STEPS_TRAINED_LIFETIME)
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            results = self.learner_group.update(
                batch=MultiAgentBatch(
                    {DEFAULT_MODULE_ID: fragments}, env_steps=int(fragments[Fragment.VALID].sum())
                ),
                timesteps={
                    NUM_ENV_STEPS_SAMPLED_LIFETIME: self.env_steps_sampled,
                    NUM_MODULE_STEPS_TRAINED_LIFETIME: self.metrics.peek(steps, default=0),
                    TRAINING_ITERATION: self.training_iteration + 1,
                },
                num_epochs=self.config.num_epochs,
                minibatch_size=self.config.minibatch_size,
            )
            self.metrics.aggregate(results, key=LEARNER_RESULTS)
        self.sync_weights()

    def _train_batch(self) -> SampleBatch | None:
        """Fragments of about ``total_train_batch_size`` steps; None when every runner was lost.

        The few steps that only show the end of an episode count here, so that batches do not
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
        if self.reward_scaler is not None:
            fragments[Fragment.REWARDS] = fragments[Fragment.REWARDS] / self.reward_scaler.scale
        return fragments

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """What :meth:`set_state` needs to go on exactly here."""
        state = super().get_state(*args, **kwargs)
        state[_PARTS] = [dict(part) for part in self._parts]
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        super().set_state(state)
        self._parts = [SampleBatch(part) for part in state.get(_PARTS, ())]
