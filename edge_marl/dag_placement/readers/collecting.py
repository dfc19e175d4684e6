"""Gather, for all readers, their workflows in flat columns, and count what became of them."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_marl.dag_placement.scenario import RecordedWorkflows
from edge_marl.dag_placement.workflows import Workflows
from edge_marl.errors import InputError

_MOST_GFLOP = 1e18


@dataclass(frozen=True)
class ReadReport:
    """Report what was found in a file or folder, and what was made of it."""

    source: str
    """The path."""
    found: int
    """Workflows in it."""
    left_out: dict[str, int]
    """Workflows by the reason why they were left out, each counted once."""
    changed: dict[str, int]
    """Primitives of the others by what was put in the place of what is, or is not, recorded."""

    @property
    def kept(self) -> int:
        """Return the number of workflows that were not left out."""
        return self.found - sum(self.left_out.values())


def topological(parents: Sequence[Sequence[int]]) -> list[int] | None:
    """Order primitives such that each comes after its parents; return None if there is a cycle."""
    waiting_for = [len(before) for before in parents]
    order = [i for i, count in enumerate(waiting_for) if count == 0]
    children: list[list[int]] = [[] for _ in parents]
    for i, before in enumerate(parents):
        for parent in before:
            children[parent].append(i)
    for i in order:
        for child in children[i]:
            waiting_for[child] -= 1
            if waiting_for[child] == 0:
                order.append(child)
    return order if len(order) == len(parents) else None


class Collector:
    """Gather workflows without an object for each: a public trace has millions of them.

    Args:
        recorded: what run times stand for, and what is taken where nothing is recorded.
        least_s: shorter run times are raised to it, as a primitive's work is above 0.
    """

    def __init__(self, recorded: RecordedWorkflows, least_s: float) -> None:
        self._recorded = recorded
        self._least_s = least_s
        self._left_out: Counter[str] = Counter()
        self._changed: Counter[str] = Counter()
        self._arrival_s = array("d")
        self._sizes = array("i")
        self._run_s = array("d")
        self._memory_gb = array("d")
        self._output_gb = array("d")
        self._before = array("i")
        self._after = array("i")

    def leave_out(self, reason: str) -> None:
        """Count a workflow that is not to be used."""
        self._left_out[reason] += 1

    def too_large(self, primitives: int) -> bool:
        """Return whether a workflow has too many primitives, and leave it out if so."""
        largest = self._recorded.largest
        if primitives > largest:
            self.leave_out(f"more than {largest} primitives")
        return primitives > largest

    def add(
        self,
        order: Sequence[int],
        parents: Sequence[Sequence[int]],
        run_s: Sequence[float],
        memory_gb: Sequence[float | None],
        output_gb: Sequence[float | None],
        arrival_s: float | None = None,
    ) -> None:
        """Add a workflow of n primitives.

        Args:
            order: as :func:`topological` gives it.
            parents: ``[n]``: those of each primitive, each named once.
            run_s: ``[n]``: how long each took.
            memory_gb: ``[n]``, above 0; None: not recorded.
            output_gb: ``[n]``, at least 0; None: not recorded.
            arrival_s: given for all workflows or for none.
        """
        recorded, changed, first = self._recorded, self._changed, len(self._run_s)
        place = [0] * len(order)
        for position, i in enumerate(order):
            place[i] = first + position
            seconds, memory, output = run_s[i], memory_gb[i], output_gb[i]
            if seconds < self._least_s:
                changed[f"run time raised to {self._least_s:g} s"] += 1
                seconds = self._least_s
            if memory is None:
                changed[f"memory of {recorded.memory_gb:g} GB, as none is recorded"] += 1
                memory = recorded.memory_gb
            if output is None:
                changed[f"output of {recorded.output_gb:g} GB, as none is recorded"] += 1
                output = recorded.output_gb
            self._run_s.append(seconds)
            self._memory_gb.append(memory)
            self._output_gb.append(output)
            for parent in parents[i]:
                self._before.append(place[parent])
                self._after.append(place[i])
        self._sizes.append(len(order))
        if arrival_s is not None:
            self._arrival_s.append(arrival_s)

    def finish(self) -> tuple[Workflows, ReadReport]:
        """Return the workflows that were added, and the report.

        Workflows with arrivals are sorted by them, and the first arrives at 0.

        Raises:
            InputError: if no workflow was added, or for work out of range.
        """
        recorded = self._recorded
        kept = len(self._sizes)
        report = ReadReport(
            str(recorded.path),
            kept + self._left_out.total(),
            dict(self._left_out.most_common()),
            dict(self._changed.most_common()),
        )
        if not kept:
            why = ", ".join(f"{count} ({reason})" for reason, count in report.left_out.items())
            raise InputError(
                f"{recorded.path}: expected workflows to use, found {report.found}"
                + (f", all left out: {why}" if why else "")
            )
        sizes = np.array(self._sizes, dtype=np.int64)
        arrival_s = np.array(self._arrival_s) if self._arrival_s else None
        order = np.arange(kept) if arrival_s is None else np.argsort(arrival_s, kind="stable")
        if arrival_s is not None:
            arrival_s = arrival_s[order] - arrival_s[order[0]]
        first, primitives = _moved(sizes, order)
        place = np.empty_like(primitives)
        place[primitives] = np.arange(len(primitives))
        before, after = place[np.array(self._before)], place[np.array(self._after)]
        counts = np.bincount(before, minlength=len(primitives))
        compute_gflop = np.array(self._run_s)[primitives] * (
            recorded.reference_gflops * recorded.time_scale
        )
        for gflop in (compute_gflop.min(), compute_gflop.max()):
            if not 1 / _MOST_GFLOP <= gflop <= _MOST_GFLOP:
                raise InputError(
                    f"{recorded.path}: expected work from {1 / _MOST_GFLOP:g} to {_MOST_GFLOP:g} "
                    f"GFLOP (run time x reference_gflops x time_scale), found {gflop:g}"
                )
        workflows = Workflows(
            first=first.astype(np.int32),
            compute_gflop=compute_gflop,
            memory_gb=np.array(self._memory_gb)[primitives],
            output_gb=np.array(self._output_gb)[primitives],
            first_successor=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
            successor=after[np.lexsort((after, before))].astype(np.int32),
            arrival_s=arrival_s,
        )
        return workflows, report


def _moved(
    sizes: NDArray[np.int64], order: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first primitives of reordered workflows, and which primitive takes each place."""
    was = np.concatenate([[0], np.cumsum(sizes)])[order]
    sizes = sizes[order]
    first = np.concatenate([[0], np.cumsum(sizes)])
    return first, np.repeat(was - first[:-1], sizes) + np.arange(first[-1])
