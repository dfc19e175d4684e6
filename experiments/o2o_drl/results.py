"""What the study found: success rates of all methods at all points, and comparisons of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_marl.experiments import statistics
from edge_marl.experiments.o2o_drl.config import BASE, SWEEPS, Point, StudyConfig, Sweep
from edge_marl.experiments.o2o_drl.methods import HEURISTICS, ONLINE, Outcome, offline_part
from edge_marl.experiments.o2o_drl.units import BOUND, Unit
from edge_marl.experiments.statistics import Estimate

FloatArray = NDArray[np.float64]


def label(method: str) -> str:
    """A method as tables and figures name it."""
    return HEURISTICS.get(method, method)


def baselines(method: str) -> tuple[str, ...]:
    """What a form of O2O-DRL has to beat at every point."""
    return ("ratc", "rda", offline_part(method), ONLINE)


@dataclass(frozen=True)
class Results:
    """Outcomes of all units."""

    config: StudyConfig
    outcomes: Mapping[Unit, Outcome]

    def points(self, sweep: Sweep) -> list[Point]:
        """Points of a panel, where the default scenario stands for what is equal to it."""
        return [canonical(point) for point in self.config.points(sweep)]

    def values(self, point: Point, method: str, metric: str = "success_rate") -> FloatArray | None:
        """``[S, K]``: networks and test episodes; None where the method was not played."""
        found = [
            outcome.test[method][metric]
            for unit, outcome in sorted(self.outcomes.items(), key=lambda item: item[0].network)
            if unit.point == point and method in outcome.test and metric in outcome.test[method]
        ]
        return np.stack(found) if found else None

    def rate(self, point: Point, method: str) -> Estimate | None:
        """Mean success rate over networks and episodes, those that have one."""
        values = self.values(point, method)
        return None if values is None else statistics.mean(values[:, ~np.isnan(values).any(axis=0)])

    def gain(self, point: Point, method: str, baseline: str) -> Estimate | None:
        """Mean difference of success rates on the same episodes of the same networks."""
        differences = self._differences(point, method, baseline)
        return None if differences is None else statistics.mean(differences)

    def loads(self) -> FloatArray:
        """Offered loads ``[S]`` of the networks of all points but the testbed's, whose nodes close
        much later."""
        found = [p.offered_load(k) for p in self._simulated() for k in self.config.networks_at(p)]
        return np.array(found)

    def gains(self, method: str, baseline: str) -> FloatArray | None:
        """``[S, K]`` differences of success rates, in the networks of :meth:`loads`."""
        found = [self._differences(point, method, baseline) for point in self._simulated()]
        known = [differences for differences in found if differences is not None]
        return np.concatenate(known) if len(known) == len(found) else None

    def _differences(self, point: Point, method: str, baseline: str) -> FloatArray | None:
        values, other = self.values(point, method), self.values(point, baseline)
        return None if values is None or other is None else values - other

    def _simulated(self) -> list[Point]:
        return [point for point in self.all_points() if point.sweep != "testbed"]

    def share_of_possible(self, point: Point, method: str) -> Estimate | None:
        """Success rate over the clairvoyant bound, on the episodes with a bound."""
        values, bound = self.values(point, method), self.values(point, BOUND)
        if values is None or bound is None:
            return None
        known = ~np.isnan(bound).any(axis=0)
        return statistics.mean(values[:, known] / bound[:, known])

    def curves(self, method: str) -> dict[str, tuple[NDArray[np.int64], FloatArray]]:
        """Phase: steps ``[P]``, and success rates ``[S, P]`` on validation at the default point."""
        found = [
            outcome.curve
            for unit, outcome in self.outcomes.items()
            if unit.point == BASE and unit.method == method and outcome.curve
        ]
        curves = {}
        for phase in dict.fromkeys(phase for phase, _, _ in (found[0] if found else ())):
            parts = [[(x, y) for p, x, y in curve if p == phase] for curve in found]
            steps = np.array([x for x, _ in parts[0]])
            curves[phase] = (steps, np.array([[y for _, y in part] for part in parts]))
        return curves

    def hand_overs(self, point: Point, method: str) -> list[Estimate]:
        """After each of the first refits: success rate minus that of the offline policy."""
        found = [
            np.array(outcome.hand_over)
            for unit, outcome in self.outcomes.items()
            if unit.point == point and unit.method == method and outcome.hand_over
        ]
        if not found:
            return []
        rates = np.stack(found)  # [S, 1 + refits, K]
        return [statistics.mean(rates[:, i] - rates[:, 0]) for i in range(1, rates.shape[1])]

    def records(self) -> list[dict[str, Any]]:
        """One flat row per point and method."""
        rows = []
        for point in self.all_points():
            for method in self.methods(point):
                rate = self.rate(point, method)
                if rate is None or method == BOUND:
                    continue
                row: dict[str, Any] = {
                    "sweep": point.sweep, "value": point.value, "method": label(method),
                    "success_rate": rate.value, "low": rate.low, "high": rate.high,
                }  # fmt: skip
                for metric in ("dropped", "execution_failed", "transmission_failed", "delay_p50_s",
                               "delay_p95_s", "utilisation", "offloaded"):  # fmt: skip
                    values = self.values(point, method, metric)
                    row[metric] = None if values is None else float(np.nanmean(values))
                share = self.share_of_possible(point, method)
                row["share_of_possible"] = None if share is None else share.value
                rows.append(row)
        return rows

    def all_points(self) -> list[Point]:
        """Every point once, the default scenario first."""
        swept = [point for sweep in self.config.sweeps for point in self.points(sweep)]
        return list(dict.fromkeys([BASE, *swept]))

    def methods(self, point: Point) -> list[str]:
        """Everything played at a point."""
        return list(
            dict.fromkeys(
                method
                for unit, outcome in self.outcomes.items()
                if unit.point == point
                for method in outcome.test
            )
        )


def canonical(point: Point) -> Point:
    """The default scenario once, though it lies on several axes."""
    return BASE if point.is_default() else point


def value_on(sweep: Sweep, point: Point) -> float:
    """Where a point lies on the axis of a panel."""
    return next(p.value for p in SWEEPS[sweep].points if canonical(p) == point)


def holds(gains: Iterable[Estimate | None]) -> str:
    """In words: is a gain above zero, and how surely?"""
    known = [gain for gain in gains if gain is not None]
    if all(gain.surely_above_zero for gain in known):
        return "yes"
    if all(gain.value > 0 for gain in known):
        return "yes, not surely"
    return "no"
