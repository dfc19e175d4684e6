"""Read the batch tasks of the Alibaba cluster trace of 2018, each job as a workflow.

Files have one of two forms, told apart by their columns:

- ``batch_task.csv`` as published, also within its ``batch_task.tar.gz``: task name, number of
  instances, job, type, status, start, end, ``plan_cpu``, ``plan_mem``; with or without a first row
  of these names;
- the tasks of the spar package: arrival, job, task name, duration, ``plan_cpu``, ``plan_mem``,
  number of instances; nothing says when a task started.

Times are whole seconds. The dependencies are in the names: ``R4_2_3`` is task 4, which depends
on 2 and 3; a ``task_...`` depends on none. The rows of a job lie one behind the other, as they
do in both public files. A row without the name of a job belongs to none that is known: each counts
as a workflow that is left out.

**Work.** Most jobs are gang-started: all their tasks start at once and then wait, so that the time
from start to end includes that of their parents. A task's work is therefore the time from its
start, or from the end of its last parent if that is later, to its end. Where no start is known, all
tasks of a job are taken to start at its arrival, except one that would then end before one of its
parents does: it is taken to start when they are all done. (On jobs of the published form, whose
starts are known, this gives the same work for about 9 of 10 tasks that have parents.)

**Instances.** A task is one primitive however many instances it has: its work is the time until the
last of them was done, its memory that of one.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import chain, groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge_marl.dag_placement.readers.collecting import Collector, topological
from edge_marl.errors import InputError
from edge_marl.reading import csv_rows
from edge_marl.validation import shown

# Recorded in whole seconds, 0 is anything up to 1.
LEAST_S = 0.5
_MOST = 1e12  # of any number, either way: seconds and milliseconds since 1970 are far below
# plan_mem is per cent of the largest machine's memory, which is not published. Large values,
# 1.91, 2.86, 3.82 and 4.77, are 10,000, 15,000, 20,000 and 25,000 MiB of 512 GiB.
MACHINE_GB = 512.0

_PUBLISHED = ("task_name", "instance_num", "job_name", "task_type", "status", "start_time",
              "end_time", "plan_cpu", "plan_mem")  # fmt: skip
_SPAR = ("arrival", "job", "task_name", "duration", "plan_cpu", "plan_mem", "instance_num")
_DEPENDENT = re.compile(r"[A-Za-z]+(\d{1,9})((?:_\d{1,9})*)")
_INDEPENDENT = "task_"


class _Task(NamedTuple):
    """Hold a row; ``fault`` says why its job cannot be used, and is ``""`` if it can."""

    line: int
    job: str
    name: str
    fault: str
    start_s: float
    end_s: float
    memory_gb: float | None


def collect(path: Path, collector: Collector) -> None:
    """Add the jobs of a file that can be used.

    A job is left out if it has an unfinished task, one without start or end, one that ends before
    it starts, a name that cannot be read (long ones are cut off in the trace), two tasks of one
    number, a parent that it does not have, a cycle, or too many tasks.

    Raises:
        InputError: naming file, row and field of what is not of this format; for a job whose rows
            do not lie together.
    """
    jobs, lines = array("q"), array("q")
    tasks, starts_known = _tasks(path, csv_rows(path))
    for job, rows in groupby(tasks, key=attrgetter("job")):
        if not job:
            for _ in rows:
                collector.leave_out("a task has no job")
            continue
        of_job = list(rows)
        jobs.append(hash(job))
        lines.append(of_job[0].line)
        _add(of_job, starts_known, collector)
    _check_together(path, jobs, lines)


def _tasks(path: Path, rows: Iterator[tuple[int, list[str]]]) -> tuple[Iterator[_Task], bool]:
    """Return the tasks of a file's rows, and whether it says when they started."""
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
    return _checked(path, rows, columns, task), columns is _PUBLISHED


def _checked(
    path: Path,
    rows: Iterator[tuple[int, list[str]]],
    columns: tuple[str, ...],
    task: Callable[[int, list[str]], _Task],
) -> Iterator[_Task]:
    for line, row in rows:
        if len(row) != len(columns):
            raise InputError(
                f"{path}: row {line}: expected {len(columns)} columns, found {len(row)}"
            )
        try:
            yield task(line, row)
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


def _published(line: int, row: list[str]) -> _Task:
    start_s, end_s = _number(row, 5), _number(row, 6)
    fault = ""
    if row[4] != "Terminated":
        fault = "a task is not finished"
    elif not (start_s > 0 and end_s > 0):  # 0: outside the eight days, says the trace
        fault = "a task has no start or no end"
    elif end_s < start_s:
        fault = "a task ends before it starts"
    return _Task(line, row[2], row[0], fault, start_s, end_s, _memory_gb(_number(row, 8)))


def _spar(line: int, row: list[str]) -> _Task:
    arrival_s, run_s = _number(row, 0), _number(row, 3)
    fault = "a task ends before it starts" if run_s < 0 else "" if row[3] else "a task has no end"
    memory_gb = _memory_gb(_number(row, 5))
    return _Task(line, row[1], row[2], fault, arrival_s, arrival_s + run_s, memory_gb)


def _memory_gb(plan_mem: float) -> float | None:
    """Return the memory in GB, or None where the trace marks it invalid (-1, 101) or has none."""
    return plan_mem / 100 * MACHINE_GB if 0 < plan_mem <= 100 else None


@lru_cache(maxsize=1 << 16)
def _number_and_parents(name: str) -> tuple[int, tuple[int, ...]] | None:
    match = _DEPENDENT.fullmatch(name)
    if match is None:
        return None
    return int(match[1]), tuple({int(parent) for parent in match[2].split("_")[1:]})


def _add(tasks: list[_Task], starts_known: bool, collector: Collector) -> None:
    parents = _parents(tasks)
    if isinstance(parents, str):
        collector.leave_out(parents)
        return
    if collector.too_large(len(tasks)):
        return
    order = topological(parents)
    if order is None:
        collector.leave_out("a cycle of tasks")
        return
    end_s = [task.end_s for task in tasks]
    work_s = [0.0] * len(tasks)
    for i in order:
        start_s = tasks[i].start_s
        latest_s = max((end_s[parent] for parent in parents[i]), default=start_s)
        if end_s[i] < latest_s and not starts_known:
            start_s, end_s[i] = latest_s, latest_s + end_s[i] - start_s
        work_s[i] = end_s[i] - max(start_s, latest_s)
    collector.add(
        order,
        parents,
        work_s,
        [task.memory_gb for task in tasks],
        [None] * len(tasks),
        min(task.start_s for task in tasks),
    )


def _parents(tasks: list[_Task]) -> list[list[int]] | str:
    """Return the places of the parents of each of n tasks, or why their job cannot be used."""
    place: dict[int, int] = {}
    named: list[tuple[int, ...]] = []
    for i, task in enumerate(tasks):
        if task.fault:
            return task.fault
        if task.name.startswith(_INDEPENDENT):
            named.append(())
            continue
        parsed = _number_and_parents(task.name)
        if parsed is None:
            return "a task name cannot be read"
        if place.setdefault(parsed[0], i) != i:
            return "two tasks have one number"
        named.append(parsed[1])
    try:
        return [[place[number] for number in numbers] for numbers in named]
    except KeyError:
        return "a parent is missing"


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
