"""Evaluate what the study found: costs of all policies in all settings, comparisons, bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_marl.cooperative_offloading import HEURISTICS, CooperativeScenario
from edge_marl.cooperative_offloading.bound import EpisodeBounds, clairvoyant_bound
from edge_marl.experiments import statistics
from edge_marl.experiments.cto_tp.config import Setting, StudyConfig, episodes_of
from edge_marl.experiments.cto_tp.methods import METRICS
from edge_marl.experiments.statistics import Estimate
from edge_marl.experiments.study.outcomes import Outcomes
from edge_marl.experiments.study.policies import (
    ENV_STEPS,
    KIND,
    METHOD,
    SEED,
    TEST,
    TRAINED_S,
    TRAINING,
)

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Results:
    """Look up the outcomes of all units by method and setting."""

    config: StudyConfig
    outcomes: Outcomes
    settings: Sequence[Setting]
    """Of all parts."""

    def methods(self, setting: Setting, trained: Setting | None = None) -> list[str]:
        """Return everything played in a setting: heuristics, then learned ones."""
        played = set(self.outcomes.where(**_test(setting, trained))[METHOD])
        return [name for name in (*HEURISTICS, *self.config.methods) if name in played]

    def values(
        self, setting: Setting, method: str, metric: str = "cost", trained: Setting | None = None
    ) -> FloatArray | None:
        """Return a metric ``[S, K]`` by training and test episode, None if it was not played."""
        return self.outcomes.values(metric, method=method, **_test(setting, trained))

    def mean(
        self, setting: Setting, method: str, metric: str = "cost", trained: Setting | None = None
    ) -> Estimate | None:
        """Average over trainings and episodes."""
        return self.outcomes.mean(metric, method=method, **_test(setting, trained))

    def best_heuristic(self, setting: Setting) -> str:
        """Return the heuristic with the lowest mean cost, in hindsight."""
        means = {
            name: found.value
            for name in HEURISTICS
            if (found := self.mean(setting, name)) is not None
        }
        return min(means, key=lambda name: means[name])

    def change(
        self,
        setting: Setting,
        method: str,
        other: str,
        metric: str = "cost",
        trained: Setting | None = None,
    ) -> Estimate | None:
        """Return by how much a method's mean is above another's, of which it is a share.

        The comparison is paired by episode, and by the seeds of trainings. Both are of the same
        setting, in which the other was trained, too.
        """
        values = self.values(setting, method, metric, trained)
        others = self.values(setting, other, metric)
        if values is None or others is None:
            return None
        return statistics.relative_change(values, others)

    def bound(self, setting: Setting) -> EpisodeBounds:
        """Return the clairvoyant bounds of the test episodes."""
        return _bound(setting, self.config.episodes)

    def curve(self, setting: Setting, method: str) -> tuple[NDArray[np.int64], FloatArray] | None:
        """Return environment steps ``[P]`` and the cost ``[S, P]`` on validation episodes."""
        labels = {KIND: TRAINING, METHOD: method, "setting": setting}
        return self.outcomes.curve("cost", ENV_STEPS, **labels)

    def reached(self, method: str, cost: float) -> list[tuple[float, float]]:
        """Return when trainings in the default setting first had a cost: decisions, seconds.

        Those that never had it are left out.
        """
        rows = self.outcomes.where(kind=TRAINING, method=method, setting="default")
        if rows.empty:
            return []
        found = []
        for _, own in rows.groupby(SEED):
            points = own.groupby(ENV_STEPS)[["cost", TRAINED_S]].mean()
            there = points[points["cost"] <= cost]
            if len(there):
                found.append((float(there.index[0]), float(there[TRAINED_S].iloc[0])))
        return found

    def records(self) -> list[dict[str, Any]]:
        """Return one flat row per setting and method."""
        rows: list[dict[str, Any]] = []
        for setting in self.settings:
            for trained in dict.fromkeys((setting, "default")):
                for method in self.methods(setting, trained):
                    row: dict[str, Any] = {
                        "setting": setting, "trained": trained, "method": method,
                    }  # fmt: skip
                    for metric in METRICS:
                        found = self.mean(setting, method, metric, trained)
                        names = (metric, f"{metric}_low", f"{metric}_high")
                        row |= dict(zip(names, found or (None,) * 3, strict=True))
                    rows.append(row)
            bound = {
                name: float(found.mean()) for name, found in self.bound(setting)._asdict().items()
            }
            rows.append({"setting": setting, "trained": setting, "method": "bound", **bound})
        return rows


@cache
def _bound(setting: Setting, n: int) -> EpisodeBounds:
    episodes = episodes_of(setting, n)
    scenario = CooperativeScenario.model_validate(episodes.env_config["scenario"])
    return clairvoyant_bound(scenario, episodes.seeds)


def _test(setting: Setting, trained: Setting | None) -> dict[str, Any]:
    return {KIND: TEST, "setting": setting, "trained": trained or setting}
