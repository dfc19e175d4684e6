"""Make the tables of the study of cooperative offloading."""

from __future__ import annotations

from functools import partial

from rich.table import Table

from edge_marl.experiments.cto_tp.config import Setting
from edge_marl.experiments.cto_tp.results import Results
from edge_marl.experiments.publish import interval, new_table, short

_percent = partial(interval, form="+.1%")


def all_tables(results: Results) -> list[Table]:
    """Return all tables, in the order of the page."""
    return [costs(results), *(details(results, setting) for setting in results.config.settings)]


def costs(results: Results) -> Table:
    """Tabulate the weighted cost of all policies in all settings."""
    settings = results.config.settings
    table = new_table("Weighted cost: 1 is all tasks alone at home, on idle servers", "policy",
                      *settings)  # fmt: skip
    names = dict.fromkeys(name for s in settings for name in results.methods(s))
    for name in names:
        table.add_row(name, *(interval(results.mean(s, name)) for s in settings))
    table.add_section()
    table.add_row("best heuristic", *map(results.best_heuristic, settings))
    for method in results.config.methods:
        table.add_row(f"{method} to it", *(_percent(results.change(s, method)) for s in settings))
    table.add_row("bound", *(f"{results.bound(s).cost.mean():.3f}" for s in settings))
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
