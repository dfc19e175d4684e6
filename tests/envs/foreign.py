"""Environments as others write them, each strange in one way: all that have to work."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from tests.envs.foreign_agents import (
    ENVIRONMENTS,
    Late,
    Many,
    OneByOne,
    Plain,
    Staying,
    StayingOneByOne,
    Unflagged,
    works,
)
from tests.envs.foreign_states import Rounds, StateIsAPicture, turns

__all__ = [
    "ENVIRONMENTS", "Late", "Many", "OneByOne", "Plain", "Rounds", "StateIsAPicture", "Staying",
    "StayingOneByOne", "Unflagged", "make", "turns",
]  # fmt: skip


def make(kind: str) -> Any:
    """What the command line is given."""
    return ENVIRONMENTS[kind]()


# What they are called ------------------------------------------------------------------------


@works
class Integers(Plain):
    names = (0, 1)


@works
class Tuples(Plain):
    names = (("left", 1), ("right", 2))


@works
class Punctuation(Plain):
    names = ("a b", "a-b", "..")


# What they see -------------------------------------------------------------------------------


@works
class Dictionaries(Plain):
    seen = spaces.Dict(
        z=spaces.Box(0, 1, (2, 2), np.float32),
        a=spaces.Dict(inner=spaces.Discrete(3), more=spaces.MultiDiscrete([2, 3])),
    )

    def show(self, agent: Any, number: int) -> Any:
        inner = {"inner": number, "more": np.array([1, 2])}
        return {"z": np.full((2, 2), number, np.float32), "a": inner}


@works
class TuplesSeen(Plain):
    seen = spaces.Tuple((spaces.Discrete(2), spaces.MultiBinary(2)))

    def show(self, agent: Any, number: int) -> Any:
        return number, np.array([1, 0], np.int8)


@works
class Discretes(Plain):
    """Counted from another number than 0, in an array."""

    seen = spaces.Discrete(2, start=5)

    def show(self, agent: Any, number: int) -> Any:
        return np.array(number + 5)


@works
class MultiBinaries(Plain):
    seen = spaces.MultiBinary((2, 3))

    def show(self, agent: Any, number: int) -> Any:
        return np.full((2, 3), number, np.int8)


@works
class MultiDiscretes(Plain):
    seen = spaces.MultiDiscrete([2, 3])

    def show(self, agent: Any, number: int) -> Any:
        return np.array([number, 2])


@works
class MultiDiscreteTable(Plain):
    """Of two dimensions, counted from other numbers than 0, given as floats."""

    seen = spaces.MultiDiscrete(np.array([[2, 3], [4, 5]]), start=np.array([[1, 0], [-1, 7]]))

    def show(self, agent: Any, number: int) -> Any:
        return np.array([[number + 1.0, 2.0], [2.0, 7.0]])


@works
class Texts(Plain):
    seen = spaces.Text(3, charset="abc")

    def show(self, agent: Any, number: int) -> Any:
        return "abc"[: number + 1]


@works
class OneOfTwo(Plain):
    seen = spaces.OneOf((spaces.Discrete(2), spaces.Box(0, 1, (3,), np.float32)))

    def show(self, agent: Any, number: int) -> Any:
        return (0, number) if number else (1, np.ones(3, np.float32))


@works
class Pictures(Plain):
    """8-bit pictures."""

    seen = spaces.Box(0, 255, (4, 4, 3), np.uint8)

    def show(self, agent: Any, number: int) -> Any:
        return np.full((4, 4, 3), 255 * number, np.uint8)


@works
class PicturesOfTwoSizes(Pictures):
    def observation_space(self, agent: Any) -> spaces.Space[Any]:
        return spaces.Box(0, 255, (2 if agent == "a" else 3, 4), np.uint8)

    def show(self, agent: Any, number: int) -> Any:
        return np.full(self.observation_space(agent).shape, 255 * number, np.uint8)


@works
class PicturesInFloats(Pictures):
    """The space says 8 bits and the pictures have 64."""

    def show(self, agent: Any, number: int) -> Any:
        return np.full((4, 4, 3), 0.5 * number)


@works
class Numbers(Plain):
    """A space without dimensions, Python's own numbers."""

    seen = spaces.Box(-np.inf, np.inf, (), np.float32)

    def show(self, agent: Any, number: int) -> Any:
        return number


@works
class UnlikeEachOther(Plain):
    def observation_space(self, agent: Any) -> spaces.Space[Any]:
        return spaces.Discrete(3) if agent == "a" else spaces.Box(0, 1, (2, 2), np.float32)

    def action_space(self, agent: Any) -> spaces.Space[Any]:
        return spaces.Discrete(2 if agent == "a" else 5)

    def show(self, agent: Any, number: int) -> Any:
        return number if agent == "a" else np.full((2, 2), number, np.float32)


@works
class UnseenWhenGone(OneByOne):
    """Only those who are still there are shown something."""

    def observe(self, agents: list[Any]) -> dict[Any, Any]:
        return super().observe(self.agents)


@works
class NonsenseWhenGone(OneByOne):
    """Those who have left see no numbers, and their mask is none."""

    def show(self, agent: Any, number: int) -> Any:
        return super().show(agent, number) if agent in self.agents else [np.nan]

    def info(self, agent: Any) -> dict[str, Any]:
        return {} if agent in self.agents else {"action_mask": None}


# What they may do ----------------------------------------------------------------------------


@works
class Started(Plain):
    """Actions counted from another number than 0."""

    acts = spaces.Discrete(3, start=-1)


class Masked(Plain):
    """Only the first and what is right is legal."""

    acts = spaces.Discrete(4)

    def mask(self, agent: Any) -> Any:
        mask = np.zeros(self.acts.n, np.int8)
        mask[[0, self.numbers[agent]]] = 1
        return mask


@works
class MaskedInObservations(Masked):
    seen = spaces.Dict(observation=Plain.seen, action_mask=spaces.MultiBinary(4))

    def show(self, agent: Any, number: int) -> Any:
        return {"observation": super().show(agent, number), "action_mask": self.mask(agent)}


@works
class MaskedInInfos(Masked):
    def info(self, agent: Any) -> dict[str, Any]:
        return {"action_mask": self.mask(agent), "t": self.t}


@works
class MaskedFromAnotherNumber(MaskedInInfos):
    acts = spaces.Discrete(4, start=3)

    def mask(self, agent: Any) -> Any:
        return super().mask(agent).astype(bool).tolist()


@works
class OnlyMasks(Masked):
    """There is nothing to see but what is legal."""

    seen = spaces.Dict(action_mask=spaces.MultiBinary(4))

    def show(self, agent: Any, number: int) -> Any:
        return {"action_mask": self.mask(agent)}


@works
class ManyActions(MaskedInInfos):
    acts = spaces.Discrete(1500)


@works
class NothingLegalWhenGone(MaskedInInfos):
    """Masks of agents that have left say that nothing is legal."""

    def here(self, t: int) -> list[Any]:
        return [agent for agent, end in (("a", 1), ("b", 3)) if t < end]

    def mask(self, agent: Any) -> Any:
        return super().mask(agent) * (agent in self.agents)


# Infos and rewards ---------------------------------------------------------------------------


@works
class WithoutInfos(Plain):
    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed)[0], None

    def step(self, actions: dict[Any, Any]) -> Any:
        return (*super().step(actions)[:4], {})


@works
class CommonKeys(Plain):
    """Some keys are no agents', as in RLlib's environments."""

    def step(self, actions: dict[Any, Any]) -> Any:
        observations, rewards, terminated, truncated, infos = super().step(actions)
        over = not self.agents
        terminated, truncated = {**terminated, "__all__": over}, {**truncated, "__all__": False}
        return observations, rewards, terminated, truncated, {"__common__": {"x": 1}, **infos}


@works
class RewardsInArrays(Plain):
    """Rewards of shape (1,), flags of NumPy's."""

    def reward(self, earned: float) -> Any:
        return np.array([earned])

    def flags(self, agents: list[Any]) -> tuple[dict[Any, Any], dict[Any, Any]]:
        ended, never = super().flags(agents)
        return {agent: np.array([flag]) for agent, flag in ended.items()}, never


@works
class OldReset(Plain):
    """``reset`` returns observations alone, as it did until 2023."""

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed)[0]
