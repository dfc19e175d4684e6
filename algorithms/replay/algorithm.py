"""Run the iteration of off-policy algorithms: sample, keep, replay, learn, hand out weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from ray.rllib.utils.metrics import (
    REPLAY_BUFFER_ADD_DATA_TIMER,
    REPLAY_BUFFER_SAMPLE_TIMER,
    TIMERS,
)

from edge_marl.algorithms.core.algorithm import JointAlgorithm
from edge_marl.algorithms.core.shards import shard_updates
from edge_marl.algorithms.replay.buffer import FragmentBuffer
from edge_marl.algorithms.replay.columns import TD_ERRORS, JointTransition
from edge_marl.algorithms.sampling.columns import Fragment

_REPLAY = "replay"
_AT_ONCE = 32
"""Updates whose data is sampled at once, at most: enough to hide the cost of a call."""
_BYTES_AT_ONCE = 2**28
"""Observations sampled at once, at most: pictures grow many times when they are learnt from."""


class OffPolicyAlgorithm(JointAlgorithm):
    """Train from a replay buffer; see :class:`.config.OffPolicyConfig`."""

    def setup(self, config: Any) -> None:
        """Build env runners, learners and the replay buffer."""
        super().setup(config)
        own = self.config
        self._steps_due = 0.0  # to be replayed, for the intensity asked for
        self.replay = FragmentBuffer(
            own.replay_capacity,
            seed=np.random.SeedSequence(own.seed).generate_state(1)[0],
            sequences=own.network.gru > 0,
            alpha=own.replay_alpha,
            team_reward=self.team_reward,
        )

    def training_step(self) -> None:
        """Sample a fragment of every episode under way, and make the updates that this allows."""
        fragments = self.sample_fragments()
        if fragments is not None:
            with self.metrics.log_time((TIMERS, REPLAY_BUFFER_ADD_DATA_TIMER)):
                self.replay.add(fragments)
            self._steps_due += self.config.training_intensity * fragments[Fragment.VALID].sum()
        if self.env_steps_sampled < self.config.num_steps_sampled_before_learning_starts:
            self._steps_due = 0.0
            return
        n_updates = int(self._steps_due // self.config.total_train_batch_size)
        if n_updates > 0:
            self._steps_due -= n_updates * self.config.total_train_batch_size
            update_bytes = 2 * self.config.total_train_batch_size * self.replay.step_bytes
            at_once = max(1, min(_AT_ONCE, _BYTES_AT_ONCE // update_bytes))
            for done in range(0, n_updates, at_once):
                self._learn(min(at_once, n_updates - done))
            self.sync_weights()

    def _learn(self, n_updates: int) -> None:
        """Sample the data of some updates, learn in one call, and set priorities by the errors."""
        config = self.config
        # Sequences are as long as fragments; their number makes up the batch size.
        length = config.get_rollout_fragment_length() if config.network.gru else 1
        batch_size = max(1, config.train_batch_size_per_learner // length)
        with self.metrics.log_time((TIMERS, REPLAY_BUFFER_SAMPLE_TIMER)):
            sampled = self.replay.sample(
                n_updates,
                batch_size * self.n_learners,
                gamma=config.gamma,
                n_step=config.n_step,
                beta=config.replay_beta,
            )
        if self.reward_scaler is not None:
            scale = np.float32(self.reward_scaler.scale)
            sampled[JointTransition.RETURNS] = sampled[JointTransition.RETURNS] / scale
        parts = shard_updates(sampled, n_updates, self.n_learners)
        slots = np.concatenate([part.pop(JointTransition.SLOT) for part in parts])
        steps = [int((part[JointTransition.WEIGHTS] > 0).sum()) for part in parts]
        errors = self.learn_from(
            parts,
            steps,
            per_row=TD_ERRORS if config.replay_alpha > 0 else None,
            minibatch_size=batch_size,
        )
        if errors is not None:
            self.replay.update_priorities(slots, errors)

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the state to continue from: exactly, if the replay buffer is stored too."""
        state = super().get_state(*args, **kwargs)
        if self.config.store_buffer_in_checkpoints:
            state[_REPLAY] = self.replay.get_state() | {"steps_due": self._steps_due}
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from where ``state`` was taken."""
        super().set_state(state)
        if _REPLAY in state:
            self.replay.set_state(state[_REPLAY])
            self._steps_due = state[_REPLAY]["steps_due"]
