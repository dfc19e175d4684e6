"""The units of the study: a training, or what a policy does in one scenario.

Each finished unit is a file or a folder, written aside and then renamed. A study that is run again
with the same configuration reads it instead of doing it again.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, model_validator

import edge_marl
from edge_marl.dag_placement.simulator import METRICS
from edge_marl.experiments.scale.config import ENV, Point, StudyConfig, trained_in
from edge_marl.experiments.scale.methods import LEARNERS, Metrics, learn, play_point
from edge_marl.files import aside
from edge_marl.json_files import Number, check_lengths, read_model, write_json


@dataclass(frozen=True)
class Training:
    """One training of one method."""

    method: str
    seed: int

    def path(self, config: StudyConfig) -> str:
        """Name of its folder: readable, and different for another configuration."""
        learner = LEARNERS[self.method]
        behind = {
            "learner": repr(learner),
            "scenario": trained_in(learner.family).scenario.model_dump(mode="json"),
            "env": ENV[learner.family],
            "length": config.length(learner.family, off_policy=learner.algorithm != "scale"),
        }
        return f"train-{_slug(self.method)}-{self.seed}-{_digest(behind)}"


@dataclass(frozen=True)
class Test:
    """One policy in one scenario; a heuristic has the seed 0."""

    __test__ = False  # no test of pytest's

    method: str
    seed: int
    point: Point

    def path(self, config: StudyConfig) -> str:
        """Name of its file."""
        behind: dict[str, Any] = {
            "scenario": self.point.scenario.model_dump(mode="json"),
            "episodes": config.test_episodes(self.point),
        }
        if self.method in LEARNERS:
            behind["training"] = Training(self.method, self.seed).path(config)
        name = f"{self.point.family}-{_slug(self.point.name)}-{_slug(self.method)}-{self.seed}"
        return f"{name}-{_digest(behind)}.json"


def do_training(config: StudyConfig, unit: Training, out: str) -> None:
    """Train and keep the policy; a Ray task, so it is given only what is small."""
    import torch

    from edge_marl.algorithms.actors import PARTS, save_actor

    torch.set_num_threads(1)  # small networks, one task per core: threads only contend
    begin = time.perf_counter()
    trained = learn(config, unit.method, unit.seed)
    seconds = round(time.perf_counter() - begin, 1)
    with aside(Path(out) / "units" / unit.path(config), parts=PARTS) as place:
        save_actor(trained.actor, place, {"curve": trained.curve, "seconds": seconds})


def do_test(config: StudyConfig, unit: Test, out: str) -> None:
    """Play the test episodes and keep what came of them; a Ray task."""
    units = Path(out) / "units"
    begin = time.perf_counter()
    actor = statistics = None
    if unit.method in LEARNERS:
        import torch

        from edge_marl.algorithms.actors import load_actor
        from edge_marl.experiments.scale.features import feature_statistics
        from edge_marl.experiments.scale.methods import test_env

        torch.set_num_threads(1)
        actor = load_actor(units / Training(unit.method, unit.seed).path(config))
        if LEARNERS[unit.method].any_size:
            env = test_env(unit.point, config.test_episodes(unit.point))
            statistics = feature_statistics(actor, env)._asdict()
    metrics = play_point(config, unit.method, actor, unit.point)
    record = {
        "seconds": round(time.perf_counter() - begin, 1),
        "metrics": {
            name: np.asarray(values, dtype=float).tolist()
            for name, values in metrics.items()
            if name in METRICS
        },
        "features": statistics,
    }
    write_json(units / unit.path(config), record, indent=None)


def read_test(path: Path) -> tuple[Metrics, dict[str, Any] | None]:
    """Metrics ``[K]`` by name, and statistics of the attention feature where there is one.

    Raises:
        InputError: if the file is none of a study's.
    """
    record = read_model(path, _Record)
    return {name: np.array(values) for name, values in record.metrics.items()}, record.features


class _Record(BaseModel):
    """What is written of a :class:`Test`."""

    metrics: dict[str, list[Number]]
    features: dict[str, Number | list[Number]] | None

    @model_validator(mode="after")
    def _as_long(self) -> _Record:
        check_lengths("metrics", [*self.metrics.values()])
        return self


def read_curve(folder: Path) -> list[tuple[int, float, float]]:
    """The learning curve of a training, see :class:`.methods.Trained`.

    Raises:
        InputError: if the folder is none of a study's.
    """
    from edge_marl.algorithms.actors import CARD

    return read_model(folder / CARD, _TrainingCard).curve


class _TrainingCard(BaseModel):
    """What the card of an actor has beside the actor."""

    curve: list[tuple[int, Number, Number]]


def _slug(name: str) -> str:
    kept = (c if c.isalnum() or c in ".+" else "-" for c in name.lower())
    return "".join(kept).replace("--", "-").replace("+", "and")


def _digest(behind: dict[str, Any]) -> str:
    whole = f"{edge_marl.__version__}|{json.dumps(behind, sort_keys=True)}"
    return hashlib.sha256(whole.encode()).hexdigest()[:12]
