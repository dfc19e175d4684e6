"""What the study found: response times of all methods in all scenarios, and comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_marl.dag_placement.heuristics import HEURISTICS
from edge_marl.experiments import statistics
from edge_marl.experiments.scale.config import Point, StudyConfig
from edge_marl.experiments.scale.methods import LEARNERS, Metrics
from edge_marl.experiments.scale.units import Test
from edge_marl.experiments.statistics import Estimate

FloatArray = NDArray[np.float64]

OFFLINE = ("heft", "cpop")
"""Heuristics that plan whole workflows ahead."""

LABELS = {
    "random": "Random", "round_robin": "Round robin", "least_loaded": "Least loaded",
    "fastest_idle": "Fastest idle", "earliest_finish": "Earliest finish", "locality": "Locality",
    "heft": "HEFT", "cpop": "CPOP",
}  # fmt: skip


def label(method: str) -> str:
    """A method as tables and figures name it."""
    return LABELS.get(method, method)


@dataclass(frozen=True)
class Results:
    """Outcomes of all units."""

    config: StudyConfig
    tests: Mapping[Test, tuple[Metrics, dict[str, Any] | None]]
    curves: Mapping[tuple[str, int], list[tuple[int, float, float]]]
    """Of a method's training with a seed, see :class:`.methods.Trained`."""

    def methods(self, point: Point) -> list[str]:
        """Everything played in a scenario: heuristics, then learned ones."""
        played = {unit.method for unit in self.tests if unit.point == point}
        return [name for name in (*HEURISTICS, *LEARNERS) if name in played]

    def values(self, point: Point, method: str, metric: str = "response_s") -> FloatArray | None:
        """``[S, K]``: trainings and test episodes; None where the method was not played."""
        found = [
            metrics[metric]
            for unit, (metrics, _) in sorted(self.tests.items(), key=lambda item: item[0].seed)
            if unit.point == point and unit.method == method
        ]
        return np.stack(found) if found else None

    def mean(self, point: Point, method: str, metric: str = "response_s") -> Estimate | None:
        """Over trainings and episodes; those without a value are left out for all."""
        values = self.values(point, method, metric)
        if values is None:
            return None
        known = ~np.isnan(values).any(axis=0)
        return statistics.mean(values[:, known]) if known.any() else None

    def change(self, point: Point, method: str, baseline: str) -> Estimate | None:
        """Mean response time relative to that of a baseline on the same episodes, minus 1.

        Below 0 is sooner. Paired by episode, and by training where both are trained.
        """
        values, other = self.values(point, method), self.values(point, baseline)
        if values is None or other is None:
            return None
        known = ~(np.isnan(values).any(axis=0) | np.isnan(other).any(axis=0))
        return statistics.relative_change(values[:, known], other[:, known])

    def best_online(self, point: Point) -> str:
        """The heuristic without plans that has the lowest mean response time, in hindsight."""
        means = {
            name: found.value
            for name in HEURISTICS
            if name not in OFFLINE and (found := self.mean(point, name)) is not None
        }
        return min(means, key=lambda name: means[name])

    def features(self, point: Point, method: str, name: str) -> FloatArray | None:
        """``[S]`` or ``[S, d]``: a statistic of the attention feature by training."""
        found = [
            features[name]
            for unit, (_, features) in sorted(self.tests.items(), key=lambda item: item[0].seed)
            if unit.point == point and unit.method == method and features is not None
        ]
        return np.array(found) if found else None

    def records(self) -> list[dict[str, Any]]:
        """One flat row per scenario and method."""
        rows = []
        for point in dict.fromkeys(unit.point for unit in self.tests):
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
                    assert values is not None
                    some = not np.isnan(values).all()
                    row[metric] = float(np.nanmean(values)) if some else None
                rows.append(row)
        return rows
