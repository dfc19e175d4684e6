"""Represent the jobs and traces of the tandem system (tandem paper, section 2.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_marl.errors import InputError

APPLICATIONS = ("file_transfer", "video_transcoding")
JOB_FIELDS = ("arrival", "comm", "comp", "deadline", "app")

MOST_SLOTS = 2**24
"""Of a trace: as many as observations, in 32 bits, can tell apart."""
MOST_SLOT_S = 1e12

IntArray = NDArray[np.int32]

_AT_MOST = f"at most {MOST_SLOTS} slots"


@dataclass(frozen=True)
class TraceSet:
    """Hold K traces of up to J jobs, all times in integer slots.

    Jobs of a trace are sorted by arrival; the entries behind ``n_jobs[k]`` are zero.

    Attributes:
        arrival: ``[K, J]`` slot in which the job reaches the client, ``t_start``.
        comm: ``[K, J]`` uplink time in slots, ``p_comm``, at least 1.
        comp: ``[K, J]`` compute time in slots, ``p_comp``, at least 1.
        deadline: ``[K, J]`` absolute deadline ``d``; the result must be back by then.
        app: ``[K, J]`` index into :data:`APPLICATIONS`.
        n_jobs: ``[K]`` jobs of each trace.
        downlink: constant downlink delay ``t_prop`` in slots.
        slot_s: length of a slot in seconds.
        metadata: where the traces come from (generator, seed, configuration).
    """

    arrival: IntArray
    comm: IntArray
    comp: IntArray
    deadline: IntArray
    app: IntArray
    n_jobs: IntArray
    downlink: int = 0
    slot_s: float = 1.0
    metadata: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_jobs(
        cls,
        traces: Iterable[Sequence[Sequence[int]]],
        *,
        downlink: int = 0,
        slot_s: float = 1.0,
    ) -> TraceSet:
        """Build a set from lists of ``(arrival, comm, comp, deadline[, app])`` jobs."""
        rows = [sorted(map(tuple, trace), key=lambda job: job[0]) for trace in traces]
        width = max((len(row) for row in rows), default=0)
        columns = np.zeros((len(JOB_FIELDS), len(rows), width), dtype=np.int32)
        for k, row in enumerate(rows):
            for j, job in enumerate(row):
                columns[: len(job), k, j] = job
        n_jobs = np.array([len(row) for row in rows], dtype=np.int32)
        arrival, comm, comp, deadline, app = columns
        traces_set = cls(arrival, comm, comp, deadline, app, n_jobs, downlink, slot_s)
        traces_set.validate("traces")
        return traces_set

    def __len__(self) -> int:
        return len(self.n_jobs)

    def __getitem__(self, index: int | slice | Sequence[int] | NDArray[np.integer]) -> TraceSet:
        """Return the traces of ``index``, always as a set (an integer gives a set of one)."""
        picked: Any = [index] if isinstance(index, (int, np.integer)) else index
        columns = {name: getattr(self, name)[picked] for name in (*JOB_FIELDS, "n_jobs")}
        return replace(self, **columns)

    @property
    def max_jobs(self) -> int:
        """Return J, the width of the arrays."""
        return int(self.arrival.shape[1])

    def validate(self, source: str) -> None:
        """Check that there is a trace, that every trace has a job, and that all jobs are valid.

        Raises:
            InputError: naming ``source``, the trace, the job and the field at fault.
        """
        if not len(self):
            raise InputError(f"{source}: expected at least one trace, found none")
        if not self.n_jobs.all():
            k = int(self.n_jobs.argmin())
            raise InputError(f"{source}: trace {k}: expected at least one job, found none")
        for name in JOB_FIELDS:
            if getattr(self, name).shape != (len(self), self.max_jobs):
                raise InputError(f"{source}: {name} has another shape than arrival")
        present = np.arange(self.max_jobs) < self.n_jobs[:, None]
        last_arrival = np.maximum.accumulate(np.where(present, self.arrival, 0), axis=1)
        rules = (
            ("arrival", self.arrival >= 0, "a slot of at least 0"),
            ("arrival", self.arrival >= last_arrival, "jobs sorted by arrival"),
            ("comm", self.comm >= 1, "at least 1 slot"),
            ("comp", self.comp >= 1, "at least 1 slot"),
            ("comm", self.comm <= MOST_SLOTS, _AT_MOST),
            ("comp", self.comp <= MOST_SLOTS, _AT_MOST),
            ("deadline", self.deadline > self.arrival, "a deadline after the arrival"),
            ("deadline", self.deadline <= MOST_SLOTS, _AT_MOST),
            ("app", (self.app >= 0) & (self.app < len(APPLICATIONS)), "a known application"),
        )
        for name, holds, expected in rules:
            bad = np.argwhere(present & ~holds)
            if len(bad):
                k, j = bad[0]
                value = getattr(self, name)[k, j]
                raise InputError(
                    f"{source}: trace {k}, job {j}, {name}: expected {expected}, found {value}"
                )
        if not 0 <= self.downlink <= MOST_SLOTS:
            raise InputError(
                f"{source}: downlink: expected 0 to {MOST_SLOTS} slots, found {self.downlink}"
            )
        if not 0 < self.slot_s <= MOST_SLOT_S:
            raise InputError(
                f"{source}: slot_s: expected more than 0 and at most {MOST_SLOT_S:g} s, "
                f"found {self.slot_s}"
            )
