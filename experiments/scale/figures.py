"""Draw the figures of the SCALE study."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_marl.experiments.publish import new_figure, save_figure
from edge_marl.experiments.scale.config import Family, trained_in
from edge_marl.experiments.scale.methods import LEARNERS, POINTER, POINTER_SRR, SCALE
from edge_marl.experiments.scale.results import Results, label


def curves(results: Results, path: Path) -> None:
    """Draw Figure 6: reward and response time on validation episodes while learning."""
    figure, axes = new_figure(1, 2, (10.0, 3.8))
    for method in LEARNERS:
        if LEARNERS[method].family != "paper":
            continue
        found = [results.curve(method, name) for name in ("return", "length", "response_s")]
        if any(curve is None for curve in found):
            continue
        (steps, returns), (_, lengths), (_, responses) = (curve for curve in found if curve)
        for axis, values in zip(axes, (returns / lengths, responses), strict=True):
            (line,) = axis.plot(steps / 1000, values.mean(axis=0), label=method)
            low, high = values.min(axis=0), values.max(axis=0)
            axis.fill_between(
                steps / 1000, low, high, color=line.get_color(), alpha=0.15, linewidth=0
            )
    for axis, name in zip(axes, ("reward per decision", "mean response time, s"), strict=True):
        axis.set_xlabel("environment steps, thousands")
        axis.set_ylabel(name)
    axes[0].legend(fontsize=8)
    save_figure(figure, path)


def scales(results: Results, family: Family, path: Path) -> None:
    """Draw Figure 5, and what lies beyond it: response time over cluster sizes."""
    figure, (axis,) = new_figure(1, 1, (7.5, 4.2))
    points = [point for point in results.config.points(family) if point.is_size]
    sizes = [point.servers for point in points]
    for method in results.methods(trained_in(family)):
        found = [results.mean(point, method) for point in points]
        if any(estimate is None for estimate in found):
            continue
        learned = method in LEARNERS
        estimates = np.array([tuple(estimate) for estimate in found if estimate is not None])
        axis.errorbar(
            sizes, estimates[:, 0], np.abs(estimates[:, 1:] - estimates[:, :1]).T,
            label=label(method), capsize=2, linewidth=2.0 if learned else 1.0,
            linestyle="-" if learned else "--",
            marker="o" if method in (SCALE, POINTER, POINTER_SRR) else None,
        )  # fmt: skip
    axis.set_xscale("log", base=2)
    axis.set_xticks(sizes, [str(n) for n in sizes])
    axis.set_xlabel("servers (trained at 16)")
    axis.set_ylabel("mean response time, s")
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    save_figure(figure, path)
