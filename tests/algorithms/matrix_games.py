"""Tiny cooperative games of known answers, as PettingZoo parallel environments."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

CLIMBING = np.array([[8.0, -12.0, -12.0], [-12.0, 0.0, 0.0], [-12.0, 0.0, 0.0]])
"""Non-monotonic: the best joint action is surrounded by the worst (Son et al., 2019, table 1)."""

CORNER = np.array([[0.0, 1.0], [1.0, 8.0]])
"""Monotonic but not additive: state 2B of the two-step game (Rashid et al., 2018, table 1)."""


class TwoAgentGame(ParallelEnv[str, NDArray[np.float32], int]):
    """Two agents that see the stage of the game and nothing else; both are given the reward."""

    metadata = {"name": "two_agent_game", "is_parallelizable": True}  # noqa: RUF012

    def __init__(self, n_stages: int, n_actions: int) -> None:
        self.possible_agents = ["one", "two"]
        self.agents: list[str] = []
        self.stage = 0
        self.n_stages = n_stages
        self.observation_spaces = dict.fromkeys(
            self.possible_agents, spaces.Box(0.0, 1.0, (n_stages,), np.float32)
        )
        self.action_spaces = dict.fromkeys(self.possible_agents, spaces.Discrete(n_actions))

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return self.action_spaces[agent]

    def state(self) -> NDArray[np.float32]:
        return np.eye(self.n_stages, dtype=np.float32)[self.stage]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.agents, self.stage = list(self.possible_agents), 0
        return self._for_both(self.state()), self._for_both({})

    def step(self, actions: dict[str, int]) -> Any:
        reward, over = self.play(actions["one"], actions["two"])
        if over:
            self.agents = []
        return (
            self._for_both(self.state()),
            self._for_both(reward),
            self._for_both(over),
            self._for_both(False),
            self._for_both({}),
        )

    def play(self, one: int, two: int) -> tuple[float, bool]:
        """Reward, and whether the game is over."""
        raise NotImplementedError

    def _for_both(self, value: Any) -> dict[str, Any]:
        return dict.fromkeys(self.possible_agents, value)


class MatrixGame(TwoAgentGame):
    """One decision each, paid by ``payoffs [A, A]``."""

    def __init__(self, payoffs: NDArray[np.float64]) -> None:
        super().__init__(n_stages=1, n_actions=len(payoffs))
        self.payoffs = payoffs

    def play(self, one: int, two: int) -> tuple[float, bool]:
        return float(self.payoffs[one, two]), True


class TwoStepGame(TwoAgentGame):
    """The two-step game of QMIX (Rashid et al., 2018, section 5.1 and table 1).

    In the first step the first agent chooses between stage 2A, worth 7 whatever is played, and
    stage 2B, worth 8 if both play the second action there (:data:`CORNER`).
    """

    def __init__(self) -> None:
        super().__init__(n_stages=3, n_actions=2)

    def play(self, one: int, two: int) -> tuple[float, bool]:
        if self.stage == 0:
            self.stage = 1 + one
            return 0.0, False
        return (7.0, True) if self.stage == 1 else (float(CORNER[one, two]), True)


class MemoryGame(TwoAgentGame):
    """Each agent earns a half for playing at the end what it was shown at the beginning.

    Both are shown the same of two symbols, then nothing (the third stage) for ``delay`` steps.
    Whoever does not remember earns a half of the 1 there is.
    """

    def __init__(self, delay: int = 2) -> None:
        super().__init__(n_stages=3, n_actions=2)
        self.delay = delay
        self.rng = np.random.default_rng(0)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        super().reset()
        self.t, self.shown = 0, int(self.rng.integers(2))
        self.stage = self.shown
        return self._for_both(self.state()), self._for_both({})

    def play(self, one: int, two: int) -> tuple[float, bool]:
        self.t, self.stage = self.t + 1, 2
        if self.t <= self.delay:
            return 0.0, False
        return ((one == self.shown) + (two == self.shown)) / 2, True


class LeavingGame(ParallelEnv[str, NDArray[np.float32], int]):
    """Three agents; one leaves after each step, the last is cut off or finishes.

    Agent i terminates in step i, except that the last one is truncated in its step if
    ``truncate`` is set. Everyone present earns 1 a step for an even action (action 2 is forbidden
    in odd steps, action 3 always).
    """

    metadata = {"name": "leaving_game", "is_parallelizable": True}  # noqa: RUF012

    def __init__(self, truncate: bool = False) -> None:
        self.truncate = truncate
        self.possible_agents = ["a", "b", "c"]
        self.agents: list[str] = []
        self.t = 0

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        observation = spaces.Box(0.0, 9.0, (1,), np.float32)
        return spaces.Dict(observation=observation, action_mask=spaces.Box(0, 1, (4,), np.int8))

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Discrete(4)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.agents, self.t = list(self.possible_agents), 0
        return self._observe(self.agents), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> Any:
        assert set(actions) == set(self.agents), "exactly the agents that are there act"
        for action in actions.values():
            assert self._mask()[action], f"action {action} is forbidden in step {self.t}"
        here, leaving = self.agents, self.agents[0]
        last = len(here) == 1 and self.truncate
        rewards = {agent: float(actions[agent] % 2 == 0) for agent in here}
        self.t += 1
        self.agents = here[1:]
        return (
            self._observe(here),
            rewards,
            {agent: agent == leaving and not last for agent in here},
            {agent: agent == leaving and last for agent in here},
            {agent: {} for agent in here},
        )

    def _mask(self) -> NDArray[np.int8]:
        return np.array([1, 1, self.t % 2 == 0, 0], np.int8)

    def _observe(self, agents: list[str]) -> dict[str, Any]:
        observation = np.array([self.t], np.float32)
        return {a: {"observation": observation, "action_mask": self._mask()} for a in agents}
