"""Lay out in memory what the kernels work on.

Kernels take arrays of records: an array for each field would be unpacked at every call, and what
happens to a task would have to be fetched from as many places. A record of a task is one line of
the processor's cache, because a step waits for little else than tasks that it has not seen for
long.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_marl.graph_offloading.records import (
    BUCKETS,
    N_STATUS,
    Decisions,
    Entries,
    FloatArray,
    IntArray,
    Messages,
    Parameters,
    Parts,
)

RecordArray = NDArray[np.void]

_CACHE_LINE = 64  # bytes
_TIMES = ("moment", "sent", "to_manager", "from_manager")

COUNTS = np.dtype(
    [(name, np.float64) for name in ("work", "response_ticks", "traffic_mb")]
    + [("created", np.int64), ("outcomes", np.int64, (N_STATUS,)), ("full", np.int32)],
    align=True,
)
STREAM = np.dtype([("next_arrival", np.int32), ("n_arrivals", np.int32)])
TASK = np.dtype(
    [(name, np.float64) for name in ("instructions", "size_mb", "deadline", "moment")]
    + [(name, np.int32) for name in ("number", "created", "before", "after", "decision", "link")]
    + [("node", np.int16), ("status", np.int8)],
    align=True,
)
ENTRY = np.dtype([(name, np.int32) for name in Entries._fields])
DECISION = np.dtype([(name, np.int32) for name in Decisions._fields])
NODE = np.dtype(
    # What every tick reads of every node comes first, a cache line of it.
    [(name, np.float64) for name in ("remaining", "started", "busy", "occupied")]
    + [(name, np.int32) for name in ("running", "inbox", "length", "shown")]
    + [(name, np.int32) for name in ("first_decided", "last_decided", "first_undecided")]
    + [(name, np.bool_) for name in ("changed", "told")]
    + [(name, np.float64) for name in ("instructions", "local", "delay", "potential")]
    + [(name, np.int32) for name in ("received", "processed", "refused", "expired")]
    + [(name, np.int32) for name in ("sent", "kept", "credited", "last_undecided")],
    align=True,
)
PART = np.dtype(
    [(name, np.bool_ if name == "is_up" else np.int32) for name in Parts._fields], align=True
)
MESSAGE = np.dtype(
    [(name, np.float64 if name in _TIMES else np.int32) for name in Messages._fields]
)
LISTS = np.dtype(
    [("free_task", np.int32), ("free_decision", np.int32)]
    + [(name, np.int32, (BUCKETS,)) for name in ("arriving", "ending")]
)


class Packed(NamedTuple):
    """Hold :class:`Parameters` as kernels take them: in few arrays, of records.

    The records have the fields of the tuples that they are made of.
    """

    nodes: RecordArray
    """``[N]``: of :class:`Network`, with the links ``first`` to ``end - 1``."""
    links: RecordArray
    """``[L]``: of :class:`Network`."""
    node: IntArray
    """``[A]``: node of each agent."""
    streams: RecordArray
    """``[J]``: of :class:`Load`."""
    jobs: RecordArray
    """``[K]``: of :class:`Load`."""
    typical: float
    arrival_ticks: FloatArray
    """``[K + 1]`` or ``[0]``: of :class:`Load`."""
    ways: IntArray
    """``[A, 1 + H]``: of each agent's messages to the manager of a federation, the number of links,
    -1 if there is no way, and the links; ``[0, 1]`` without messages."""
    mail: np.void
    """Size of a message in MB, and ticks from one to the next."""
    rules: np.void
    rewards: np.void
    scales: np.void


class State(NamedTuple):
    """Hold all episodes as kernels take them."""

    seeds: NDArray[np.int64]
    """``[B]``"""
    tick: IntArray
    """``[B]``"""
    done: NDArray[np.bool_]
    """``[B]``"""
    counts: RecordArray
    """``[B]``: of :class:`Episodes`."""
    streams: RecordArray
    """``[B, J]``: of :class:`Episodes`."""
    tasks: RecordArray
    """``[B, P]``: of :class:`Tasks`."""
    entries: RecordArray
    """``[B, P]``: of :class:`Entries`."""
    decisions: RecordArray
    """``[B, H]``: of :class:`Decisions`."""
    nodes: RecordArray
    """``[B, N]``: of :class:`Nodes`."""
    lists: RecordArray
    """``[B]``: of :class:`Pools`."""
    parts: RecordArray
    """``[B, N + L]`` or ``[B, 0]``: of :class:`Parts`."""
    messages: RecordArray
    """``[B, A]`` or ``[B, 0]``: of :class:`Messages`."""
    link_free: FloatArray
    """``[B, L]``: of :class:`Pools`."""
    due: NDArray[np.float32]
    """``[B, H, A]``: of :class:`Pools`."""
    reward: NDArray[np.float32]
    """``[B, A]``: of this tick."""


class Episode(NamedTuple):
    """Hold one episode of a :class:`State`: its row of each array."""

    seed: int
    counts: np.void
    streams: RecordArray
    tasks: RecordArray
    entries: RecordArray
    decisions: RecordArray
    nodes: RecordArray
    lists: np.void
    parts: RecordArray
    messages: RecordArray
    link_free: FloatArray
    due: NDArray[np.float32]
    reward: NDArray[np.float32]


def pack(parameters: Parameters) -> Packed:
    """Return parameters as kernels take them."""
    network, load = parameters.network, parameters.load
    links = ("neighbour", "back", "ticks_per_mb", "latency_ticks")
    streams = ("target", "link", "gap_ticks", "first_job", "n_jobs")
    return Packed(
        nodes=_together(
            capacity=network.capacity, queue_limit=network.queue_limit, agent=network.agent,
            first=network.first[:-1], end=network.first[1:],
        ),
        links=_together(**{name: getattr(network, name) for name in links}),
        node=network.node,
        streams=_together(**{name: getattr(load, name) for name in streams}),
        jobs=_together(instructions=load.instructions, size_mb=load.size_mb),
        typical=load.typical,
        arrival_ticks=load.arrival_ticks,
        ways=np.zeros((0, 1), dtype=np.int32),
        mail=mail_of(0.0, 1),
        rules=_record(**parameters.rules._asdict()),
        rewards=_record(**parameters.rewards._asdict()),
        scales=_record(**parameters.scales._asdict()),
    )  # fmt: skip


def mail_of(size_mb: float, every_ticks: int) -> np.void:
    """Return what the kernels need to know of messages."""
    return _record(size_mb=size_mb, every_ticks=every_ticks)


def _together(**columns: NDArray[Any]) -> RecordArray:
    """Return arrays ``[n, ...]`` as one array of n records."""
    dtype = np.dtype([(name, a.dtype, a.shape[1:]) for name, a in columns.items()], align=True)
    records = np.zeros(len(next(iter(columns.values()))), dtype=dtype)
    for name, column in columns.items():
        records[name] = column
    return records


def _record(**values: Any) -> np.void:
    """Return numbers, and tuples of numbers, as one record."""
    record: np.void = _together(**{name: np.array([value]) for name, value in values.items()})[0]
    return record


def aligned(shape: tuple[int, int], dtype: np.dtype[np.void]) -> RecordArray:
    """Return zeros that begin with a cache line, so that no record of its size lies in two."""
    n_bytes = shape[0] * shape[1] * dtype.itemsize
    memory = np.zeros(n_bytes + _CACHE_LINE, dtype=np.uint8)
    first = -memory.ctypes.data % _CACHE_LINE
    return memory[first : first + n_bytes].view(dtype).reshape(shape)


def fields(records: RecordArray) -> dict[str, NDArray[Any]]:
    """Return a view of each field of an array of records, by its name."""
    return {name: records[name] for name in records.dtype.names or ()}
