"""Peer offloading (the O2O-DRL paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_marl.experiments.progress import progress_bar
from edge_marl.experiments.systems.system import (
    Bound,
    Episodes,
    Goal,
    Metrics,
    System,
    metrics_of,
)

SUCCESS_RATE = "success_rate"
OF_POSSIBLE = "of_possible"
"""Success rate over its clairvoyant upper bound; NaN where no bound was computed."""

BOUND = "bound (clairvoyant)"
BOUNDED = 10
"""The first episodes of an evaluation, for which the bound is computed."""


class PeerOffloading(System):
    """Nodes that execute each other's tasks; judged by the share of tasks that succeed."""

    environment = "peer_offloading_v0"
    module = "edge_marl.envs.peer_offloading_v0"
    goal = Goal(SUCCESS_RATE, higher_is_better=True)
    reported = (SUCCESS_RATE, OF_POSSIBLE, "dropped", "execution_failed", "transmission_failed",
                "delay_p50_s", "delay_p95_s", "offloaded")  # fmt: skip

    def deciding(self, env_config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the scenario: what the reward is makes no difference to success."""
        return {"scenario": self._scenario(env_config)}

    def heuristics(self) -> Sequence[str]:
        """Return all of them."""
        from edge_marl.peer_offloading.heuristics import HEURISTICS

        return tuple(HEURISTICS)

    def play(self, heuristic: str, episodes: Episodes) -> Metrics:
        """Play a heuristic."""
        from functools import partial

        from edge_marl.peer_offloading import heuristics
        from edge_marl.peer_offloading.simulator import METRICS, PeerOffloadingSimulator
        from edge_marl.simulation import run

        policy = heuristics.heuristic(heuristic)
        make = partial(PeerOffloadingSimulator, self._scenario(episodes.env_config))
        return metrics_of(run(policy, make, episodes.seeds), METRICS)

    def bound(self, episodes: Episodes, folder: Path) -> Bound:
        """Compute the clairvoyant bound of the first episodes."""
        from edge_marl.peer_offloading.bound import success_bound

        scenario = self._scenario(episodes.env_config)
        with progress_bar() as bar:
            seeds = bar.track(episodes.seeds[:BOUNDED].tolist(), description="bound")
            rates = np.array([success_bound(scenario, seed).success_rate for seed in seeds])
        return Bound(BOUND, {SUCCESS_RATE: rates})

    def judged(self, metrics: Metrics, bound: Bound | None) -> Metrics:
        """Add the share of what is possible."""
        if bound is None:
            return metrics
        rates = metrics[SUCCESS_RATE]
        possible = np.full(len(rates), np.nan)
        known = bound.metrics[SUCCESS_RATE]
        possible[: len(known)] = known
        return {**metrics, OF_POSSIBLE: rates / possible}

    def _scenario(self, env_config: Mapping[str, Any]) -> Any:
        config: Any = self.options(env_config)
        return config.scenario
