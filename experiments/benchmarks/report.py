"""Report what a benchmark measured, as a table on the terminal and as a JSON file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from edge_marl.experiments.machine import provenance
from edge_marl.experiments.progress import stdout
from edge_marl.json_files import write_json


@dataclass(frozen=True)
class Measurement:
    """Hold one measured value of a benchmark, with its unit and, if it has one, its target."""

    name: str
    value: float
    unit: str
    target: float | None = None
    better: Literal["higher", "lower"] = "higher"

    @property
    def passed(self) -> bool | None:
        """Return whether the target is met, or None without a target."""
        if self.target is None:
            return None
        higher = self.better == "higher"
        return self.value >= self.target if higher else self.value <= self.target


def report(title: str, found: Sequence[Measurement], out: Path, **details: Any) -> None:
    """Print the table and write it with the machine, the versions and ``details`` to ``out``."""
    stdout().print(_table(title, found))
    records = [{**asdict(line), "passed": line.passed} for line in found]
    content = {**provenance(), **details, "measurements": records}
    write_json(out, content)


def _table(title: str, found: Sequence[Measurement]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("measured", min_width=40)
    for name in ("value", "unit", "target", ""):
        table.add_column(name, justify="right" if name in ("value", "target") else "left")
    words = {True: "pass", False: "falls short", None: ""}
    for line in found:
        sign = "≥" if line.better == "higher" else "≤"
        target = "" if line.target is None else f"{sign} {line.target:,.4g}"
        table.add_row(line.name, _number(line.value), line.unit, target, words[line.passed])
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
