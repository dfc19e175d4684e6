"""Log the numbers of a run over time, in ``progress.csv`` and in TensorBoard's event files."""

from __future__ import annotations

import csv
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edge_marl.errors import InputError
from edge_marl.files import aside, writing
from edge_marl.reading import csv_rows
from edge_marl.validation import shown

STEP = "iteration"
PROGRESS, TENSORBOARD = "progress.csv", "tensorboard"

_LEFT_OUT = ("num_", "__all_modules__")
_NUMBER = int | float | np.number | np.ndarray

_STEPS = re.compile("[0-9]{1,18}")

Row = dict[str, float]


class RunLog:
    """Log one row per iteration, in both formats.

    Args:
        folder: of the run; both formats are written there.
        after: the iteration from which a run goes on; rows of later ones, which it makes again,
            are dropped.
    """

    def __init__(self, folder: Path, *, after: int = 0) -> None:
        self.path = folder / PROGRESS
        self._columns: list[str] = []
        kept = [row for row in read_log(self.path) if float(row[STEP]) <= after]
        self._rewrite(kept)
        self._events = _Events(folder / TENSORBOARD, purge_step=after + 1)

    def add(self, row: Row) -> None:
        """Log the numbers of one iteration; new columns may come up at any time.

        Raises:
            InputError: if it cannot be written; earlier rows stay as they were.
        """
        new = [name for name in row if name not in self._columns]
        if new:
            self._columns += new
            self._rewrite(read_log(self.path))
        size = self.path.stat().st_size
        try:
            with writing(self.path), self.path.open("a", newline="", encoding="utf-8") as file:
                self._writer(file).writerow(row)
        except InputError:
            os.truncate(self.path, size)
            raise
        self._events.add(row)

    def complete(self, row: Row) -> None:
        """Add numbers to the row of the last iteration, or log the row if there is none yet."""
        rows: list[Mapping[str, Any]] = [*read_log(self.path)]
        last = rows.pop() if rows and int(rows[-1][STEP]) == row[STEP] else {}
        self._rewrite([*rows, {**last, **row}])
        self._events.add(row)

    def close(self) -> None:
        """Write out what is buffered."""
        self._events.close()

    def _rewrite(self, rows: Iterable[Mapping[str, Any]]) -> None:
        rows = list(rows)
        self._columns = list(dict.fromkeys([*(name for row in rows for name in row),
                                            *self._columns]))  # fmt: skip
        with aside(self.path) as place, place.open("w", newline="", encoding="utf-8") as file:
            writer = self._writer(file)
            writer.writeheader()
            writer.writerows(rows)

    def _writer(self, file: Any) -> csv.DictWriter[str]:
        return csv.DictWriter(file, fieldnames=self._columns)


class _Events:
    """Write TensorBoard's event file.

    Events are written in the calling thread: tensorboardX's own writer has a thread for it, and
    once that dies, for instance of a full disk, whoever adds to its queue waits forever.
    """

    def __init__(self, folder: Path, *, purge_step: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.summary import scalar

        self._event, self._scalar = Event, scalar
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"))
        self._writer.write_event(
            Event(step=purge_step, session_log=SessionLog(status=SessionLog.START))
        )

    def add(self, row: Row) -> None:
        """Write every number of the row, at the iteration that the row names."""
        for name, value in row.items():
            self._writer.write_event(
                self._event(
                    step=int(row[STEP]), wall_time=time.time(), summary=self._scalar(name, value)
                )
            )
        self._writer.flush()

    def close(self) -> None:
        """Write out what is buffered."""
        self._writer.close()


def read_log(path: Path) -> list[dict[str, str]]:
    """Read the rows of a ``progress.csv``; there are none if the file does not exist.

    Raises:
        InputError: if the file is no such log, naming the row without an iteration number.
    """
    if not os.path.lexists(path):
        return []
    rows = csv_rows(path)
    _, columns = next(rows, (1, []))
    found = []
    for line, row in rows:
        fields = dict(zip(columns, row, strict=False))
        if not _STEPS.fullmatch(fields.get(STEP, "")):
            raise InputError(
                f"{path}: row {line}: {STEP}: expected a whole number, found {shown(row)}"
            )
        found.append(fields)
    return found


def flat_numbers(result: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield the finite numbers of RLlib's nested results, with names joined by slashes.

    Its many counts and throughputs are left out: a run logs its own.
    """
    for name, value in result.items():
        if name.startswith(_LEFT_OUT) or name.endswith("throughput"):
            continue
        if isinstance(value, Mapping):
            yield from flat_numbers(value, f"{prefix}{name}/")
        elif isinstance(value, _NUMBER) and np.ndim(value) == 0 and np.isfinite(value):
            yield f"{prefix}{name}", float(value)
