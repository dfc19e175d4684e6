"""The plainest environment, and those whose agents come and go in some way of their own.

Agents are shown numbers and earn 1 for choosing the first of them. Every environment checks what it
is sent: the actions of exactly those who are there, in their spaces and legal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

ENVIRONMENTS: dict[str, Any] = {}


def works(maker: Any) -> Any:
    """Enter a class or function by its name."""
    ENVIRONMENTS[maker.__name__] = maker
    return maker


@works
class Plain(ParallelEnv[Any, Any, Any]):
    """Two agents, three steps, nothing strange."""

    names: tuple[Any, ...] = ("a", "b")
    steps = 3
    seen: spaces.Space[Any] = spaces.Box(0, 1, (2,), np.float32)
    acts: spaces.Discrete = spaces.Discrete(2)

    def __init__(self) -> None:
        self.metadata = {"name": type(self).__name__}
        self.possible_agents = list(self.names)

    def observation_space(self, agent: Any) -> spaces.Space[Any]:
        return self.seen

    def action_space(self, agent: Any) -> spaces.Space[Any]:
        return self.acts

    def here(self, t: int) -> list[Any]:
        """Who is there after t steps."""
        return list(self.names) if t < self.steps else []

    def number(self, agent: Any) -> int:
        """What the agent should choose, counted from its first action."""
        return int(self.rng.integers(self.action_space(agent).n))

    def show(self, agent: Any, number: int) -> Any:
        """What the agent sees."""
        return np.array([number, 1], np.float32)

    def info(self, agent: Any) -> dict[str, Any]:
        return {"t": self.t}

    def mask(self, agent: Any) -> Any:
        """Which actions are legal; all when None."""
        return None

    def reward(self, earned: float) -> Any:
        return earned

    def observe(self, agents: list[Any]) -> dict[Any, Any]:
        self.numbers = {agent: self.number(agent) for agent in agents}
        return {agent: self.show(agent, number) for agent, number in self.numbers.items()}

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.rng = np.random.default_rng(seed)
        self.t, self.agents = 0, self.here(0)
        return self.observe(self.agents), {agent: self.info(agent) for agent in self.agents}

    def step(self, actions: dict[Any, Any]) -> Any:
        assert list(actions) == [agent for agent in self.possible_agents if agent in self.agents]
        earned = {}
        for agent, action in actions.items():
            space = self.action_space(agent)
            assert space.contains(action)
            mask = self.mask(agent)
            assert mask is None or mask[action - space.start] == 1
            earned[agent] = self.reward(float(action - space.start == self.numbers[agent]))
        before, self.t = self.agents, self.t + 1
        self.agents = self.here(self.t)
        terminated, truncated = self.flags(before)
        there = list(dict.fromkeys([*before, *self.agents]))
        observations = self.observe(there)
        return observations, earned, terminated, truncated, {a: self.info(a) for a in there}

    def flags(self, agents: list[Any]) -> tuple[dict[Any, Any], dict[Any, Any]]:
        """Who terminates and who is truncated: whoever never comes back does terminate."""
        later = {agent for t in range(self.t, self.steps) for agent in self.here(t)}
        return {agent: agent not in later for agent in agents}, dict.fromkeys(agents, False)


# Who is there --------------------------------------------------------------------------------


@works
class OneByOne(Plain):
    """They terminate at different times."""

    def here(self, t: int) -> list[Any]:
        return [agent for agent, end in (("a", 1), ("b", 3)) if t < end]


@works
class CutOffAlone(OneByOne):
    """One is truncated while the other plays on."""

    def flags(self, agents: list[Any]) -> tuple[dict[Any, Any], dict[Any, Any]]:
        ended, never = super().flags(agents)
        return ({**ended, "a": False}, {**never, "a": ended["a"]}) if "a" in ended else (
            ended, never)  # fmt: skip


@works
class Late(Plain):
    """One joins after a step."""

    def here(self, t: int) -> list[Any]:
        return [agent for agent in super().here(t) if agent == "a" or t > 0]


@works
class LateForOneStep(Plain):
    """One joins after a step and lives for another."""

    def here(self, t: int) -> list[Any]:
        return [agent for agent in super().here(t) if agent == "a" or t == 1]


@works
class Pausing(Plain):
    """One skips a step without being flagged and returns."""

    def here(self, t: int) -> list[Any]:
        return [agent for agent in super().here(t) if agent == "a" or t != 1]


@works
class Returning(Pausing):
    """One is flagged as terminated and returns nevertheless."""

    def flags(self, agents: list[Any]) -> tuple[dict[Any, Any], dict[Any, Any]]:
        return {agent: agent not in self.agents for agent in agents}, dict.fromkeys(agents, False)


@works
class Relay(Plain):
    """They replace each other."""

    def here(self, t: int) -> list[Any]:
        return ["a" if t % 2 == 0 else "b"] if t < self.steps else []


@works
class Staying(Plain):
    """All are flagged at the end and stay in ``agents``."""

    def here(self, t: int) -> list[Any]:
        assert t <= self.steps, "played on past its end"
        return list(self.names)

    def flags(self, agents: list[Any]) -> tuple[dict[Any, Any], dict[Any, Any]]:
        return dict.fromkeys(agents, self.t == self.steps), dict.fromkeys(agents, False)


@works
class StayingOneByOne(Staying):
    """Each is flagged in a step of its own, only then, and stays in ``agents``."""

    def flags(self, agents: list[Any]) -> tuple[dict[Any, Any], dict[Any, Any]]:
        last = dict(zip(self.names, (2, 3), strict=True))
        return dict.fromkeys(agents, False), {agent: self.t == last[agent] for agent in agents}


@works
class Unflagged(Plain):
    """The episode ends without a word about how."""

    def flags(self, agents: list[Any]) -> tuple[dict[Any, Any], dict[Any, Any]]:
        return {}, {}


@works
class OneStep(Plain):
    steps = 1


@works
class Alone(Plain):
    names = ("a",)


@works
class Many(Plain):
    names = tuple(f"agent_{i}" for i in range(30))


@works
class AnyOrder(Plain):
    """``agents`` is in another order every time, and no list."""

    def here(self, t: int) -> Any:
        return tuple(reversed(self.names)) if t < self.steps else ()
