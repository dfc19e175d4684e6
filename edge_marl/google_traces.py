"""Read the tasks of Google's cluster traces of 2011 and 2019.

Three of the published tables say what was submitted, when it ran and how it ended:

- ``job_events`` of 2011, CSV without a header: jobs, with no requests of CPU or memory;
- ``task_events`` of 2011, CSV without a header: tasks with their requests;
- ``instance_events`` of 2019, as JSON with an object in each line, or as CSV with a header; the two
  numbers of ``resource_request`` may be columns of their own, or an object in one.

Each comes in many files, its parts, which may be compressed by gzip. Times are microseconds, and
requests are shares of the largest machine. The schemas are those of
github.com/google/cluster-data (CC-BY 4.0).
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_marl.errors import InputError
from edge_marl.json_files import json_lines, parse_json
from edge_marl.reading import csv_rows
from edge_marl.validation import shown

FloatArray = NDArray[np.float64]
Form = Literal["google2011", "google2019"]

_JOB_EVENTS = (
    "time", "missing info", "job ID", "event type", "user", "scheduling class", "job name",
    "logical job name",
)  # fmt: skip
_TASK_EVENTS = (
    "time", "missing info", "job ID", "task index", "machine ID", "event type", "user",
    "scheduling class", "priority", "CPU request", "memory request", "disk space request",
    "different machines restriction",
)  # fmt: skip
_EVENTS_2011 = (
    "SUBMIT", "SCHEDULE", "EVICT", "FAIL", "FINISH", "KILL", "LOST", "UPDATE_PENDING",
    "UPDATE_RUNNING",
)  # fmt: skip
_EVENTS_2019 = (
    "SUBMIT", "QUEUE", "ENABLE", "SCHEDULE", "EVICT", "FAIL", "FINISH", "KILL", "LOST",
    "UPDATE_PENDING", "UPDATE_RUNNING",
)  # fmt: skip
_MOST_US = 2**63 - 1  # the time of what happened after the trace
_MOST_REQUESTED = 1e3  # a request above the largest machine's is rare, but there are some


class GoogleTasks(NamedTuple):
    """Hold the n tasks of a trace that ran to their end, in the order of their arrivals."""

    arrival_s: FloatArray
    """``[n]``: since the first one's."""
    duration_s: FloatArray
    """``[n]``: of the run that finished."""
    cpu: FloatArray
    """``[n]``: what was requested, as a share of the largest machine; NaN of jobs."""
    memory: FloatArray

    @property
    def cycles(self) -> FloatArray:
        """Return run times, times the requests of CPU where there are any, ``[n]``."""
        return self.duration_s * np.nan_to_num(self.cpu, nan=1.0)

    @property
    def memory_or_one(self) -> FloatArray:
        """Return the requests of memory, 1 for all where there are none, ``[n]``."""
        return np.nan_to_num(self.memory, nan=1.0)


class Requests(NamedTuple):
    """Hold what the tasks of a trace ask for when they are submitted, ``[n]`` each."""

    cpu: FloatArray
    memory: FloatArray


class _Event(NamedTuple):
    """Hold what a row says."""

    time_us: int
    kind: str
    key: tuple[str, str]
    """Job, or collection, and index of the task."""
    cpu: float
    memory: float


def read_google(path: str | Path, form: Form, left_out: Counter[str] | None = None) -> GoogleTasks:
    """Read the tasks of a trace.

    Args:
        path: of a file, or of a folder whose files are parts, in the order of their names.
        form: of which year the trace is.
        left_out: where tasks that are left out are counted, by reason.

    Raises:
        InputError: naming file, row and field of what is not of this form or out of range; if no
            task is left.
    """
    left_out = Counter() if left_out is None else left_out
    files = _parts(Path(path))
    events = chain.from_iterable(map(_READERS[form], files))
    rows = array("d")
    for task in _finished(events, left_out):
        rows.extend(task)
    if not rows:
        reasons = "; ".join(f"{n}: {why}" for why, n in left_out.most_common()) or "no events"
        raise InputError(
            f"{path}: expected tasks that were submitted and finished, found {reasons}"
        )
    columns = np.array(rows).reshape(-1, 4).T
    columns = columns[:, columns[0].argsort(kind="stable")]
    return GoogleTasks(columns[0] - columns[0, 0], *columns[1:])


def read_requests(path: str | Path, form: Form) -> Requests:
    """Read what was requested for every task that a trace submits, whatever became of it.

    Args:
        path: as for :func:`read_google`.
        form: of which year the trace is.

    Raises:
        InputError: naming file, row and field of what is not of this form or out of range, and for
            jobs, which have no requests.
    """
    found = array("d")
    for file in _parts(Path(path)):
        for event in _READERS[form](file):
            if math.isnan(event.cpu):
                raise InputError(f"{file}: expected events of tasks, found events of jobs")
            if event.kind == "SUBMIT":
                found.extend((event.cpu, event.memory))
    return Requests(*np.array(found).reshape(-1, 2).T)


def _parts(path: Path) -> list[Path]:
    """Return the files of a trace in their order."""
    if not path.is_dir():
        return [path]
    found = sorted(
        file
        for file in path.iterdir()
        if file.name.endswith((".csv", ".csv.gz", ".json", ".json.gz"))
    )
    if not found:
        raise InputError(
            f"{path}: expected parts of a trace, .csv or .json, perhaps .gz, found none"
        )
    return found


def _finished(
    events: Iterable[_Event], left_out: Counter[str]
) -> Iterator[tuple[float, float, float, float]]:
    """Yield submission, duration, CPU and memory of each task that finishes; count the others."""
    submitted: dict[tuple[str, str], _Event] = {}
    started: dict[tuple[str, str], int] = {}
    for event in events:
        key = event.key
        if event.kind == "SUBMIT":
            submitted[key] = event
        elif event.kind == "SCHEDULE":
            started[key] = event.time_us
        elif event.kind in ("UPDATE_PENDING", "UPDATE_RUNNING") and key in submitted:
            submitted[key] = submitted[key]._replace(cpu=event.cpu, memory=event.memory)
        elif event.kind in ("EVICT", "FAIL", "KILL", "LOST"):
            # It may be submitted again, which is then another task.
            left_out[f"{event.kind.lower()} events"] += 1
            submitted.pop(key, None)
            started.pop(key, None)
        elif event.kind == "FINISH":
            task, start_us = submitted.pop(key, None), started.pop(key, None)
            if task is None or start_us is None:
                left_out["submitted or scheduled before the first row"] += 1
            elif not 0 < task.time_us <= start_us < event.time_us < _MOST_US:
                left_out["times before or after the trace, or not in order"] += 1
            elif task.cpu == 0.0 or task.memory == 0.0:
                left_out["nothing requested"] += 1
            else:
                duration_us = event.time_us - start_us
                yield task.time_us / 1e6, duration_us / 1e6, task.cpu, task.memory
    if submitted:
        left_out["not finished at the last row"] += len(submitted)


# Rows ----------------------------------------------------------------------------------------


def _events_2011(path: Path) -> Iterator[_Event]:
    """Yield the events of a part, of either table, which are told apart by their columns."""
    for line, row in csv_rows(path):
        names = _JOB_EVENTS if len(row) == len(_JOB_EVENTS) else _TASK_EVENTS
        if len(row) != len(names):
            raise InputError(
                f"{path}: row {line}: expected {len(_JOB_EVENTS)} columns (job_events) or "
                f"{len(_TASK_EVENTS)} (task_events), found {len(row)}"
            )
        place, of = f"{path}: row {line}", dict(zip(names, row, strict=True))
        of_task = names is _TASK_EVENTS
        yield _Event(
            _time_us(place, of["time"]),
            _kind(place, "event type", of["event type"], _EVENTS_2011),
            (_name(place, "job ID", of["job ID"]), of["task index"] if of_task else ""),
            _request(place, "CPU request", of["CPU request"]) if of_task else math.nan,
            _request(place, "memory request", of["memory request"]) if of_task else math.nan,
        )


def _events_2019(path: Path) -> Iterator[_Event]:
    """Yield the events of a part, but for those of alloc sets, in which tasks may run."""
    rows = json_lines(path) if ".json" in path.suffixes else _with_header(path)
    for line, of in rows:
        place = f"{path}: row {line}"
        if str(of.get("collection_type") or "0") not in ("0", "JOB"):
            continue
        requested = _requested(place, of)
        yield _Event(
            _time_us(place, of.get("time")),
            _kind(place, "type", of.get("type"), _EVENTS_2019),
            (
                _name(place, "collection_id", of.get("collection_id")),
                _name(place, "instance_index", of.get("instance_index")),
            ),
            _request(place, "resource_request.cpus", requested.get("cpus")),
            _request(place, "resource_request.memory", requested.get("memory")),
        )


_READERS = {"google2011": _events_2011, "google2019": _events_2019}
_NEEDED_2019 = ("time", "type", "collection_id", "instance_index")


def _with_header(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    rows = csv_rows(path)
    line, names = next(rows, (1, []))
    for name in _NEEDED_2019:
        if name not in names:
            raise InputError(
                f"{path}: row {line}: expected a header with {', '.join(_NEEDED_2019)} and "
                f"resource_request, found no {name}"
            )
    for line, row in rows:
        if len(row) != len(names):
            raise InputError(f"{path}: row {line}: expected {len(names)} columns, found {len(row)}")
        yield line, dict(zip(names, row, strict=True))


def _requested(place: str, of: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the numbers of ``resource_request``, in whichever way a row has them."""
    found = of.get("resource_request")
    if isinstance(found, str) and found.strip():
        # Some exports print the object in Python's way.
        text = found.replace("'", '"').replace("None", "null")
        found = parse_json(text, f"{place}: resource_request")
    if isinstance(found, Mapping):
        return found
    if found not in (None, ""):
        raise InputError(
            f"{place}: resource_request: expected an object with cpus and memory, "
            f"found {shown(found)}"
        )
    return {
        name: of.get(f"resource_request.{name}", of.get(f"resource_request_{name}"))
        for name in ("cpus", "memory")
    }


def _time_us(place: str, found: Any) -> int:
    try:
        time_us = int(found)
    except (TypeError, ValueError):
        time_us = -1
    if not 0 <= time_us <= _MOST_US:
        raise InputError(f"{place}: time: expected microseconds from 0 on, found {shown(found)}")
    return time_us


def _kind(place: str, field: str, found: Any, kinds: Sequence[str]) -> str:
    if found in kinds:
        return str(found)
    try:
        number = int(found)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < len(kinds):
        raise InputError(
            f"{place}: {field}: expected 0 to {len(kinds) - 1} or a name, found {shown(found)}"
        )
    return kinds[number]


def _name(place: str, field: str, found: Any) -> str:
    if found is None or not str(found):
        raise InputError(f"{place}: {field}: expected a number, found none")
    return str(found)


def _request(place: str, field: str, found: Any) -> float:
    """Return a request; 0 where none is known, as of synthesised events."""
    if found in (None, ""):
        return 0.0
    try:
        value = float(found)
    except (TypeError, ValueError):
        value = math.nan
    if not 0.0 <= value <= _MOST_REQUESTED:
        raise InputError(
            f"{place}: {field}: expected a number from 0 to {_MOST_REQUESTED:g}, "
            f"found {shown(found)}"
        )
    return value
