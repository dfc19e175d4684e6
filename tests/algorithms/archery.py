"""An environment of others in which actions are choices, vectors, or both."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


class Archery(ParallelEnv[str, Any, Any]):
    """Three agents see where to aim, and are paid less the further off they are.

    ``picker`` has choices alone, ``archer`` two numbers alone, ``both`` a choice and one number.
    An episode has two steps. In the second ``both`` has nothing to decide, as its mask says.
    """

    metadata = {"name": "archery"}  # noqa: RUF012
    seen = spaces.Box(0, 1, (3,), np.float32)
    observation_spaces = {  # noqa: RUF012
        "picker": seen,
        "archer": seen,
        "both": spaces.Dict(observation=seen, action_mask=spaces.MultiBinary(2)),
    }
    action_spaces: dict[str, spaces.Space[Any]] = {  # noqa: RUF012
        "picker": spaces.Discrete(3, start=1),
        "archer": spaces.Box(np.array([-3, 0], np.float32), np.array([5, 10], np.float32)),
        "both": spaces.Dict(pick=spaces.Discrete(2), size=spaces.Box(0, 10, (1,), np.float32)),
    }

    def __init__(self) -> None:
        self.possible_agents = ["picker", "archer", "both"]

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.rng = np.random.default_rng(seed)
        self.agents, self.t = [*self.possible_agents], 0
        return self._see(), {}

    def step(self, actions: dict[str, Any]) -> Any:
        assert all(self.action_space(agent).contains(act) for agent, act in actions.items())
        archer, both = actions["archer"], actions["both"]
        errors = {
            "picker": abs(actions["picker"] - 1 - round(2 * float(self.goal[0]))),
            "archer": abs(archer[0] - (8 * self.goal[0] - 3)) / 8
            + abs(archer[1] - 10 * self.goal[1]) / 10,
            "both": (both["pick"] != round(float(self.goal[1])))
            + abs(both["size"][0] - 10 * self.goal[2]) / 10,
        }
        if self.t == 1:
            errors["both"] = 0.0
        self.t += 1
        over = self.t == 2
        flags = dict.fromkeys(self.agents, over)
        self.agents = [] if over else self.agents
        rewards = {agent: -float(error) for agent, error in errors.items()}
        return self._see(), rewards, flags, dict.fromkeys(flags, False), {}

    def _see(self) -> dict[str, Any]:
        self.goal = self.rng.random(3).astype(np.float32)
        mask = np.full(2, self.t == 0, np.int8)
        both = {"observation": self.goal, "action_mask": mask}
        return {"picker": self.goal, "archer": self.goal, "both": both}
