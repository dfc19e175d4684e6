"""Draw the figures of the tandem study, named as in the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_marl.experiments.publish import COLOURS, new_figure, save_figure
from edge_marl.experiments.tandem.config import Training
from edge_marl.experiments.tandem.tables import Results, Row
from edge_marl.tandem.splits import SPLITS
from edge_marl.tandem.traces import IntArray, TraceSet

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def figure_2(timelines: Mapping[str, tuple[IntArray, str]], trace: TraceSet, path: Path) -> None:
    """Draw the timelines of schedulers on one trace.

    Args:
        timelines: name, then ``[T, 2]`` job per slot and stage (-1 idle), and a note.
        trace: the trace that was played, as a set of one.
        path: PNG to write.
    """
    from edge_marl.envs.tandem_timeline import draw_timeline

    figure, axes = new_figure(len(timelines), 1, (8, 1.7 * len(timelines)))
    for ax, (name, (slots, note)) in zip(axes, timelines.items(), strict=True):
        draw_timeline(ax, slots[:, 0], slots[:, 1], trace)
        ax.set_title(f"{name}: {note}", loc="left", fontsize=9)
    ends = [ax.get_xlim()[1] for ax in axes]
    for ax in axes:
        ax.set_xlim(0, max(ends))
    for ax in axes[:-1]:
        ax.set_xlabel("")
    save_figure(figure, path)


def bars(rows: Sequence[Row], groups: Mapping[str, str], path: Path, title: str) -> None:
    """Draw the degradation of each method over the oracle, with its interval (Figures 3a and 5)."""
    figure, (ax,) = new_figure(1, 1, (1.6 + 0.75 * len(rows), 3.6))
    values = [row.degradation for row in rows]
    _bars(ax, rows, groups, [v.value for v in values])
    ax.errorbar(
        range(len(rows)),
        [v.value for v in values],
        yerr=[[v.value - v.low for v in values], [v.high - v.value for v in values]],
        fmt="none", ecolor="black", capsize=3, linewidth=1,
    )  # fmt: skip
    ax.set(ylabel="degradation over the oracle", title=title)
    save_figure(figure, path)


def starvation_bars(rows: Sequence[Row], groups: Mapping[str, str], path: Path, title: str) -> None:
    """Draw the share of slots with an empty compute queue and a busy uplink (Figure 3b)."""
    figure, (ax,) = new_figure(1, 1, (1.6 + 0.75 * len(rows), 3.6))
    _bars(ax, rows, groups, [100 * row.starvation for row in rows])
    ax.set(ylabel="pipeline starvation, % of slots", title=title)
    save_figure(figure, path)


def split_bars(
    results: Results, names: Sequence[str], training: Training, path: Path, title: str
) -> None:
    """Draw the degradation of each method on every split, side by side (Figures 4 and 6)."""
    import matplotlib

    by_split = {s: results.select(s, names, ("none", training)) for s in SPLITS}
    n = max(len(rows) for rows in by_split.values())
    figure, (ax,) = new_figure(1, 1, (9, 4.4))
    width = 0.8 / n
    colours = matplotlib.colormaps["tab20"]  # more bars than the usual ten colours
    for i, name in enumerate(names):
        rows = [next(r for r in by_split[split] if r.method == name) for split in SPLITS]
        values = [row.degradation for row in rows]
        ax.bar(
            np.arange(len(SPLITS)) + (i - (n - 1) / 2) * width,
            [v.value for v in values],
            width,
            yerr=[[v.value - v.low for v in values], [v.high - v.value for v in values]],
            error_kw={"elinewidth": 0.8},
            color=colours(i),
            label=rows[0].label,
        )
    ax.set_xticks(range(len(SPLITS)), SPLITS)
    ax.set(
        xlabel="file transfers - video transcodings of a trace",
        ylabel="degradation over the oracle", title=title,
    )  # fmt: skip
    figure.legend(fontsize=7, loc="outside lower center", ncols=4)
    save_figure(figure, path)


def _bars(
    ax: Axes, rows: Sequence[Row], groups: Mapping[str, str], heights: Sequence[float]
) -> None:
    colours = [COLOURS[groups[row.method]] for row in rows]
    ax.bar(range(len(rows)), heights, color=colours)
    labels = [row.label.replace(": ", ":\n").replace(", ", ",\n") for row in rows]
    ax.set_xticks(range(len(rows)), labels, rotation=35, ha="right", fontsize=7)
