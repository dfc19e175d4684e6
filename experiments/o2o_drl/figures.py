"""Draw the figures of the O2O-DRL study, named as in the paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_marl.experiments import statistics
from edge_marl.experiments.o2o_drl.config import BASE, SWEEPS, Sweep
from edge_marl.experiments.o2o_drl.methods import (
    FROM,
    O2O_DRL,
    OFFLINE,
    ONLINE,
    WITH_IQL,
)
from edge_marl.experiments.o2o_drl.results import BOUND, Results, label, value_on
from edge_marl.experiments.publish import new_figure, save_figure
from edge_marl.experiments.statistics import Estimate

_STYLES = {
    "random": ("#bbbbbb", "v"), "rda": ("#d98b5f", "^"), "ratc": ("#b5482f", "s"),
    OFFLINE: ("#8cb369", "D"), ONLINE: ("#7a6fb0", "P"), O2O_DRL: ("#20639b", "o"),
    WITH_IQL: ("#0b2a4a", "*"), BOUND: ("#222222", "_"),
}  # fmt: skip


def learning_curve(results: Results, path: Path) -> None:
    """Draw Figure 3: offline, then online training at the default point, beside RATC and RDA."""
    figure, axes = new_figure(1, 2, (9.5, 3.6))
    offline, online = axes
    panels = {"offline": offline, "online": online}
    for method in (O2O_DRL, WITH_IQL, ONLINE):
        for phase, curve in results.curves(method).items():
            _band(panels[phase], *curve, method)
    for heuristic in ("ratc", "rda"):
        rate = results.rate(BASE, heuristic)
        if rate is not None:
            colour = _STYLES[heuristic][0]
            for ax in axes:
                ax.axhline(rate.value, color=colour, linestyle=":", label=label(heuristic))
    offline.set(xlabel="offline gradient steps", ylabel="success rate", title="offline training")
    online.set(xlabel="online episodes", title="online fine-tuning")
    low = min(ax.get_ylim()[0] for ax in axes)
    high = max(ax.get_ylim()[1] for ax in axes)
    for ax in axes:
        ax.set_ylim(low, high)
    online.legend(fontsize=8)
    save_figure(figure, path)


def heuristics_behind(results: Results, path: Path) -> None:
    """Draw Figure 4: each heuristic, and O2O-DRL trained from its log."""
    figure, (ax,) = new_figure(1, 1, (5.5, 3.6))
    for k, pair in enumerate(FROM.items()):
        for offset, method, colour in ((-0.2, pair[0], "#d98b5f"), (0.2, pair[1], "#20639b")):
            rate = results.rate(BASE, method)
            if rate is not None:
                ax.bar(k + offset, rate.value, 0.38, color=colour)
                _whisker(ax, k + offset, rate)
    ax.set_xticks(range(len(FROM)), [label(log) for log in FROM])
    rates = [results.rate(BASE, method) for pair in FROM.items() for method in pair]
    ax.set_ylim(min(r.low for r in rates if r is not None) - 0.05, None)
    ax.set(ylabel="success rate", title="heuristic (left) and O2O-DRL from its log (right)")
    save_figure(figure, path)


def sweep(results: Results, name: Sweep, path: Path) -> None:
    """Draw a panel of Figure 5, 6 or 8: the success rate over what the panel varies."""
    figure, (ax,) = new_figure(1, 1, (5.5, 3.8))
    points = results.points(name)
    x = [value_on(name, point) for point in points]
    for method, (colour, marker) in _STYLES.items():
        rates = [results.rate(point, method) for point in points]
        known = [(at, rate) for at, rate in zip(x, rates, strict=True) if rate is not None]
        if len(known) < len(points):
            continue
        ax.errorbar(
            [at for at, _ in known],
            [rate.value for _, rate in known],
            yerr=_errors([rate for _, rate in known]),
            color=colour, marker=marker, markersize=5, capsize=2, linewidth=1.2,
            linestyle=":" if method == BOUND else "-", label=label(method),
        )  # fmt: skip
    ax.set(xlabel=SWEEPS[name].label, ylabel="success rate")
    ax.set_xticks(x)
    ax.legend(fontsize=7)
    save_figure(figure, path)


def loads(results: Results, path: Path) -> None:
    """Draw how far O2O-DRL is above the better of RATC and RDA, by the network's offered load."""
    figure, (ax,) = new_figure(1, 1, (5.5, 3.6))
    x = results.loads()
    for method in (O2O_DRL, WITH_IQL):
        over_ratc, over_rda = results.gains(method, "ratc"), results.gains(method, "rda")
        if over_ratc is None or over_rda is None:
            continue
        over = np.minimum(over_ratc.mean(axis=1), over_rda.mean(axis=1))
        colour, marker = _STYLES[method]
        ax.scatter(x, over, color=colour, marker=marker, s=18, label=method)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set(xlabel="offered load of the network", ylabel="minus the better of RATC and RDA")
    ax.legend(fontsize=8)
    save_figure(figure, path)


def _band(ax, steps, rates, method: str) -> None:  # type: ignore[no-untyped-def]
    """Draw the mean over networks of rates ``[S, P]``, with its interval."""
    colour = _STYLES[method][0]
    found = [statistics.mean(rates[:, [k]].T) for k in range(rates.shape[1])]
    ax.plot(steps, [f.value for f in found], color=colour, label=method)
    ax.fill_between(
        steps, [f.low for f in found], [f.high for f in found], color=colour, alpha=0.2, linewidth=0
    )


def _whisker(ax, x: float, rate: Estimate) -> None:  # type: ignore[no-untyped-def]
    ax.errorbar(x, rate.value, yerr=_errors([rate]), color="black", capsize=3, linewidth=1)


def _errors(rates: Sequence[Estimate]) -> np.ndarray:
    return np.array([[r.value - r.low for r in rates], [r.high - r.value for r in rates]])
