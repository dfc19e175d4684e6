"""The numbers of a run over time: ``progress.csv``, and TensorBoard's event files."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edge_marl.files import aside, writing

STEP = "iteration"
PROGRESS, TENSORBOARD = "progress.csv", "tensorboard"

_LEFT_OUT = ("num_", "__all_modules__")
_NUMBER = int | float | np.number | np.ndarray

Row = dict[str, float]


class RunLog:
    """One row per iteration, in both formats.

    Args:
        folder: of the run; both formats are written there.
        after: drop the rows of later iterations: a continued run makes them again.
    """

    def __init__(self, folder: Path, *, after: int = 0) -> None:
        from tensorboardX import SummaryWriter

        self.path = folder / PROGRESS
        self._columns: list[str] = []
        kept = [row for row in read_log(self.path) if float(row[STEP]) <= after]
        self._rewrite(kept)
        self._events = SummaryWriter(str(folder / TENSORBOARD), purge_step=after + 1)

    def add(self, row: Row) -> None:
        """Log the numbers of one iteration; new columns may come up at any time."""
        new = [name for name in row if name not in self._columns]
        if new:
            self._columns += new
            self._rewrite(read_log(self.path))
        with writing(self.path), self.path.open("a", newline="", encoding="utf-8") as file:
            self._writer(file).writerow(row)
        for name, value in row.items():
            self._events.add_scalar(name, value, int(row[STEP]))

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


def read_log(path: Path) -> list[dict[str, str]]:
    """The rows of a ``progress.csv``, none if there is no such file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def flat_numbers(result: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The finite numbers of RLlib's nested results, their names joined by slashes.

    Its many counts and throughputs are left out: a run logs its own.
    """
    for name, value in result.items():
        if name.startswith(_LEFT_OUT) or name.endswith("throughput"):
            continue
        if isinstance(value, Mapping):
            yield from flat_numbers(value, f"{prefix}{name}/")
        elif isinstance(value, _NUMBER) and np.ndim(value) == 0 and np.isfinite(value):
            yield f"{prefix}{name}", float(value)
