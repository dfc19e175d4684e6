"""Make the tables of the O2O-DRL study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
from rich.table import Table

from edge_marl.experiments import statistics
from edge_marl.experiments.o2o_drl.config import BASE, SWEEPS, Sweep
from edge_marl.experiments.o2o_drl.methods import (
    HEURISTICS,
    LEARNERS,
    O2O_DRL,
    ONLINE,
    WITH_IQL,
    offline_part,
)
from edge_marl.experiments.o2o_drl.results import (
    BOUND,
    Results,
    baselines,
    holds,
    label,
    value_on,
)
from edge_marl.experiments.publish import interval
from edge_marl.experiments.statistics import Estimate

_signed = partial(interval, form="+.3f")

_LOADS = (0.8, 1.0, 1.2)
"""Offered loads between which networks are put together."""

_FORMS = (O2O_DRL, WITH_IQL)
_AT_EVERY_POINT = (*HEURISTICS, *map(offline_part, _FORMS), ONLINE, *_FORMS, BOUND)
_AT_THE_DEFAULT = (
    *HEURISTICS,
    *(offline_part(name) for name, learner in LEARNERS.items() if learner.logs),
    *LEARNERS,
)


def sweep_table(results: Results, sweep: Sweep) -> Table:
    """Tabulate success rates at the points of a panel, and O2O-DRL's gains over each baseline."""
    axis, points = SWEEPS[sweep], results.points(sweep)
    table = Table(title=f"Figure {axis.figure}: success rate", title_justify="left")
    table.add_column(axis.label)
    for point in points:
        table.add_column(f"{value_on(sweep, point):g}")
    for method in _AT_EVERY_POINT:
        cells = [results.rate(point, method) for point in points]
        table.add_row(label(method), *map(interval, cells))
    for method in _FORMS:
        gains = {b: [results.gain(point, method, b) for point in points] for b in baselines(method)}
        _add_gains(table, method, gains)
    table.add_section()
    shares = (results.share_of_possible(point, O2O_DRL) for point in points)
    table.add_row(f"{O2O_DRL}, share of the bound", *map(interval, shares))
    return table


def _add_gains(table: Table, method: str, gains: Mapping[str, Sequence[Estimate | None]]) -> None:
    """Add how far a method is above each baseline, and whether it is above all, by column."""
    table.add_section()
    for baseline, found in gains.items():
        table.add_row(f"{method} minus {label(baseline)}", *map(_signed, found))
    table.add_row("above all four?", *map(holds, zip(*gains.values(), strict=True)))


def load_table(results: Results) -> Table:
    """Tabulate gains by the load of the networks, over all points of the simulation together."""
    table = Table(title="Gains by offered load, all simulated networks", title_justify="left")
    table.add_column("offered load")
    group = np.digitize(results.loads(), _LOADS)
    members = [group == k for k in np.unique(group)]
    ranges = [f"to {_LOADS[0]}", *(f"{a} to {b}" for a, b in pairwise(_LOADS))]
    ranges.append(f"above {_LOADS[-1]}")
    for k, among in zip(np.unique(group), members, strict=True):
        table.add_column(f"{ranges[k]} ({among.sum()} networks)")

    def means(method: str, baseline: str) -> list[Estimate | None]:
        gains = results.gains(method, baseline)
        return [None if gains is None else statistics.mean(gains[among]) for among in members]

    for heuristic in ("random", "greedy"):
        gains = means(heuristic, "ratc")
        table.add_row(f"{label(heuristic)} minus {label('ratc')}", *map(_signed, gains))
    for method in _FORMS:
        _add_gains(table, method, {b: means(method, b) for b in baselines(method)})
    return table


def methods_table(results: Results) -> Table:
    """Tabulate all methods at the default point, with what happened to the tasks."""
    table = Table(title="Default scenario (Figures 3 and 4)", title_justify="left")
    for name in ("method", "success rate", "minus RATC", "dropped", "failed", "delay p50 s",
                 "p95 s", "offloaded", "share of the bound"):  # fmt: skip
        table.add_column(name)
    by_name = {
        record["method"]: record
        for record in results.records()
        if (record["sweep"], record["value"]) == (BASE.sweep, BASE.value)
    }
    for method in _AT_THE_DEFAULT:
        record = by_name.get(label(method))
        if record is None:
            continue
        arrived = results.values(BASE, method, "arrived")
        assert arrived is not None
        failed = record["execution_failed"] + record["transmission_failed"]
        table.add_row(
            label(method),
            interval(results.rate(BASE, method)),
            _signed(results.gain(BASE, method, "ratc")),
            f"{record['dropped'] / arrived.mean():.1%}",
            f"{failed / arrived.mean():.1%}",
            f"{record['delay_p50_s']:.2f}",
            f"{record['delay_p95_s']:.2f}",
            f"{record['offloaded']:.0%}",
            interval(results.share_of_possible(BASE, method)),
        )
    return table


def networks_table(results: Results) -> Table:
    """Tabulate success rates at the default point by network, with the offered load of each."""
    table = Table(title="Default scenario by network", title_justify="left")
    table.add_column("network")
    networks = results.config.networks_at(BASE)
    for k in networks:
        table.add_column(f"{k} (offered load {BASE.offered_load(k):.2f})")
    for method in _AT_THE_DEFAULT:
        values = results.values(BASE, method)
        if values is not None:
            table.add_row(label(method), *(f"{rate:.3f}" for rate in values.mean(axis=1)))
    return table


def hand_over_table(results: Results) -> Table:
    """Tabulate whether the success rate dips when fine-tuning begins."""
    table = Table(
        title="Hand-over: success rate after a refit minus that of the offline policy",
        title_justify="left",
    )
    for name in ("point", "method"):
        table.add_column(name)
    found = {
        (point, method): differences
        for point in results.all_points()
        for method in _FORMS
        if (differences := results.hand_overs(point, method))
    }
    for k in range(max(map(len, found.values()), default=0)):
        table.add_column(f"refit {k + 1}")
    table.add_column("dip")
    for (point, method), differences in found.items():
        surely = any(difference.surely_below_zero for difference in differences)
        table.add_row(
            f"{SWEEPS[point.sweep].label} {point.value:g}",
            method,
            *map(_signed, differences),
            "yes" if surely else "no",
        )
    return table


def all_tables(results: Results) -> Sequence[Table]:
    """Return every table of the study."""
    return [
        methods_table(results),
        networks_table(results),
        *(sweep_table(results, sweep) for sweep in results.config.sweeps),
        load_table(results),
        hand_over_table(results),
    ]
