"""Make the tables of the SCALE study."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from rich.table import Table

from edge_marl.experiments.publish import interval, new_table, short
from edge_marl.experiments.scale.config import TRAINED_AT, Point, trained_in
from edge_marl.experiments.scale.methods import (
    CROSS_ATTN,
    LEARNERS,
    POINTER,
    POINTER_SRR,
    SCALE,
)
from edge_marl.experiments.scale.results import Results, label

_percent = partial(interval, form="+.1%")

# Paper, section 5.3 and 5.4: response time in s at N = 16, 32, 48; what its text gives.
_PAPER_RESPONSE = {SCALE: (4.58, 5.57, 6.22), CROSS_ATTN: (4.65, 5.70, 6.83)}


def all_tables(results: Results) -> list[Table]:
    """Return all tables, in the order of the page."""
    config = results.config
    event = config.points("event")
    sizes = [point for point in event if point.is_size]
    changed = [point for point in event if not point.is_size]
    tables = [performance(results), generalisation(results), features(results)]
    tables.append(responses(results, sizes, "Our setting: mean response time in s by servers"))
    if changed:
        title = "Our setting, 48 servers (traces: 16): mean response time in s"
        tables.append(responses(results, changed, title))
    return tables


def performance(results: Results) -> Table:
    """Make Table 3: all methods at the size of training."""
    point = trained_in("paper")
    table = new_table(f"Table 3: {TRAINED_AT} servers, the paper's setting", "method",
                   "response s", "completed", "unfinished", "invalid actions")  # fmt: skip
    for method in results.methods(point):
        names = ("response_s", "completed", "unfinished", "waits")
        cells = [results.mean(point, method, name) for name in names]
        table.add_row(label(method), interval(cells[0]), *(short(cell) for cell in cells[1:]))
    return table


def generalisation(results: Results) -> Table:
    """Make Table 4: SCALE and CrossAttn at the size of training and at others."""
    points = results.config.points("paper")
    table = new_table("Table 4: mean response time in s, trained at 16 servers", "method",
                   *(f"N = {point.servers}" for point in points))  # fmt: skip
    for method in (SCALE, CROSS_ATTN):
        table.add_row(method, *(interval(results.mean(point, method)) for point in points))
    changes = (results.change(point, SCALE, CROSS_ATTN) for point in points)
    table.add_row("SCALE to CrossAttn", *map(_percent, changes))
    table.add_section()
    for method in (SCALE, CROSS_ATTN):
        cells = (results.mean(point, method, "completed") for point in points)
        table.add_row(f"{method}, completed", *map(short, cells))
    table.add_section()
    for method, paper in _PAPER_RESPONSE.items():
        known = dict(zip((16, 32, 48), paper, strict=True))
        table.add_row(f"{method}, the paper's",
                      *(str(known.get(point.servers, "-")) for point in points))  # fmt: skip
    return table


def features(results: Results) -> Table:
    """Make Table 5: statistics of the attention feature, and how far it moves with N."""
    table = new_table("Table 5: attention feature", "method", "N", "off-diagonal covariance", "KL",
                   "shift of means", "scale of variances")  # fmt: skip
    for method, learner in LEARNERS.items():
        if not learner.any_size:
            continue
        at_training = trained_in(learner.family)
        points = [p for p in results.config.points(learner.family) if p.is_size]
        for point in points:
            covariance = results.features(point, method, "off_diagonal_covariance")
            kl = results.features(point, method, "kl")
            mean, variance = (results.features(point, method, n) for n in ("mean", "variance"))
            mean_16, variance_16 = (
                results.features(at_training, method, n) for n in ("mean", "variance")
            )
            if covariance is None or kl is None or mean is None or mean_16 is None:
                continue
            assert variance is not None
            assert variance_16 is not None
            shift = np.abs(mean - mean_16) / np.sqrt(variance_16)
            table.add_row(
                method, str(point.servers), f"{covariance.mean():.3f}", f"{kl.mean():.2f}",
                f"{shift.mean():.2f}", f"{(variance / variance_16).mean():.2f}",
            )  # fmt: skip
        table.add_section()
    return table


def responses(results: Results, points: Sequence[Point], title: str) -> Table:
    """Tabulate all methods in some scenarios, and compare ours with the best online heuristic."""
    table = new_table(title, "method", *(point.name for point in points))
    names = dict.fromkeys(name for point in points for name in results.methods(point))
    for method in names:
        table.add_row(label(method), *(interval(results.mean(point, method)) for point in points))
    table.add_section()
    best = [results.best_online(point) for point in points]
    table.add_row("best online heuristic", *map(label, best))
    for method in (POINTER, POINTER_SRR):
        if method in names:
            cells = [results.change(p, method, b) for p, b in zip(points, best, strict=True)]
            table.add_row(f"{method} to it", *map(_percent, cells))
    table.add_section()
    for method in (*dict.fromkeys(best), POINTER):
        cells = [results.mean(point, method, "ratio_to_bound") for point in points]
        table.add_row(f"{label(method)}, to the bound", *map(short, cells))
    return table
