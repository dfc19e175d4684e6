"""Checkpoints and heuristics on the same episodes of DAG placement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_marl.dag_placement.evaluation import run
from edge_marl.dag_placement.heuristics import HEURISTICS, heuristic
from edge_marl.dag_placement.scenario import DagScenario
from edge_marl.dag_placement.simulator import METRICS
from edge_marl.experiments.evaluate.batched import BatchedEvaluation
from edge_marl.experiments.evaluate.report import Headline, Played
from edge_marl.experiments.progress import progress_bar
from edge_marl.experiments.training.checkpoints import Checkpoint

RESPONSE = "response_s"

REPORTED = (RESPONSE, "ratio_to_bound", "workflow_response_s", "completed", "unfinished", "waits",
            "utilisation")  # fmt: skip
"""Of the environment's metrics, those that a person compares policies by."""

Metrics = Mapping[str, NDArray[Any]]


def play_heuristic(name: str, scenario: DagScenario, seeds: NDArray[np.int64]) -> Metrics:
    """A heuristic on the episodes, ``[K]`` by name of the metric."""
    results = run(heuristic(name), scenario, seeds)
    return {metric: getattr(results, metric) for metric in METRICS}


class PlacementEvaluation(BatchedEvaluation):
    """Everything played on episodes of one scenario; tested against the best heuristic."""

    def __init__(
        self, checkpoints: Sequence[Checkpoint], on: str | None, episodes: int | None
    ) -> None:
        super().__init__(checkpoints, on, episodes)
        self.title += f", {_scenario(checkpoints[0]).servers} servers"
        self.headline = Headline(RESPONSE, False, reference="", shown=REPORTED[1:])

    def play(self, out: Path) -> list[Played]:
        """Play everything."""
        scenario = _scenario(self.checkpoints[0])
        with progress_bar() as bar:
            heuristics = [
                Played(name, "heuristic", play_heuristic(name, scenario, self.seeds))
                for name in bar.track(list(HEURISTICS), description="heuristics")
            ]
        best = min(heuristics, key=lambda one: float(np.nanmean(one.metrics[RESPONSE])))
        self.headline = replace(self.headline, reference=best.name)
        return [*heuristics, *super().play(out)]

    def _episodes_of(self, checkpoint: Checkpoint) -> object:
        """The scenario: what is seen and what earns a reward makes no difference to it."""
        return _scenario(checkpoint)


def _scenario(checkpoint: Checkpoint) -> DagScenario:
    from edge_marl.envs.dag_placement_v0 import parallel_env

    return parallel_env(**checkpoint.env_config).config.scenario
