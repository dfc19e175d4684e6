"""Make the tables of the study of cooperative offloading."""

from __future__ import annotations

from functools import partial

import numpy as np
from rich.table import Table

from edge_marl.experiments.cto_tp.config import INTERVALS, MOVED, Setting
from edge_marl.experiments.cto_tp.methods import exchange_name
from edge_marl.experiments.cto_tp.results import Results
from edge_marl.experiments.publish import interval, new_table, short

_percent = partial(interval, form="+.1%")

CTO_TP, CTO, MAPPO = "CTO-TP", "CTO", "MAPPO"
FORESEEING = "CTO-TP, actors"
_COMPARED = (
    (CTO_TP, MAPPO), (CTO, MAPPO), (CTO_TP, CTO), (FORESEEING, CTO), ("CTO, TD3", CTO),
    (MAPPO, "IPPO"),
)  # fmt: skip
PAPERS = {"latency_s": 0.80, "energy_j": 0.87}
"""By how much the paper's CTO-TP has less than its baselines."""


def all_tables(results: Results) -> list[Table]:
    """Return all tables, in the order of the page."""
    config, tables = results.config, []
    if "main" in config.parts:
        tables += [costs(results), comparisons(results)]
        tables += [details(results, setting) for setting in config.settings]
        if CTO_TP in config.methods:
            tables.append(papers(results, config.settings[0]))
    if "moved" in config.parts:
        tables.append(moved(results))
    if "exchange" in config.parts:
        tables.append(exchange(results))
    return tables


def costs(results: Results) -> Table:
    """Tabulate the weighted cost of all policies in all settings."""
    settings = results.config.settings
    table = new_table("Weighted cost: 1 is all tasks alone at home, on idle servers", "policy",
                      *settings)  # fmt: skip
    names = dict.fromkeys(name for s in settings for name in results.methods(s))
    for name in names:
        table.add_row(name, *(interval(results.mean(s, name)) for s in settings))
    table.add_section()
    table.add_row("bound", *(f"{results.bound(s).cost.mean():.3f}" for s in settings))
    return table


def comparisons(results: Results) -> Table:
    """Tabulate the cost of methods beside others, paired by episode."""
    settings, methods = results.config.settings, results.config.methods
    table = new_table("Weighted cost over that of others: below 0 is less", "", *settings)
    table.add_row("best heuristic", *map(results.best_heuristic, settings))
    for method in methods:
        table.add_row(
            f"{method} to it",
            *(_percent(results.change(s, method, results.best_heuristic(s))) for s in settings),
        )
    table.add_section()
    for one, other in _COMPARED:
        if {one, other} <= {*methods}:
            found = (_percent(results.change(s, one, other)) for s in settings)
            table.add_row(f"{one} to {other}", *found)
    return table


def details(results: Results, setting: Setting) -> Table:
    """Tabulate where the cost of a setting comes from."""
    table = new_table(
        f"{setting}: latency and energy of a task", "policy", "cost", "latency s", "95% s",
        "energy J", "offloaded", "waiting s",
    )  # fmt: skip
    for method in results.methods(setting):
        found = {
            name: results.mean(setting, method, name)
            for name in ("cost", "latency_s", "latency_p95_s", "energy_j", "offloaded", "waiting_s")
        }
        cost, latency, tail, energy, offloaded, waiting = found.values()
        table.add_row(
            method, interval(cost), interval(latency), short(tail), short(energy),
            short(offloaded), short(waiting),
        )  # fmt: skip
    table.add_section()
    bound = results.bound(setting)
    table.add_row(
        "bound, each by itself", f"{bound.cost.mean():.3f}", f"{bound.latency_s.mean():.3f}", "-",
        f"{bound.energy_j.mean():.3g}", "-", "-",
    )  # fmt: skip
    return table


def papers(results: Results, setting: Setting) -> Table:
    """Tabulate what CTO-TP saves beside each other policy, and what the paper says it does."""
    table = new_table(
        f"{setting}: CTO-TP beside each other policy, below 0 is less",
        "policy",
        "latency",
        "energy",
        "cost",
    )
    for method in results.methods(setting):
        if method != CTO_TP:
            table.add_row(
                method,
                *(
                    _percent(results.change(setting, CTO_TP, method, metric))
                    for metric in (*PAPERS, "cost")
                ),
            )
    table.add_section()
    table.add_row("the paper's baselines", *(f"{-less:+.0%}" for less in PAPERS.values()), "-")
    return table


def moved(results: Results) -> Table:
    """Tabulate how policies of the default setting do elsewhere."""
    table = new_table(
        "Weighted cost where policies were not trained", "policy",
        *(f"{setting}{what}" for setting in MOVED for what in ("", ", trained there", ", change")),
    )  # fmt: skip
    names = dict.fromkeys(
        name for s in MOVED for t in (s, "default") for name in results.methods(s, t)
    )
    for name in names:
        cells = []
        for setting in MOVED:
            moved = results.mean(setting, name, trained="default")
            there = results.mean(setting, name)
            change = results.change(setting, name, name, trained="default")
            cells += [interval(moved), interval(there), _percent(change) if moved else "-"]
        table.add_row(name, *cells)
    return table


def exchange(results: Results) -> Table:
    """Tabulate what learners at their own pace reach, by how often they share experience."""
    names = [exchange_name(n) for n in INTERVALS]
    curves = [results.curve("default", name) for name in names]
    ends = [None if found is None else float(found[1][:, -1].mean()) for found in curves]
    known = [end for end in ends if end is not None]
    # What all but a bad training reach.
    target = 1.05 * max(known) if known else np.nan
    table = new_table(
        f"Experience shared after so many updates; validation, cost of {target:.2f}",
        "updates", "cost at the end", "trainings that had it", "decisions", "seconds",
    )  # fmt: skip
    for n, name, end in zip(INTERVALS, names, ends, strict=True):
        reached = results.reached(name, target)
        means = np.mean(reached, axis=0) if reached else (np.nan, np.nan)
        table.add_row(
            str(n), "-" if end is None else f"{end:.3f}", str(len(reached)),
            f"{means[0] / 1e3:.0f} thousand", f"{means[1]:.0f}",
        )  # fmt: skip
    return table
