"""Checkpoints, heuristics and the clairvoyant bound on the same episodes of peer offloading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_marl.experiments.evaluate.batched import BatchedEvaluation
from edge_marl.experiments.evaluate.report import Headline, Played
from edge_marl.experiments.progress import progress_bar
from edge_marl.experiments.training.checkpoints import Checkpoint
from edge_marl.oracle.offloading_bound import success_bound
from edge_marl.peer_offloading.evaluation import run
from edge_marl.peer_offloading.heuristics import HEURISTICS, heuristic
from edge_marl.peer_offloading.scenario import OffloadingScenario
from edge_marl.peer_offloading.simulator import METRICS

SUCCESS_RATE = "success_rate"
OF_POSSIBLE = "of_possible"
"""Success rate over its clairvoyant upper bound; NaN where no bound was computed."""

BOUND = "bound (clairvoyant)"
BOUNDED = 10
"""The first episodes of an evaluation, for which the bound is computed."""

REPORTED = (SUCCESS_RATE, "dropped", "execution_failed", "transmission_failed", "delay_p50_s",
            "delay_p95_s", "offloaded")  # fmt: skip
"""Of the environment's metrics, those that a person compares policies by."""

Metrics = Mapping[str, NDArray[Any]]


def play_heuristics(scenario: OffloadingScenario, seeds: NDArray[np.int64]) -> dict[str, Metrics]:
    """Every heuristic on the same episodes, ``[K]`` by name of the metric."""
    found: dict[str, Metrics] = {}
    for name in HEURISTICS:
        results = run(heuristic(name), scenario, seeds)
        found[name] = {metric: getattr(results, metric) for metric in METRICS}
    return found


class OffloadingEvaluation(BatchedEvaluation):
    """Everything played on episodes of one scenario; tested against the best heuristic."""

    def __init__(
        self, checkpoints: Sequence[Checkpoint], on: str | None, episodes: int | None
    ) -> None:
        super().__init__(checkpoints, on, episodes)
        self.headline = Headline(
            SUCCESS_RATE, True, reference=BOUND, shown=(OF_POSSIBLE, *REPORTED[1:])
        )

    def play(self, out: Path) -> list[Played]:
        """Play everything; bounds are of the first episodes only."""
        scenario = _scenario(self.checkpoints[0])
        with progress_bar() as bar:
            bounded = bar.track(self.seeds[:BOUNDED].tolist(), description="bound")
            bounds = np.array([success_bound(scenario, seed).success_rate for seed in bounded])
        every_bound = np.full(len(self.seeds), np.nan)
        every_bound[: len(bounds)] = bounds

        def judged(metrics: Metrics) -> Metrics:
            return {**metrics, OF_POSSIBLE: metrics[SUCCESS_RATE] / every_bound}

        heuristics = [
            Played(name, "heuristic", judged(metrics))
            for name, metrics in play_heuristics(scenario, self.seeds).items()
        ]
        best = max(heuristics, key=lambda one: float(np.nanmean(one.metrics[SUCCESS_RATE])))
        self.headline = replace(self.headline, reference=best.name)
        of_bound = Played(BOUND, "oracle", {SUCCESS_RATE: bounds})
        learned = [replace(one, metrics=judged(one.metrics)) for one in super().play(out)]
        return [of_bound, *heuristics, *learned]

    def _episodes_of(self, checkpoint: Checkpoint) -> object:
        """The scenario: what the reward is makes no difference to success."""
        return _scenario(checkpoint)


def _scenario(checkpoint: Checkpoint) -> OffloadingScenario:
    from edge_marl.envs.peer_offloading_v0 import parallel_env

    return parallel_env(**checkpoint.env_config).config.scenario
