"""Extend RLlib's Algorithm with what ours share: sampling, learning and exact checkpoints."""

from __future__ import annotations

import copy
import json
import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch, concat_samples
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)
from ray.tune.result import TRAINING_ITERATION
from torch import Tensor

from edge_marl.algorithms.core.runners import failures_shown
from edge_marl.algorithms.networks.agents import Actor
from edge_marl.algorithms.playing import no_check
from edge_marl.algorithms.sampling.batched_env_runner import BatchedEnvRunner, Delivery
from edge_marl.algorithms.sampling.columns import Fragment
from edge_marl.envs.faults import EnvironmentFaultError
from edge_marl.errors import InputError
from edge_marl.json_files import read_json
from edge_marl.validation import shown

TOLERATED_FAULTS = 2
"""Exceptions of the environment that a training goes on after, as with a flaw that is rare; an
environment that raises once more is broken."""

_SAMPLE = BatchedEnvRunner.deliver.__name__
_POLL_S = 0.1
_PLAYS_WITHIN_S, _ANSWERS_WITHIN_S = 5.0, 60.0
"""How long a checkpoint waits for remote runners, in case somebody waits for it to stop."""
_RUNNERS, _DELIVERED, _FIXED = "runners", "delivered", "fixed_options"

_log = logging.getLogger(__name__)


class RewardScaler:
    """Track the running standard deviation that rewards are divided by; zero stays zero."""

    def __init__(self) -> None:
        self._count = 0.0
        self._mean = 0.0
        self._sum_of_squares = 0.0

    def update(self, rewards: NDArray[np.float32]) -> None:
        """Take in ``rewards [K]``, ignoring those that are not finite: the learner reports them."""
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
        """Return the mean of all rewards taken in."""
        return self._mean

    @property
    def scale(self) -> float:
        """Return the divisor of rewards; it is 1 until they have differed."""
        deviation = (self._sum_of_squares / self._count) ** 0.5 if self._count else 0.0
        return deviation if deviation > 1e-8 else 1.0


class JointAlgorithm(Algorithm):
    """Sample fragments, hand out weights and continue exactly from checkpoints."""

    _own_folder: tempfile.TemporaryDirectory[str] | None = None

    def setup(self, config: Any) -> None:
        """Build env runners and learners."""
        self.check: Callable[[], None] = no_check
        self._delivered: list[tuple[int, Delivery | Exception]] = []  # by remote runners, not used
        self.faults: list[EnvironmentFaultError] = []
        self.reward_scaler = RewardScaler() if self.config.reward_scaling else None
        with failures_shown(self.config):
            super().setup(config)
        self.team_reward = self.config.team_reward_in(self.env_runner.env)

    def _setup_logdir(self) -> None:
        """Use Ray Tune's folder of the trial, or a temporary one where there is no trial.

        Ray itself would make a folder in the user's home that nobody removes.
        """
        if self._storage is not None:
            super()._setup_logdir()
            return
        self._own_folder = tempfile.TemporaryDirectory(prefix="edge-marl-")
        self._logdir = self._own_folder.name

    def watch(self, check: Callable[[], None]) -> None:
        """Have ``check`` called before every step, or while remote runners play.

        An exception that it raises ends the iteration midway. Where this process samples,
        :meth:`train` continues exactly from there.
        """
        self.check = self.env_runner.check = check

    def cleanup(self) -> None:
        """Release all resources, without waiting for remote runners that are still playing."""
        group = getattr(self, "env_runner_group", None)
        if group is not None and group.num_in_flight_async_reqs(_SAMPLE):
            group._worker_manager.clear()
        super().cleanup()
        if self._own_folder is not None:
            self._own_folder.cleanup()

    def note_fault(self, fault: EnvironmentFaultError) -> None:
        """Count an exception of the environment, and log it unless the same was logged before.

        Raises:
            EnvironmentFaultError: this one, if there were more than :data:`TOLERATED_FAULTS`.
        """
        if str(fault) not in map(str, self.faults):
            _log.warning("%s; going on with new episodes", fault)
        self.faults.append(fault)
        if len(self.faults) > TOLERATED_FAULTS:
            raise fault

    def prepare(self) -> None:
        """Open whatever the next iteration needs from outside, so that errors show early.

        Raises:
            InputError: for what is missing or not as it should be.
        """

    @property
    def env_steps_sampled(self) -> int:
        """Return the number of environment steps sampled for training so far."""
        return int(
            self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0)
        )

    def sample_fragments(self) -> SampleBatch | None:
        """Collect fragments of all runners in one batch, with at least one played step.

        Returns:
            Rows of :class:`edge_marl.algorithms.sampling.columns.Fragment`; None when every
            runner was lost. Steps are not counted if their runner was lost or its environment
            raised an exception.

        Raises:
            EnvironmentFaultError: if the environment has raised more than :data:`TOLERATED_FAULTS`.
        """
        batches: list[Any] = []
        with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            while sum(batch.env_steps() for batch in batches) == 0:
                found = self._deliveries()
                if not found:
                    return None
                for one in found:
                    if isinstance(one, EnvironmentFaultError):
                        self.note_fault(one)
                    elif isinstance(one, Exception):
                        raise one
                delivered = [one for one in found if not isinstance(one, Exception)]
                batches += [batch for batch, _ in delivered]
                if delivered:
                    metrics = [metrics for _, metrics in delivered]
                    self.metrics.aggregate(metrics, key=ENV_RUNNER_RESULTS)
        rows = [batch.policy_batches[DEFAULT_MODULE_ID] for batch in batches]
        fragments = rows[0] if len(rows) == 1 else concat_samples(rows)
        if self.reward_scaler is not None:
            self.reward_scaler.update(fragments[Fragment.REWARDS][fragments[Fragment.VALID]])
        return fragments

    def learn_from(
        self,
        parts: Sequence[Mapping[str, NDArray[Any]]],
        env_steps: Sequence[int],
        *,
        per_row: str | None = None,
        **how: Any,
    ) -> NDArray[np.float64] | None:
        """Have every learner learn from its part, and aggregate what the learners report.

        Args:
            parts: columns, for each learner.
            env_steps: in each.
            per_row: name of a result that has a number for each row; it is not reported.
            how: arguments of :meth:`.learner.JointLearner.learn`.

        Returns:
            The numbers of ``per_row``, one part after the other; None without it.
        """
        batches = [
            MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(part)}, steps)
            for part, steps in zip(parts, env_steps, strict=True)
        ]
        remote = self.config.num_learners > 0
        data: dict[str, Any] = {"batches": batches} if remote else {"batch": batches[0]}
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            results: list[Any] = self.learner_group.update(
                **data,
                timesteps={
                    NUM_ENV_STEPS_SAMPLED_LIFETIME: self.env_steps_sampled,
                    TRAINING_ITERATION: self.training_iteration + 1,
                },
                **how,
            )
        found = None
        if per_row is not None:
            popped = [result[DEFAULT_MODULE_ID].pop(per_row).peek() for result in results]
            found = np.concatenate([np.asarray(numbers).ravel() for numbers in popped])
        self.metrics.aggregate(results, key=LEARNER_RESULTS)
        return found

    @property
    def n_learners(self) -> int:
        """Return the number of learners that learn together."""
        return max(1, self.config.num_learners)

    def _deliveries(self) -> list[Delivery | Exception]:
        """Collect what the runners played, in order of their indices, leaving out lost runners.

        What arrived before :attr:`check` raised an exception is kept for the next call.
        """
        group = self.env_runner_group
        if group.num_remote_env_runners() == 0:
            return [self.env_runner.deliver()]
        if not self._delivered and not group.num_in_flight_async_reqs(_SAMPLE):
            group.foreach_env_runner_async(_SAMPLE, tag=_SAMPLE)
        while group.num_in_flight_async_reqs(_SAMPLE):
            self.check()
            self._fetch()
        found, self._delivered = self._delivered, []
        return [delivery for _, delivery in sorted(found, key=lambda one: one[0])]

    def _fetch(self) -> None:
        """Take the deliveries of remote runners that are ready, waiting only briefly for one."""
        self._delivered += self.env_runner_group.fetch_ready_async_reqs(
            tags=_SAMPLE, timeout_seconds=_POLL_S
        )

    def sync_weights(self) -> None:
        """Bring the learner's weights, and the count of steps, to the runners."""
        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            self.env_runner_group.sync_weights(
                from_worker_or_learner_group=self.learner_group, inference_only=True
            )
            if self.env_runner_group.num_remote_env_runners() > 0:
                # Exploration schedules follow the steps of all runners together. A runner that
                # takes the place of a lost one learns from the local one how many there were.
                state = {NUM_ENV_STEPS_SAMPLED_LIFETIME: self.env_steps_sampled}
                self.env_runner.set_state(state)
                self.env_runner_group.foreach_env_runner(
                    "set_state", kwargs={"state": state}, local_env_runner=False
                )

    def actor(self, weights: Mapping[str, Any] | None = None) -> Actor:
        """Return a copy of the actors, ready to play.

        Args:
            weights: of the module, such as a snapshot holds; those that the learner has now when
                None.
        """
        if weights is None:
            weights = self.learner_group.get_weights()[DEFAULT_MODULE_ID]
        actor: Actor = copy.deepcopy(self.get_module().actor)
        own = {name: torch.as_tensor(weights[f"actor.{name}"]) for name in actor.state_dict()}
        actor.load_state_dict(own)
        return actor.eval()

    def set_actor(self, weights: Mapping[str, Tensor]) -> None:
        """Continue training from given actors, such as imitated ones, instead of random ones.

        Args:
            weights: a state dict of :class:`edge_marl.algorithms.networks.agents.Actor`.
        """

        def load(learner: Any) -> None:
            learner.module[DEFAULT_MODULE_ID].unwrapped().actor.load_state_dict(weights)

        self.learner_group.foreach_learner(load)
        self.sync_weights()

    # Checkpoints ---------------------------------------------------------------------------

    def get_metadata(self) -> dict[str, Any]:
        """Return RLlib's metadata, and the options that a checkpoint has to be restored with."""
        return super().get_metadata() | {_FIXED: self.config.fixed_options}

    def restore_from_path(self, path: Any, *args: Any, **kwargs: Any) -> None:
        """Continue from a checkpoint.

        Options that differ from those it was taken with take effect at once.

        Raises:
            InputError: naming an option that must not differ.
        """
        metadata = Path(str(path).removeprefix("file://")) / self.METADATA_FILE_NAME
        before = read_json(metadata).get(_FIXED, {}) if metadata.is_file() else {}
        now = json.loads(json.dumps(self.config.fixed_options))
        for name, value in before.items():
            if now.get(name, value) != value:
                raise InputError(
                    f"{name}: expected {shown(value)}, as in the checkpoint, "
                    f"found {shown(now[name])}"
                )
        super().restore_from_path(path, *args, **kwargs)

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the states of RLlib, the remote runners and the reward scaler."""
        state = super().get_state(*args, **kwargs)
        state[_RUNNERS] = self._runner_states()
        state[_DELIVERED] = list(self._delivered)
        if self.reward_scaler is not None:
            state["reward_scaler"] = dict(vars(self.reward_scaler))
        return state

    def _runner_states(self) -> dict[int, Any]:
        """Return the states of the remote runners by index, once their fragments are complete.

        There are none if a runner still plays after some seconds; runners that do not answer are
        left out. With any state missing, all runners play new episodes after a restore.
        """
        group = self.env_runner_group
        if group.num_remote_env_runners() == 0:
            return {}
        until = time.monotonic() + _PLAYS_WITHIN_S
        while group.num_in_flight_async_reqs(_SAMPLE) and time.monotonic() < until:
            self._fetch()
        if group.num_in_flight_async_reqs(_SAMPLE):
            return {}
        states = group.foreach_env_runner(
            "get_state",
            kwargs={"not_components": COMPONENT_RL_MODULE},
            local_env_runner=False,
            timeout_seconds=_ANSWERS_WITHIN_S,
        )
        return {state["sampling"]["worker_index"]: state for state in states}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from where ``state`` was taken.

        With as many remote runners as there were then, they continue exactly. Otherwise they play
        episodes that no runner has played.
        """
        super().set_state(state)
        if self.reward_scaler is not None and "reward_scaler" in state:
            vars(self.reward_scaler).update(state["reward_scaler"])
        self._delivered = list(state.get(_DELIVERED, ()))
        group, states = self.env_runner_group, state.get(_RUNNERS, {})
        indices = group.healthy_worker_ids() if group.num_remote_env_runners() else []
        if indices:
            known = ray.put(states if sorted(states) == sorted(indices) else {})
            steps = self.env_steps_sampled
            group.foreach_env_runner(
                lambda runner: runner.go_on(ray.get(known), steps), local_env_runner=False
            )
