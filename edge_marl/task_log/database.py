"""Connect to task logs in databases, SQLite by path or URL, PostgreSQL by URL, and read them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import URL, Table, create_engine, event, func, inspect, make_url, select
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from edge_marl.errors import InputError
from edge_marl.files import check_output
from edge_marl.locks import LOCK, locked
from edge_marl.task_log.checks import (
    KEYS,
    EpisodeRow,
    Rows,
    check_episode,
    check_episodes,
    check_runs,
)
from edge_marl.task_log.records import EpisodeRecord
from edge_marl.task_log.schema import DECISIONS, EPISODES, METADATA, RUNS, TASKS
from edge_marl.task_log.source import TaskLog


def is_url(place: str | Path) -> bool:
    """Return whether a place is the URL of a database rather than a path."""
    return "://" in str(place)


def shown(place: str | Path) -> str:
    """Return a place as messages show it: a URL without its passwords.

    Raises:
        InputError: for an invalid URL.
    """
    return _without_passwords(_url(place)) if is_url(place) else str(place)


def _url(place: str | Path) -> URL:
    try:
        url = make_url(str(place)) if is_url(place) else URL.create("sqlite", database=str(place))
    except (ArgumentError, ValueError) as error:
        scheme = str(place).partition("://")[0]  # not all of it: it may hold a password
        raise InputError(f"{scheme}://...: expected the URL of a database") from error
    if url.get_backend_name() == "sqlite" and not _names_a_file(url):
        found = _without_passwords(url) if is_url(place) else repr(str(place))
        raise InputError(
            f"task log: expected a SQLite file, as its path or as sqlite:///PATH, found {found}"
        )
    return url


def _without_passwords(url: URL) -> str:
    secrets = [name for name in url.query if "password" in name.lower()]
    return url.difference_update_query(secrets).render_as_string()


def _names_a_file(url: URL) -> bool:
    """Return whether a SQLite URL is only a path; any other may be kept in memory and lost."""
    path = url.database or ""
    in_memory = path in ("", ":memory:") or path.startswith("file:")
    return not (in_memory or url.query or url.host or url.username or url.password or url.port)


def check_writable(place: str | Path) -> None:
    """Refuse a log before the work that leads to it, if it is a file that cannot be written.

    Raises:
        InputError: naming the place.
    """
    url = _url(place)
    if url.get_backend_name() == "sqlite":
        check_output(os.path.realpath(url.database or ""))


class Database:
    """Connect to a database, and report its errors as one line each.

    Args:
        place: path of a SQLite file, or a URL such as ``postgresql+psycopg://user@host/name``.
        create: open it for writing, too, and make the file and the tables where there are none.
            A SQLite file is then locked: one process at a time writes to it.

    Raises:
        InputError: for an invalid URL, a database that cannot be reached or that another
            process writes to, a missing table or column.
    """

    def __init__(self, place: str | Path, *, create: bool = False) -> None:
        url = _url(place)
        self.name = shown(place)
        file = Path(os.path.realpath(url.database or ""))
        is_file = url.get_backend_name() == "sqlite"
        if is_file and not create and not os.path.isfile(file):
            raise InputError(f"{self.name}: expected a task log, found no file")
        self._held = ExitStack()
        if is_file and create:
            check_writable(place)
            lock = file.with_name(f".{file.name}{LOCK}")
            self._held.enter_context(locked(lock, Path(self.name)))
        try:
            self._open(url, create=create)
        except BaseException:
            self._held.close()
            raise

    def _open(self, url: URL, *, create: bool) -> None:
        try:
            self.engine = create_engine(url)
        except (ImportError, NoSuchModuleError) as error:
            raise InputError(f"{self.name}: no driver for this database: {error}") from error
        if self.engine.dialect.name not in ("sqlite", "postgresql"):
            raise InputError(f"{self.name}: expected a database of SQLite or PostgreSQL")
        self._driver_errors = (self.engine.dialect.loaded_dbapi.Error,)
        if create and self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _write_ahead)
        with self.errors():
            self.connection = self.engine.connect()
        try:
            with self.errors():
                if create:
                    METADATA.create_all(self.connection)
                    self.connection.commit()
                else:
                    # No transaction, which a server would keep open while someone learns.
                    self.connection.execution_options(isolation_level="AUTOCOMMIT")
                self._check_tables()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn errors of the database into an :class:`~edge_marl.errors.InputError` of one line."""
        try:
            yield
        except (SQLAlchemyError, *self._driver_errors) as error:
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise InputError(f"{self.name}: {reason}") from error

    @property
    def size_bytes(self) -> int:
        """Return the number of bytes that the log takes on disk."""
        with self.errors():
            if self.engine.dialect.name == "sqlite":
                pages = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
                return int(self.connection.exec_driver_sql(pages).scalar_one())
            sizes = [func.pg_total_relation_size(table.name) for table in METADATA.sorted_tables]
            return sum(int(self.connection.execute(select(size)).scalar_one()) for size in sizes)

    def close(self) -> None:
        """Close the connection, and release the lock if there is one."""
        with self._held:
            self.connection.close()
            self.engine.dispose()

    def _check_tables(self) -> None:
        inspector = inspect(self.connection)
        present = set(inspector.get_table_names())
        for table in METADATA.sorted_tables:
            if table.name not in present:
                raise InputError(f"{self.name}: expected a table {table.name}, found none")
            columns = {found["name"] for found in inspector.get_columns(table.name)}
            for column in table.columns:
                if column.name not in columns:
                    raise InputError(
                        f"{self.name}: {table.name}: expected a column {column.name}, found none"
                    )


class DatabaseLog(TaskLog):
    """Read a log in a database; see :func:`~edge_marl.task_log.episodes.open_log`."""

    def __init__(self, place: str | Path) -> None:
        self._database = Database(place)
        self.name = self._database.name
        try:
            self.runs = check_runs(self._rows(RUNS))
            self.episodes = check_episodes(self._rows(EPISODES), self.runs)
        except BaseException:
            self.close()
            raise

    @property
    def size_bytes(self) -> int:
        return self._database.size_bytes

    def _count_rows(self) -> tuple[int, int]:
        return self._count(DECISIONS), self._count(TASKS)

    def records(self, episodes: Sequence[EpisodeRow]) -> Iterator[EpisodeRecord]:
        for row in episodes:
            run = self.runs[row.run]
            decisions = self._rows(DECISIONS, row.id)
            mask = _bytes(decisions, "mask", -(-run.actions // 8))
            decisions.columns["mask"] = np.unpackbits(mask, axis=1, count=run.actions).view(
                np.bool_
            )
            floats = _bytes(decisions, "observation", 4 * run.features)
            decisions.columns["observation"] = floats.view("<f4")
            yield check_episode(run, row, self._rows(TASKS, row.id), decisions)

    def close(self) -> None:
        self._database.close()

    def _rows(self, table: Table, episode: int | None = None) -> Rows:
        statement = select(table).order_by(*table.primary_key)
        if episode is not None:
            statement = statement.where(table.c.episode == episode)
        with self._database.errors():
            rows = self._database.connection.execute(statement).all()
        values = zip(*rows, strict=True) if rows else [()] * len(table.columns)
        columns = dict(zip(table.columns.keys(), values, strict=True))
        return Rows(f"{self.name}: {table.name}", columns, KEYS[table.name])

    def _count(self, table: Table) -> int:
        """Count the rows of a table, and refuse one that belongs to no episode."""
        key = [table.c[name] for name in KEYS[table.name]]
        stray = select(*key).where(table.c.episode.not_in(select(EPISODES.c.id))).limit(1)
        with self._database.errors():
            row = self._database.connection.execute(stray).first()
            n = self._database.connection.execute(select(func.count()).select_from(table))
        if row is not None:
            columns = {column.name: [value] for column, value in zip(key, row, strict=True)}
            rows = Rows(f"{self.name}: {table.name}", columns, KEYS[table.name])
            rows.refuse(0, "episode", "the id of an episode")
        return int(n.scalar_one())


def _bytes(rows: Rows, column: str, size: int) -> NDArray[np.uint8]:
    """Return a column of R byte strings as an array ``[R, size]``; refuse one of another size."""
    values = rows.columns[column]
    lengths = np.array([len(v) if isinstance(v, bytes) else -1 for v in values], dtype=np.int64)
    if (lengths != size).any():
        bad = int((lengths == size).argmin())
        found = f"{lengths[bad]} bytes" if lengths[bad] >= 0 else type(values[bad]).__name__
        rows.refuse(bad, column, f"{size} bytes", found)
    return np.frombuffer(b"".join(values), np.uint8).reshape(len(values), size)


def _write_ahead(connection: Any, _: object) -> None:
    # Readers see the last whole batch while the next is written; a process that is killed loses
    # no batch that it had committed.
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()
