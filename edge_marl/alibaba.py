"""Read the batch tasks of the Alibaba cluster trace of 2018, job by job.

Files have one of two forms, told apart by their columns:

- ``batch_task.csv`` as published, also within its ``batch_task.tar.gz``: task name, number of
  instances, job, type, status, start, end, ``plan_cpu``, ``plan_mem``; with or without a first row
  of these names;
- the tasks of the spar package: arrival, job, task name, duration, ``plan_cpu``, ``plan_mem``,
  number of instances; nothing says when a task started.

Times are whole seconds. ``plan_cpu`` is 100 for a core, ``plan_mem`` is per cent of the largest
machine's memory. The rows of a job lie one behind the other, as they do in both public files. A row
without the name of a job belongs to none that is known: each counts as a job that cannot be used.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, groupby
from operator import attrgetter
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from edge_marl.errors import InputError
from edge_marl.reading import csv_rows
from edge_marl.validation import shown

Plan = Literal["plan_cpu", "plan_mem"]

_MOST = 1e12  # of any number, either way: seconds and milliseconds since 1970 are far below
_MOST_PLANNED = {"plan_cpu": _MOST, "plan_mem": 100.0}  # 101 marks memory that is not known

_PUBLISHED = ("task_name", "instance_num", "job_name", "task_type", "status", "start_time",
              "end_time", "plan_cpu", "plan_mem")  # fmt: skip
_SPAR = ("arrival", "job", "task_name", "duration", "plan_cpu", "plan_mem", "instance_num")


class BatchTask(NamedTuple):
    """Hold a row; ``fault`` says why its job cannot be used, and is ``""`` if it can."""

    line: int
    job: str
    name: str
    fault: str
    start_s: float
    """Where nothing says when the task started, the arrival of its job."""
    end_s: float
    plans: tuple[float, ...]
    """Those that were asked for; 0 where the trace has none, or marks it invalid (-1, 101)."""


_Planned = Sequence[tuple[int, float]]
"""Columns of plans, and the most that each may be."""


def read_batch_jobs(path: Path, plans: Sequence[Plan]) -> tuple[Iterator[list[BatchTask]], bool]:
    """Return the tasks of one job after the other, and whether the file says when they started.

    Args:
        path: of a CSV file, which may be compressed as :func:`edge_marl.reading.csv_rows` says.
        plans: columns that are wanted as well. Others are not looked at.

    Raises:
        InputError: naming file, row and field of what is not of either form; from the iterator too,
            and at its end for a job whose rows do not lie together.
    """
    rows = csv_rows(path)
    line, first = next(rows, (1, []))
    forms = {len(_PUBLISHED): (_PUBLISHED, _published), len(_SPAR): (_SPAR, _spar)}
    if len(first) not in forms:
        raise InputError(
            f"{path}: row {line}: expected {len(_PUBLISHED)} columns ({', '.join(_PUBLISHED)}) or "
            f"{len(_SPAR)} ({', '.join(_SPAR)}), found {len(first)}"
        )
    columns, task = forms[len(first)]
    if tuple(first) != _PUBLISHED:
        rows = chain([(line, first)], rows)
    planned = [(columns.index(name), _MOST_PLANNED[name]) for name in plans]
    return _jobs(path, _tasks(path, rows, columns, task, planned)), columns is _PUBLISHED


def _jobs(path: Path, tasks: Iterator[BatchTask]) -> Iterator[list[BatchTask]]:
    jobs, lines = array("q"), array("q")
    for job, rows in groupby(tasks, key=attrgetter("job")):
        if not job:
            yield from ([task._replace(fault="a task has no job")] for task in rows)
            continue
        of_job = list(rows)
        jobs.append(hash(job))
        lines.append(of_job[0].line)
        yield of_job
    _check_together(path, jobs, lines)


def _tasks(
    path: Path,
    rows: Iterator[tuple[int, list[str]]],
    columns: tuple[str, ...],
    task: Callable[[int, list[str], _Planned], BatchTask],
    planned: _Planned,
) -> Iterator[BatchTask]:
    for line, row in rows:
        if len(row) != len(columns):
            raise InputError(
                f"{path}: row {line}: expected {len(columns)} columns, found {len(row)}"
            )
        try:
            yield task(line, row, planned)
        except _NotANumberError as error:
            k = error.column
            raise InputError(
                f"{path}: row {line}: {columns[k]}: expected a number, found {shown(row[k])}"
            ) from None


class _NotANumberError(Exception):
    """Signal that a column of a row holds no number, or one that is out of range."""

    def __init__(self, column: int) -> None:
        self.column = column


def _number(row: list[str], column: int) -> float:
    """Return the number in a column of a row, 0 where there is none."""
    text = row[column]
    try:
        value = float(text) if text else 0.0
    except ValueError:
        value = math.nan
    if not abs(value) <= _MOST:  # NaN neither
        raise _NotANumberError(column)
    return value


def _published(line: int, row: list[str], planned: _Planned) -> BatchTask:
    start_s, end_s = _number(row, 5), _number(row, 6)
    fault = ""
    if row[4] != "Terminated":
        fault = "a task is not finished"
    elif not (start_s > 0 and end_s > 0):  # 0: outside the eight days, says the trace
        fault = "a task has no start or no end"
    elif end_s < start_s:
        fault = "a task ends before it starts"
    return BatchTask(line, row[2], row[0], fault, start_s, end_s, _plans(row, planned))


def _spar(line: int, row: list[str], planned: _Planned) -> BatchTask:
    arrival_s, run_s = _number(row, 0), _number(row, 3)
    fault = "a task ends before it starts" if run_s < 0 else "" if row[3] else "a task has no end"
    end_s = arrival_s + run_s
    return BatchTask(line, row[1], row[2], fault, arrival_s, end_s, _plans(row, planned))


def _plans(row: list[str], planned: _Planned) -> tuple[float, ...]:
    values = ((_number(row, column), most) for column, most in planned)
    return tuple(value if 0 < value <= most else 0.0 for value, most in values)


def _check_together(path: Path, jobs: array[int], lines: array[int]) -> None:
    """Refuse a job whose rows do not lie together, found by its hash (64 bits)."""
    hashes = np.array(jobs)
    order = np.argsort(hashes, kind="stable")
    again = order[1:][hashes[order[1:]] == hashes[order[:-1]]]
    if again.size:
        raise InputError(
            f"{path}: row {lines[again.min()]}: job: expected the rows of a job one behind the "
            "other, found a job again whose rows had ended; sort the file by job"
        )
