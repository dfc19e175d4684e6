"""``edge-marl reproduce scale``: Tables 3 to 5 and Figures 5 and 6 of the SCALE paper, and beyond.

The study trains every method at 16 servers, then plays all policies and heuristics in all
scenarios. Finished trainings and tests are kept on disk, so a study that was stopped goes on where
it was, and one that is run again only draws tables and figures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from edge_marl.dag_placement.heuristics import HEURISTICS
from edge_marl.dag_placement.scenario import RecordedWorkflows
from edge_marl.dag_placement.simulator import DagPlacementSimulator
from edge_marl.experiments.machine import provenance
from edge_marl.experiments.parallel import run_tasks
from edge_marl.experiments.progress import progress_bar, stdout
from edge_marl.experiments.publish import as_markdown, write_csv
from edge_marl.experiments.scale import figures
from edge_marl.experiments.scale.config import TRAINED_AT, Family, StudyConfig
from edge_marl.experiments.scale.methods import LEARNERS, POINTER_SRR
from edge_marl.experiments.scale.results import OFFLINE, Results
from edge_marl.experiments.scale.tables import all_tables
from edge_marl.experiments.scale.units import (
    Test,
    Training,
    do_test,
    do_training,
    read_curve,
    read_test,
)
from edge_marl.files import write_aside
from edge_marl.json_files import write_json
from edge_marl.locks import sole_writer

NOTES = """\
response time: equation 1, mean over completed primitives, trainings and test episodes, with 95% \
t intervals over both; lower is better. Comparisons are paired by episode.
The paper's setting: the clock stands still but for invalid actions, communication delays \
nothing, 5 + 5 features, equation 2 as reward. An episode is 200 decisions per 16 servers: who \
waits completes fewer primitives, so read response times beside their number.
Our setting: event time, physical communication, all that arrives in 60 s is completed; the \
reward is minus what is added to response times. Policies place greedily, as in Algorithm 2, \
and draw whether to wait.
Earliest finish waits for a busy server that would be done in less than half the time.
All figures are measured here, except in the rows that are called the paper's."""

Unit = TypeVar("Unit", Training, Test)


def reproduce(config: StudyConfig, out: Path) -> Results:
    """Run what is missing of the study, print its tables and write everything to ``out``."""
    with sole_writer(out):
        return _reproduce(config, out.resolve())  # Ray's workers may work in another folder


def _reproduce(config: StudyConfig, out: Path) -> Results:
    begin = time.perf_counter()
    trainings, tests = trainings_of(config), tests_of(config)
    for point in config.points("event"):
        if isinstance(point.scenario.workflows, RecordedWorkflows):
            DagPlacementSimulator(point.scenario, 1)  # before all is trained: can the file be read?
    _do_missing(config, out, "training", do_training, trainings)
    _do_missing(config, out, "tests", do_test, tests)
    units = out / "units"
    results = Results(
        config,
        {unit: read_test(units / unit.path(config)) for unit in tests},
        {(u.method, u.seed): read_curve(units / u.path(config)) for u in trainings},
    )
    console = stdout()
    tables = all_tables(results)
    for table in tables:
        console.print(table)
    console.print(NOTES, soft_wrap=True)
    write_aside(out / "tables.md", "\n".join([*map(as_markdown, tables), NOTES, ""]))
    figures.curves(results, out / "figure6.png")
    figures.scales(results, "paper", out / "figure5.png")
    figures.scales(results, "event", out / "sizes.png")
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


def trainings_of(config: StudyConfig) -> list[Training]:
    """All trainings, one seed of every method after the other."""
    return [Training(name, seed) for seed in range(config.seeds) for name in LEARNERS]


def tests_of(config: StudyConfig) -> list[Test]:
    """Every policy in every scenario that it can be played in; the longest first."""
    families: tuple[Family, ...] = ("paper", "event")
    tests = []
    for family in families:
        for point in config.points(family):
            # Plans of the offline heuristics take minutes at a thousand servers.
            tests += [
                Test(name, 0, point)
                for name in HEURISTICS
                if name not in OFFLINE or point.servers <= 256
            ]
            tests += [
                Test(name, seed, point)
                for name, learner in LEARNERS.items()
                if learner.family == family
                and (learner.any_size or point.servers == TRAINED_AT)
                # What SRR does is seen at the sizes; elsewhere it would only take as long again.
                and (name != POINTER_SRR or point.name.isdigit())
                for seed in range(config.seeds)
            ]
    return sorted(tests, key=lambda unit: -unit.point.servers)


def _do_missing(
    config: StudyConfig,
    out: Path,
    name: str,
    do: Callable[[StudyConfig, Unit, str], None],
    units: Sequence[Unit],
) -> None:
    missing = [unit for unit in units if not (out / "units" / unit.path(config)).exists()]
    arguments: list[tuple[Any, ...]] = [(config, unit, str(out)) for unit in missing]
    with progress_bar() as bar:
        shown = bar.add_task(name, total=len(units), completed=len(units) - len(missing))
        for _ in run_tasks(do, arguments, workers=config.workers):
            bar.advance(shown)
