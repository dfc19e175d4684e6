"""What the simulators that step batches of episodes have in common."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_marl.errors import InputError

Results = TypeVar("Results")
Parts = Mapping[str, tuple[NDArray[Any], ...]]
"""Arrays that change while episodes are played, by what they are of."""


class _Simulator(Protocol):
    done: NDArray[np.bool_]

    @property
    def results(self) -> Any: ...

    def reset(self, seeds: Any) -> Any: ...

    def step(self, actions: Any) -> Any: ...


class _Policy(Protocol):
    def act(self, simulator: Any) -> NDArray[Any]: ...


def play(
    policy: _Policy,
    make: Callable[[int], _Simulator],
    seeds: ArrayLike,
    batch_size: int,
    results: type[Results],
) -> Results:
    """Play one episode per seed.

    Args:
        policy: who decides.
        make: a simulator of so many episodes.
        seeds: ``[K]`` of the episodes.
        batch_size: episodes to play at once; makes no difference to the results.
        results: dataclass of the simulator's results, arrays ``[B]``.

    Returns:
        the results, ``[K]`` each.

    Raises:
        InputError: without a seed or with a batch size below 1.
    """
    seeds = np.asarray(seeds)
    if len(seeds) == 0:
        raise InputError("seeds: expected at least one, found none")
    if batch_size < 1:
        raise InputError(f"batch_size: expected at least 1, found {batch_size}")
    parts = []
    for first in range(0, len(seeds), batch_size):
        some = seeds[first : first + batch_size]
        simulator = make(len(some))
        simulator.reset(some)
        while not simulator.done.all():
            simulator.step(policy.act(simulator))
        parts.append(simulator.results)
    return results(**{
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(results)  # type: ignore[arg-type]
    })  # fmt: skip


def copied(parts: Parts) -> dict[str, Any]:
    """Copies, for :func:`restore`."""
    return {name: copy.deepcopy(part) for name, part in parts.items()}


def restore(parts: Parts, state: Mapping[str, Any]) -> None:
    """Write back into ``parts`` what :func:`copied` took of parts of the same sizes.

    Raises:
        InputError: for a state of other sizes.
    """
    for name, part in parts.items():
        for own, saved in zip(part, state[name], strict=True):
            if own.shape != saved.shape:
                raise InputError(
                    f"state of a simulator: {name}: expected sizes {own.shape}, found {saved.shape}"
                )
            own[...] = saved
