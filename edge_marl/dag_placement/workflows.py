"""Represent workflows as directed acyclic graphs of primitives (SCALE paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_marl.errors import InputError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int32]


@dataclass(frozen=True)
class Workflows:
    """Hold K workflows of P primitives and E edges in all, stored one behind the other.

    The primitives of a workflow are in topological order: edges lead to higher numbers.
    """

    first: IntArray
    """``[K + 1]``: number of each workflow's first primitive; last, P."""
    compute_gflop: FloatArray
    """``[P]``: ``c_i``."""
    memory_gb: FloatArray
    """``[P]``: ``m_i``."""
    output_gb: FloatArray
    """``[P]``: ``d_i``."""
    first_successor: IntArray
    """``[P + 1]``: place of each primitive's first successor in ``successor``; last, E."""
    successor: IntArray
    """``[E]``: primitives, numbered through all workflows."""
    arrival_s: FloatArray | None = None
    """``[K]``, ascending, from 0 on: as recorded; None: not recorded."""

    def __len__(self) -> int:
        return len(self.first) - 1

    @property
    def largest(self) -> int:
        """Return the number of primitives of the largest workflow."""
        return int(np.diff(self.first).max())

    @property
    def most_edges(self) -> int:
        """Return the number of edges of the workflow that has the most."""
        return int(np.diff(self.first_successor[self.first]).max())

    def one(self, k: int) -> Workflow:
        """Return workflow k on its own."""
        own = slice(int(self.first[k]), int(self.first[k + 1]))
        counts = np.diff(self.first_successor[own.start : own.stop + 1])
        edges = slice(int(self.first_successor[own.start]), int(self.first_successor[own.stop]))
        before = np.repeat(np.arange(own.stop - own.start), counts)
        return Workflow(
            self.compute_gflop[own],
            self.memory_gb[own],
            self.output_gb[own],
            np.stack([before, self.successor[edges] - own.start], axis=1),
            None if self.arrival_s is None else float(self.arrival_s[k]),
        )


@dataclass(frozen=True)
class Workflow:
    """Hold a single workflow, its primitives in any order; :func:`pack` puts several together."""

    compute_gflop: ArrayLike
    """``[n]``, above 0."""
    memory_gb: ArrayLike
    """``[n]``, above 0."""
    output_gb: ArrayLike
    """``[n]``, at least 0."""
    edges: ArrayLike
    """``[e, 2]``: predecessor and successor of each dependency; repeated ones count once."""
    arrival_s: float | None = None


def pack(workflows: Sequence[Workflow]) -> Workflows:
    """Put workflows one behind the other, their primitives in topological order.

    Arrivals are kept if all workflows have one; the workflows are then sorted by them, and the
    first arrives at 0.

    Raises:
        InputError: naming the workflow: for one without primitives, with a quantity out of range,
            with an edge from or to a primitive that it does not have, or with a cycle.
    """
    if not workflows:
        raise InputError("workflows: expected at least one, found none")
    arrivals = [workflow.arrival_s for workflow in workflows]
    arrival_s = None
    if all(arrival is not None for arrival in arrivals):
        arrival_s = np.array(arrivals, dtype=float)
        order = np.argsort(arrival_s, kind="stable")
        workflows = [workflows[k] for k in order]
        arrival_s = arrival_s[order] - arrival_s[order[0]]
    parts: dict[str, list[FloatArray]] = {"compute_gflop": [], "memory_gb": [], "output_gb": []}
    first, counts, successors = [0], [], []
    for k, workflow in enumerate(workflows):
        columns, edges = _checked(k, workflow)
        n = len(columns["compute_gflop"])
        place, order = _topological(k, n, edges)
        for name, column in columns.items():
            parts[name].append(column[order])
        edges = place[edges]
        edges = edges[np.lexsort((edges[:, 1], edges[:, 0]))]
        counts.append(np.bincount(edges[:, 0], minlength=n))
        successors.append(edges[:, 1] + first[-1])
        first.append(first[-1] + n)
    return Workflows(
        first=np.array(first, dtype=np.int32),
        first_successor=np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int32),
        successor=np.concatenate(successors).astype(np.int32),
        arrival_s=arrival_s,
        **{name: np.concatenate(part) for name, part in parts.items()},
    )


def _checked(k: int, workflow: Workflow) -> tuple[dict[str, FloatArray], NDArray[np.int64]]:
    columns = {
        "compute_gflop": np.asarray(workflow.compute_gflop, dtype=float),
        "memory_gb": np.asarray(workflow.memory_gb, dtype=float),
        "output_gb": np.asarray(workflow.output_gb, dtype=float),
    }
    n = columns["compute_gflop"].size
    for name, column in columns.items():
        lowest_fits = column >= 0 if name == "output_gb" else column > 0
        if column.shape != (n,) or n == 0 or not (lowest_fits & np.isfinite(column)).all():
            floor = "of at least 0" if name == "output_gb" else "above 0"
            raise InputError(f"workflow {k}: {name}: expected numbers {floor}, one per primitive")
    edges = np.asarray(workflow.edges, dtype=np.int64).reshape(-1, 2)
    if edges.size and not (edges.min() >= 0 and edges.max() < n):
        raise InputError(f"workflow {k}: edges: expected primitives from 0 to {n - 1}")
    return columns, np.unique(edges, axis=0)


def _topological(
    k: int, n: int, edges: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the place of each primitive in topological order, and the primitives so ordered."""
    waiting_for = np.bincount(edges[:, 1], minlength=n)
    successors: list[list[int]] = [[] for _ in range(n)]
    for before, after in edges.tolist():
        successors[before].append(after)
    order = np.flatnonzero(waiting_for == 0).tolist()
    for i in order:
        for after in successors[i]:
            waiting_for[after] -= 1
            if waiting_for[after] == 0:
                order.append(after)
    if len(order) < n:
        raise InputError(f"workflow {k}: edges: expected no cycle")
    place = np.empty(n, dtype=np.int64)
    place[order] = np.arange(n)
    return place, np.array(order, dtype=np.int64)
