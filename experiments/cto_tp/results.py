"""Evaluate what the study found: costs of all policies in all settings, comparisons, bounds."""

from __future__ import annotations

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
from edge_marl.experiments.study.policies import ENV_STEPS, KIND, METHOD, TEST, TRAINING

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Results:
    """Look up the outcomes of all units by method and setting."""

    config: StudyConfig
    outcomes: Outcomes

    def methods(self, setting: Setting) -> list[str]:
        """Return everything played in a setting: heuristics, then learned ones."""
        played = set(self.outcomes.where(**_test(setting))[METHOD])
        return [name for name in (*HEURISTICS, *self.config.methods) if name in played]

    def values(self, setting: Setting, method: str, metric: str = "cost") -> FloatArray | None:
        """Return a metric ``[S, K]`` by training and test episode, None if it was not played."""
        return self.outcomes.values(metric, method=method, **_test(setting))

    def mean(self, setting: Setting, method: str, metric: str = "cost") -> Estimate | None:
        """Average over trainings and episodes."""
        return self.outcomes.mean(metric, method=method, **_test(setting))

    def best_heuristic(self, setting: Setting) -> str:
        """Return the heuristic with the lowest mean cost, in hindsight."""
        means = {
            name: found.value
            for name in HEURISTICS
            if (found := self.mean(setting, name)) is not None
        }
        return min(means, key=lambda name: means[name])

    def change(self, setting: Setting, method: str) -> Estimate | None:
        """Compare the mean cost with the best heuristic's; below 0 is better.

        The comparison is paired by episode.
        """
        values = self.values(setting, method)
        other = self.values(setting, self.best_heuristic(setting))
        if values is None or other is None:
            return None
        return statistics.relative_change(values, other)

    def bound(self, setting: Setting) -> EpisodeBounds:
        """Return the clairvoyant bounds of the test episodes."""
        return _bound(setting, self.config.episodes)

    def curve(self, setting: Setting, method: str) -> tuple[NDArray[np.int64], FloatArray] | None:
        """Return environment steps ``[P]`` and the cost ``[S, P]`` on validation episodes."""
        labels = {KIND: TRAINING, METHOD: method, "setting": setting}
        return self.outcomes.curve("cost", ENV_STEPS, **labels)

    def records(self) -> list[dict[str, Any]]:
        """Return one flat row per setting and method."""
        rows: list[dict[str, Any]] = []
        for setting in self.config.settings:
            for method in self.methods(setting):
                row: dict[str, Any] = {"setting": setting, "method": method}
                for metric in METRICS:
                    found = self.mean(setting, method, metric)
                    names = (metric, f"{metric}_low", f"{metric}_high")
                    row |= dict(zip(names, found or (None,) * 3, strict=True))
                rows.append(row)
            bound = {
                name: float(found.mean()) for name, found in self.bound(setting)._asdict().items()
            }
            rows.append({"setting": setting, "method": "bound", **bound})
        return rows


@cache
def _bound(setting: Setting, n: int) -> EpisodeBounds:
    episodes = episodes_of(setting, n)
    scenario = CooperativeScenario.model_validate(episodes.env_config["scenario"])
    return clairvoyant_bound(scenario, episodes.seeds)


def _test(setting: Setting) -> dict[str, Any]:
    return {KIND: TEST, "setting": setting}
