"""Divide a trace over servers and over time, so that nothing later is learned from."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_marl.errors import InputError
from edge_marl.google_traces import GoogleTasks

FloatArray = NDArray[np.float64]
Part = Literal["train", "validation", "test"]

TARGETS = ("interarrival", "cycles", "memory")
"""Of the next task of a server: time since the one before, and demands; each over its mean."""

_SHARES = (0.6, 0.8)
"""Of all tasks, where the validation part and the test part begin."""
_FEWEST = 50
"""Tasks of each part."""


class Series(NamedTuple):
    """Hold the n tasks of all servers in the order of their arrivals."""

    arrival_s: FloatArray
    """``[n]``"""
    server: NDArray[np.int64]
    """``[n]``"""
    values: FloatArray
    """``[n, 3]``: :data:`TARGETS`, each over its mean in the training part."""
    means: FloatArray
    """``[3]``: seconds, and the units of the trace."""
    begins: tuple[int, int]
    """Where the validation part and the test part begin."""

    def part(self, part: Part) -> NDArray[np.int64]:
        """Return the numbers of the tasks of a part."""
        first, second = self.begins
        begin, end = {
            "train": (0, first), "validation": (first, second), "test": (second, len(self.server)),
        }[part]  # fmt: skip
        return np.arange(begin, end)

    def histories(self, tasks: NDArray[np.int64], length: int) -> tuple[FloatArray, FloatArray]:
        """Return what came before tasks at their servers, of whatever part, oldest first.

        Args:
            tasks: ``[k]`` their numbers.
            length: H, the most tasks of a history.

        Returns:
            ``[k, H, 3]``, zeros behind the last, and how many there are, ``[k]``.
        """
        histories, lengths = np.zeros((len(tasks), length, 3)), np.zeros(len(tasks))
        for server in np.unique(self.server):
            own = np.flatnonzero(self.server == server)
            (asked,) = np.nonzero(self.server[tasks] == server)
            places = np.searchsorted(own, tasks[asked])
            lengths[asked] = np.minimum(places, length)
            offsets = np.arange(length)
            sources = np.maximum(places - length, 0)[:, None] + offsets
            there = offsets < lengths[asked, None]
            found = self.values[own[np.where(there, sources, 0)]]
            histories[asked] = np.where(there[..., None], found, 0.0)
        return histories, lengths


def begins_of(n: int) -> tuple[int, int]:
    """Return where the validation part and the test part of n tasks begin."""
    first, second = (int(share * n) for share in _SHARES)
    return first, second


def series_of(tasks: GoogleTasks, servers: int, seed: int) -> Series:
    """Divide the tasks of a trace over servers at random, as replays do.

    Args:
        tasks: of the trace. Cycles are run times, times the requests of CPU where there are any.
        servers: to divide them over, each as likely.
        seed: of the division.

    Raises:
        InputError: for a trace with too few tasks.
    """
    n = len(tasks.arrival_s)
    server = np.random.default_rng(seed).integers(servers, size=n)
    # The time since the last task is not known of the first one at a server.
    gap_s = np.full(n, np.nan)
    for s in range(servers):
        own = np.flatnonzero(server == s)
        gap_s[own[1:]] = np.diff(tasks.arrival_s[own])
    known = ~np.isnan(gap_s)
    values = np.stack([gap_s, tasks.cycles, tasks.memory_or_one], axis=1)[known]
    begins = begins_of(len(values))
    if len(values) - begins[1] < _FEWEST:
        raise InputError(
            f"trace: expected at least {round(_FEWEST / (1 - _SHARES[1]))} tasks after the first "
            f"of each server, found {len(values)}"
        )
    means = values[: begins[0]].mean(axis=0)
    return Series(tasks.arrival_s[known], server[known], values / means, means, begins)
