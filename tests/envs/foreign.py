"""Environments as others write them, each strange in one way: the ones that have to work.

Agents are shown numbers and earn 1 for choosing the first of them. Every environment checks what it
is sent: the actions of exactly those who are there, in their spaces and legal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils import aec_to_parallel, turn_based_aec_to_parallel
from pettingzoo.utils.wrappers import BaseParallelWrapper

ENVIRONMENTS: dict[str, Any] = {}


def works(maker: Any) -> Any:
    """Enter a class or function by its name."""
    ENVIRONMENTS[maker.__name__] = maker
    return maker


def make(kind: str) -> Any:
    """What the command line is given."""
    return ENVIRONMENTS[kind]()


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
