"""Compare hybrid-action policies with heuristics and bounds: ``edge-marl reproduce cto-tp``.

The paper's figures are not known, so that there are none to stand beside these.
"""

from __future__ import annotations

from edge_marl.cooperative_offloading import HEURISTICS
from edge_marl.experiments.cto_tp import figures, tables
from edge_marl.experiments.cto_tp.config import (
    ENVIRONMENT,
    Setting,
    StudyConfig,
    episodes_of,
)
from edge_marl.experiments.cto_tp.methods import training_of
from edge_marl.experiments.cto_tp.results import Results
from edge_marl.experiments.study.engine import Report, Study
from edge_marl.experiments.study.outcomes import Outcomes
from edge_marl.experiments.study.policies import Play, Training
from edge_marl.experiments.study.units import Unit

NOTES = """\
cost: lambda sum L / sum L* + rho sum E / sum E* of an episode, mean over trainings and test \
episodes, with 95% t intervals over both; lower is better. Comparisons are paired by episode.
Policies act by the most probable choice and the mean of the allocation. Their settings were \
chosen on validation episodes, the best heuristic in hindsight on the test episodes themselves.
bound: no policy can have less, even if it knew all tasks in advance; the bounds of latency and \
energy cannot be reached together, and that of the cost is loose."""


def units_of(config: StudyConfig) -> list[Unit]:
    """Return every policy in every setting, with its trainings."""
    units: list[Unit] = []
    for setting in config.settings:
        units += [_play(config, name, setting) for name in HEURISTICS]
        units += [
            _play(config, method, setting, training_of(config, method, setting, seed))
            for method in config.methods
            for seed in range(config.seeds)
        ]
    return units


def _play(
    config: StudyConfig, method: str, setting: Setting, training: Training | None = None
) -> Play:
    episodes = episodes_of(setting, config.episodes)
    return Play(ENVIRONMENT, episodes, method, training, further={"setting": setting})


def report(config: StudyConfig, outcomes: Outcomes) -> Report:
    """Return the tables, records and figures of the outcomes."""
    results = Results(config, outcomes)
    return Report(
        tables.all_tables(results),
        NOTES,
        results.records(),
        {
            "curves.png": lambda path: figures.curves(results, path),
            "trade.png": lambda path: figures.trade(results, path),
        },
    )


STUDY = Study(StudyConfig, units_of, report)
