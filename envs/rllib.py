"""PettingZoo parallel environments as RLlib environments."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from edge_marl.seeds import SEED_LIMIT

AnyParallelEnv: TypeAlias = ParallelEnv[str, Any, Any]


class ParallelEnvAdapter(MultiAgentEnv):
    """Any PettingZoo :class:`ParallelEnv` as an RLlib environment.

    Agents are always listed in the order of ``possible_agents``. They may leave at different
    times; the episode ends when the last one has left. Then ``terminateds["__all__"]`` is set if
    every agent of the episode terminated and ``truncateds["__all__"]`` otherwise.

    RLlib 2.60 takes an episode whose agents are all flagged, be it by truncation, for terminated,
    and learners would not bootstrap at its end. Agents truncated in the last step are therefore
    flagged by ``truncateds["__all__"]`` alone, which RLlib applies to those still in the episode.

    Args:
        env: the environment.
        flatten: give dictionary observations as one flat float32 vector, keys in the order of
            the space, because RLlib's default modules have no encoder for dictionaries. These
            modules know no masks either, so an action that the ``action_mask`` of the agent's
            last observation forbids is replaced by the first legal one. With ``flatten=False``
            dictionaries are passed on for modules that mask, and actions are played as they are.
    """

    def __init__(self, env: AnyParallelEnv, *, flatten: bool = True) -> None:
        self.env = env
        self.possible_agents = list(env.possible_agents)
        self.agents = list(env.possible_agents)
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
        self._masks: dict[str, NDArray[np.int8]] = {}
        self._any_truncated = False
        super().__init__()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode; observations and infos per agent."""
        observations, infos = self.env.reset(seed=seed, options=options)
        self.agents = list(self.env.agents)
        self._any_truncated = False
        self._masks = {}
        return self._observe(observations), self._ordered(infos)

    def step(
        self, action_dict: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """Play one step with the actions of the agents still there."""
        actions = {agent: self._playable(agent, act) for agent, act in action_dict.items()}
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        self.agents = list(self.env.agents)
        terminateds = {agent: bool(flag) for agent, flag in self._ordered(terminations).items()}
        truncateds = {agent: bool(flag) for agent, flag in self._ordered(truncations).items()}
        self._any_truncated |= any(
            truncateds[agent] and not terminateds[agent] for agent in truncateds
        )
        all_gone = not self.agents
        if all_gone:
            truncateds = dict.fromkeys(truncateds, False)
        terminateds["__all__"] = all_gone and not self._any_truncated
        truncateds["__all__"] = all_gone and self._any_truncated
        return (
            self._observe(observations),
            self._ordered(rewards),
            terminateds,
            truncateds,
            self._ordered(infos),
        )

    def render(self) -> Any:
        """What the environment itself renders."""
        return self.env.render()

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def _ordered(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {agent: values[agent] for agent in self.possible_agents if agent in values}

    def _observe(self, observations: Mapping[str, Any]) -> dict[str, Any]:
        seen = self._ordered(observations)
        for agent, space in self._flat.items():
            if agent in seen:
                if "action_mask" in space.spaces:
                    self._masks[agent] = seen[agent]["action_mask"]
                seen[agent] = np.asarray(spaces.flatten(space, seen[agent]), dtype=np.float32)
        return seen

    def _playable(self, agent: str, action: Any) -> Any:
        """``action``, or the first legal one if a flattened agent chose a forbidden one."""
        mask = self._masks.get(agent)
        if mask is None or mask[action]:
            return action
        return int(np.argmax(mask))


class RegisteredEnv(ParallelEnvAdapter):
    """The adapter as :func:`edge_marl.envs.register` gives it to RLlib.

    RLlib reads from the algorithm's configuration alone, not from the environment, whether there
    are several agents. With ``.multi_agent(...)`` this is the adapter. Without, RLlib treats the
    environment as Gymnasium's, and all agents are then one central controller: observations
    concatenated in the order of ``possible_agents`` (zeros for agents that have left), one
    ``MultiDiscrete`` action, the sum of the rewards, infos by agent as soon as there are any. This
    needs flattened observations and discrete actions.
    """

    def __init__(self, env: AnyParallelEnv, *, flatten: bool = True) -> None:
        super().__init__(env, flatten=flatten)
        seen: list[Any] = [self.observation_spaces[agent] for agent in self.possible_agents]
        acts: list[Any] = [self.action_spaces[agent] for agent in self.possible_agents]
        if all(isinstance(space, spaces.Box) and len(space.shape) == 1 for space in seen) and all(
            isinstance(space, spaces.Discrete) for space in acts
        ):
            self.observation_space = spaces.Box(
                np.concatenate([space.low for space in seen]),
                np.concatenate([space.high for space in seen]),
                dtype=np.float32,
            )
            self.action_space = spaces.MultiDiscrete(
                [space.n for space in acts], start=[space.start for space in acts]
            )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Start an episode, for all agents or for their one controller."""
        observations, infos = super().reset(seed=seed, options=options)
        if not self._is_one_controller:
            return observations, infos
        return self._concatenated(observations), _not_empty(infos)

    def step(self, action_dict: Any) -> Any:
        """Play one step: actions by agent, or the vector of the controller's actions."""
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


def create(module: str, env_config: Mapping[str, Any]) -> RegisteredEnv:
    """Make the environment of ``module`` for RLlib.

    Args:
        module: dotted name of a module with a ``parallel_env(**config)``.
        env_config: options of that ``parallel_env``, and ``flatten`` of
            :class:`ParallelEnvAdapter` (default true). Without a ``seed`` every copy of the
            environment draws its own, so that parallel copies differ; runs are reproducible
            with ``AlgorithmConfig.debugging(seed=...)``, which seeds each copy's first reset.

    Raises:
        InputError: for an unknown or bad option.
    """
    options = dict(env_config)
    flatten = bool(options.pop("flatten", True))
    options.setdefault("seed", int(np.random.SeedSequence().generate_state(1)[0]) % SEED_LIMIT)
    return RegisteredEnv(import_module(module).parallel_env(**options), flatten=flatten)
