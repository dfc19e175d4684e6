"""Define the iterations of O2O-DRL: offline from a log, then online with PPO."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.policy.sample_batch import SampleBatch
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    REPLAY_BUFFER_SAMPLE_TIMER,
    TIMERS,
)

from edge_marl.algorithms.core.shards import shard_updates
from edge_marl.algorithms.mappo.algorithm import MAPPO
from edge_marl.algorithms.o2o.guard import check_seeds, significantly_worse
from edge_marl.algorithms.o2o.options import Transitions, has_offline_phase
from edge_marl.algorithms.o2o.rewards import RewardNormaliser
from edge_marl.algorithms.offline.dataset import OfflineTransitions
from edge_marl.algorithms.playing import longest_episode, play_batch
from edge_marl.algorithms.replay.columns import AgentTransition
from edge_marl.algorithms.sampling.columns import Fragment
from edge_marl.envs import module_of
from edge_marl.envs.batched import BatchedEnv, logged_configuration, make_batched
from edge_marl.errors import InputError

_STATE = "o2o"
_AT_ONCE = 64
"""Offline updates whose rows are drawn at once: enough to hide the cost of a call."""
_MOMENTS = (64, 2048)
"""Draws, and rows of each, that the moments of the log's rewards are taken from."""


class O2O(MAPPO):
    """Run O2O-DRL; :class:`edge_marl.algorithms.o2o.config.O2OConfig` builds and describes it."""

    def setup(self, config: Any) -> None:
        """Build env runners and learners; the log is opened when it is first drawn from."""
        super().setup(config)
        own = self.config
        self.offline_updates_done = 0
        self.guard_rejections = 0
        self.rewards = RewardNormaliser(own.reward_normalisation)
        self._rng = np.random.default_rng(own.seed)
        self._transitions: Transitions | None = None
        self._n_online = 0
        self._check_due = False
        self._deployed: dict[str, Any] | None = None
        self._guard_env: BatchedEnv | None = None

    @classmethod
    def get_default_config(cls) -> Any:
        """Return the configuration with all its defaults."""
        from edge_marl.algorithms.o2o.config import O2OConfig

        return O2OConfig()

    @property
    def phase(self) -> str:
        """Return the phase of the next iteration, "offline" or "online"."""
        due = self.config.offline_updates if has_offline_phase(self.config) else 0
        return "offline" if self.offline_updates_done < due else "online"

    def training_step(self) -> None:
        """Run one iteration of the current phase."""
        if self.phase == "offline":
            self._learn_offline()
            return
        guarded = self.config.guard_interval > 0
        if guarded and self._deployed is None:
            self._deployed = self._snapshot()
        if not self._check_due:
            super().training_step()
            self._n_online += 1
            self._check_due = guarded and self._n_online % self.config.guard_interval == 0
        if self._check_due:  # at once, or when an iteration that was left during its check goes on
            self._check()
            self._check_due = False

    def step(self) -> Any:
        """Run one iteration as RLlib does, and add its phase to the results."""
        phase = self.phase
        results = super().step()
        results.setdefault(ENV_RUNNER_RESULTS, {}).setdefault(
            NUM_ENV_STEPS_SAMPLED_LIFETIME, self.env_steps_sampled
        )
        return results | {
            "phase": phase,
            "offline_updates": self.offline_updates_done,
            "guard_rejections": self.guard_rejections,
        }

    # Offline (Algorithm 1) ------------------------------------------------------------------

    def prepare(self) -> None:
        """Open the log, if there is more to learn from it.

        Raises:
            InputError: for a log that cannot be read, or of another environment.
        """
        if self.phase == "offline" and self._transitions is None:
            self._transitions = self._open_log()

    def _learn_offline(self) -> None:
        """Take the gradient steps of one offline iteration."""
        self.prepare()
        assert self._transitions is not None
        if not self.rewards.fixed:
            self._take_moments(self._transitions)
        due = self.config.offline_updates - self.offline_updates_done
        due = min(due, self.config.offline_updates_per_iteration)
        while due > 0:
            n_updates = min(_AT_ONCE, due)
            self._learn_from(self._transitions, n_updates)
            self.offline_updates_done += n_updates
            due -= n_updates
        self.sync_weights()

    def _open_log(self) -> Transitions:
        """Open the log, which has to be of this environment.

        Raises:
            InputError: for a log that cannot be read, or of another environment.
        """
        config = self.config
        log: Transitions = config.log
        if isinstance(log, str):
            known = config.env if module_of(config.env) else None
            reward = config.env_config.get("reward", "team")
            log = OfflineTransitions(
                log,
                environment=known,
                configuration=logged_configuration(config.env, config.env_config),
                reward=reward,
            )
        spec = self.actor().spec
        found = log.draw(1, np.random.default_rng(0))
        for column, expected in (
            (AgentTransition.FEATURES, spec.n_features),
            (AgentTransition.ACTION_MASK, spec.n_actions),
        ):
            n = found[column].shape[1]
            if n != expected:
                raise InputError(
                    f"log: {column}: expected {expected} a row, as in the environment, found {n}"
                )
        return log

    def _learn_from(self, transitions: Transitions, n_updates: int) -> None:
        """Draw the rows of some gradient steps and learn from them in one call."""
        size = self.config.offline_batch_size
        with self.metrics.log_time((TIMERS, REPLAY_BUFFER_SAMPLE_TIMER)):
            rows = transitions.draw(n_updates * size * self.n_learners, self._rng)
        rows[AgentTransition.REWARDS] = self.rewards.normalise(rows[AgentTransition.REWARDS])
        parts = shard_updates(rows, n_updates, self.n_learners)
        self.learn_from(parts, [n_updates * size] * self.n_learners, minibatch_size=size)

    def _take_moments(self, transitions: Transitions) -> None:
        """Estimate the mean and standard deviation of the log's rewards, and fix them for good."""
        rng = np.random.default_rng(0)
        n_draws, n_rows = _MOMENTS
        for _ in range(n_draws):
            self.rewards.update(transitions.draw(n_rows, rng)[AgentTransition.REWARDS])
        self.rewards.fixed = True

    # Online (Algorithm 2) -------------------------------------------------------------------

    def _train_batch(self) -> SampleBatch | None:
        """Return the train batch of MAPPO with normalised rewards."""
        fragments = super()._train_batch()
        if fragments is not None:
            rewards = fragments[Fragment.REWARDS]
            self.rewards.update(rewards[fragments[Fragment.VALID]])
            fragments[Fragment.REWARDS] = self.rewards.normalise(rewards)
        return fragments

    def _check(self) -> None:
        """Deploy what has been learned, or return to what is deployed.

        Training goes back if what has been learned is significantly worse.
        """
        config, candidate, deployed = self.config, self._snapshot(), self._deployed
        assert deployed is not None
        if self._guard_env is None:
            self._guard_env = make_batched(
                config.env, config.env_config, config.guard_episodes, state=False
            )
        seeds = check_seeds(self._n_online // config.guard_interval, config.guard_episodes)
        env, longest = self._guard_env, longest_episode(config.env)
        returns, before = (
            play_batch(
                self.actor(snapshot[COMPONENT_RL_MODULE][DEFAULT_MODULE_ID]),
                env,
                seeds,
                sampled=True,
                max_steps=longest,
                check=self.check,
            ).returns
            for snapshot in (candidate, deployed)
        )
        if significantly_worse(returns, before):
            self.guard_rejections += 1
            self.learner_group.foreach_learner(lambda learner: learner.return_to(deployed))
            self.sync_weights()
        else:
            self._deployed = candidate

    def _snapshot(self) -> dict[str, Any]:
        """Return a snapshot of the learner, see :meth:`.learner.O2OLearner.snapshot`."""
        first, *_ = self.learner_group.foreach_learner(lambda learner: learner.snapshot())
        snapshot: dict[str, Any] = first.get()
        return snapshot

    # Checkpoints ----------------------------------------------------------------------------

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return what :meth:`set_state` needs to continue exactly from here."""
        state = super().get_state(*args, **kwargs)
        state[_STATE] = {
            "offline_updates_done": self.offline_updates_done,
            "guard_rejections": self.guard_rejections,
            "rewards": self.rewards.get_state(),
            "rng": self._rng.bit_generator.state,
            "n_online": self._n_online,
            "check_due": self._check_due,
            "deployed": copy.deepcopy(self._deployed),
        }
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from where ``state`` was taken."""
        super().set_state(state)
        if _STATE in state:
            own = state[_STATE]
            self.offline_updates_done = own["offline_updates_done"]
            self.guard_rejections = own["guard_rejections"]
            self.rewards.set_state(own["rewards"])
            self._rng.bit_generator.state = own["rng"]
            self._n_online = own["n_online"]
            self._check_due = own.get("check_due", False)
            self._deployed = copy.deepcopy(own["deployed"])
