"""Evaluate what the study found: response times of all methods in all scenarios, comparisons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_marl.dag_placement.heuristics import HEURISTICS
from edge_marl.experiments import statistics
from edge_marl.experiments.scale.config import Point, StudyConfig
from edge_marl.experiments.scale.features import FEATURES
from edge_marl.experiments.scale.methods import LEARNERS
from edge_marl.experiments.statistics import Estimate
from edge_marl.experiments.study.outcomes import Outcomes
from edge_marl.experiments.study.policies import ENV_STEPS, KIND, METHOD, SEED, TEST, TRAINING

FloatArray = NDArray[np.float64]

PLANNING = ("heft", "cpop")
"""Heuristics that plan whole workflows ahead."""

LABELS = {
    "random": "Random", "round_robin": "Round robin", "least_loaded": "Least loaded",
    "fastest_idle": "Fastest idle", "earliest_finish": "Earliest finish", "locality": "Locality",
    "heft": "HEFT", "cpop": "CPOP",
}  # fmt: skip


def label(method: str) -> str:
    """Return the name of a method in tables and figures."""
    return LABELS.get(method, method)


@dataclass(frozen=True)
class Results:
    """Look up the outcomes of all units by method and scenario."""

    config: StudyConfig
    outcomes: Outcomes

    def methods(self, point: Point) -> list[str]:
        """Return everything played in a scenario: heuristics, then learned ones."""
        played = set(self.outcomes.where(**_test(point))[METHOD])
        return [name for name in (*HEURISTICS, *LEARNERS) if name in played]

    def values(self, point: Point, method: str, metric: str = "response_s") -> FloatArray | None:
        """Return a metric ``[S, K]`` by training and test episode, None if it was not played."""
        return self.outcomes.values(metric, method=method, **_test(point))

    def mean(self, point: Point, method: str, metric: str = "response_s") -> Estimate | None:
        """Average over trainings and episodes; an episode without a value is left out for all."""
        return self.outcomes.mean(metric, method=method, **_test(point))

    def change(self, point: Point, method: str, baseline: str) -> Estimate | None:
        """Compare the mean response time with that of a baseline on the same episodes.

        Returns:
            Their ratio minus 1: below 0 is sooner. Paired by episode, and by training where both
            are trained.
        """
        values, other = self.values(point, method), self.values(point, baseline)
        if values is None or other is None:
            return None
        known = ~(np.isnan(values).any(axis=0) | np.isnan(other).any(axis=0))
        return statistics.relative_change(values[:, known], other[:, known])

    def best_online(self, point: Point) -> str:
        """Return the heuristic without plans that has the lowest mean, in hindsight."""
        means = {
            name: found.value
            for name in HEURISTICS
            if name not in PLANNING and (found := self.mean(point, name)) is not None
        }
        return min(means, key=lambda name: means[name])

    def features(self, point: Point, method: str, name: str) -> FloatArray | None:
        """Return a statistic ``[S, d]`` of the attention feature by training and dimension."""
        labels = {**_test(point), KIND: FEATURES}
        rows = self.outcomes.where(method=method, **labels)
        if rows.empty:
            return None
        table: FloatArray = rows.pivot(index=SEED, columns="dimension", values=name).to_numpy()
        return table

    def curve(self, method: str, metric: str) -> tuple[NDArray[np.int64], FloatArray] | None:
        """Return environment steps ``[P]`` and a metric ``[S, P]`` on validation episodes."""
        return self.outcomes.curve(metric, ENV_STEPS, kind=TRAINING, method=method)

    def records(self) -> list[dict[str, Any]]:
        """Return one flat row per scenario and method."""
        rows = []
        points = [*self.config.points("paper"), *self.config.points("event")]
        for point in sorted(points, key=lambda point: -point.servers):
            for method in self.methods(point):
                found = self.mean(point, method)
                row: dict[str, Any] = {
                    "family": point.family, "scenario": point.name, "servers": point.servers,
                    "method": label(method),
                }  # fmt: skip
                names = ("response_s", "low", "high")
                row |= dict(zip(names, found or (None,) * 3, strict=True))
                for metric in ("ratio_to_bound", "completed", "unfinished", "waits", "decisions",
                               "utilisation", "communication_s"):  # fmt: skip
                    values = self.values(point, method, metric)
                    row[metric] = None if values is None else float(np.nanmean(values))
                rows.append(row)
        return rows


def _test(point: Point) -> dict[str, Any]:
    return {KIND: TEST, "family": point.family, "scenario": point.name}
