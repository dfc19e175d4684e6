"""Reproduce Tables 2 to 8 and 10 to 25 of the FAuNO paper: ``reproduce fauno``.

The study first checks its world: the heuristic Least Queues has to do as in the paper. Then it
trains every method on each topology at each rate, and plays final policies and heuristics on the
same episodes.
"""

from __future__ import annotations

from edge_marl.experiments.fauno import figures, tables
from edge_marl.experiments.fauno.config import ENVIRONMENT, REGIONS, Cell, StudyConfig
from edge_marl.experiments.fauno.disagreement import Disagreement
from edge_marl.experiments.fauno.methods import DISAGREEING, GROUPS, LEARNERS, ORACLE, training_of
from edge_marl.experiments.fauno.results import Results
from edge_marl.experiments.study.engine import Report, Study
from edge_marl.experiments.study.outcomes import Outcomes
from edge_marl.experiments.study.policies import Play
from edge_marl.experiments.study.units import Unit
from edge_marl.graph_offloading.heuristics import HEURISTICS

NOTES = """\
Ratio of finished tasks of all that were created; those in flight at the end of an episode count \
as not finished. Means over trainings and test episodes, with 95% t intervals over both; \
differences are paired by episode. Preset published.
The paper's figures are means over the 40 episodes of one training, learning included; ours are of \
final policies on episodes that nothing was trained or chosen on, but for rows that say "while \
learning", which are means over all episodes of the trainings.
Thresholds of triage rules, and settings of the methods, were chosen on validation episodes."""


def units_of(config: StudyConfig) -> list[Unit]:
    """Return every policy in every cell that it is played in, with its trainings."""
    cells = config.cells()
    # Settings were chosen on trainings with seed 0.
    plays: list[tuple[str, Cell, int]] = [
        (method, cell, seed)
        for seed in range(1, config.seeds + 1)
        for cell in cells
        for method in (config.methods if "main" in config.settings else ())
    ]
    for setting in config.settings:
        if setting not in GROUPS:
            continue
        group = GROUPS[setting]
        seeds = config.ablation_seeds if setting == "ablation" else config.seeds
        plays += [
            (method, cell, seed)
            for seed in range(1, seeds + 1)
            for cell in (group.cells or cells)
            for method in (*group.beside, *group.methods)
            if method in LEARNERS
        ]
    where = dict.fromkeys([*(cells if "main" in config.settings else []),
                           *(cell for _, cell, _ in plays)])  # fmt: skip
    units: list[Unit] = [_play(config, name, cell) for cell in where for name in HEURISTICS]
    units += [_play(config, *play) for play in plays]
    if "disagreement" in config.settings:
        units += [
            _disagreement(config, method, seed)
            for seed in range(1, config.seeds + 1)
            for method in (*DISAGREEING.values(), ORACLE)
        ]
    return list(dict.fromkeys(units))


def _play(config: StudyConfig, method: str, cell: Cell, seed: int | None = None) -> Play:
    return Play(
        ENVIRONMENT,
        config.test(
            cell, {} if seed is None else LEARNERS[method].env(cell.scenario(config.ticks))
        ),
        method,
        None if seed is None else training_of(config, method, cell, seed),
        further=cell.labels,
        cost=2.0 if cell.is_random else 1.0,
    )


def _disagreement(config: StudyConfig, method: str, seed: int) -> Disagreement:
    env = LEARNERS[method].env(REGIONS.scenario(config.ticks))
    return Disagreement(
        ENVIRONMENT, config.test(REGIONS, env), method,
        training_of(config, method, REGIONS, seed), further=REGIONS.labels, cost=5.0,
        oracle=training_of(config, ORACLE, REGIONS, seed),
    )  # fmt: skip


def report(config: StudyConfig, outcomes: Outcomes) -> Report:
    """Return the tables, records and figures of the outcomes."""
    results = Results(config, outcomes)
    drawn = {}
    if "main" in config.settings:
        drawn["finished.png"] = lambda path: figures.ratios(results, path)
        drawn["curves.png"] = lambda path: figures.curves(results, path)
    if "privacy" in config.settings:
        drawn["privacy.png"] = lambda path: figures.privacy(results, path)
    return Report(
        tables.all_tables(results),
        NOTES,
        results.records(),
        drawn,
    )


STUDY = Study(StudyConfig, units_of, report)
