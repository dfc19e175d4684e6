"""Write a task log: whole episodes, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    BigInteger,
    Double,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    insert,
    select,
)
from sqlalchemy.exc import IntegrityError

from edge_marl.errors import InputError
from edge_marl.task_log.database import Database, check_writable
from edge_marl.task_log.records import EpisodeRecord, Run
from edge_marl.task_log.schema import DECISIONS, EPISODES, RUNS, TASKS
from edge_marl.task_log.source import TaskLog

BATCH_ROWS = 50_000
"""Rows of tasks and decisions that are committed together: a second's worth, or less."""


class TaskLogWriter:
    """Add episodes to a log in a database, which is made where there is none.

    Episodes are held back until they make a batch; a batch is one transaction. A process that
    is killed leaves a log of whole episodes, without those of the last batch::

        with TaskLogWriter("log.sqlite") as writer:
            run = writer.run(run_of(...))
            writer.add(run, episode)

    Args:
        place: path of a SQLite file, or URL of a database.
        together: commit at the end only: all or, after an exception, nothing.

    Raises:
        InputError: for a database that cannot be reached, that another process writes to, or whose
            tables lack a column.
    """

    def __init__(self, place: str | Path, *, together: bool = False) -> None:
        self._database = Database(place, create=True)
        self._connection = self._database.connection
        self._together = together
        self._batch: list[tuple[int, EpisodeRecord]] = []
        self._rows = 0
        self.name = self._database.name

    def run(self, run: Run) -> int:
        """Return the id of a run, which is added unless it is there."""
        with self._database.errors():
            same = [RUNS.c[name] == value for name, value in run._asdict().items()]
            found = self._connection.execute(select(RUNS.c.id).where(*same)).scalar()
            if found is None:
                added = insert(RUNS).values(run._asdict()).returning(RUNS.c.id)
                found = self._connection.execute(added).scalar_one()
            self._commit()
        return int(found)

    def runs(self) -> dict[int, Run]:
        """Return the runs that the log holds, by id."""
        with self._database.errors():
            columns = [RUNS.c[name] for name in ("id", *Run._fields)]
            rows = self._connection.execute(select(*columns)).all()
            self._commit()
        return {id_: Run(*values) for id_, *values in rows}

    def seeds(self, run: int) -> set[int]:
        """Return the seeds of the episodes of a run that the log holds."""
        with self._database.errors():
            seeds = self._connection.execute(select(EPISODES.c.seed).where(EPISODES.c.run == run))
            found = set(seeds.scalars())
            self._commit()
        return found

    def add(self, run: int, episode: EpisodeRecord) -> None:
        """Add an episode of a run; the whole batch is written when it is full.

        Raises:
            InputError: for an episode that the log already holds, or if the database fails.
        """
        self._batch.append((run, episode))
        self._rows += episode.actions.size + len(episode.tasks.id)
        if self._rows >= BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the episodes that are held back.

        Raises:
            InputError: as :meth:`add`.
        """
        batch, self._batch, self._rows = self._batch, [], 0
        if not batch:
            return
        with self._database.errors():
            try:
                self._insert(batch)
                self._commit()
            except IntegrityError as error:
                self._connection.rollback()
                raise InputError(
                    f"{self.name}: episodes: expected seeds that run {batch[0][0]} does not hold "
                    f"yet, found one of {[episode.seed for _, episode in batch]}"
                ) from error
            except BaseException:  # an interrupt, too: no part of a batch is ever committed
                self._connection.rollback()
                raise

    def _insert(self, batch: list[tuple[int, EpisodeRecord]]) -> None:
        heads = [
            {"run": run, "seed": episode.seed, "slots": len(episode.actions)}
            for run, episode in batch
        ]
        added = insert(EPISODES).returning(EPISODES.c.id, sort_by_parameter_order=True)
        ids = self._connection.execute(added, heads).scalars().all()
        for table, rows in ((TASKS, _task_rows), (DECISIONS, _decision_rows)):
            numbered = zip(ids, batch, strict=True)
            self._write(
                table, (row for id_, (_, episode) in numbered for row in rows(id_, episode))
            )

    def close(self) -> None:
        """Write the last batch and close the database.

        Raises:
            InputError: as :meth:`add`.
        """
        try:
            self.flush()
            with self._database.errors():
                self._connection.commit()
        finally:
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and self._together:
            self._database.close()  # what is not committed is gone
        else:
            self.close()

    def _commit(self) -> None:
        if not self._together:
            self._connection.commit()

    def _write(self, table: Table, rows: Iterator[tuple[Any, ...]]) -> None:
        # This bypasses SQLAlchemy's own insert, which makes a dictionary of every row.
        names = ", ".join(table.columns.keys())
        if self._connection.dialect.name == "sqlite":
            marks = ", ".join("?" * len(table.columns))
            statement = f"INSERT INTO {table.name} ({names}) VALUES ({marks})"
            if batch := list(rows):
                self._connection.exec_driver_sql(statement, batch)
            return
        statement = f"COPY {table.name} ({names}) FROM STDIN (FORMAT BINARY)"
        cursor: Any = self._connection.connection.cursor()
        with cursor, cursor.copy(statement) as copy:
            copy.set_types([_COPIED_AS[type(column.type)] for column in table.columns])
            for row in rows:
                copy.write_row(row)


def import_log(
    source: TaskLog, place: str | Path, advance: Callable[[int], None] = lambda episodes: None
) -> int:
    """Add the episodes of a log to another, all of them or, if there is a bad row, none.

    Episodes that are there already, of the same run and seed, are left as they are.

    Args:
        source: an open log.
        place: path of a SQLite file, or URL of a database; made where there is none.
        advance: called with the number of episodes just read, or left out.

    Returns:
        how many were added.

    Raises:
        InputError: naming the first bad row, or if the database cannot be written to.
    """
    check_writable(place)
    source.count()
    with TaskLogWriter(place, together=True) as writer:
        ids = {id_: writer.run(run) for id_, run in source.runs.items()}
        held = {id_: writer.seeds(ids[id_]) for id_ in ids}
        new = [row for row in source.episodes if row.seed not in held[row.run]]
        advance(len(source.episodes) - len(new))
        for row, record in zip(new, source.records(new), strict=True):
            writer.add(ids[row.run], record)
            advance(1)
    return len(new)


_COPIED_AS = {
    SmallInteger: "int2", Integer: "int4", BigInteger: "int8", Double: "float8",
    LargeBinary: "bytea",
}  # fmt: skip
"""PostgreSQL's own names of the columns' types."""


def _task_rows(episode: int, record: EpisodeRecord) -> Iterator[tuple[Any, ...]]:
    columns = (_plain(column) for column in record.tasks)
    return zip([episode] * len(record.tasks.id), *columns, strict=True)


def _plain(column: NDArray[Any]) -> list[Any]:
    """Return a column as Python values, with None for NaN."""
    missing = column != column
    values = column if not missing.any() else np.where(missing, np.array(None), column)
    return list(values.tolist())


def _decision_rows(episode: int, record: EpisodeRecord) -> Iterator[tuple[Any, ...]]:
    T, N = record.actions.shape
    observations = np.ascontiguousarray(record.features, dtype="<f4").reshape(T * N, -1)
    return zip(
        [episode] * (T * N),
        np.repeat(np.arange(T), N).tolist(),
        list(range(N)) * T,
        record.actions.ravel().tolist(),
        _texts(np.packbits(record.action_mask.reshape(T * N, -1), axis=1)),
        _texts(observations.view(np.uint8)),
        strict=True,
    )


def _texts(rows: NDArray[np.uint8]) -> list[bytes]:
    """Return an array of bytes ``[R, size]`` as R byte strings."""
    return list(rows.view(f"V{rows.shape[1]}").ravel().tolist())
