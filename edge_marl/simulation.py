"""Define what simulators and policies have in common, and play episodes with a policy.

A simulator steps a batch of B episodes of N agents. Its state is a small number of records (named
tuples of arrays) with a leading batch axis, on which compiled kernels work. A policy decides for
all agents of all episodes at once: heuristics, oracles and learned policies have the same methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_marl.errors import InputError
from edge_marl.seeds import EPISODE_SEED_LIMIT

ObservationT = TypeVar("ObservationT")
ResultsT = TypeVar("ResultsT")
SimulatorT = TypeVar("SimulatorT", bound="Simulator[Any, Any]")


class Hybrid(NamedTuple):
    """Hold actions that consist of a choice and a vector."""

    choices: NDArray[np.integer[Any]]
    """``[B, N]``"""
    vectors: NDArray[np.floating[Any]]
    """``[B, N, d]``, each number in [0, 1]."""


Actions: TypeAlias = NDArray[np.integer[Any]] | Hybrid
"""Choices ``[B, N]``, or choices and vectors."""


class Transition(NamedTuple, Generic[ObservationT]):
    """Hold the outcome of a step, in arrays that the next step overwrites."""

    observation: ObservationT
    reward: NDArray[np.float32]
    """``[B, N]``: zero for episodes that were over before the step."""
    terminated: NDArray[np.bool_]
    """``[B]``: the episode came to its end in this step."""
    truncated: NDArray[np.bool_]
    """``[B]``: the episode was cut off in this step."""
    elapsed: NDArray[np.float32] | None
    """``[B]``: time that the step took, in the simulator's unit of discounting; None where every
    step takes equally long."""


NOTHING_TO_SHARE = (
    "shares_links: expected false with an environment that simulates no network, found true"
)


class Travel(NamedTuple):
    """Hold how many steps a message takes between agents and the manager of a federation.

    Both are ``[N]``, and infinite where there is no way.
    """

    to_manager: NDArray[np.float64]
    from_manager: NDArray[np.float64]

    @classmethod
    def at_once(cls, n_agents: int) -> Travel:
        """Return that messages of so many agents are there at once."""
        return cls(np.zeros(n_agents), np.zeros(n_agents))


class Simulator(ABC, Generic[ObservationT, ResultsT]):
    """Simulate B episodes of N agents that are stepped together and end independently.

    An episode that is over stays frozen, and its actions are ignored, until it is reset.

    A subclass allocates :attr:`observation` and :attr:`transition`, and implements the methods
    that are abstract here.

    Args:
        batch_size: B.
        agents: their N names, in the order of the arrays.
        vector_size: d, numbers of the vector that belongs to an action; 0: actions are choices.

    Raises:
        InputError: for a batch size below 1.
    """

    observation: ObservationT
    """What the agents see now. The simulator writes into these arrays in place."""
    transition: Transition[ObservationT]
    """Outcome of the last step."""
    takes_turns = False
    """Whether no two agents ever decide in the same step."""

    def __init__(self, batch_size: int, agents: Sequence[str], vector_size: int = 0) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size: expected at least 1, found {batch_size}")
        self.batch_size = batch_size
        self.agents = tuple(agents)
        self.seeds = np.zeros(batch_size, dtype=np.int64)
        """``[B]``: seeds of the episodes under way."""
        self.done = np.ones(batch_size, dtype=np.bool_)
        """``[B]``: episodes that have ended and wait for a reset."""
        self.vector_size = vector_size
        self.vectors = np.zeros((batch_size, len(agents), vector_size))
        """``[B, N, d]``: vectors of the actions of the step that is played."""

    def travel(self, n_bytes: float, every: int | None = None) -> Travel:
        """Return how long a message takes; where there is no network, it is there at once.

        Args:
            n_bytes: of the message.
            every: steps from one message of an agent to the next, for messages that are to share
                links with all else.

        Raises:
            InputError: for messages that are to share links where there are none to share.
        """
        if every is not None:
            raise InputError(NOTHING_TO_SHARE)
        return Travel.at_once(len(self.agents))

    def reset(self, seeds: ArrayLike, where: NDArray[np.bool_] | None = None) -> ObservationT:
        """Start episodes anew.

        Args:
            seeds: ``[B]`` one seed per episode, at least 0; an episode depends on its seed alone.
            where: ``[B]`` episodes to reset; the others go on. All when None.

        Raises:
            InputError: when there is not one non-negative integer per episode.
        """
        checked = _checked_seeds(seeds, self.batch_size)
        if where is None:
            where = np.ones(self.batch_size, dtype=np.bool_)
        self.seeds[where] = checked[where]
        self._start(where)
        return self.observation

    def step(self, actions: Actions) -> Transition[ObservationT]:
        """Play one step of every episode that is under way.

        Args:
            actions: ``[B, N]`` integers, and vectors where they belong to an action; the
                simulator's class explains what they mean.

        Raises:
            InputError: for actions of another shape, and for an impossible one, naming its agent
                and episode.
        """
        choices, vectors = actions if isinstance(actions, Hybrid) else (actions, None)
        choices = np.asarray(choices)
        shape = (self.batch_size, len(self.agents))
        if choices.shape != shape or choices.dtype.kind not in "iu":
            raise InputError(f"actions: expected integers of shape {shape}")
        self._check(choices)
        if self.vector_size or vectors is not None:
            self._take(vectors)
        # One type and layout, for which kernels are compiled once.
        self._advance(np.ascontiguousarray(choices, dtype=np.int32))
        return self.transition

    def _take(self, vectors: NDArray[np.floating[Any]] | None) -> None:
        """Take the vectors ``[B, N, d]`` of the actions of a step into :attr:`vectors`."""
        shape = self.vectors.shape
        if vectors is None or np.shape(vectors) != shape:
            found = "none" if vectors is None else str(np.shape(vectors))
            raise InputError(
                f"vectors of actions: expected numbers of shape {shape}, found {found}"
            )
        self.vectors[...] = vectors
        possible = (self.vectors >= 0.0) & (self.vectors <= 1.0)
        if not possible.all():
            b, n, k = np.argwhere(~possible)[0]
            raise InputError(
                f"vector of {self.agents[n]}, episode {b}: expected numbers from 0 to 1, "
                f"found {self.vectors[b, n, k]:g}"
            )

    @property
    @abstractmethod
    def results(self) -> ResultsT:
        """Return the metrics of all episodes so far: a dataclass of copies, ``[B, ...]`` each."""

    @abstractmethod
    def _start(self, where: NDArray[np.bool_]) -> None:
        """Start the episodes ``where [B]`` anew from their :attr:`seeds`."""

    @abstractmethod
    def _check(self, actions: NDArray[np.integer[Any]]) -> None:
        """Refuse actions ``[B, N]`` if one of them is impossible."""

    @abstractmethod
    def _advance(self, actions: NDArray[np.int32]) -> None:
        """Play one step and write :attr:`transition`."""

    @abstractmethod
    def _records(self) -> Mapping[str, Mapping[str, NDArray[Any]]]:
        """Return all arrays that change while episodes are played, by record and field.

        :attr:`seeds` and :attr:`done` need not be among them.
        """

    def get_state(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Copy everything that changes while episodes are played, for :meth:`set_state`."""
        return {
            name: {field: array.copy() for field, array in arrays.items()}
            for name, arrays in self._arrays().items()
        }

    def set_state(self, state: Mapping[str, Mapping[str, NDArray[Any]]]) -> None:
        """Continue from where ``state`` was taken, on a simulator of the same sizes.

        Raises:
            InputError: for a state of another kind of simulator or of other sizes.
        """
        own = self._arrays()
        for name, arrays in own.items():
            for field, array in arrays.items():
                saved = state.get(name, {}).get(field)
                found = None if saved is None else saved.shape
                if found != array.shape:
                    raise InputError(
                        f"state of a simulator: {name}.{field}: expected sizes {array.shape}, "
                        f"found {found}"
                    )
        for name, arrays in own.items():
            for field, array in arrays.items():
                array[...] = state[name][field]

    def _arrays(self) -> dict[str, Mapping[str, NDArray[Any]]]:
        """Return all arrays by record and field, :attr:`seeds` and :attr:`done` included."""
        episodes = {"seeds": self.seeds, "done": self.done}
        return {"episodes": episodes, **self._records()}


class Policy(ABC, Generic[SimulatorT]):
    """Decide for all agents of a batch of episodes."""

    name: str
    """In tables and task logs."""

    def reset(self, simulator: SimulatorT) -> None:
        """Forget everything: all episodes of ``simulator`` have just begun.

        A policy that remembers nothing from one decision to the next has nothing to do here.
        """

    @abstractmethod
    def act(self, simulator: SimulatorT) -> Actions:
        """Choose the actions for the simulator's next step.

        Returns:
            Actions ``[B, N]``, legal by the mask of the simulator's observation, and their vectors
            where the simulator has any.
        """


def run(
    policy: Policy[Any],
    make: Callable[[int], Simulator[Any, ResultsT]],
    seeds: ArrayLike,
    batch_size: int = 64,
) -> ResultsT:
    """Play one episode per seed.

    Args:
        policy: who decides.
        make: makes a simulator of a given number of episodes, such as
            ``partial(PeerOffloadingSimulator, scenario)``.
        seeds: ``[K]`` of the episodes.
        batch_size: episodes to play at once; makes no difference to the results.

    Returns:
        The simulator's results, ``[K]`` each.

    Raises:
        InputError: without a seed or with a batch size below 1.
    """
    seeds = np.asarray(seeds)
    if len(seeds) == 0:
        raise InputError("seeds: expected at least one, found none")
    if batch_size < 1:
        raise InputError(f"batch_size: expected at least 1, found {batch_size}")
    parts: list[Any] = []
    for first in range(0, len(seeds), batch_size):
        some = seeds[first : first + batch_size]
        simulator = make(len(some))
        simulator.reset(some)
        policy.reset(simulator)
        while not simulator.done.all():
            simulator.step(policy.act(simulator))
        parts.append(simulator.results)
    joined: ResultsT = type(parts[0])(**{
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(parts[0])
    })  # fmt: skip
    return joined


def _checked_seeds(seeds: ArrayLike, batch_size: int) -> NDArray[np.int64]:
    """Return the seeds ``[B]`` of a simulator's episodes as 64-bit integers.

    Raises:
        InputError: when there is not one integer from 0 to 2^63 - 1 per episode.
    """
    seeds = np.asarray(seeds)
    if (
        seeds.shape != (batch_size,)
        or seeds.dtype.kind not in "iu"
        or not 0 <= int(seeds.min()) <= int(seeds.max()) < EPISODE_SEED_LIMIT
    ):
        raise InputError(f"seeds: expected {batch_size} integers of at least 0")
    return seeds.astype(np.int64)
