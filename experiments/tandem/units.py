"""The unit of a study: one method, trained with one seed, played on the test sets.

Each finished unit is a Parquet file, one row per episode, written aside and then renamed. A study
that is run again with the same configuration reads it instead of doing it again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

import edge_marl
from edge_marl.errors import InputError
from edge_marl.experiments.tandem.config import Training
from edge_marl.experiments.tandem.methods import Scheduler
from edge_marl.files import aside
from edge_marl.json_files import json_text, parse_json
from edge_marl.parquet_files import check_type, read_parquet
from edge_marl.tandem.evaluation import run
from edge_marl.tandem.simulator import METRICS, TandemSimulator
from edge_marl.tandem.traces import TraceSet
from edge_marl.validation import invalid

_RECORD = b"edge_marl.unit"


@dataclass(frozen=True)
class Unit:
    """One method, trained on one training set with one seed."""

    method: str
    training: Training
    seed: int
    configuration: str
    """Everything its episodes depend on, as JSON."""

    @property
    def path(self) -> str:
        """Name of its file: readable, and different for another configuration."""
        whole = f"{edge_marl.__version__}|{self.configuration}"
        digest = hashlib.sha256(whole.encode()).hexdigest()[:12]
        return f"{self.method}-{self.training}-{self.seed}-{digest}.parquet"


@dataclass(frozen=True)
class UnitResult:
    """Episodes of one unit, by test set."""

    method: str
    training: Training
    seed: int
    train_s: float
    decision_us: float
    """Mean time of one call of the policy in one episode: both stages decide for a slot."""
    episodes: Mapping[str, Mapping[str, NDArray[Any]]]
    """Test set, then metric: ``[K]``."""


def play(
    scheduler: Scheduler, unit: Unit, tests: Mapping[str, TraceSet], train_s: float,
    *, drop_penalty: float, decision_traces: int,
) -> UnitResult:  # fmt: skip
    """Play every test set, and time decisions on the first traces of the first."""
    episodes = {}
    for split, traces in tests.items():
        results = run(scheduler(traces), traces, drop_penalty=drop_penalty).results
        episodes[split] = {name: getattr(results, name) for name in METRICS}
    first = next(iter(tests.values()))
    times = decision_times(scheduler, first[:decision_traces])
    return UnitResult(
        unit.method, unit.training, unit.seed, train_s, 1e6 * float(times.mean()), episodes
    )


def decision_times(scheduler: Scheduler, traces: TraceSet) -> NDArray[np.float64]:
    """Seconds of every call of the policy, one episode at a time, both stages in one call.

    The first episode is played once more beforehand, so that nothing is timed that only happens
    once (compilation, first allocations).
    """
    seconds: list[float] = []
    for k in (0, *range(len(traces))):
        simulator = TandemSimulator(traces[k], 1, max_queue=traces.max_jobs)
        policy = scheduler(traces[k])
        observation = simulator.reset([0])
        policy.reset(1)
        if k == 0:
            seconds.clear()
        while not simulator.done.all():
            begin = time.perf_counter()
            actions = policy.act(observation)
            seconds.append(time.perf_counter() - begin)
            simulator.step(actions)
    return np.array(seconds)


def write_unit(result: UnitResult, path: Path) -> None:
    """Write one row per episode."""
    columns: dict[str, Any] = {"split": [], "trace": []}
    for split, metrics in result.episodes.items():
        n = len(metrics["objective"])
        columns["split"] += [split] * n
        columns["trace"] += range(n)
    for name in METRICS:
        columns[name] = np.concatenate([metrics[name] for metrics in result.episodes.values()])
    n = len(columns["split"])
    table = pa.table(
        {"method": [result.method] * n, "training": [result.training] * n,
         "seed": [result.seed] * n, **columns}
    )  # fmt: skip
    record = {"train_s": result.train_s, "decision_us": result.decision_us}
    table = table.replace_schema_metadata({_RECORD: json_text(record).encode()})
    with aside(path) as place:
        pq.write_table(table, place)


def read_unit(path: Path) -> UnitResult:
    """Read what :func:`write_unit` wrote.

    Raises:
        InputError: if the file is none of a study's.
    """
    texts, numbers = ("method", "training", "split"), ("seed", *METRICS)
    table = read_parquet(path, (*texts, *numbers))
    for name in (*texts, *numbers):
        check_type(path, table, name, pa.string() if name in texts else pa.float64())
    if not len(table):
        raise InputError(f"{path}: expected episodes, found none")
    text = (table.schema.metadata or {}).get(_RECORD, b"null")
    columns = table.to_pydict()
    who = {name: columns[name][0] for name in ("method", "training", "seed")}
    try:
        record = _Times.model_validate(parse_json(text, str(path)))
        unit = _Who.model_validate(who)
    except ValidationError as error:
        raise invalid(error, f"{path}: ") from error
    split = np.array(columns["split"])
    episodes = {
        name: {metric: np.array(columns[metric])[split == name] for metric in METRICS}
        for name in dict.fromkeys(columns["split"])
    }
    return UnitResult(**dict(unit), **dict(record), episodes=episodes)


class _Who(BaseModel):
    """Whose episodes they are."""

    method: str
    training: Training
    seed: int


class _Times(BaseModel):
    """What the metadata of the schema say."""

    model_config = ConfigDict(allow_inf_nan=False)

    train_s: float
    decision_us: float
