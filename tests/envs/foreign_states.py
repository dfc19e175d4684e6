"""Environments as others write them: those with states of their own, and wrapped ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv
from pettingzoo.utils import aec_to_parallel, turn_based_aec_to_parallel
from pettingzoo.utils.wrappers import BaseParallelWrapper

from tests.envs.foreign_agents import Late, OneByOne, Plain, works

# The global state ----------------------------------------------------------------------------


@works
class State(Plain):
    def state(self) -> Any:
        return np.arange(3) + self.t


@works
class StateIsNoMethod(Plain):
    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.state = dict.fromkeys(self.names)
        return super().reset(seed)


@works
class StateIsNone(Plain):
    def state(self) -> Any:
        return None


@works
class StateOfThoseThere(OneByOne):
    """It gets shorter, and there is none of nobody."""

    def state(self) -> Any:
        return np.concatenate([np.ones(2) for _ in self.agents])


@works
class StateThatGrows(Late):
    state_space = spaces.Box(0, 1, (4,), np.float32)

    def state(self) -> Any:
        return np.ones(2 * max(1, len(self.agents)))


@works
class StateOfChoices(Plain):
    state_space = spaces.MultiDiscrete([4, 2])

    def state(self) -> Any:
        return np.array([self.t, 1])


@works
class StateIsAPicture(Plain):
    def state(self) -> Any:
        return np.full((8, 8, 3), self.t, np.uint8)


# Wrapped -------------------------------------------------------------------------------------


@works
def wrapped() -> Any:
    return BaseParallelWrapper(Plain())


@works
def in_rllibs_adapter() -> Any:
    from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv

    return ParallelPettingZooEnv(Plain())


class Rounds(AECEnv[str, Any, int]):
    """As ``pettingzoo.classic.rps_v2``: one after the other, but nobody sees before all chose.

    Its ``state`` is no method.
    """

    metadata = {"name": "rounds", "is_parallelizable": True}  # noqa: RUF012
    render_mode = None

    def __init__(self) -> None:
        self.possible_agents = ["player_0", "player_1"]
        self.state: Any = {}

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Discrete(4)

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Discrete(3)

    def observe(self, agent: str) -> Any:
        return np.array(self.seen[agent])

    def reset(self, seed: int | None = None, options: Any = None) -> None:
        self.agents = list(self.possible_agents)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos: dict[str, Any] = {agent: {} for agent in self.agents}
        self.state = dict.fromkeys(self.agents, 3)
        self.seen = dict.fromkeys(self.agents, 3)
        self.t, self.agent_selection = 0, self.agents[0]

    def step(self, action: Any) -> None:
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        self.state[agent] = action
        first, second = self.possible_agents
        self.rewards = dict.fromkeys(self.agents, 0.0)
        if agent == second:
            beats = (self.state[first] - self.state[second]) % 3
            won = {0: 0.0, 1: 1.0, 2: -1.0}[beats]
            self.rewards = {first: won, second: -won}
            self.seen = {first: self.state[second], second: self.state[first]}
            self.t += 1
            self.truncations = dict.fromkeys(self.agents, self.t == 3)
        self.agent_selection = first if agent == second else second


@works
def rounds() -> Any:
    return aec_to_parallel(Rounds())


class Turns(Rounds):
    """As ``pettingzoo.classic.tictactoe_v3``: nothing is legal for whoever's turn it is not."""

    metadata = {"name": "turns", "is_parallelizable": False}  # noqa: RUF012

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Dict(observation=spaces.Discrete(4), action_mask=spaces.MultiBinary(3))

    def observe(self, agent: str) -> Any:
        mask = np.array([0, 1, 1], np.int8) * (agent == self.agent_selection)
        return {"observation": np.array(self.seen[agent]), "action_mask": mask}

    def step(self, action: Any) -> None:
        assert action is None or action > 0, "illegal"
        super().step(action)


@works
def turns() -> Any:
    return turn_based_aec_to_parallel(Turns())
