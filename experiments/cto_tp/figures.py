"""Draw the figures of the study of cooperative offloading."""

from __future__ import annotations

from pathlib import Path

from edge_marl.experiments.cto_tp.config import INTERVALS
from edge_marl.experiments.cto_tp.methods import exchange_name
from edge_marl.experiments.cto_tp.results import Results
from edge_marl.experiments.publish import new_figure, save_figure
from edge_marl.experiments.study.policies import ENV_STEPS, ITERATION, TRAINED_S, TRAINING


def curves(results: Results, path: Path) -> None:
    """Draw the cost on validation episodes while learning, beside the best heuristic's on tests."""
    settings = results.config.settings
    figure, axes = new_figure(1, len(settings), (3.4 * len(settings), 3.4))
    for axis, setting in zip(axes, settings, strict=True):
        for method in results.config.methods:
            found = results.curve(setting, method)
            if found is None:
                continue
            steps, values = found
            (line,) = axis.plot(steps / 1e6, values.mean(axis=0), label=method)
            low, high = values.min(axis=0), values.max(axis=0)
            axis.fill_between(
                steps / 1e6, low, high, color=line.get_color(), alpha=0.15, linewidth=0
            )
        best = results.mean(setting, results.best_heuristic(setting))
        if best is not None:
            axis.axhline(best.value, color="black", linestyle="--", label="best heuristic (test)")
        axis.set_title(setting, fontsize=10)
        axis.set_xlabel("decisions, millions")
    axes[0].set_ylabel("weighted cost")
    axes[0].legend(fontsize=8)
    save_figure(figure, path)


def exchange(results: Results, path: Path) -> None:
    """Draw the cost on validation episodes, by how often learners share experience."""
    figure, axes = new_figure(1, 2, (8.4, 3.4))
    for axis, along, unit in zip(
        axes, (ENV_STEPS, TRAINED_S), ("decisions", "seconds by the clock"), strict=True
    ):
        for n in INTERVALS:
            rows = results.outcomes.where(kind=TRAINING, method=exchange_name(n))
            if rows.empty:
                continue
            points = rows.groupby(ITERATION)[[along, "cost"]].mean()
            axis.plot(points[along], points["cost"], label=f"every {n} updates")
        axis.set_xlabel(unit)
    axes[0].set_ylabel("weighted cost")
    axes[0].legend(fontsize=8)
    save_figure(figure, path)


def trade(results: Results, path: Path) -> None:
    """Draw what policies make of latency and energy, one place for each."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    settings = results.config.settings
    figure, axes = new_figure(1, len(settings), (4.6 * len(settings), 4.2))
    for axis, setting in zip(axes, settings, strict=True):
        for method in results.methods(setting):
            latency = results.mean(setting, method, "latency_s")
            energy = results.mean(setting, method, "energy_j")
            if latency is None or energy is None:
                continue
            learned = method in results.config.methods
            axis.scatter(
                latency.value, energy.value, s=60 if learned else 20,
                marker="*" if learned else "o", color="crimson" if learned else "tab:blue",
            )  # fmt: skip
            name = (
                method.replace("_proportional", " (prop.)").replace("_full", "").replace("_", " ")
            )
            axis.annotate(name, (latency.value, energy.value), fontsize=6,
                          xytext=(3, 3), textcoords="offset points")  # fmt: skip
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.margins(x=0.2)
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_locator(LogLocator(subs=(1, 2, 5)))
            side.set_major_formatter(StrMethodFormatter("{x:g}"))
            side.set_minor_formatter(NullFormatter())
        axis.set_title(setting, fontsize=10)
        axis.set_xlabel("latency of a task, s")
    axes[0].set_ylabel("energy of a task, J")
    save_figure(figure, path)
