"""Compare CTO-TP with its parts, others and bounds: ``edge-marl reproduce cto-tp``."""

from __future__ import annotations

from edge_marl.cooperative_offloading import HEURISTICS
from edge_marl.experiments.cto_tp import figures, tables
from edge_marl.experiments.cto_tp.config import (
    ENVIRONMENT,
    INTERVALS,
    MOVED,
    Setting,
    StudyConfig,
    episodes_of,
)
from edge_marl.experiments.cto_tp.methods import exchanging, play_of
from edge_marl.experiments.cto_tp.results import Results
from edge_marl.experiments.study.engine import Report, Study
from edge_marl.experiments.study.outcomes import Outcomes
from edge_marl.experiments.study.policies import Play
from edge_marl.experiments.study.units import Unit

NOTES = """\
cost: lambda sum L / sum L* + rho sum E / sum E* of an episode, mean over trainings and test \
episodes, with 95% t intervals over both; lower is better. Comparisons are paired by episode.
Policies act by the most probable or best choice and the mean of the allocation. Their settings \
were chosen on validation episodes, the best heuristic in hindsight on the test episodes \
themselves.
bound: no policy can have less, even if it knew all tasks in advance; the bounds of latency and \
energy cannot be reached together, and that of the cost is loose.
The paper's 80% and 87% are less latency and energy than baselines that it does not describe."""


def units_of(config: StudyConfig) -> list[Unit]:
    """Return every policy in every setting, with its trainings."""
    seeds = range(config.seeds)
    units: list[Unit] = [
        _heuristic(config, name, setting) for setting in _settings(config) for name in HEURISTICS
    ]
    if "main" in config.parts:
        units += [
            play_of(config, method, setting, seed)
            for setting in config.settings
            for seed in seeds
            for method in config.methods
        ]
    if "moved" in config.parts:
        units += [
            play_of(config, method, setting, seed, trained="default")
            for setting in MOVED
            for seed in seeds
            for method in config.methods
        ]
    if "exchange" in config.parts:
        units += [exchanging(config, n, seed) for n in INTERVALS for seed in seeds]
    return list(dict.fromkeys(units))


def _settings(config: StudyConfig) -> list[Setting]:
    """Return the settings of all parts."""
    main = config.settings if "main" in config.parts else ()
    return list(dict.fromkeys([*main, *(MOVED if "moved" in config.parts else ())]))


def _heuristic(config: StudyConfig, name: str, setting: Setting) -> Play:
    episodes = episodes_of(setting, config.episodes)
    return Play(ENVIRONMENT, episodes, name, further={"setting": setting, "trained": setting})


def report(config: StudyConfig, outcomes: Outcomes) -> Report:
    """Return the tables, records and figures of the outcomes."""
    results = Results(config, outcomes, _settings(config))
    drawn = {}
    if "main" in config.parts:
        drawn["curves.png"] = lambda path: figures.curves(results, path)
        drawn["trade.png"] = lambda path: figures.trade(results, path)
    if "exchange" in config.parts:
        drawn["exchange.png"] = lambda path: figures.exchange(results, path)
    return Report(tables.all_tables(results), NOTES, results.records(), drawn)


STUDY = Study(StudyConfig, units_of, report)
