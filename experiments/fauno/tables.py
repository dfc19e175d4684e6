"""Make the tables of the FAuNO study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from rich.table import Table

from edge_marl.experiments.fauno import paper
from edge_marl.experiments.fauno.config import Cell
from edge_marl.experiments.fauno.disagreement import FROM_ORACLE, OWN, SAME
from edge_marl.experiments.fauno.methods import (
    DISAGREEING,
    GROUPS,
    METHODS,
    NOISES,
    ORACLE,
    Group,
)
from edge_marl.experiments.fauno.results import FINISHED, LOSSES, RESPONSE, Results, label
from edge_marl.experiments.publish import interval, new_table, short
from edge_marl.graph_offloading.heuristics import HEURISTICS

_ticks = partial(interval, form=".0f")
_signed = partial(interval, form="+.3f")

_LEAST_QUEUES = "least_queues"
_METRICS = {FINISHED: "ratio of finished tasks", RESPONSE: "response in ticks"}


def all_tables(results: Results) -> list[Table]:
    """Return all tables, in the order of the page."""
    config = results.config
    cells, tables = config.cells(), []
    graphs = [
        (where, some)
        for where, is_random in (("Ether", False), ("random graphs", True))
        if (some := [cell for cell in cells if cell.is_random is is_random])
    ]
    if "main" in config.settings:
        tables.append(least_queues(results, cells))
        for where, some in graphs:
            tables += [finished(results, some, where), response(results, some, where)]
    for setting in config.settings:
        group = GROUPS.get(setting)
        if group is None:
            continue
        if group.cells:
            tables += [in_one_cell(results, group, cell) for cell in group.cells]
            if setting == "disagreement":
                tables.append(disagreement(results))
            if setting == "privacy":
                tables.append(privacy(results))
            continue
        for where, some in graphs:
            tables += [in_cells(results, group, some, where, metric) for metric in _METRICS]
    return tables


def least_queues(results: Results, cells: Sequence[Cell]) -> Table:
    """Compare Least Queues with the paper's (Tables 2 to 5), by which the world is checked."""
    table = new_table("Least Queues, here and in the paper", "topology, lambda", "offered load",
                   "finished", "the paper's", "response, ticks", "the paper's")  # fmt: skip
    for cell in cells:
        table.add_row(
            cell.title,
            short(results.mean(cell, _LEAST_QUEUES, "offered_load")),
            interval(results.mean(cell, _LEAST_QUEUES)),
            _given(paper.LEAST_QUEUES, FINISHED, cell),
            _ticks(results.mean(cell, _LEAST_QUEUES, RESPONSE)),
            _given(paper.LEAST_QUEUES, RESPONSE, cell),
        )
    return table


def finished(results: Results, cells: Sequence[Cell], where: str) -> Table:
    """Make Tables 2 and 4: the ratio of finished tasks, and comparisons paired by episode."""
    table = new_table(
        f"Tables 2 and 4, {where}: ratio of finished tasks", "method", *_titles(cells)
    )
    for method in _played(results, cells):
        table.add_row(label(method), *(interval(results.mean(cell, method)) for cell in cells))
    table.add_section()
    _add_papers(table, FINISHED, cells)
    table.add_section()
    loads = (results.mean(cell, _LEAST_QUEUES, "offered_load") for cell in cells)
    table.add_row("offered load", *map(short, loads))
    best = [results.best_triage(cell) for cell in cells]
    table.add_row("best triage rule", *map(label, best))
    for method in results.config.methods:
        found = (results.while_learning(cell, method) for cell in cells)
        table.add_row(f"{method}, while learning", *map(interval, found))
    table.add_section()
    for method in results.config.methods:
        for name, others in (
            ("Least Queues", [_LEAST_QUEUES] * len(cells)), ("the best triage rule", best),
        ):  # fmt: skip
            changes = [
                results.difference(cell, method, other)
                for cell, other in zip(cells, others, strict=True)
            ]
            table.add_row(f"{method} minus {name}", *map(_signed, changes))
    return table


def response(results: Results, cells: Sequence[Cell], where: str) -> Table:
    """Make Tables 3 and 5: the response time of finished tasks."""
    table = new_table(f"Tables 3 and 5, {where}: response in ticks", "method", *_titles(cells))
    for method in _played(results, cells):
        found = (results.mean(cell, method, RESPONSE) for cell in cells)
        table.add_row(label(method), *map(_ticks, found))
    table.add_section()
    _add_papers(table, RESPONSE, cells)
    return table


def in_cells(
    results: Results, group: Group, cells: Sequence[Cell], where: str, metric: str
) -> Table:
    """Compare a group's methods in several cells, with the paper's beside them."""
    what = _METRICS[metric]
    table = new_table(f"{group.title}, {where}: {what}", "method", *_titles(cells))
    form = interval if metric == FINISHED else _ticks
    for method in (*group.beside, *group.methods):
        found = (results.mean(cell, method, metric) for cell in cells)
        table.add_row(label(method), *map(form, found))
    table.add_section()
    for method in group.methods:
        found = (results.while_learning(cell, method, metric) for cell in cells)
        table.add_row(f"{method}, while learning", *map(form, found))
    table.add_section()
    for method, name in group.papers.items():
        given = (_given(name, metric, cell, group.tables) for cell in cells)
        table.add_row(f"{method}, the paper's", *given)
    if metric == FINISHED:
        table.add_section()
        for reference in group.beside:
            for method in group.methods:
                found = (results.difference(cell, method, reference) for cell in cells)
                table.add_row(f"{method} minus {label(reference)}", *map(_signed, found))
    return table


def in_one_cell(results: Results, group: Group, cell: Cell) -> Table:
    """Compare a group's methods where they all are, with the first that stands beside them."""
    reference = group.beside[0]
    table = new_table(
        f"{group.title}, {cell.title}", "method", "finished", f"minus {label(reference)}",
        "response, ticks", "refused", "expired", "failed",
    )  # fmt: skip
    for method in (*group.beside, *group.methods):
        counts = (results.mean(cell, method, name) for name in LOSSES)
        created = results.mean(cell, method, "created")
        shares = (
            "-" if count is None or created is None else f"{count.value / created.value:.3f}"
            for count in counts
        )
        change = None if method == reference else results.difference(cell, method, reference)
        table.add_row(
            label(method), interval(results.mean(cell, method, FINISHED)), _signed(change),
            _ticks(results.mean(cell, method, RESPONSE)), *shares,
        )  # fmt: skip
    return table


def disagreement(results: Results) -> Table:
    """Make Tables 6 and 7: how far critics are from one another."""
    table = new_table(
        "Tables 6 and 7: disagreement of critics by share of lost updates", "method",
        "own states (17)", "the paper's", "the same states", "from one critic for all",
        "the paper's",
    )  # fmt: skip
    for lost, method in DISAGREEING.items():
        own, apart = paper.disagreement(lost)
        readings = [results.disagreement(method, name) for name in (OWN, SAME, FROM_ORACLE)]
        table.add_row(
            method, interval(readings[0]), own, interval(readings[1]), interval(readings[2]), apart
        )
    same = [interval(results.disagreement(ORACLE, name)) for name in (OWN, SAME)]
    table.add_row(ORACLE, same[0], "", same[1], "", "")
    return table


def privacy(results: Results) -> Table:
    """Say what the noise on versions is worth to a client."""
    from edge_marl.algorithms.federation.privacy import DELTA

    table = new_table("what noise is worth", "method", f"a client's epsilon, delta {DELTA:g}")
    for method in NOISES:
        table.add_row(method, f"{results.epsilon(method):.1f}")
    return table


def _played(results: Results, cells: Sequence[Cell]) -> Iterator[str]:
    """Yield the methods that were played in any of the cells, without variants."""
    played = {name for cell in cells for name in results.methods(cell)}
    yield from (name for name in (*HEURISTICS, *METHODS) if name in played)


def _add_papers(table: Table, metric: str, cells: Sequence[Cell]) -> None:
    """Add a row for each method of the paper."""
    for method, name in paper.NAMES.items():
        table.add_row(f"{name}, the paper's", *(_given(method, metric, cell) for cell in cells))


def _given(method: str, metric: str, cell: Cell, tables: tuple[int, ...] = ()) -> str:
    """Return what the paper gives for a cell."""
    figures = paper.figures(method, metric, tables)
    form = ".3f" if metric == FINISHED else ".0f"
    return f"{figures[cell]:{form}}" if cell in figures else "-"


def _titles(cells: Sequence[Cell]) -> list[str]:
    return [cell.title for cell in cells]
