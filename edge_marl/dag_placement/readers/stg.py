"""Read graphs of the Standard Task Graph set (Kasahara laboratory, Waseda University).

A file has the number of tasks n, then a line for each of n + 2 tasks: its number (0, 1, ...),
its time, the number of its predecessors, and these; the rest, from a ``#`` on, is comment. Tasks
0 and n + 1 only mark entry and exit: they have no time and become no primitives. A unit of time is
taken as a second. Memory is not recorded. The graphs are made for processors that need no
communication, so primitives have no output.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from edge_marl.dag_placement.readers.collecting import Collector, topological
from edge_marl.errors import InputError
from edge_marl.reading import lines

LEAST_S = 1.0  # times are whole
_NUMBER = re.compile("[0-9]{1,9}")


def collect(path: Path, collector: Collector) -> None:
    """Add the graph of a file, unless it is too large.

    Raises:
        InputError: naming file, line and field of what is not of this format.
    """
    n, parents, run_s = _graph(path, _rows(path, lines(path)))
    if collector.too_large(n):
        return
    order = topological(parents)
    if order is None:
        raise InputError(f"{path}: predecessors: expected no cycle")
    collector.add(order, parents, run_s, [None] * n, [0.0] * n)


def _rows(path: Path, texts: Iterator[str]) -> Iterator[tuple[str, list[int]]]:
    """Yield the place and the numbers of each line that has any, up to the comments."""
    for line, text in enumerate(texts, 1):
        if text.startswith("#"):
            return
        fields = text.split()
        if not fields:
            continue
        place = f"{path}: line {line}"
        if not all(_NUMBER.fullmatch(field) for field in fields):
            raise InputError(
                f"{place}: expected whole numbers of up to 9 digits, found {text.strip()[:60]!r}"
            )
        yield place, [int(field) for field in fields]


def _graph(
    path: Path, rows: Iterator[tuple[str, list[int]]]
) -> tuple[int, list[list[int]], list[float]]:
    """Return the number of tasks, and the parents and run time of each, without entry and exit."""
    place, head = next(rows, (f"{path}: line 1", []))
    if len(head) != 1 or head[0] < 1:
        raise InputError(f"{place}: tasks: expected their number, at least 1, found {_shown(head)}")
    n = head[0]
    parents: list[list[int]] = []
    run_s: list[float] = []
    for number in range(n + 2):
        place, row = next(rows, (f"{path}: task {number}", []))
        if len(row) < 3 or len(row) != 3 + row[2]:
            raise InputError(
                f"{place}: expected task, time, number of predecessors and these, "
                f"found {_shown(row)}"
            )
        if row[0] != number:
            raise InputError(f"{place}: task: expected {number}, found {row[0]}")
        bad = [before for before in row[3:] if before > n + 1 or before == number]
        if bad:
            raise InputError(
                f"{place}: predecessors: expected other tasks from 0 to {n + 1}, found {bad[0]}"
            )
        if number in (0, n + 1):
            continue
        if row[1] < 1:
            raise InputError(f"{place}: time: expected at least 1, found {row[1]}")
        parents.append(sorted({before - 1 for before in row[3:]} & set(range(n))))
        run_s.append(float(row[1]))
    extra = next(rows, None)
    if extra is not None:
        raise InputError(f"{extra[0]}: expected {n + 2} tasks, found another")
    return n, parents, run_s


def _shown(row: list[int]) -> str:
    return " ".join(map(str, row))[:60] if row else "nothing"
