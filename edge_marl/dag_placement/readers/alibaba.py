"""Read the batch tasks of the Alibaba cluster trace of 2018, each job as a workflow.

:mod:`edge_marl.alibaba` says which files are read. The dependencies are in the names of tasks:
``R4_2_3`` is task 4, which depends on 2 and 3; a ``task_...`` depends on none.

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

import re
from functools import lru_cache
from pathlib import Path

from edge_marl.alibaba import BatchTask, read_batch_jobs
from edge_marl.dag_placement.readers.collecting import Collector, topological

# Recorded in whole seconds, 0 is anything up to 1.
LEAST_S = 0.5
# plan_mem is per cent of the largest machine's memory, which is not published. Large values,
# 1.91, 2.86, 3.82 and 4.77, are 10,000, 15,000, 20,000 and 25,000 MiB of 512 GiB.
MACHINE_GB = 512.0

_DEPENDENT = re.compile(r"[A-Za-z]+(\d{1,9})((?:_\d{1,9})*)")
_INDEPENDENT = "task_"


def collect(path: Path, collector: Collector) -> None:
    """Add the jobs of a file that can be used.

    A job is left out if it has an unfinished task, one without start or end, one that ends before
    it starts, a name that cannot be read (long ones are cut off in the trace), two tasks of one
    number, a parent that it does not have, a cycle, or too many tasks.

    Raises:
        InputError: naming file, row and field of what is not of this format; for a job whose rows
            do not lie together.
    """
    jobs, starts_known = read_batch_jobs(path, ["plan_mem"])
    for tasks in jobs:
        _add(tasks, starts_known, collector)


@lru_cache(maxsize=1 << 16)
def _number_and_parents(name: str) -> tuple[int, tuple[int, ...]] | None:
    match = _DEPENDENT.fullmatch(name)
    if match is None:
        return None
    return int(match[1]), tuple({int(parent) for parent in match[2].split("_")[1:]})


def _add(tasks: list[BatchTask], starts_known: bool, collector: Collector) -> None:
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
        [_memory_gb(*task.plans) for task in tasks],
        [None] * len(tasks),
        min(task.start_s for task in tasks),
    )


def _memory_gb(plan_mem: float) -> float | None:
    """Return the memory in GB, or None where none is recorded."""
    return plan_mem / 100 * MACHINE_GB if plan_mem else None


def _parents(tasks: list[BatchTask]) -> list[list[int]] | str:
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
