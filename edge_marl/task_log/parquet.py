"""Read and write task logs as folders of Parquet files, to hand over and to train from.

``runs.json`` lists the runs, configurations as JSON; ``episodes.parquet``, ``tasks.parquet`` and
``decisions.parquet`` hold the tables of :mod:`edge_marl.task_log.schema` with the same columns,
``mask`` as a list of A booleans and ``observation`` as one of F numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
import pyarrow.parquet as pq
from numpy.typing import NDArray

from edge_marl.errors import InputError
from edge_marl.files import aside
from edge_marl.json_files import parse_json, read_json, write_json
from edge_marl.parquet_files import check_columns, reading_parquet
from edge_marl.reading import check_file
from edge_marl.task_log.checks import (
    KEYS,
    EpisodeRow,
    Rows,
    check_episode,
    check_episodes,
    check_runs,
)
from edge_marl.task_log.records import EpisodeRecord, Run, TaskColumns, json_text
from edge_marl.task_log.source import TaskLog

RUNS_FILE = "runs.json"
EPISODES_AT_ONCE = 16
"""Episodes of a row group, and read at once."""

_INTEGERS = {"id": pa.int64(), "seed": pa.int64(), "status": pa.int8(), "run": pa.int32(),
             "episode": pa.int32(), "slot": pa.int32(), "slots": pa.int32()}  # fmt: skip
_NODES = dict.fromkeys(("source", "destination", "node", "action"), pa.int16())
_LISTS = {"mask": pa.list_(pa.bool_()), "observation": pa.list_(pa.float32())}
_TYPES = {**_INTEGERS, **_NODES, **_LISTS}
_COLUMNS = {
    "episodes": EpisodeRow._fields,
    "tasks": ("episode", *TaskColumns._fields),
    "decisions": ("episode", "slot", "node", "action", "mask", "observation"),
}
_FILES = (RUNS_FILE, *(f"{table}.parquet" for table in _COLUMNS))


class ParquetLog(TaskLog):
    """Read a log from a folder of Parquet files."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self.name = str(folder)
        self._tables = {name: self._open(name) for name in _COLUMNS}
        self.runs = check_runs(self._read_runs())
        self.episodes = check_episodes(self._rows("episodes"), self.runs)

    @property
    def size_bytes(self) -> int:
        return sum(file.stat().st_size for file in self._folder.iterdir())

    def _count_rows(self) -> tuple[int, int]:
        known = np.array([row.id for row in self.episodes])
        return self._count("decisions", known), self._count("tasks", known)

    def records(self, episodes: Sequence[EpisodeRow]) -> Iterator[EpisodeRecord]:
        for first in range(0, len(episodes), EPISODES_AT_ONCE):
            some = episodes[first : first + EPISODES_AT_ONCE]
            low, high = min(row.id for row in some), max(row.id for row in some)
            within = (pc.field("episode") >= low) & (pc.field("episode") <= high)
            tables = [self._rows(name, within) for name in ("tasks", "decisions")]
            parts = [_by_episode(table) for table in tables]
            for row in some:
                tasks, decisions = (part(row.id) for part in parts)
                run = self.runs[row.run]
                for name, size in (("mask", run.actions), ("observation", run.features)):
                    decisions.columns[name] = _dense(decisions, name, size)
                yield check_episode(run, row, tasks, decisions)

    def close(self) -> None:
        pass

    def _path(self, table: str) -> Path:
        return self._folder / f"{table}.parquet"

    def _open(self, name: str) -> pds.Dataset:
        path = self._path(name)
        with reading_parquet(check_file(path)):
            table = pds.dataset(path, format="parquet")
        check_columns(path, table.schema, _COLUMNS[name])
        for column, kind in _LISTS.items():
            if column not in _COLUMNS[name]:
                continue
            found = table.schema.field(column).type
            if not (pa.types.is_list(found) and found.value_type == kind.value_type):
                raise InputError(f"{path}: column {column}: expected {kind}, found {found}")
        return table

    def _read_runs(self) -> Rows:
        path = self._folder / RUNS_FILE
        runs = read_json(path)
        if not (isinstance(runs, list) and all(isinstance(run, dict) for run in runs)):
            raise InputError(f"{path}: expected a list of objects")
        for k, run in enumerate(runs):
            for name in ("id", *Run._fields):
                if name not in run:
                    raise InputError(f"{path}: run {k + 1}: expected a field {name}, found none")
            run["configuration"] = json_text(run["configuration"])
        columns = {name: [run[name] for run in runs] for name in ("id", *Run._fields)}
        return Rows(str(path), columns, KEYS["runs"])

    def _rows(self, name: str, within: pc.Expression | None = None) -> Rows:
        path = self._path(name)
        with reading_parquet(path):
            table = self._tables[name].to_table(columns=list(_COLUMNS[name]), filter=within)
            columns = {column: _values(table.column(column)) for column in _COLUMNS[name]}
        return Rows(str(path), columns, KEYS[name])

    def _count(self, name: str, known: NDArray[np.int64]) -> int:
        """Count the rows of a table, and refuse one that belongs to no episode."""
        n = 0
        with reading_parquet(self._path(name)):
            for batch in self._tables[name].to_batches(columns=list(KEYS[name])):
                columns = {column: _values(batch.column(column)) for column in KEYS[name]}
                rows = Rows(str(self._path(name)), columns, KEYS[name])
                of = rows.integers("episode", 0, np.iinfo(np.int64).max)
                rows.check("episode", np.isin(of, known), "the id of an episode")
                n += len(rows)
        return n


def write_parquet(
    log: TaskLog, folder: str | Path, advance: Callable[[int], None] = lambda episodes: None
) -> None:
    """Write a log as a folder of Parquet files, which appears whole or not at all.

    Args:
        log: to read from.
        folder: to write.
        advance: called with the number of episodes just written.

    Raises:
        InputError: naming the first bad row of the log, or if the folder holds anything other than
            such files or cannot be written.
    """
    with aside(folder, parts=_FILES) as place:
        place.mkdir()
        runs = [
            {"id": id_, **run._asdict(), "configuration": parse_json(run.configuration, log.name)}
            for id_, run in log.runs.items()
        ]
        write_json(place / RUNS_FILE, runs)
        episodes = zip(*log.episodes, strict=True) if log.episodes else [()] * 4
        pq.write_table(_table("episodes", *episodes), place / "episodes.parquet")
        with (
            _writer(place, "tasks") as tasks,
            _writer(place, "decisions") as decisions,
        ):
            for first in range(0, len(log.episodes), EPISODES_AT_ONCE):
                some = log.episodes[first : first + EPISODES_AT_ONCE]
                records = list(log.records(some))
                tasks.write_table(
                    pa.concat_tables(map(_task_table, some, records)).combine_chunks()
                )
                decisions.write_table(
                    pa.concat_tables(map(_decision_table, some, records)).combine_chunks()
                )
                advance(len(some))


def _writer(folder: Path, name: str) -> pq.ParquetWriter:
    return pq.ParquetWriter(folder / f"{name}.parquet", _schema(name), compression="zstd")


def _schema(name: str) -> pa.Schema:
    return pa.schema([(column, _TYPES.get(column, pa.float64())) for column in _COLUMNS[name]])


def _table(name: str, *columns: Any) -> pa.Table:
    schema = _schema(name)
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.table(arrays, schema=schema)


def _task_table(row: EpisodeRow, record: EpisodeRecord) -> pa.Table:
    columns = [
        pa.array(column, from_pandas=True).cast(_TYPES.get(name, pa.float64()))  # NaN: null
        for name, column in record.tasks._asdict().items()
    ]
    return _table("tasks", np.full(len(record.tasks.id), row.id), *columns)


def _decision_table(row: EpisodeRow, record: EpisodeRecord) -> pa.Table:
    T, N, F = record.features.shape
    A = record.action_mask.shape[2]

    def lists(values: NDArray[Any], size: int) -> pa.Array:
        offsets = np.arange(0, T * N * size + 1, size, dtype=np.int32)
        return pa.ListArray.from_arrays(offsets, pa.array(values.reshape(-1)))

    return _table(
        "decisions",
        np.full(T * N, row.id),
        np.repeat(np.arange(T), N),
        np.tile(np.arange(N), T),
        record.actions.reshape(-1),
        lists(record.action_mask, A),
        lists(record.features, F),
    )


def _values(column: pa.ChunkedArray | pa.Array) -> Any:
    """Return a column of numbers as an array, and one of lists as it is.

    Missing numbers become NaN in an array of floats; other columns that miss some become a list.
    """
    if pa.types.is_list(column.type):
        return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if column.null_count and not pa.types.is_floating(column.type):
        return column.to_pylist()
    return column.to_numpy() if isinstance(column, pa.ChunkedArray) else column.to_numpy(False)


def _by_episode(rows: Rows) -> Callable[[int], Rows]:
    """Return a function that picks the rows of one episode, by its id, from those of several."""
    episode = rows.columns["episode"]
    order = np.argsort(episode, kind="stable")
    in_order = bool((order == np.arange(len(order))).all())

    def part(id_: int) -> Rows:
        low, high = np.searchsorted(episode, (id_, id_ + 1), sorter=order)
        chosen = slice(low, high) if in_order else order[low:high]
        taken = {
            name: values.take(pa.array(order[low:high]))
            if isinstance(values, pa.Array)
            else np.asarray(values, dtype=None if isinstance(values, np.ndarray) else object)[
                chosen
            ]
            for name, values in rows.columns.items()
        }
        return Rows(rows.table, taken, KEYS["tasks" if "id" in taken else "decisions"])

    return part


def _dense(rows: Rows, column: str, size: int) -> NDArray[Any]:
    """Return a column of R lists as an array ``[R, size]``; refuse one of another size."""
    lists = rows.columns[column]
    lengths = pc.fill_null(pc.list_value_length(lists), -1).to_numpy()
    if (lengths != size).any():
        bad = int((lengths == size).argmin())
        found = f"{lengths[bad]} values" if lengths[bad] >= 0 else "none"
        rows.refuse(bad, column, f"{size} values", found)
    values = lists.flatten()
    if values.null_count:
        bad = int(np.flatnonzero(values.is_null().to_numpy(False))[0]) // size
        rows.refuse(bad, column, f"{size} values", "one missing")
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(len(lists), size)
