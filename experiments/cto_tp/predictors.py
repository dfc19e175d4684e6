"""Train the predictors of the study on what arrives in a setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_marl.cooperative_offloading.records import Workload
from edge_marl.cooperative_offloading.scenario import CooperativeScenario
from edge_marl.cooperative_offloading.workload import Generator
from edge_marl.experiments.cto_tp.config import Setting, scenario_of
from edge_marl.experiments.study.policies import KIND, METHOD, SEED, one_thread
from edge_marl.experiments.study.units import Columns, Label, Unit
from edge_marl.record_arrays import side_by_side
from edge_marl.seeds import TRAINING_SEEDS

PREDICTOR = "predictor"
"""Its kind, and the option of the environment that names it."""

_TASKS_OF_A_SERVER = 2000
_EPOCHS = 60


@dataclass(frozen=True, eq=False)
class PredictorTraining(Unit):
    """Train a transformer on one long episode of a setting, which no policy learns from."""

    setting: Setting
    seed: int
    modules = ("edge_marl.algorithms.prediction.training",
               "edge_marl.cooperative_offloading.workload")  # fmt: skip

    @property
    def labels(self) -> Mapping[str, Label]:
        """Return kind, seed and setting."""
        return {KIND: PREDICTOR, METHOD: PREDICTOR, SEED: self.seed, "setting": self.setting}

    @property
    def configuration(self) -> Any:
        """Return what arrives, and how it is learned."""
        return {
            "scenario": scenario_of(self.setting).model_dump(mode="json"), "seed": self.seed,
            "tasks": _TASKS_OF_A_SERVER, "epochs": _EPOCHS,
        }  # fmt: skip

    @property
    def effort(self) -> float:
        """Return a high effort, because trainings wait for this one."""
        return 1e5

    def compute(self, artefacts: Path, needed: Sequence[Path]) -> Columns:
        """Train the predictor, and keep it as the environment reads it."""
        from edge_marl.algorithms.prediction.training import (
            PredictionConfig,
            train,
            validation_loss,
        )
        from edge_marl.experiments.predict.onnx_files import ONNX, export_predictor

        one_thread()
        series = arrivals(scenario_of(self.setting), TRAINING_SEEDS[-1 - self.seed])
        model = train(series, PredictionConfig(epochs=_EPOCHS), self.seed, lambda *_: None)
        artefacts.mkdir()
        export_predictor(model, artefacts / ONNX)
        return {"pinball": [validation_loss(model, series)]}


def arrivals(scenario: CooperativeScenario, seed: int) -> Any:
    """Return what arrives in one long episode as a :class:`.prediction.series.Series`.

    Values are over the means of the scenario, as predictions are made with: intervals over those of
    their own server.
    """
    from edge_marl.algorithms.prediction.series import Series, begins_of

    n = _TASKS_OF_A_SERVER * scenario.servers
    workload: Workload = side_by_side(Workload, 1, n)
    drawn = Generator(scenario.model_copy(update={"tasks": n}))
    drawn.draw(np.ones(1, dtype=np.bool_), np.array([seed]), workload)
    arrival_s, home = workload.arrival_s[0].copy(), workload.home[0].astype(np.int64)
    gaps, rates = np.empty(n), scenario.rates_per_s
    for server in range(scenario.servers):
        own = np.flatnonzero(home == server)
        # Episodes begin at 0 as if a task had just arrived.
        gaps[own] = np.diff(arrival_s[own], prepend=0.0) * rates[server]
    values = np.stack([
        gaps, workload.gcycles[0] / scenario.mean_gcycles,
        workload.memory_gb[0] / scenario.mean_memory_gb,
    ], axis=1)  # fmt: skip
    return Series(arrival_s, home, values, np.ones(3), begins_of(n))
