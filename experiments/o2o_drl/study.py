"""Reproduce Figures 3 to 6 and 8 of the O2O-DRL paper: ``edge-marl reproduce o2o-drl``.

A learned method is trained separately in every network of each of its points, and played there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_marl.experiments.evaluate.episodes import evaluation_seeds
from edge_marl.experiments.o2o_drl import figures
from edge_marl.experiments.o2o_drl.config import Point, StudyConfig
from edge_marl.experiments.o2o_drl.methods import ENVIRONMENT, LEARNERS, offline_part, training_of
from edge_marl.experiments.o2o_drl.results import BOUND, Results, learned_at, points_of
from edge_marl.experiments.o2o_drl.tables import all_tables
from edge_marl.experiments.study.engine import Report, Study
from edge_marl.experiments.study.outcomes import EPISODE, Outcomes
from edge_marl.experiments.study.policies import KIND, METHOD, SEED, TEST, Play
from edge_marl.experiments.study.units import Columns, Label, Unit
from edge_marl.experiments.systems import system_of
from edge_marl.experiments.systems.system import Episodes

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


@dataclass(frozen=True, eq=False)
class ClairvoyantBound(Unit):
    """Bound the success rates of the first test episodes in a network; the others get NaN."""

    config: StudyConfig
    point: Point
    network: int
    modules = ("edge_marl.peer_offloading.bound",)

    @property
    def labels(self) -> dict[str, Label]:
        """Return labels like those of a policy."""
        of_point = {**self.point.labels, "network": self.network}
        return {KIND: TEST, METHOD: BOUND, SEED: 0, **of_point}

    @property
    def configuration(self) -> Any:
        """Return the scenario, and how many episodes there are and have a bound."""
        scenario = self.point.scenario(self.network).model_dump(mode="json")
        return {"scenario": scenario, "episodes": self.config.episodes,
                "bounded": self.config.bound_episodes}  # fmt: skip

    @property
    def effort(self) -> float:
        """Return the number of nodes."""
        return self.point.scenario(self.network).nodes

    def compute(self, artefacts: Path, needed: Sequence[Path]) -> Columns:
        """Bound the success rates."""
        from edge_marl.peer_offloading.bound import success_bound

        scenario = self.point.scenario(self.network)
        rates = np.full(self.config.episodes, np.nan)
        seeds = evaluation_seeds(self.config.episodes)[: self.config.bound_episodes]
        for k, seed in enumerate(seeds.tolist()):
            rates[k] = success_bound(scenario, seed).success_rate
        return {EPISODE: np.arange(len(rates)), "success_rate": rates}


def units_of(config: StudyConfig) -> list[Unit]:
    """Return everything that the study needs, the default point first."""
    return [
        unit
        for point in points_of(config)
        for network in config.networks_at(point)
        for unit in _units_in(config, point, network)
    ]


def _units_in(config: StudyConfig, point: Point, network: int) -> list[Unit]:
    env_config = {"scenario": point.scenario(network).model_dump()}
    episodes = Episodes(env_config, evaluation_seeds(config.episodes), "")

    def play(method: str, learner: str | None = None, phase: str = "") -> Play:
        training = None if learner is None else training_of(config, point, network, learner)
        further = {**point.labels, "network": network}
        return Play(ENVIRONMENT, episodes, method, training, phase, further)

    units: list[Unit] = [play(name) for name in system_of(ENVIRONMENT).heuristics()]
    for name in learned_at(config, point):
        if LEARNERS[name].logs:
            units.append(play(offline_part(name), name, "offline"))
        units.append(play(name, name, "online"))
    if config.bound_episodes > 0:
        units.append(ClairvoyantBound(config, point, network))
    return units


def report(config: StudyConfig, outcomes: Outcomes) -> Report:
    """Return the tables, records and figures of the outcomes."""
    results = Results(config, outcomes)
    sweeps = {
        f"figure-{sweep}.png": lambda path, sweep=sweep: figures.sweep(results, sweep, path)
        for sweep in config.sweeps
    }
    return Report(
        all_tables(results),
        NOTES,
        results.records(),
        {
            "figure3.png": lambda path: figures.learning_curve(results, path),
            "figure4.png": lambda path: figures.heuristics_behind(results, path),
            **sweeps,
            "figure-loads.png": lambda path: figures.loads(results, path),
        },
    )


STUDY = Study(StudyConfig, units_of, report, replicate="network")
