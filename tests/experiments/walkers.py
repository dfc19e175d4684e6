"""An environment from elsewhere: two walkers that are paid for going right."""

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


class Walkers(ParallelEnv[str, Any, int]):
    metadata: ClassVar[dict[str, Any]] = {"name": "walkers"}

    def __init__(self, steps: int) -> None:
        self.possible_agents = ["a", "b"]
        self.steps = steps

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Box(0.0, 1.0, (2,), np.float32)

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Discrete(2)

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.agents = list(self.possible_agents)
        self.t = 0
        self.random = np.random.default_rng(seed)
        return self.observe(), {agent: {} for agent in self.agents}

    def observe(self) -> dict[str, Any]:
        return {agent: self.random.random(2, dtype=np.float32) for agent in self.agents}

    def step(self, actions: dict[str, int]) -> Any:
        self.t += 1
        observations = self.observe()
        over = dict.fromkeys(self.agents, self.t == self.steps)
        rewards = {agent: float(action) for agent, action in actions.items()}
        never = dict.fromkeys(self.agents, False)
        infos: dict[str, Any] = {agent: {"distance": self.t} for agent in self.agents}
        if self.t == self.steps:
            self.agents = []
        return observations, rewards, over, never, infos


def parallel_env(steps: int = 3) -> Walkers:
    return Walkers(steps)
