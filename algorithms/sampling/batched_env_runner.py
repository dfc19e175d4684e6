"""Step many episodes at once in an RLlib EnvRunner."""

from __future__ import annotations

import math
import random
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray.rllib.core import (
    COMPONENT_RL_MODULE,
    DEFAULT_MODULE_ID,
)
from ray.rllib.core.columns import Columns
from ray.rllib.env import INPUT_ENV_SPACES
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME, WEIGHTS_SEQ_NO

from edge_marl.algorithms.core.spaces import joint_spaces
from edge_marl.algorithms.playing import longest_episode, no_check
from edge_marl.algorithms.sampling.columns import Fragment
from edge_marl.algorithms.sampling.episodes import EpisodeLog
from edge_marl.envs.batched import BatchedObservation, make_batched
from edge_marl.envs.faults import EnvironmentFaultError
from edge_marl.errors import InputError
from edge_marl.seeds import TRAINING_SEEDS
from edge_marl.simulation import Actions, Hybrid

Delivery = tuple[MultiAgentBatch, Any]
"""Fragments and metrics."""


_FORM = 2
"""The form of the episodes' state in checkpoints; no other is read."""


class BatchedEnvRunner(EnvRunner, Checkpointable):
    """Step B episodes of a batched environment with one policy evaluation per step.

    ``num_envs_per_env_runner`` is B, ``rollout_fragment_length`` is T. :meth:`sample` returns
    fragments as arrays that are ready for a learner, see
    :class:`edge_marl.algorithms.sampling.columns.Fragment`, instead of Python episode objects.
    The class works as the local runner and as any number of remote ones.

    ``check`` is called before every step of a fragment. What it raises ends the sampling there; the
    unfinished fragment is part of the state, and the next :meth:`sample` continues it.
    """

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        torch.set_num_threads(1)
        self.worker_index: int = kwargs.get("worker_index") or 0
        self._episode_seeds: np.random.Generator | None = None
        self._weights_seq_no = 0
        self.check: Callable[[], None] = no_check
        self.make_env()
        if self.worker_index == 0:  # others are elsewhere, and nobody would see what they say
            config.check_sampled(self.env)
        self.module: Any = None
        self.make_module()

    def make_env(self) -> None:
        """Make the batched environment; episodes begin with the next :meth:`sample`."""
        config = self.config
        self.env = make_batched(
            config.env,
            config.env_config,
            config.num_envs_per_env_runner,
            state=config.uses_state,
        )
        self.num_envs = self.env.batch_size
        self._observation: BatchedObservation | None = None
        self._hidden: torch.Tensor | None = None
        self._first = np.zeros(self.num_envs, dtype=np.bool_)
        self._begun: tuple[int, dict[str, NDArray[Any]]] | None = None
        self._log = EpisodeLog(
            self.env.agents, self.num_envs, config.metrics_num_episodes_for_smoothing
        )

    def make_module(self) -> None:
        """Make the module; weights come with the first synchronisation."""
        self.module = self.config.get_multi_rl_module_spec(spaces=self.get_spaces()).build()

    def get_spaces(self) -> dict[str, Any]:
        """Return the spaces of the environment and of the one module that holds all agents."""
        own = joint_spaces(self.env)
        return {INPUT_ENV_SPACES: own, DEFAULT_MODULE_ID: own}

    def assert_healthy(self) -> None:
        """Raise unless the constructor has completed."""
        assert self.env is not None
        assert self.module is not None

    def stop(self) -> None:
        """Do nothing: nothing is held open."""

    # Sampling ------------------------------------------------------------------------------

    def deliver(self) -> Delivery | Exception:
        """Sample a fragment of every slot, and return it with the metrics since the last call.

        Returns:
            The fragments and the metrics. An exception is returned instead of being raised, because
            RLlib slowly restarts remote runners that raise one and never shows its text; only the
            local runner raises an unexpected one. After a fault of the environment the next call
            begins new episodes.
        """
        try:
            (batch,) = self.sample()
        except EnvironmentFaultError as fault:
            self._observation = self._begun = None
            return fault
        except InputError as error:
            return error
        except Exception:
            if self.worker_index == 0:
                raise
            return RuntimeError(traceback.format_exc())
        return batch, self.get_metrics()

    def sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool | None = None,
        random_actions: bool = False,
        force_reset: bool = False,
        **_: Any,
    ) -> list[MultiAgentBatch]:
        """Continue the episodes under way, or play whole ones to evaluate.

        Args:
            num_timesteps: steps of all episodes together; a fragment per slot when None.
            num_episodes: play this many whole episodes instead, seeded from 0 upwards, so that
                every evaluation sees the same ones. Training episodes under way are given up.
            explore: whether to explore; as configured when None, except in whole episodes of a
                training runner, which RLlib asks for only to evaluate.
            random_actions: play uniformly random legal actions.
            force_reset: give up the episodes under way.

        Returns:
            One batch of fragments; empty for ``num_episodes``, whose outcome is in the metrics.
        """
        if explore is None:
            evaluates_here = num_episodes is not None and not self.config.in_evaluation
            explore = self.config.explore and not evaluates_here
        with torch.inference_mode():
            if num_episodes is not None:
                return [self._play_episodes(num_episodes, explore)]
            if force_reset or self._observation is None:
                self._begun = None
                self._start(self._draw_seeds(), np.ones(self.num_envs, dtype=np.bool_))
            T = self.config.get_rollout_fragment_length(worker_index=self.worker_index)
            if num_timesteps is not None:
                self._begun = None
                # RLlib's evaluation of automatic duration asks for a fraction of a step, too.
                T = max(1, math.ceil(num_timesteps / self.num_envs))
            return [self._play_fragment(T, explore, random_actions)]

    def _play_fragment(self, T: int, explore: bool, random_actions: bool) -> MultiAgentBatch:
        """Play a fragment of T steps of every slot, or the rest of an unfinished one."""
        assert self._observation is not None
        begun, columns = self._begun or (0, {})
        if begun == 0 and self._hidden is not None:
            columns[Fragment.HIDDEN] = self._hidden.numpy()
        for t in range(begun, T):
            self._begun = (t, columns)
            self.check()
            self._record(columns, t, T + 1, self._seen())
            valid = ~self.env.done
            outputs = self._act(explore, random_actions)
            transition = self.env.step(_played(outputs))
            self._observation = transition.observation
            self._log.add(transition.reward, valid, self.env)
            if transition.elapsed is not None:
                self._record(columns, t, T, {Fragment.ELAPSED: transition.elapsed})
            self._record(
                columns, t, T,
                {
                    **outputs,
                    Fragment.REWARDS: transition.reward,
                    Fragment.TERMINATED: transition.terminated,
                    Fragment.TRUNCATED: transition.truncated,
                    Fragment.VALID: valid,
                },
            )  # fmt: skip
            self._first[:] = False
            over = ~valid
            if over.any():
                self._start(self._draw_seeds(), over)
        self._begun = None
        self._record(columns, T, T + 1, self._seen())
        n_steps = int(columns[Fragment.VALID].sum())
        self.num_env_steps_sampled_lifetime += n_steps
        played = columns[Fragment.VALID][..., None] & columns[Fragment.ACTIVE][:, :-1]
        self._log.count(n_steps, played.sum((0, 1)))
        return MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(columns)}, env_steps=n_steps)

    def _play_episodes(self, n_episodes: int, explore: bool) -> MultiAgentBatch:
        """Play whole episodes, each of them to its end, so that no length is favoured.

        Those that do not end are cut off, see
        :func:`edge_marl.algorithms.playing.longest_episode`.
        """
        B, stride = self.num_envs, max(self.num_workers, 1)
        offset = max(self.worker_index - 1, 0)
        begun = min(B, n_episodes)
        seeds = (offset + stride * np.arange(B)).astype(np.int64)
        playing = np.arange(B) < begun
        longest = longest_episode(self.config.env)
        generator = torch.Generator().manual_seed(0)
        self._log.forget()
        self._start(seeds, np.ones(B, dtype=np.bool_))
        n_steps, n_agent_steps = 0, np.zeros(len(self.env.agents), np.int64)
        while playing.any():
            outputs = self._act(explore, random_actions=False, generator=generator)
            before = playing & ~self.env.done
            assert self._observation is not None
            n_agent_steps += (before[:, None] & self._observation.active).sum(0)
            transition = self.env.step(_played(outputs))
            self._observation = transition.observation
            over = self._log.add(transition.reward, before, self.env, longest)
            n_steps += int(before.sum())
            waiting = np.flatnonzero(over)
            again = waiting[: n_episodes - begun]
            playing[waiting[len(again) :]] = False
            seeds[again] = offset + stride * (begun + np.arange(len(again)))
            begun += len(again)
            where = np.zeros(B, dtype=np.bool_)
            where[again] = True
            if where.any():
                self._start(seeds, where)
        self._log.count(n_steps, n_agent_steps)
        self._observation = None  # training begins new episodes
        return MultiAgentBatch({}, env_steps=n_steps)

    def _act(
        self, explore: bool, random_actions: bool, generator: torch.Generator | None = None
    ) -> dict[str, NDArray[Any]]:
        """Return the module's outputs for the current observation as arrays ``[B, N, ...]``."""
        observation = self._observation
        assert observation is not None
        if random_actions:
            scores = torch.rand(observation.action_mask.shape).numpy()
            chosen = {Columns.ACTIONS: np.where(observation.action_mask, scores, -1.0).argmax(-1)}
            d = self.env.action_spec.vector_size
            if d:
                chosen[Fragment.VECTORS] = torch.rand(*scores.shape[:2], d).numpy()
            return chosen
        batch: dict[str, Any] = {
            Columns.OBS: {
                Fragment.FEATURES: torch.from_numpy(observation.features),
                Fragment.ACTION_MASK: torch.from_numpy(observation.action_mask),
                Fragment.STATE: torch.from_numpy(observation.state),
                Fragment.ACTIVE: torch.from_numpy(observation.active),
            }
        }
        if self._hidden is not None:
            batch[Columns.STATE_IN] = self._hidden
        module = self._own_module
        outputs = (
            module.forward_exploration(batch, t=self.num_env_steps_sampled_lifetime)
            if explore
            else module.forward_inference(batch, generator=generator)
        )
        self._hidden = outputs.pop(Columns.STATE_OUT, None)
        return {name: output.numpy() for name, output in outputs.items()}

    def _start(self, seeds: NDArray[np.int64], where: NDArray[np.bool_]) -> None:
        self._observation = self.env.reset(seeds, where)
        self._first[where] = True
        if self._hidden is None:
            self._hidden = self._own_module.initial_memory(self.num_envs)
        if self._hidden is not None:
            self._hidden = torch.where(torch.from_numpy(where)[:, None, None], 0.0, self._hidden)
        self._log.start(where)

    def _draw_seeds(self) -> NDArray[np.int64]:
        if self._episode_seeds is None:
            # A runner that joins a training later, such as in the place of a lost one, has
            # other episodes than one of its number had at the beginning.
            joined = self.num_env_steps_sampled_lifetime
            key = (joined,) if joined > 0 else ()
            self._episode_seeds = np.random.default_rng(
                np.random.SeedSequence(self._seed, spawn_key=key)
            )
        return self._episode_seeds.integers(
            TRAINING_SEEDS.start, TRAINING_SEEDS.stop, size=self.num_envs
        )

    def _seen(self) -> dict[str, NDArray[Any]]:
        assert self._observation is not None
        return {**self._observation._asdict(), Fragment.FIRST: self._first}

    def _record(
        self, columns: dict[str, NDArray[Any]], t: int, length: int, values: dict[str, Any]
    ) -> None:
        """Copy ``values [B, ...]`` to step t of their columns."""
        for name, value in values.items():
            if name not in columns:
                columns[name] = np.empty((len(value), length, *value.shape[1:]), value.dtype)
            columns[name][:, t] = value

    @property
    def _own_module(self) -> Any:
        return self.module[DEFAULT_MODULE_ID]

    # RLlib's contract ----------------------------------------------------------------------

    def get_metrics(self) -> Any:
        """Return what happened since the last call."""
        self._log.report(self.metrics)
        return self.metrics.reduce()

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Return the weights and all that is needed to continue exactly from here."""
        state: dict[str, Any] = {
            NUM_ENV_STEPS_SAMPLED_LIFETIME: self.num_env_steps_sampled_lifetime
        }
        if self._check_component(COMPONENT_RL_MODULE, components, not_components):
            state[COMPONENT_RL_MODULE] = self.module.get_state(**kwargs)
            state[WEIGHTS_SEQ_NO] = self._weights_seq_no
        if self._check_component("sampling", components, not_components):
            state["sampling"] = {
                "worker_index": self.worker_index,
                "env": self.env.get_state(),
                "observation": self._observation and tuple(x.copy() for x in self._observation),
                "form": _FORM,
                "first": self._first.copy(),
                "hidden": None if self._hidden is None else self._hidden.numpy().copy(),
                "begun": self._begun and (self._begun[0], _copied(self._begun[1])),
                "log": self._log.get_state(),
                "episode_seeds": self._episode_seeds and self._episode_seeds.bit_generator.state,
                # The process-wide generators, which RLlib and torch draw from.
                "rng": (
                    random.getstate(),
                    np.random.get_state(),  # noqa: NPY002
                    torch.get_rng_state().numpy(),
                ),
            }
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over weights, the lifetime count of steps and this runner's own sampling state."""
        if COMPONENT_RL_MODULE in state:
            # As in RLlib's own runners, no number or 0 forces the update.
            weights_seq_no = state.get(WEIGHTS_SEQ_NO, 0)
            if weights_seq_no == 0 or self._weights_seq_no < weights_seq_no:
                weights = state[COMPONENT_RL_MODULE]
                self.module.set_state(
                    ray.get(weights) if isinstance(weights, ray.ObjectRef) else weights
                )
            if weights_seq_no > 0:
                self._weights_seq_no = weights_seq_no
        if NUM_ENV_STEPS_SAMPLED_LIFETIME in state:
            self.num_env_steps_sampled_lifetime = int(state[NUM_ENV_STEPS_SAMPLED_LIFETIME])
        sampling = state.get("sampling")
        # A runner that takes the place of a lost one gets the local runner's state: its weights
        # are wanted, its episodes are not.
        if (
            sampling is not None
            and sampling["worker_index"] == self.worker_index
            and not self.config.in_evaluation
        ):
            self._restore(sampling)

    def go_on(self, states: Mapping[int, dict[str, Any]], env_steps: int) -> None:
        """Continue from this runner's state in ``states``, or begin new episodes if it has none.

        Args:
            states: of all remote runners, by index; empty if the runners were others.
            env_steps: sampled by all runners so far.
        """
        if self.worker_index in states:
            self.set_state(states[self.worker_index])
            return
        self.num_env_steps_sampled_lifetime = env_steps
        self._episode_seeds = self._observation = self._begun = None

    def _restore(self, sampling: dict[str, Any]) -> None:
        # New episodes begin if their number at a time differs, or if an earlier version kept the
        # state in another form.
        alike = sampling.get("form") == _FORM and len(sampling["first"]) == self.num_envs
        seen = sampling["observation"]
        exact = alike and seen is not None and sampling["env"] is not None
        self._observation = self._begun = self._hidden = None
        if alike:
            self.env.set_state(sampling["env"])
            self._log.set_state(sampling["log"])
        if exact:
            self._observation = BatchedObservation(*(x.copy() for x in seen))
            self._first = sampling["first"].copy()
            hidden, begun = sampling["hidden"], sampling.get("begun")
            self._hidden = None if hidden is None else torch.from_numpy(hidden.copy())
            self._begun = begun and (begun[0], _copied(begun[1]))
        stream = sampling["episode_seeds"]
        self._episode_seeds = None
        if stream is not None:
            self._episode_seeds = np.random.default_rng()
            self._episode_seeds.bit_generator.state = stream
        python, numpy, torch_state = sampling["rng"]
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(torch.from_numpy(np.asarray(torch_state)))

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the constructor's arguments for an equal runner."""
        return (), {"config": self.config}

    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        """Return the module, which is a component of its own."""
        return [(COMPONENT_RL_MODULE, self.module)]


def _played(outputs: Mapping[str, NDArray[Any]]) -> Actions:
    """Return the actions among a module's outputs as environments take them."""
    actions, vectors = outputs[Columns.ACTIONS], outputs.get(Fragment.VECTORS)
    return actions if vectors is None else Hybrid(actions, np.maximum(vectors, 0.0))


def _copied(columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: column.copy() for name, column in columns.items()}
