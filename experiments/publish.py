"""Write the tables and figures of studies and evaluations."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from edge_marl.files import aside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from edge_marl.experiments.statistics import Estimate

COLOURS = {
    "oracle": "#222222",
    "online oracle": "#888888",
    "heuristic": "#d98b5f",
    "learned": "#3b76af",
}
_DPI = 120


def as_markdown(table: Table) -> str:
    """Return a table as Markdown, below its title in bold."""
    rows = [[str(column.header) for column in table.columns], ["---"] * len(table.columns)]
    rows += [list(map(str, cells)) for cells in zip(*(c.cells for c in table.columns), strict=True)]
    lines = [f"| {' | '.join(' '.join(cell.split()) for cell in row)} |" for row in rows]
    return "\n".join([f"**{table.title}**", "", *lines, ""])


def new_table(title: str, *columns: str) -> Table:
    """Return an empty table with a title on the left."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    return table


def interval(estimate: Estimate | None, form: str = ".3f") -> str:
    """Return an estimate with its interval as a table shows it, a dash for none."""
    return "-" if estimate is None else estimate.text(form=form)


def short(estimate: Estimate | None) -> str:
    """Return an estimate without its interval, a dash for none."""
    return "-" if estimate is None else f"{estimate.value:.2f}"


def number(value: float) -> str:
    """Return a number as a table shows it, a dash for NaN."""
    return "-" if np.isnan(value) else f"{value:.4g}"


def write_csv(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write one line per record, all with the same names; the file appears whole or not at all."""
    with aside(path) as place, place.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(records[0]))
        writer.writeheader()
        writer.writerows(records)


def new_figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """Return a new figure and its axes, row by row."""
    # Not pyplot: nothing global, and no display is asked for.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(np.atleast_1d(figure.subplots(rows, columns)).flat)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, making its folder."""
    with aside(path) as place:
        figure.savefig(place, dpi=_DPI, format="png")
