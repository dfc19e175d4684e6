"""Evaluate what the study found: success rates of all methods at all points, and comparisons."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_marl.experiments import statistics
from edge_marl.experiments.o2o_drl.config import BASE, SWEEPS, Point, StudyConfig, Sweep
from edge_marl.experiments.o2o_drl.methods import (
    ABLATIONS,
    EVERYWHERE,
    FIRST_REFITS,
    FROM,
    HEURISTICS,
    LEARNERS,
    ONLINE,
    offline_part,
)
from edge_marl.experiments.statistics import Estimate
from edge_marl.experiments.study.outcomes import EPISODE, Outcomes
from edge_marl.experiments.study.policies import ITERATION, KIND, METHOD, PHASE, TEST, TRAINING
from edge_marl.peer_offloading.heuristics import HEURISTICS as IN_ORDER

BOUND = "clairvoyant bound"

FloatArray = NDArray[np.float64]


def label(method: str) -> str:
    """Return the name of a method in tables and figures."""
    return HEURISTICS.get(method, method)


def baselines(method: str) -> tuple[str, ...]:
    """Return what a form of O2O-DRL has to beat at every point."""
    return ("ratc", "rda", offline_part(method), ONLINE)


def learned_at(config: StudyConfig, point: Point) -> list[str]:
    """Return the methods that learn at a point."""
    if point != BASE:
        return [*EVERYWHERE]
    return [*EVERYWHERE, *FROM.values(), *(ABLATIONS if config.ablations else ())]


def points_of(config: StudyConfig) -> list[Point]:
    """Return every point once, the default scenario first."""
    swept = [canonical(point) for sweep in config.sweeps for point in config.points(sweep)]
    return list(dict.fromkeys([BASE, *swept]))


@dataclass(frozen=True)
class Results:
    """Look up the outcomes of all units by method and point."""

    config: StudyConfig
    outcomes: Outcomes

    def points(self, sweep: Sweep) -> list[Point]:
        """Return the points of a panel; the default scenario stands for what is equal to it."""
        return [canonical(point) for point in self.config.points(sweep)]

    def values(self, point: Point, method: str, metric: str = "success_rate") -> FloatArray | None:
        """Return a metric ``[S, K]`` by network and test episode, None if it was not played."""
        return self.outcomes.values(metric, kind=TEST, method=method, **point.labels)

    def rate(self, point: Point, method: str) -> Estimate | None:
        """Average the success rate over networks and episodes that have one in every network."""
        values = self.values(point, method)
        return None if values is None else statistics.mean(values[:, ~np.isnan(values).any(axis=0)])

    def gain(self, point: Point, method: str, baseline: str) -> Estimate | None:
        """Average the difference of success rates on the same episodes of the same networks."""
        differences = self._differences(point, method, baseline)
        return None if differences is None else statistics.mean(differences)

    def loads(self) -> FloatArray:
        """Return the offered loads ``[S]`` of the networks of all points but the testbed's.

        Nodes of the testbed accept far more tasks before they refuse further ones.
        """
        found = [p.offered_load(k) for p in self._simulated() for k in self.config.networks_at(p)]
        return np.array(found)

    def gains(self, method: str, baseline: str) -> FloatArray | None:
        """Return the differences ``[S, K]`` of success rates in the networks of :meth:`loads`."""
        found = [self._differences(point, method, baseline) for point in self._simulated()]
        known = [differences for differences in found if differences is not None]
        return np.concatenate(known) if len(known) == len(found) else None

    def _differences(self, point: Point, method: str, baseline: str) -> FloatArray | None:
        values, other = self.values(point, method), self.values(point, baseline)
        return None if values is None or other is None else values - other

    def _simulated(self) -> list[Point]:
        return [point for point in self.all_points() if point.sweep != "testbed"]

    def share_of_possible(self, point: Point, method: str) -> Estimate | None:
        """Average the success rate over the clairvoyant bound, on the episodes with a bound."""
        values, bound = self.values(point, method), self.values(point, BOUND)
        if values is None or bound is None:
            return None
        known = ~np.isnan(bound).any(axis=0)
        return statistics.mean(values[:, known] / bound[:, known])

    def curves(self, method: str) -> dict[str, tuple[NDArray[np.int64], FloatArray]]:
        """Return success rates on validation episodes at the default point, by phase.

        Returns:
            Gradient steps (offline) or episodes (online) ``[P]``, and rates ``[S, P]``.
        """
        rates = self._validation(BASE, method)
        if "offline" in rates and "online" in rates:  # it begins where the other ends
            last = max(rates["offline"])
            rates["online"] = {last: rates["offline"][last], **rates["online"]}
        scenario = BASE.scenario(0)
        updates = max(1, self.config.offline_updates // 5)
        episodes = self.config.episodes_at_a_time(scenario)
        n_offline = len(rates.get("offline", ()))
        curves = {}
        for phase, by_iteration in rates.items():
            means = {k: found.mean(axis=1) for k, found in by_iteration.items()}
            if phase == "offline":
                x = [min(k * updates, self.config.offline_updates) for k in means]
            else:
                x = [(k - n_offline) * episodes for k in means]
            curves[phase] = (np.array(x), np.stack(list(means.values()), axis=1))
        return curves

    def hand_overs(self, point: Point, method: str) -> list[Estimate]:
        """Return, after each of the first refits, success rate minus that of the offline policy."""
        rates = self._validation(point, method)
        if "offline" not in rates or "online" not in rates:
            return []
        before = list(rates["offline"].values())[-1]
        first = list(rates["online"].values())[:FIRST_REFITS]
        return [statistics.mean(after - before) for after in first]

    def _validation(self, point: Point, method: str) -> dict[str, dict[int, FloatArray]]:
        """Return success rates ``[S, K]`` on validation episodes, by phase, then by iteration."""
        rows = self.outcomes.where(kind=TRAINING, method=method, **point.labels)
        found: dict[str, dict[int, FloatArray]] = {}
        for (iteration, phase), some in rows.groupby([ITERATION, PHASE]):
            table = some.pivot(index="network", columns=EPISODE, values="success_rate")
            found.setdefault(str(phase), {})[int(iteration)] = table.to_numpy()
        return found

    def records(self) -> list[dict[str, Any]]:
        """Return one flat row per point and method, without the bound."""
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
        """Return every point once, the default scenario first."""
        return points_of(self.config)

    def methods(self, point: Point) -> list[str]:
        """Return everything played at a point."""
        played = set(self.outcomes.where(**{KIND: TEST, **point.labels})[METHOD])
        learned = [
            name
            for method in learned_at(self.config, point)
            for name in ([offline_part(method)] if LEARNERS[method].logs else []) + [method]
        ]
        return [name for name in (*IN_ORDER, *learned, BOUND) if name in played]


def canonical(point: Point) -> Point:
    """Return :data:`BASE` for the default scenario, on whatever axis, or else the point itself."""
    return BASE if point.is_default() else point


def value_on(sweep: Sweep, point: Point) -> float:
    """Return where a point lies on the axis of a panel."""
    return next(p.value for p in SWEEPS[sweep].points if canonical(p) == point)


def holds(gains: Iterable[Estimate | None]) -> str:
    """Say in words whether all known gains are above zero, and whether surely."""
    known = [gain for gain in gains if gain is not None]
    if not known:
        return "unknown"
    if all(gain.surely_above_zero for gain in known):
        return "yes"
    if all(gain.value > 0 for gain in known):
        return "yes, not surely"
    return "no"
