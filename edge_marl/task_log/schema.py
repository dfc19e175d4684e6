"""Define the tables of a task log in a database, for SQLite and PostgreSQL alike."""

from __future__ import annotations

from functools import partial

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

METADATA = MetaData()


_fact = partial(Column, nullable=False)

RUNS = Table(
    "runs",
    METADATA,
    Column("id", Integer, primary_key=True),
    _fact("environment", Text),
    _fact("configuration", Text),
    _fact("policy", Text),
    _fact("started", Text),
    _fact("nodes", Integer),
    _fact("features", Integer),
    _fact("actions", Integer),
    _fact("slot_s", Double),
    _fact("format", Integer),
)
"""Policies at work: see :class:`~edge_marl.task_log.records.Run`."""

EPISODES = Table(
    "episodes",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("run", ForeignKey(RUNS.c.id), nullable=False),
    _fact("seed", BigInteger),
    _fact("slots", Integer),
    UniqueConstraint("run", "seed"),
)
"""``slots`` is T; every episode of a log is whole."""

TASKS = Table(
    "tasks",
    METADATA,
    Column("episode", ForeignKey(EPISODES.c.id), primary_key=True),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    _fact("slot", Integer),
    _fact("source", SmallInteger),
    _fact("destination", SmallInteger),
    _fact("status", SmallInteger),
    _fact("size_kb", Double),
    _fact("cycles", Double),
    _fact("deadline_s", Double),
    Column("transmission_wait_s", Double),
    Column("transmission_s", Double),
    Column("execution_wait_s", Double),
    Column("execution_s", Double),
)
"""See :class:`~edge_marl.task_log.records.TaskColumns`; the four times are null while in flight."""

DECISIONS = Table(
    "decisions",
    METADATA,
    Column("episode", ForeignKey(EPISODES.c.id), primary_key=True),
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("node", SmallInteger, primary_key=True, autoincrement=False),
    _fact("action", SmallInteger),
    _fact("mask", LargeBinary),
    _fact("observation", LargeBinary),
)
"""One row per node and slot, those without a task included. ``mask`` holds A bits, the first the
highest of the first byte; ``observation`` holds F float32, little-endian."""
