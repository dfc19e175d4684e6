"""Adapt PettingZoo parallel environments to RLlib."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from edge_marl.envs import intake
from edge_marl.envs.intake import AnyParallelEnv
from edge_marl.errors import InputError
from edge_marl.seeds import SEED_LIMIT


class ParallelEnvAdapter(MultiAgentEnv):
    """Adapt any PettingZoo :class:`ParallelEnv` to RLlib.

    Agents are always listed in the order of ``possible_agents``. They may leave at different
    times; the episode ends when the last one has left, or is flagged and stays. Then
    ``terminateds["__all__"]`` is set if every agent of the episode terminated and
    ``truncateds["__all__"]`` otherwise.

    RLlib 2.60 takes an episode whose agents are all flagged, even if by truncation, for terminated,
    and learners would not bootstrap at its end. Agents truncated in the last step are therefore
    flagged by ``truncateds["__all__"]`` alone, which RLlib applies to those still in the episode.

    Args:
        env: the environment.
        flatten: give dictionary observations as one flat float32 vector, keys in the order of
            the space, because RLlib's default modules have no encoder for dictionaries. These
            modules know no masks either, so an action that the ``action_mask`` of the agent's
            last observation or infos forbids is replaced by the first legal one. With
            ``flatten=False`` dictionaries are passed on for modules that mask, and actions are
            played as they are.

    Raises:
        InputError: for anything but a parallel environment, and for values that do not fit when
            the environment returns them.
    """

    def __init__(self, env: AnyParallelEnv, *, flatten: bool = True) -> None:
        self.env = env = intake.parallel(env)
        self.possible_agents = list(intake.agents_of(env))
        self.agents = list(self.possible_agents)
        self.metadata = dict(env.metadata)
        self.render_mode = getattr(env, "render_mode", None)
        own = {agent: env.observation_space(agent) for agent in self.possible_agents}
        self._flat = {
            agent: space
            for agent, space in own.items()
            if flatten and isinstance(space, spaces.Dict)
        }
        self.observation_spaces = {
            agent: spaces.flatten_space(space) if agent in self._flat else space
            for agent, space in own.items()
        }
        self.action_spaces = {agent: env.action_space(agent) for agent in self.possible_agents}
        self._flatten = flatten
        self._legal: dict[Any, NDArray[np.bool_]] = {}
        self._actions: dict[Any, Any] = {}
        self._left: set[Any] = set()  # flagged, and in the environment's agents all the same
        self._any_truncated = False
        super().__init__()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode and return observations and infos per agent."""
        observations, infos = intake.started(self.env, seed, options)
        self.agents = list(self.env.agents)
        self._any_truncated = False
        self._legal, self._left = {}, set()
        return self._observe(self._ordered(observations), infos), self._ordered(infos)

    def step(
        self, action_dict: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """Play one step with the actions of the agents still there."""
        played = {agent: self._playable(agent, act) for agent, act in action_dict.items()}
        # An agent that has left but stays in the environment's agents repeats its last action.
        self._actions = {agent: self._actions[agent] for agent in self._left} | played
        observations, rewards, terminations, truncations, infos = (
            self._ordered(part) for part in intake.stepped(self.env, self._actions)
        )
        for agent, ended in (*terminations.items(), *truncations.items()):
            if ended:
                self._left.add(agent)
        self._left &= set(self.env.agents)
        self.agents = [agent for agent in self.env.agents if agent not in self._left]
        terminateds = {agent: bool(flag) for agent, flag in terminations.items()}
        truncateds = {agent: bool(flag) for agent, flag in truncations.items()}
        self._any_truncated |= any(
            truncateds[agent] and not terminateds[agent] for agent in truncateds
        )
        all_gone = not self.agents
        if all_gone:
            truncateds = dict.fromkeys(truncateds, False)
        terminateds["__all__"] = all_gone and not self._any_truncated
        truncateds["__all__"] = all_gone and self._any_truncated
        return (
            self._observe(observations, infos),
            rewards,
            terminateds,
            truncateds,
            infos,
        )

    def render(self) -> Any:
        """Return what the environment itself renders."""
        return self.env.render()

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def _ordered(self, values: Mapping[Any, Any]) -> dict[Any, Any]:
        """Keep the values of agents that had not left, in the order of ``possible_agents``."""
        return {
            agent: values[agent]
            for agent in self.possible_agents
            if agent in values and agent not in self._left
        }

    def _observe(self, observations: Mapping[Any, Any], infos: Mapping[Any, Any]) -> dict[Any, Any]:
        seen = dict(observations)
        for agent in seen if self._flatten else ():
            mask = intake.mask_of(seen[agent], infos.get(agent))
            if mask is not None and agent in self.agents:
                self._legal[agent] = np.asarray(mask, dtype=np.bool_)
            if agent in self._flat:
                flat = spaces.flatten(self._flat[agent], seen[agent])
                seen[agent] = np.asarray(flat, dtype=np.float32)
        return seen

    def _playable(self, agent: Any, action: Any) -> Any:
        """Return ``action``, or the first legal one where the agent's last mask forbids it.

        Of an action of several parts, the mask is that of the choice.

        Raises:
            InputError: if no action is legal.
        """
        legal = self._legal.get(agent)
        space = self.action_spaces[agent]
        if legal is None:
            return action
        if isinstance(space, spaces.Dict):
            if not legal.any():  # there is nothing to decide
                return action
            return {
                name: self._legal_choice(agent, part, legal, action[name])
                for name, part in space.spaces.items()
            }
        return self._legal_choice(agent, space, legal, action)

    def _legal_choice(self, agent: Any, space: Any, legal: NDArray[np.bool_], action: Any) -> Any:
        if not isinstance(space, spaces.Discrete) or legal[action - space.start]:
            return action
        if not legal.any():
            name = intake.name_of(self.env)
            raise InputError(f"environment {name}: action mask of {agent}: no action is legal")
        return int(space.start) + int(np.argmax(legal))


class RegisteredEnv(ParallelEnvAdapter):
    """Serve an environment to RLlib as several agents or as one central controller.

    :func:`edge_marl.envs.register` registers this class. RLlib reads from the algorithm's
    configuration alone, not from the environment, whether there are several agents. With
    ``.multi_agent(...)`` this is the plain adapter. Without, RLlib treats the environment as
    Gymnasium's, and all agents are then one central controller: it sees all observations
    concatenated in the order of ``possible_agents`` (zeros for agents that have left), plays one
    ``MultiDiscrete`` action, or a ``Tuple`` of the agents' where these are no plain choices, and
    gets the sum of the rewards, and infos by agent as soon as there are any. This needs flattened
    observations.
    """

    def __init__(self, env: AnyParallelEnv, *, flatten: bool = True) -> None:
        super().__init__(env, flatten=flatten)
        seen: list[Any] = [self.observation_spaces[agent] for agent in self.possible_agents]
        acts: list[Any] = [self.action_spaces[agent] for agent in self.possible_agents]
        if all(isinstance(space, spaces.Box) and len(space.shape) == 1 for space in seen):
            self.observation_space = spaces.Box(
                np.concatenate([space.low for space in seen]),
                np.concatenate([space.high for space in seen]),
                dtype=np.float32,
            )
            self.action_space = (
                spaces.MultiDiscrete(
                    [space.n for space in acts], start=[space.start for space in acts]
                )
                if all(isinstance(space, spaces.Discrete) for space in acts)
                else spaces.Tuple(acts)
            )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Start an episode, for all agents or for their one controller."""
        observations, infos = super().reset(seed=seed, options=options)
        if not self._is_one_controller:
            return observations, infos
        return self._concatenated(observations), _not_empty(infos)

    def step(self, action_dict: Any) -> Any:
        """Play one step with actions by agent, or with the vector of the controller's actions."""
        if not self._is_one_controller:
            return super().step(action_dict)
        chosen = dict(zip(self.possible_agents, action_dict, strict=True))
        observations, rewards, terminateds, truncateds, infos = super().step(
            {agent: chosen[agent] for agent in self.agents}
        )
        return (
            self._concatenated(observations),
            sum(rewards.values()),
            terminateds["__all__"],
            truncateds["__all__"],
            _not_empty(infos),
        )

    @property
    def _is_one_controller(self) -> bool:
        # The name under which RLlib 2.60 makes environments in its single-agent runner is the
        # only trace of its choice that reaches an environment.
        return self.spec is not None and self.spec.id.startswith("rllib-single-agent-env")

    def _concatenated(self, observations: dict[str, Any]) -> NDArray[np.float32]:
        shapes: list[Any] = [self.observation_spaces[agent].shape for agent in self.possible_agents]
        return np.concatenate(
            [
                observations.get(agent, np.zeros(shape, np.float32))
                for agent, shape in zip(self.possible_agents, shapes, strict=True)
            ],
            dtype=np.float32,
        )


def _not_empty(infos: dict[str, Any]) -> dict[str, Any]:
    return {agent: info for agent, info in infos.items() if info}


class Creator:
    """Make environments of a simulator for RLlib when Ray Tune calls it.

    Args:
        module: dotted name of a module with ``parallel_env`` and ``batched_env``.
    """

    def __init__(self, module: str) -> None:
        self.module = module

    def __call__(self, env_config: Mapping[str, Any]) -> RegisteredEnv:
        """Make the environment.

        Args:
            env_config: options of its ``parallel_env``, and ``flatten`` of
                :class:`ParallelEnvAdapter` (default true). Without a ``seed`` every copy of the
                environment draws its own, so that parallel copies differ; runs are reproducible
                with ``AlgorithmConfig.debugging(seed=...)``, which seeds each copy's first reset.

        Raises:
            InputError: for an unknown or bad option.
        """
        options = dict(env_config)
        flatten = bool(options.pop("flatten", True))
        options.setdefault("seed", int(np.random.SeedSequence().generate_state(1)[0]) % SEED_LIMIT)
        env = import_module(self.module).parallel_env(**options)
        return RegisteredEnv(env, flatten=flatten)
