"""The engine of the studies: what is computed once, computed again, and read."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.table import Table

from edge_marl.errors import InputError
from edge_marl.experiments.study import code
from edge_marl.experiments.study.code import code_digest
from edge_marl.experiments.study.engine import Report, Study, StudyOptions, reproduce
from edge_marl.experiments.study.outcomes import Outcomes
from edge_marl.experiments.study.units import Label, Unit, compute_unit, read_unit
from edge_marl.options import Count, PositiveShare, Workers


class Options(StudyOptions):
    seeds: Count = 3
    rate: PositiveShare = 0.5
    workers: Workers = 0


@dataclass(frozen=True, eq=False)
class Training(Unit):
    """Keeps a number that tests read."""

    seed: int
    rate: float
    modules = ("edge_marl.random_stream",)

    @property
    def labels(self) -> Mapping[str, Label]:
        return {"kind": "training", "seed": self.seed}

    @property
    def configuration(self) -> Any:
        return {"rate": self.rate, "seed": self.seed}

    def compute(self, artefacts: Path, needed: Sequence[Path]) -> Mapping[str, Any]:
        artefacts.mkdir()
        (artefacts / "weights.txt").write_text(str(self.seed + self.rate))
        return {"steps": [1, 2], "score": [0.0, self.rate]}


@dataclass(frozen=True, eq=False)
class Play(Unit):
    """Three episodes of what was trained."""

    training: Training
    modules = ()

    @property
    def labels(self) -> Mapping[str, Label]:
        return {"kind": "test", "seed": self.training.seed}

    @property
    def configuration(self) -> Any:
        return {"episodes": 3}

    @property
    def needs(self) -> Sequence[Unit]:
        return (self.training,)

    def compute(self, artefacts: Path, needed: Sequence[Path]) -> Mapping[str, Any]:
        weights = float((needed[0] / "weights.txt").read_text())
        return {"episode": [0, 1, 2], "cost": [weights, weights + 1, float("nan")]}


@dataclass(frozen=True, eq=False)
class Replay(Unit):
    """What a file holds."""

    path: str
    modules = ()

    @property
    def labels(self) -> Mapping[str, Label]:
        return {"kind": "replay"}

    @property
    def configuration(self) -> Any:
        return {"scenario": {"files": [self.path]}}

    def compute(self, artefacts: Path, needed: Sequence[Path]) -> Mapping[str, Any]:
        raise NotImplementedError


def report(config: Options, outcomes: Outcomes) -> Report:
    table = Table(title="costs")
    table.add_column("mean")
    found = outcomes.mean("cost", kind="test")
    assert found is not None
    table.add_row(found.text())
    return Report([table], "Lower is better.", [{"cost": found.value}])


STUDY = Study(
    Options,
    units=lambda config: [Play(Training(seed, config.rate)) for seed in range(config.seeds)],
    report=report,
)


def names(out: Path) -> set[str]:
    return {path.name for path in (out / "units").iterdir()}


def test_a_study_computes_what_its_units_need_and_reports(tmp_path: Path) -> None:
    outcomes = reproduce(STUDY, Options(), tmp_path)
    assert len(names(tmp_path)) == 6
    values = outcomes.values("cost", kind="test")
    assert values is not None
    # Trainings 0, 1, 2 at rate 0.5, on two episodes that have a cost.
    assert values[:, :2].tolist() == [[0.5, 1.5], [1.5, 2.5], [2.5, 3.5]]
    assert outcomes.mean("cost", kind="test").value == 2.0  # type: ignore[union-attr]
    assert "2.000" in (tmp_path / "tables.md").read_text()
    assert (tmp_path / "results.csv").read_text() == "cost\n2.0\n"
    # Two rows of every training, three of every test.
    assert len(pd.read_parquet(tmp_path / "rows.parquet")) == 15


def test_what_was_computed_is_read(tmp_path: Path) -> None:
    reproduce(STUDY, Options(), tmp_path)
    unit = Play(Training(1, 0.5))
    rows = tmp_path / "units" / unit.name / "rows.parquet"
    pq.write_table(pa.table({"episode": [0, 1, 2], "cost": [7.0, 7.0, 7.0]}), rows)
    again = reproduce(STUDY, Options(seeds=2), tmp_path)
    assert again.values("cost", kind="test", seed=1).tolist() == [[7.0, 7.0, 7.0]]  # type: ignore[union-attr]


def test_published_units_are_computed_again_where_a_policy_is_needed(tmp_path: Path) -> None:
    """Of a training whose policy was not published, tests that are not there need another."""
    reproduce(STUDY, Options(seeds=2), tmp_path)
    for seed in range(2):
        shutil.rmtree(tmp_path / "units" / Training(seed, 0.5).name / "artefacts")
    shutil.rmtree(tmp_path / "units" / Play(Training(1, 0.5)).name)
    reproduce(STUDY, Options(seeds=2), tmp_path)
    trained = [(tmp_path / "units" / Training(seed, 0.5).name / "artefacts") for seed in range(2)]
    assert [place.is_dir() for place in trained] == [False, True]
    assert len(names(tmp_path)) == 4


def test_another_configuration_of_a_training_computes_its_tests_anew(tmp_path: Path) -> None:
    reproduce(STUDY, Options(seeds=1), tmp_path)
    before = names(tmp_path)
    outcomes = reproduce(STUDY, Options(seeds=1, rate=0.25), tmp_path)
    assert len(names(tmp_path) - before) == 2
    assert outcomes.values("cost", kind="test")[0, 0] == 0.25  # type: ignore[index]


def test_another_file_at_the_same_place_is_another_unit(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("1,2")

    def name() -> str:
        return Replay(str(trace)).name

    before = name()
    assert name() == before
    trace.write_text("1,2,3")
    assert name() != before


def test_other_code_computes_units_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_code"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "rule.py").write_text('from some_code.parts import f\n"""About f."""\n')
    parts = package / "parts.py"
    parts.write_text("def f(x):\n    return x + 1\n")
    monkeypatch.syspath_prepend(tmp_path)

    def digest() -> str:
        code._parsed.cache_clear()
        code_digest.cache_clear()
        return code_digest("some_code.rule")

    first = digest()
    # What is said of the code is none of it.
    parts.write_text('# f\n\ndef f(x):\n    """One more."""\n    return (x + 1)\n')
    assert digest() == first
    (package / "rule.py").write_text('from some_code.parts import f\n"""About f, at length."""\n')
    assert digest() == first
    rule = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    {}\nelse:\n    {}\n"
    (package / "rule.py").write_text(rule.format("import ast", "speed = 1"))
    never_run = digest()
    (package / "rule.py").write_text(rule.format("import sys", "speed = 1"))
    assert digest() == never_run
    (package / "rule.py").write_text(rule.format("import sys", "speed = 2"))
    assert digest() != never_run
    (package / "rule.py").write_text("from some_code.parts import f\n")
    assert digest() == first
    parts.write_text("def f(x):\n    return x + 2\n")
    assert digest() != first
    sys.modules.pop("some_code", None)


def test_the_code_of_a_unit_is_what_it_imports_wherever_that_lies() -> None:
    learner = "edge_marl.algorithms.mappo.learner"
    before = code_digest(learner)
    kept = code._parsed("edge_marl.algorithms.mappo.gae").digest
    try:
        code._parsed("edge_marl.algorithms.mappo.gae").digest = "other"
        code_digest.cache_clear()
        assert code_digest(learner) != before
        assert code_digest("edge_marl.peer_offloading.kernels") == code_digest(
            "edge_marl.peer_offloading.kernels"
        )
    finally:
        code._parsed("edge_marl.algorithms.mappo.gae").digest = kept
        code_digest.cache_clear()


def test_a_damaged_unit_is_refused_by_name(tmp_path: Path) -> None:
    unit = Training(0, 0.5)
    compute_unit(unit, str(tmp_path))
    rows = tmp_path / unit.name / "rows.parquet"
    pq.write_table(pa.table({"score": [[1.0]]}), rows)
    with pytest.raises(InputError, match=r"rows\.parquet: column score: expected texts or numbers"):
        read_unit(unit, tmp_path)
    rows.write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"rows\.parquet: expected a Parquet file"):
        read_unit(unit, tmp_path)


def test_a_metric_that_nothing_has_is_none() -> None:
    outcomes = Outcomes(pd.DataFrame({"seed": [0], "episode": [0], "cost": [np.nan]}))
    assert outcomes.values("cost") is None
    assert outcomes.values("delay") is None
    assert outcomes.mean("cost", seed=1) is None
