"""Reproduce Tables 3 to 5 and Figures 5 and 6 of the SCALE paper: ``edge-marl reproduce scale``.

The study trains every method at 16 servers, then plays policies and heuristics in all scenarios
that suit them, some of which are not in the paper.
"""

from __future__ import annotations

from edge_marl.dag_placement.heuristics import HEURISTICS
from edge_marl.dag_placement.scenario import RecordedWorkflows
from edge_marl.dag_placement.simulator import DagPlacementSimulator
from edge_marl.experiments.scale import figures, tables
from edge_marl.experiments.scale.config import ENVIRONMENT, TRAINED_AT, Family, Point, StudyConfig
from edge_marl.experiments.scale.features import FeatureStatistics
from edge_marl.experiments.scale.methods import LEARNERS, POINTER_SRR, training_of
from edge_marl.experiments.scale.results import PLANNING, Results
from edge_marl.experiments.study.engine import Report, Study
from edge_marl.experiments.study.outcomes import Outcomes
from edge_marl.experiments.study.policies import Play
from edge_marl.experiments.study.units import Unit

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

_FAMILIES: tuple[Family, ...] = ("paper", "event")


def units_of(config: StudyConfig) -> list[Unit]:
    """Return every policy in every scenario that it can be played in, with its trainings."""
    units: list[Unit] = []
    for family in _FAMILIES:
        for point in config.points(family):
            # Plans of the offline heuristics take minutes at a thousand servers.
            units += [
                _play(config, name, point)
                for name in HEURISTICS
                if name not in PLANNING or point.servers <= 256
            ]
            units += [
                unit
                for name in LEARNERS
                if _is_played(name, point)
                for seed in range(config.seeds)
                for unit in _learned(config, name, seed, point)
            ]
    return units


def _is_played(method: str, point: Point) -> bool:
    learner = LEARNERS[method]
    return (
        learner.family == point.family
        and (learner.any_size or point.servers == TRAINED_AT)
        # The sizes show what SRR does; elsewhere it would only take as long again.
        and (method != POINTER_SRR or point.is_size)
    )


def _play(config: StudyConfig, method: str, point: Point, seed: int | None = None) -> Play:
    return Play(
        ENVIRONMENT,
        point.episodes(config.test_episodes(point)),
        method,
        None if seed is None else training_of(config, method, seed),
        further={"family": point.family, "scenario": point.name, "servers": point.servers},
        cost=point.servers,
    )


def _learned(config: StudyConfig, method: str, seed: int, point: Point) -> list[Unit]:
    play = _play(config, method, point, seed)
    if LEARNERS[method].any_size and point.is_size:
        return [play, FeatureStatistics(play)]
    return [play]


def check(config: StudyConfig) -> None:
    """Refuse recorded workflows that cannot be read, before anything is trained."""
    for point in config.points("event"):
        if isinstance(point.scenario.workflows, RecordedWorkflows):
            DagPlacementSimulator(point.scenario, 1)


def report(config: StudyConfig, outcomes: Outcomes) -> Report:
    """Return the tables, records and figures of the outcomes."""
    results = Results(config, outcomes)
    return Report(
        tables.all_tables(results),
        NOTES,
        results.records(),
        {
            "figure6.png": lambda path: figures.curves(results, path),
            "figure5.png": lambda path: figures.scales(results, "paper", path),
            "sizes.png": lambda path: figures.scales(results, "event", path),
        },
    )


STUDY = Study(StudyConfig, units_of, report, check)
