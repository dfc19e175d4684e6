"""Share experience between learners, each of which has a replay of its own.

Now and then a learner gives what it has kept since the last time to a replay that all share, and
takes a sample of what all have given. It learns from that beside what it has kept itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

import ray
import torch
from ray.exceptions import PendingCallsLimitExceeded, RayError

from edge_marl.algorithms.replay.transitions import Columns, TransitionRings

_MOST_PENDING = 100


class SharedReplay:
    """Keep the last transitions that any learner has given.

    Args:
        capacity: transitions.
        n_agents: N.
        seed: of what is taken.
    """

    def __init__(self, capacity: int, n_agents: int, seed: int) -> None:
        self._kept = TransitionRings(capacity, (0,) * n_agents)
        self._generator = torch.Generator().manual_seed(seed)

    def give(self, transitions: Columns) -> None:
        """Take in transitions, columns of :class:`.DecisionTransition`."""
        self._kept.add(transitions)

    def take(self, n: int) -> Columns | None:
        """Return n of the transitions, drawn with replacement; None if there are none."""
        if not any(self._kept.sizes):
            return None
        return {
            name: column[:, 0] for name, column in self._kept.draw(n, [self._generator]).items()
        }

    def get_state(self) -> dict[str, Any]:
        """Return everything that is kept."""
        return {"kept": self._kept.get_state(), "generator": self._generator.get_state().numpy()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from where ``state`` was taken."""
        self._kept.set_state(state["kept"])
        self._generator.set_state(torch.from_numpy(state["generator"].copy()))


class Exchange(Protocol):
    """Describe how learners share experience."""

    def swap(self, given: Columns | None, n: int) -> Columns | None:
        """Give transitions, and return n of those that all have given, ``[n, ...]``.

        None stands for none to give, and for none to be had, or not yet.
        """
        ...


class LocalExchange:
    """Share experience within a process.

    Args:
        shared: where it is kept.
    """

    def __init__(self, shared: SharedReplay) -> None:
        self.shared = shared

    def swap(self, given: Columns | None, n: int) -> Columns | None:
        """Give and take at once, see :meth:`Exchange.swap`."""
        if given is not None:
            self.shared.give(given)
        return self.shared.take(n)


class RemoteExchange:
    """Share experience by a Ray actor, without ever waiting for it.

    What is taken was asked for at the last exchange. If the actor dies, Ray starts it again, empty;
    what was given to it is lost, and what it cannot take in for too many calls is not given.

    Args:
        shared: handle of :func:`start_shared_replay`.
    """

    def __init__(self, shared: Any) -> None:
        self._shared = shared
        self._asked: Any = None

    def swap(self, given: Columns | None, n: int) -> Columns | None:
        """Give, and return what was asked for before, if it is there; see :meth:`Exchange.swap`."""
        found: Columns | None = None
        if self._asked is not None and ray.wait([self._asked], timeout=0)[0]:
            with suppress(RayError):
                found = ray.get(self._asked)
            self._asked = None
        with suppress(PendingCallsLimitExceeded):
            if given is not None:
                self._shared.give.remote(given)
            if self._asked is None:
                self._asked = self._shared.take.remote(n)
        return found


def start_shared_replay(capacity: int, n_agents: int, seed: int) -> Any:
    """Start a :class:`SharedReplay` as a Ray actor that Ray restarts while its handle is held."""
    actor = ray.remote(num_cpus=0, max_restarts=-1, max_pending_calls=_MOST_PENDING)(SharedReplay)
    return actor.remote(capacity, n_agents, seed)
