"""Store schedules in Parquet files, one part per range of traces, so that a killed run can resume.

A folder of schedules holds parts ``schedules-<first>-<stop>.parquet``. Each part names the
trace set (a hash of all its jobs) and the drop penalty it was solved for. A schedule that is not
proved optimal says how it was found; with more time or another method its trace is solved again,
and the better schedule is kept::

    how = {"method": "auto", "time_limit": 60.0}
    for part in open_parts(folder, traces, drop_penalty=lam, chunk=20, **how):
        found = {k: solve(traces[k], drop_penalty=lam, **how) for k in part.unsettled}
        write_part(folder, part.first, part.improved(found), traces, drop_penalty=lam)
    schedules = read_folder(folder, traces, drop_penalty=lam)

:func:`write_schedules` and :func:`read_schedules` do the same with a single file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_marl.errors import InputError
from edge_marl.files import aside
from edge_marl.tandem.oracle.schedule import Method, Schedule
from edge_marl.tandem.traces import JOB_FIELDS, MOST_SLOTS, TraceSet
from edge_marl.validation import shown

_COLUMNS = (
    "trace", "objective", "makespan", "dropped", "comm", "comp",
    "optimal", "gap", "bound", "solve_s", "method", "order",
)  # fmt: skip
_LATER_COLUMNS = ("asked", "time_limit")
"""What older files do not have: what is unproved in them is solved again."""
_LISTS = ("dropped", "comm", "comp", "order")
_ROUNDING = 1e-6
_PART = re.compile(r"schedules-(\d+)-(\d+)\.parquet")


def trace_hash(traces: TraceSet) -> str:
    """Return the SHA-256 of everything in a trace set that a schedule depends on."""
    digest = hashlib.sha256(f"{traces.downlink} {traces.n_jobs.tolist()}".encode())
    present = np.arange(traces.max_jobs) < traces.n_jobs[:, None]
    for name in JOB_FIELDS[:4]:
        values = getattr(traces, name)[present]
        digest.update(np.ascontiguousarray(values, dtype="<i8").tobytes())
    return digest.hexdigest()


def write_schedules(
    path: Path | str,
    schedules: Sequence[Schedule],
    traces: TraceSet,
    *,
    drop_penalty: float,
    first: int = 0,
) -> None:
    """Write the schedules of traces ``first, first + 1, ...`` of a set.

    The file appears whole or not at all.

    Raises:
        InputError: when there are more schedules than traces.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if first < 0 or first + len(schedules) > len(traces):
        raise InputError(
            f"{path}: expected schedules of traces within 0 to {len(traces)}, "
            f"found {first} to {first + len(schedules)}"
        )
    columns: dict[str, Any] = {"trace": range(first, first + len(schedules))}
    for name in (*_COLUMNS[1:], *_LATER_COLUMNS):
        values = [getattr(schedule, name) for schedule in schedules]
        columns[name] = (
            [np.asarray(v, dtype=np.int32) for v in values] if name in _LISTS else values
        )
    columns = {name: pa.array(values, _type(name)) for name, values in columns.items()}
    table = pa.table(columns).replace_schema_metadata(_stamp(traces, drop_penalty))
    with aside(path) as place:
        pq.write_table(table, place)


def read_schedules(
    path: Path | str, traces: TraceSet, *, drop_penalty: float, first: int = 0
) -> list[Schedule]:
    """Read the schedules of traces ``first, first + 1, ...`` back as they were written.

    Raises:
        InputError: for a missing or damaged file, another trace set, another drop penalty, or
            rows other than the expected ones.
    """
    from edge_marl.parquet_files import check_type, read_parquet

    path = Path(path)
    table = read_parquet(path, _COLUMNS, optional=_LATER_COLUMNS)
    for name in table.column_names:
        check_type(path, table, name, _type(name))
    found = table.schema.metadata or {}
    for key, stamped in _stamp(traces, drop_penalty).items():
        if found.get(key) != stamped:
            value = found.get(key, b"none").decode(errors="replace")
            raise InputError(
                f"{path}: {key.decode()}: expected {stamped.decode()}, found {value}: "
                "solved for other traces or another penalty"
            )
    schedules = []
    for row, record in enumerate(table.to_pylist(), start=1):
        k = first + row - 1
        if record["trace"] != k or k >= len(traces):
            raise InputError(f"{path}: row {row}, trace: expected {k}, found {record['trace']}")
        n_jobs = int(traces.n_jobs[record.pop("trace")])
        for name, holds, expected in _rules(record, n_jobs, drop_penalty):
            if not holds:
                raise InputError(
                    f"{path}: row {row}, {name}: expected {expected}, found {shown(record[name])}"
                )
        for name in ("comm", "comp"):
            record[name] = np.array(record[name], dtype=np.int32)
        for name in ("dropped", "order"):
            record[name] = tuple(record[name])
        schedules.append(Schedule(**record))
    return schedules


def _type(name: str) -> Any:
    """Return the Arrow type of a column."""
    import pyarrow as pa

    if name in _LISTS:
        return pa.list_(pa.int32())
    types = {"trace": pa.int64(), "makespan": pa.int64(), "optimal": pa.bool_(),
             "method": pa.string(), "asked": pa.string()}  # fmt: skip
    return types.get(name, pa.float64())


def _rules(
    record: Mapping[str, Any], n_jobs: int, drop_penalty: float
) -> list[tuple[str, bool, str]]:
    """Return rules for a schedule of so many jobs: column, whether it holds, what is expected."""
    order, dropped, objective = record["order"], record["dropped"], record["objective"]
    cost = record["makespan"] + drop_penalty * len(dropped)
    jobs = f"jobs from 0 to {n_jobs - 1}"
    return [
        ("order", sorted([*order, *dropped]) == [*range(n_jobs)], "each job once, if not dropped"),
        ("comm", all(-1 <= job < n_jobs for job in record["comm"]), jobs),
        ("comp", all(-1 <= job < n_jobs for job in record["comp"]), jobs),
        ("comp", len(record["comp"]) == len(record["comm"]), "as many slots as in comm"),
        ("makespan", 0 <= record["makespan"] <= 2 * MOST_SLOTS, "slots"),
        ("objective", abs(objective - cost) <= _ROUNDING * max(1.0, cost), f"{cost:g}"),
        ("bound", 0 <= record["bound"] <= objective, "a bound of the objective"),
        ("gap", 0 <= record["gap"] <= 1, "a share"),
        ("solve_s", record["solve_s"] >= 0, "at least 0"),
        ("method", record["method"] in ("search", "ilp"), "search or ilp"),
    ]


def write_part(
    folder: Path | str,
    first: int,
    schedules: Sequence[Schedule],
    traces: TraceSet,
    *,
    drop_penalty: float,
) -> Path:
    """Store the schedules of traces ``first, first + 1, ...`` as one part of a folder."""
    path = Path(folder) / f"schedules-{first:06d}-{first + len(schedules):06d}.parquet"
    write_schedules(path, schedules, traces, drop_penalty=drop_penalty, first=first)
    return path


@dataclass(frozen=True)
class OpenPart:
    """Describe a part of a folder that is to be written, again or for the first time.

    Attributes:
        first: its first trace.
        earlier: the schedule that the folder has of each trace, None where it has none.
        unsettled: the traces to solve.
    """

    first: int
    earlier: list[Schedule | None]
    unsettled: list[int]

    def improved(self, found: Mapping[int, Schedule]) -> list[Schedule]:
        """Return the part's best schedules, given those ``found`` for the unsettled traces."""
        best = []
        for k, earlier in enumerate(self.earlier, start=self.first):
            if earlier is None:
                best.append(found[k])
            else:
                best.append(earlier.improved(found[k]) if k in found else earlier)
        return best


def open_parts(
    folder: Path | str,
    traces: TraceSet,
    *,
    drop_penalty: float,
    chunk: int,
    method: Method,
    time_limit: float,
) -> list[OpenPart]:
    """Return the parts with traces that are left to solve by this method in this time.

    Args:
        folder: where the parts are or will be.
        traces: K traces.
        drop_penalty, method, time_limit: as of :func:`edge_marl.oracle.solve`.
        chunk: the most traces of a part that the folder does not hold yet.

    Raises:
        InputError: for a part that is damaged or of another trace set or penalty.
    """
    if chunk < 1:
        raise InputError(f"chunk: expected at least 1 trace, found {chunk}")
    parts = _read_parts(folder, traces, drop_penalty)
    opened = []
    for first, schedules in parts.items():
        again = [
            k
            for k, schedule in enumerate(schedules, start=first)
            if not schedule.settled(method, time_limit)
        ]
        if again:
            opened.append(OpenPart(first, list(schedules), again))
    solved = {k for first, schedules in parts.items() for k in range(first, first + len(schedules))}
    runs: list[list[int]] = []
    for k in (k for k in range(len(traces)) if k not in solved):
        if runs and runs[-1][-1] == k - 1 and len(runs[-1]) < chunk:
            runs[-1].append(k)
        else:
            runs.append([k])
    opened += [OpenPart(run[0], [None] * len(run), run) for run in runs]
    return sorted(opened, key=lambda part: part.first)


def read_folder(folder: Path | str, traces: TraceSet, *, drop_penalty: float) -> list[Schedule]:
    """Read the schedules of every trace of a set from the parts of a folder.

    Raises:
        InputError: for a trace without a schedule, or as :func:`read_schedules`.
    """
    found: dict[int, Schedule] = {}
    for first, schedules in _read_parts(folder, traces, drop_penalty).items():
        found.update(enumerate(schedules, start=first))
    for k in range(len(traces)):
        if k not in found:
            raise InputError(f"{folder}: trace {k}: expected a schedule, found none")
    return [found[k] for k in range(len(traces))]


def _read_parts(
    folder: Path | str, traces: TraceSet, drop_penalty: float
) -> dict[int, list[Schedule]]:
    """Read the schedules of each part, by its first trace."""
    found: dict[int, list[Schedule]] = {}
    for path in sorted(Path(folder).glob("schedules-*.parquet")):
        name = _PART.fullmatch(path.name)
        if name is None:
            continue
        first, stop = int(name[1]), int(name[2])
        part = read_schedules(path, traces, drop_penalty=drop_penalty, first=first)
        if len(part) != stop - first:
            raise InputError(f"{path}: expected {stop - first} rows, found {len(part)}")
        found[first] = part
    return found


def _stamp(traces: TraceSet, drop_penalty: float) -> dict[bytes, bytes]:
    return {
        b"traces": trace_hash(traces).encode(),
        b"drop_penalty": repr(float(drop_penalty)).encode(),
    }
