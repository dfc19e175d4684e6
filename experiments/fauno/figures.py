"""Draw the figures of the FAuNO study."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_marl.experiments.fauno import paper
from edge_marl.experiments.fauno.config import Cell
from edge_marl.experiments.fauno.methods import GROUPS, METHODS, NOISES
from edge_marl.experiments.fauno.results import FINISHED, Results, label
from edge_marl.experiments.publish import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DRAWN = ("local", "least_queues", "shortest", "least_queues_triage", *METHODS)
_PANEL = (4.0, 3.4)
_STYLES = ("-", ":", "--", "-.", (0, (1, 3)))


def ratios(results: Results, path: Path) -> None:
    """Draw the ratio of finished tasks over lambda, a panel per topology."""
    config = results.config
    n = len(config.topologies)
    figure, axes = new_figure(1, n, (_PANEL[0] * n, _PANEL[1]))
    for axis, topology in zip(axes, config.topologies, strict=True):
        cells = [Cell(topology, rate) for rate in config.rates]
        for method in _DRAWN:
            found = [results.mean(cell, method) for cell in cells]
            known = [estimate for estimate in found if estimate is not None]
            if len(known) < len(cells):
                continue
            estimates = np.array([tuple(estimate) for estimate in known])
            axis.errorbar(
                config.rates, estimates[:, 0], np.abs(estimates[:, 1:] - estimates[:, :1]).T,
                label=label(method), capsize=2, marker="o" if method in METHODS else None,
                linestyle="-" if method in METHODS else "--",
            )  # fmt: skip
        of_paper = [paper.figures(paper.FAUNO, FINISHED).get(cell, np.nan) for cell in cells]
        axis.plot(config.rates, of_paper, "kx", label="FAuNO, the paper's")
        axis.set_title(topology)
        axis.set_xlabel("lambda, tasks per second")
        axis.set_xticks(config.rates)
    axes[0].set_ylabel("ratio of finished tasks")
    _explain(figure, axes[0])
    save_figure(figure, path)


def curves(results: Results, path: Path) -> None:
    """Draw the ratio on validation episodes while learning, a panel per topology."""
    config = results.config
    n = len(config.topologies)
    figure, axes = new_figure(1, n, (_PANEL[0] * n, _PANEL[1]))
    for axis, topology in zip(axes, config.topologies, strict=True):
        for k, rate in enumerate(config.rates):
            for method, style in zip(config.methods, cycle(_STYLES)):
                found = results.curve(Cell(topology, rate), method)
                if found is None:
                    continue
                steps, values = found
                axis.plot(
                    steps / 1e6, values.mean(axis=0), color=f"C{k}", label=f"{method}, {rate:g}",
                    linestyle=style,
                )  # fmt: skip
                low, high = values.min(axis=0), values.max(axis=0)
                axis.fill_between(steps / 1e6, low, high, color=f"C{k}", alpha=0.15, linewidth=0)
        axis.set_title(topology)
        axis.set_xlabel("ticks, millions")
    axes[0].set_ylabel("ratio of finished tasks, validation")
    _explain(figure, axes[0])
    save_figure(figure, path)


def _explain(figure: Figure, axis: Axes) -> None:
    """Put the legend of an axis below all, where it covers nothing."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(_DRAWN) + 1, fontsize=8)


def privacy(results: Results, path: Path) -> None:
    """Draw the ratio of finished tasks over the epsilon that it costs a client."""
    from edge_marl.algorithms.federation.privacy import DELTA

    group = GROUPS["privacy"]
    (cell,) = group.cells
    figure, (axis,) = new_figure(1, 1, _PANEL)
    for k, method in enumerate(group.beside):
        if (estimate := results.mean(cell, method)) is not None:
            axis.axhline(estimate.value, color=f"C{k + 1}", linestyle="--", label=label(method))
    spent = {method: results.epsilon(method) for method in NOISES}
    for method, epsilon in spent.items():
        if (estimate := results.mean(cell, method)) is not None:
            below, above = estimate.value - estimate.low, estimate.high - estimate.value
            axis.errorbar(
                epsilon, estimate.value, [[below], [above]], color="C0", marker="o", capsize=2
            )
    axis.set_xscale("log")
    axis.set_xticks([*spent.values()], [f"{spent[method]:.0f}\n{method}" for method in spent])
    axis.minorticks_off()
    axis.set_ylim(top=1.0)
    axis.set_xlabel(f"epsilon of a client, at most, delta {DELTA:g}")
    axis.set_ylabel(f"ratio of finished tasks, {cell.title}")
    axis.legend(fontsize=8)
    save_figure(figure, path)
