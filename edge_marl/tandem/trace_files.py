"""Store trace sets in Parquet files: one row per job, all else in the schema's metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from edge_marl.errors import InputError
from edge_marl.files import aside
from edge_marl.json_files import json_text, parse_json
from edge_marl.memory import check_memory
from edge_marl.parquet_files import read_parquet
from edge_marl.tandem.traces import APPLICATIONS, JOB_FIELDS, TraceSet
from edge_marl.validation import shown

FORMAT = "edge-marl tandem traces 1"
_COLUMNS = ("trace", "job", *JOB_FIELDS)
_KEYS = ("format", "traces", "jobs", "downlink", "slot_s", "metadata")
_INT32_MAX = np.iinfo(np.int32).max


def write_traces(traces: TraceSet, path: str | Path) -> None:
    """Write a set, which :func:`read_traces` gives back bit for bit, arrays and metadata.

    Only columns of the arrays that no trace uses are left out.

    Columns, all integers: ``trace`` and ``job`` (both from 0), ``arrival``, ``comm``, ``comp``,
    ``deadline`` (slots) and ``app`` (index into :data:`~edge_marl.tandem.traces.APPLICATIONS`).
    The schema's metadata hold the number of traces, the width J, ``downlink``, ``slot_s`` and
    the set's own metadata (generator, seed, configuration) as JSON.

    Raises:
        InputError: if the set is not valid or the file cannot be written.
    """
    traces.validate("traces")
    path = Path(path)
    present = np.arange(traces.max_jobs) < traces.n_jobs[:, None]
    trace, job = (index.astype(np.int32) for index in np.nonzero(present))
    fields = {name: getattr(traces, name)[present] for name in JOB_FIELDS}
    described = {
        "format": FORMAT,
        "traces": len(traces),
        "jobs": traces.max_jobs,
        "downlink": traces.downlink,
        "slot_s": traces.slot_s,
        "metadata": traces.metadata,
    }
    table = pa.table({"trace": trace, "job": job, **fields})
    table = table.replace_schema_metadata(
        {key: json_text(value, sort_keys=True) for key, value in described.items()}
    )
    with aside(path) as place:
        pq.write_table(table, place, compression="zstd")


def read_traces(path: str | Path) -> TraceSet:
    """Read and check a set written by :func:`write_traces` (or by anyone in that format).

    Raises:
        InputError: naming file, row (from 1) and column if the file is not Parquet, a column
            is missing or of another type, a value is null, NaN, negative or out of range, a
            deadline is not after its arrival, jobs are not sorted by arrival or their numbers
            are not contiguous, a trace has no job (the file was filtered, perhaps), or if the
            metadata are missing or do not fit.
    """
    path = Path(path)
    table = read_parquet(path, _COLUMNS)
    described = _described(path, table.schema.metadata or {})
    columns = {name: _integers(path, table, name) for name in _COLUMNS}
    _check(path, columns, described["traces"], described["jobs"])

    n_jobs = np.bincount(columns["trace"]).astype(np.int32)
    shape = len(n_jobs), int(n_jobs.max())
    size = len(JOB_FIELDS) * np.dtype(np.int32).itemsize * float(shape[0]) * shape[1]
    check_memory(size, f"{path}: {shape[0]} traces of up to {shape[1]} jobs")
    place = columns["trace"], columns["job"]
    arrays = {}
    for name in JOB_FIELDS:
        arrays[name] = np.zeros(shape, dtype=np.int32)
        arrays[name][place] = columns[name]
    traces = TraceSet(
        **arrays,
        n_jobs=n_jobs,
        downlink=described["downlink"],
        slot_s=float(described["slot_s"]),
        metadata=described["metadata"],
    )
    traces.validate(str(path))
    return traces


def _described(path: Path, raw: dict[bytes, bytes]) -> dict[str, Any]:
    """Return the schema's metadata after checking them."""
    described: dict[str, Any] = {}
    for key in _KEYS:
        if key.encode() not in raw:
            raise InputError(f"{path}: metadata: expected a key {key!r}, found none")
        described[key] = parse_json(raw[key.encode()], f"{path}: metadata {key}")
    if described["format"] != FORMAT:
        raise InputError(
            f"{path}: metadata format: expected {FORMAT!r}, found {shown(described['format'])}"
        )
    for key in ("traces", "jobs", "downlink"):
        value = described[key]
        if type(value) is not int or not 0 <= value <= _INT32_MAX:
            raise InputError(
                f"{path}: metadata {key}: expected a whole number, found {shown(value)}"
            )
    slot_s = described["slot_s"]
    if type(slot_s) not in (int, float) or not 0 < slot_s < float("inf"):
        raise InputError(
            f"{path}: metadata slot_s: expected seconds above 0, found {shown(slot_s)}"
        )
    if not isinstance(described["metadata"], dict):
        raise InputError(f"{path}: metadata metadata: expected an object")
    return described


def _integers(path: Path, table: pa.Table, name: str) -> NDArray[np.int64]:
    """Return a column of whole numbers from 0; refuse anything else, nulls included."""
    column = table.column(name)
    if pa.types.is_floating(column.type):
        # NaN is the usual way a table written elsewhere says that a number is missing.
        values = column.to_numpy()
        bad = np.flatnonzero(np.isnan(values))
        if len(bad):
            raise InputError(f"{path}: row {bad[0] + 1}, {name}: expected a number, found NaN")
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy())[0]) + 1
        raise InputError(f"{path}: row {row}, {name}: expected a number, found null")
    if not pa.types.is_integer(column.type):
        raise InputError(f"{path}: column {name}: expected integers, found {column.type}")
    values = column.to_numpy()
    bad = np.flatnonzero((values < 0) | (values > _INT32_MAX))
    if len(bad):
        raise InputError(
            f"{path}: row {bad[0] + 1}, {name}: expected 0 to {_INT32_MAX}, found {values[bad[0]]}"
        )
    return np.asarray(values, dtype=np.int64)


def _check(path: Path, columns: dict[str, NDArray[np.int64]], n_traces: int, width: int) -> None:
    """Refuse wrong values or a wrong order of rows, and report the first rule that is broken."""
    trace, job, arrival = columns["trace"], columns["job"], columns["arrival"]
    first = np.ones(len(trace), dtype=bool)
    first[1:] = trace[1:] != trace[:-1]
    previous = np.concatenate([[-1], job[:-1]])
    before = np.concatenate([[0], arrival[:-1]])
    trace_before = np.concatenate([[0], trace[:-1]])
    rules = (
        ("trace", trace < n_traces, f"below {n_traces}"),
        ("trace", trace >= trace_before, "rows sorted by trace"),
        ("job", np.where(first, job == 0, job == previous + 1), "jobs numbered 0, 1, 2, ..."),
        ("job", job < width, f"below {width} (metadata jobs)"),
        ("arrival", first | (arrival >= before), "jobs sorted by arrival"),
        ("comm", columns["comm"] >= 1, "at least 1 slot"),
        ("comp", columns["comp"] >= 1, "at least 1 slot"),
        ("deadline", columns["deadline"] > arrival, "a deadline after the arrival"),
        ("app", columns["app"] < len(APPLICATIONS), f"below {len(APPLICATIONS)}"),
    )
    for name, holds, expected in rules:
        bad = np.flatnonzero(~holds)
        if len(bad):
            row = int(bad[0])
            raise InputError(
                f"{path}: row {row + 1}, {name}: expected {expected}, found {columns[name][row]}"
            )
    present = trace[first]
    if len(present) < n_traces:
        missing = np.append(present, -1) != np.arange(len(present) + 1)
        raise InputError(
            f"{path}: trace {int(missing.argmax())}: expected jobs, found none: the metadata say "
            f"{n_traces} traces, the rows have {len(present)}"
        )
