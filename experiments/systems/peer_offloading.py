"""Declare peer offloading (the O2O-DRL paper)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edge_marl.experiments.progress import progress_bar
from edge_marl.experiments.systems.system import (
    Bound,
    Episodes,
    Goal,
    Metrics,
    ScenarioSystem,
)

SUCCESS_RATE = "success_rate"
OF_POSSIBLE = "of_possible"
"""Success rate over its clairvoyant upper bound; NaN where no bound was computed."""

BOUND = "bound (clairvoyant)"
BOUNDED = 10
"""The first episodes of an evaluation, for which the bound is computed."""


class PeerOffloading(ScenarioSystem):
    """Declare peer offloading; policies are judged by the share of tasks that succeed."""

    environment = "peer_offloading_v0"
    module = "edge_marl.envs.peer_offloading_v0"
    goal = Goal(SUCCESS_RATE, higher_is_better=True)
    reported = (SUCCESS_RATE, OF_POSSIBLE, "dropped", "execution_failed", "transmission_failed",
                "delay_p50_s", "delay_p95_s", "offloaded")  # fmt: skip

    def heuristics(self) -> Mapping[str, Any]:
        """Return a factory of every heuristic for peer offloading."""
        from edge_marl.peer_offloading.heuristics import HEURISTICS

        return HEURISTICS

    def bound(self, episodes: Episodes, folder: Path) -> Bound:
        """Compute the clairvoyant bound of the first ``BOUNDED`` episodes."""
        from edge_marl.peer_offloading.bound import success_bound

        scenario = self.scenario(episodes.env_config)
        with progress_bar() as bar:
            seeds = bar.track(episodes.seeds[:BOUNDED].tolist(), description="bound")
            rates = np.array([success_bound(scenario, seed).success_rate for seed in seeds])
        return Bound(BOUND, {SUCCESS_RATE: rates})

    def judged(self, metrics: Metrics, bound: Bound | None) -> Metrics:
        """Add the success rate as a share of its bound, NaN for episodes without one."""
        if bound is None:
            return metrics
        rates = metrics[SUCCESS_RATE]
        possible = np.full(len(rates), np.nan)
        known = bound.metrics[SUCCESS_RATE]
        possible[: len(known)] = known
        return {**metrics, OF_POSSIBLE: rates / possible}
