"""What the training steps of our algorithms share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.execution.rollout_ops import synchronous_parallel_sample
from ray.rllib.policy.sample_batch import SampleBatch, concat_samples
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)
from torch import Tensor

from edge_marl.algorithms.sampling.columns import Fragment


class RewardScaler:
    """Divides rewards by their running standard deviation; zero stays zero."""

    def __init__(self) -> None:
        self._count = 0.0
        self._mean = 0.0
        self._sum_of_squares = 0.0

    def update(self, rewards: NDArray[np.float32]) -> None:
        """Take in ``rewards [K]``; those that are no numbers are left for the learner to report."""
        rewards = rewards[np.isfinite(rewards)]
        n = rewards.size
        if n == 0:
            return
        mean = float(rewards.mean(dtype=np.float64))
        spread = float(np.square(rewards - mean).sum(dtype=np.float64))
        total = self._count + n
        delta = mean - self._mean
        self._sum_of_squares += spread + delta * delta * self._count * n / total
        self._mean += delta * n / total
        self._count = total

    @property
    def mean(self) -> float:
        """Of all rewards."""
        return self._mean

    @property
    def scale(self) -> float:
        """What rewards are divided by; 1 until they have differed."""
        deviation = (self._sum_of_squares / self._count) ** 0.5 if self._count else 0.0
        return deviation if deviation > 1e-8 else 1.0


class JointAlgorithm(Algorithm):
    """Base of our algorithms: sampling of fragments, weights, exact continuation."""

    def setup(self, config: Any) -> None:
        """Build env runners and learners."""
        self.reward_scaler = RewardScaler() if self.config.reward_scaling else None
        super().setup(config)

    def prepare(self) -> None:
        """Open whatever the next iteration needs from outside, so that its faults show early.

        Raises:
            InputError: for what is missing or not as it should be.
        """

    @property
    def env_steps_sampled(self) -> int:
        """Environment steps sampled for training so far."""
        return int(
            self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0)
        )

    def sample_fragments(self) -> SampleBatch | None:
        """Fragments of all runners, one batch, at least one played step.

        Returns:
            Rows of :class:`edge_marl.algorithms.sampling.columns.Fragment`; None when every
            runner was lost. What a lost runner had played is counted nowhere.
        """
        with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            batches, results = synchronous_parallel_sample(
                worker_set=self.env_runner_group,
                max_env_steps=1,
                sample_timeout_s=self.config.sample_timeout_s,
                _uses_new_env_runners=True,
                _return_metrics=True,
            )
            if not batches:
                return None
            self.metrics.aggregate(results, key=ENV_RUNNER_RESULTS)
        rows = [batch.policy_batches[DEFAULT_MODULE_ID] for batch in batches]
        fragments = rows[0] if len(rows) == 1 else concat_samples(rows)
        if self.reward_scaler is not None:
            self.reward_scaler.update(fragments[Fragment.REWARDS][fragments[Fragment.VALID]])
        return fragments

    def sync_weights(self) -> None:
        """Bring the learner's weights, and the count of steps, to the runners."""
        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            self.env_runner_group.sync_weights(
                from_worker_or_learner_group=self.learner_group, inference_only=True
            )
            if self.env_runner_group.num_remote_env_runners() > 0:
                # Exploration schedules follow the steps of all runners together.
                state = {NUM_ENV_STEPS_SAMPLED_LIFETIME: self.env_steps_sampled}
                self.env_runner_group.foreach_env_runner(
                    "set_state", kwargs={"state": state}, local_env_runner=False
                )

    def set_actor(self, weights: Mapping[str, Tensor]) -> None:
        """Train on from these actors, such as imitated ones, instead of from random ones.

        Args:
            weights: a state dict of :class:`edge_marl.algorithms.networks.agents.Actor`.
        """

        def load(learner: Any) -> None:
            learner.module[DEFAULT_MODULE_ID].unwrapped().actor.load_state_dict(weights)

        self.learner_group.foreach_learner(load)
        self.sync_weights()

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """RLlib's state and the reward scale."""
        state = super().get_state(*args, **kwargs)
        if self.reward_scaler is not None:
            state["reward_scaler"] = dict(vars(self.reward_scaler))
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        super().set_state(state)
        if self.reward_scaler is not None and "reward_scaler" in state:
            vars(self.reward_scaler).update(state["reward_scaler"])
