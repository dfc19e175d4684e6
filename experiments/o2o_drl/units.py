"""The unit of the study: one method in one network of one point.

Each finished unit is a JSON file, written aside and then renamed. A study that is run again with
the same configuration reads it instead of doing it again.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, model_validator

import edge_marl
from edge_marl.experiments.evaluate.episodes import evaluation_seeds
from edge_marl.experiments.o2o_drl.config import Point, StudyConfig
from edge_marl.experiments.o2o_drl.methods import (
    LEARNERS,
    O2O_DRL,
    Outcome,
    learn,
    play_heuristics,
    training_options,
)
from edge_marl.json_files import Number, check_lengths, read_model, write_json
from edge_marl.peer_offloading.simulator import METRICS

HEURISTICS_UNIT = "heuristics"
BOUND_UNIT = "bound"
BOUND = "clairvoyant bound"

_BEHIND_ALL = ("episodes",)
_BEHIND_LEARNERS = ("episodes", "validation_episodes", "log_episodes", "iterations")


@dataclass(frozen=True)
class Unit:
    """One method, or all heuristics, or the bound, in one network."""

    point: Point
    network: int
    method: str

    def path(self, config: StudyConfig) -> str:
        """Name of its file: readable, and different for another configuration."""
        learned = self.method in LEARNERS
        fields = _BEHIND_LEARNERS if learned else (*_BEHIND_ALL, "bound_episodes")
        behind: dict[str, Any] = {name: getattr(config, name) for name in fields}
        scenario = self.point.scenario(self.network)
        behind["scenario"] = scenario.model_dump(mode="json")
        if learned:
            learner = LEARNERS[self.method]
            behind["logs"], behind["reward"] = learner.logs, learner.reward or config.reward
            behind["training"] = training_options(config, scenario, learner)
        whole = f"{edge_marl.__version__}|{json.dumps(behind, sort_keys=True)}"
        digest = hashlib.sha256(whole.encode()).hexdigest()[:12]
        name = re.sub(r"\W+", "-", self.method.lower())
        return f"{self.point.sweep}-{self.point.value:g}-{self.network}-{name}-{digest}.json"


def do_unit(config: StudyConfig, unit: Unit, out: str) -> None:
    """Do one unit and keep its outcome; a Ray task, so it is given only what is small."""
    scenario = unit.point.scenario(unit.network)
    begin = time.perf_counter()
    if unit.method == HEURISTICS_UNIT:
        outcome = play_heuristics(config, scenario)
    elif unit.method == BOUND_UNIT:
        outcome = _bound(config, unit)
    else:
        import torch

        torch.set_num_threads(1)  # small networks, one task per core: threads only contend
        outcome = learn(config, scenario, unit.method, unit.network, Path(out) / "logs")
    write_unit(outcome, Path(out) / "units" / unit.path(config), time.perf_counter() - begin)


def _bound(config: StudyConfig, unit: Unit) -> Outcome:
    """The bound of the first test episodes; NaN for the others."""
    from edge_marl.oracle.offloading_bound import success_bound

    rates = np.full(config.episodes, np.nan)
    seeds = evaluation_seeds(config.episodes)[: config.bound_episodes]
    for k, seed in enumerate(seeds.tolist()):
        rates[k] = success_bound(unit.point.scenario(unit.network), seed).success_rate
    return Outcome({BOUND: {"success_rate": rates}})


def write_unit(outcome: Outcome, path: Path, seconds: float) -> None:
    """Write an outcome as JSON."""
    record = {
        "seconds": round(seconds, 1),
        "test": {
            method: {name: values.tolist() for name, values in metrics.items()
                     if name in METRICS}
            for method, metrics in outcome.test.items()
        },
        "curve": outcome.curve,
        "hand_over": outcome.hand_over,
    }  # fmt: skip
    write_json(path, record, indent=None)


def read_unit(path: Path) -> Outcome:
    """Read what :func:`write_unit` wrote.

    Raises:
        InputError: if the file is none of a study's.
    """
    record = read_model(path, _Record)
    test = {
        method: {name: np.array(values) for name, values in metrics.items()}
        for method, metrics in record.test.items()
    }
    return Outcome(test, record.curve, record.hand_over)


class _Record(BaseModel):
    """What is written of an :class:`Outcome`."""

    test: dict[str, dict[str, list[Number]]]
    curve: tuple[tuple[str, int, Number], ...]
    hand_over: tuple[tuple[Number, ...], ...]

    @model_validator(mode="after")
    def _as_long(self) -> _Record:
        columns = [*(v for metrics in self.test.values() for v in metrics.values())]
        check_lengths("test", columns)
        check_lengths("hand_over", self.hand_over)
        return self


def effort(unit: Unit) -> float:
    """How long a unit takes beside others, roughly: the longest are begun first."""
    nodes = unit.point.scenario(unit.network).nodes
    if unit.method == HEURISTICS_UNIT:
        return 0.0
    return nodes * (1.0 if unit.method == BOUND_UNIT else 4.0 + (unit.method == O2O_DRL))
