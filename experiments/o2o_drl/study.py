"""``edge-marl reproduce o2o-drl``: Figures 3 to 6 and 8 of the O2O-DRL paper.

The study is a list of units (point, network, method). Finished units are kept on disk, so a study
that was stopped goes on where it was, and one that is run again only draws tables and figures.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from edge_marl.experiments.machine import provenance
from edge_marl.experiments.o2o_drl import figures
from edge_marl.experiments.o2o_drl.config import BASE, Point, StudyConfig
from edge_marl.experiments.o2o_drl.methods import (
    ABLATIONS,
    EVERYWHERE,
    FROM,
)
from edge_marl.experiments.o2o_drl.results import Results, canonical
from edge_marl.experiments.o2o_drl.tables import all_tables
from edge_marl.experiments.o2o_drl.units import (
    BOUND_UNIT,
    HEURISTICS_UNIT,
    Unit,
    do_unit,
    effort,
    read_unit,
)
from edge_marl.experiments.parallel import run_tasks
from edge_marl.experiments.progress import progress_bar, stdout
from edge_marl.experiments.publish import as_markdown, write_csv
from edge_marl.files import write_aside
from edge_marl.json_files import write_json
from edge_marl.locks import sole_writer

NOTES = """\
success rate: equation 9, mean over networks and test episodes, with 95% t intervals over \
both. Differences are paired by episode.
O2O-DRL learns from a log of which RDA and RATC wrote half each, and offline by SAC with CQL, \
unless its name says otherwise; Offline only is what a method is before it goes online. Every \
learned policy draws its actions, as deployed, and is the last of its training.
greedy and reliable see queues of all nodes and decide for all in turn: no node could. \
share of the bound: success rate over the clairvoyant upper bound of the same episodes.
dip: the success rate after one of the first refits is surely below that of the offline policy.
All figures are measured here; the paper prints none, only curves."""


def reproduce(config: StudyConfig, out: Path) -> Results:
    """Run what is missing of the study, print its tables and write everything to ``out``."""
    with sole_writer(out):
        return _reproduce(config, out.resolve())  # Ray's workers may work in another folder


def _reproduce(config: StudyConfig, out: Path) -> Results:
    begin = time.perf_counter()
    results = Results(config, {unit: read_unit(path) for unit, path in _do_all(config, out)})
    console = stdout()
    tables = all_tables(results)
    for table in tables:
        console.print(table)
    console.print(NOTES, soft_wrap=True)
    write_aside(out / "tables.md", "\n".join([*map(as_markdown, tables), NOTES, ""]))
    figures.learning_curve(results, out / "figure3.png")
    figures.heuristics_behind(results, out / "figure4.png")
    for sweep in config.sweeps:
        figures.sweep(results, sweep, out / f"figure-{sweep}.png")
    figures.loads(results, out / "figure-loads.png")
    records = results.records()
    write_csv(records, out / "results.csv")
    seconds = time.perf_counter() - begin
    summary = {
        **provenance(),
        "seconds": round(seconds, 1),
        "configuration": config.model_dump(mode="json"),
        "rows": records,
    }
    write_json(out / "summary.json", summary)
    console.print(f"{out}: tables and figures written in {seconds:.0f} s", soft_wrap=True)
    return results


def units_of(config: StudyConfig) -> list[Unit]:
    """Everything that the study needs, the default point first."""
    swept = [canonical(point) for sweep in config.sweeps for point in config.points(sweep)]
    points = list(dict.fromkeys([BASE, *swept]))
    return [
        Unit(point, network, method)
        for point in points
        for network in config.networks_at(point)
        for method in _methods(config, point)
    ]


def _methods(config: StudyConfig, point: Point) -> Sequence[str]:
    methods = [HEURISTICS_UNIT, *EVERYWHERE]
    if config.bound_episodes > 0:
        methods.append(BOUND_UNIT)
    if point == BASE:
        methods += FROM.values()
        if config.ablations:
            methods += ABLATIONS
    return methods


def _is_extra(unit: Unit) -> bool:
    return unit.method in (*FROM.values(), *ABLATIONS)


def _do_all(config: StudyConfig, out: Path) -> list[tuple[Unit, Path]]:
    """Do every unit whose file is missing; returns all with their files."""
    units = units_of(config)
    paths = {unit: out / "units" / unit.path(config) for unit in units}
    missing = [unit for unit in units if not paths[unit].exists()]
    # Ablations last, and the default point first, whose figures are the headline; of each point the
    # longest.
    missing.sort(key=lambda unit: (_is_extra(unit), unit.point != BASE, -effort(unit)))
    with progress_bar() as bar:
        shown = bar.add_task("study", total=len(units), completed=len(units) - len(missing))
        arguments = [(config, unit, str(out)) for unit in missing]
        for _ in run_tasks(do_unit, arguments, workers=config.workers):
            bar.advance(shown)
    return list(paths.items())
