"""A tiny study from end to end."""

import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from edge_marl.algorithms.tandem.imitation import config as imitation
from edge_marl.algorithms.tandem.imitation.config import ImitationConfig
from edge_marl.experiments.study.engine import reproduce
from edge_marl.experiments.tandem import learners, study
from edge_marl.experiments.tandem.config import SPLITS, StudyConfig
from edge_marl.experiments.tandem.methods import END_TO_END, ORACLE, YARDSTICK, methods
from edge_marl.experiments.tandem.tables import Results, summarise
from edge_marl.experiments.tandem.units import Scheduling
from edge_marl.tandem.scenario import TandemWorkload
from tests import snapshots

CONFIG = StudyConfig(
    seeds=2,
    test_traces=14,  # with fewer, p-values of ties take all permutations
    most_train_traces=20,
    step_share=0.01,
    ablations=False,
    decision_traces=1,
    workers=0,
)

ABLATIONS = {
    "raw slots, MLP": ImitationConfig(labels="raw", model="mlp"),
    "canonical, MLP": ImitationConfig(labels="canonical", model="mlp"),
    "online local": ImitationConfig(labels="online_local"),
}


SMALL = {
    "num_steps_sampled_before_learning_starts": 10,
    "train_batch_size_per_learner": 8,
    "training_intensity": 1.0,
    "network": {"kind": "queue_mlp", "hidden_sizes": (8, 8)},
}


def small_learners(
    env_step_share: float, start: ImitationConfig
) -> dict[str, learners.ReinforcementConfig]:
    ppo = {
        "train_batch_size_per_learner": 64,
        "minibatch_size": 32,
        "num_epochs": 1,
        "parameter_sharing": "independent",
        "critic_warmup_steps": 100,
        "network": {
            "kind": "queue_mlp", "hidden_sizes": (4 * start.width,) * 2, "activation": "silu",
        },
    }  # fmt: skip
    return {
        "QMIX": learners.ReinforcementConfig(
            algorithm="qmix", env_steps=60, options=SMALL, episodes=8
        ),
        "SL-Step, then MAPPO": learners.ReinforcementConfig(
            algorithm="mappo", env_steps=200, options=ppo, episodes=8, warm_start=start
        ),
    }


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imitation, "ABLATIONS", ABLATIONS)
    monkeypatch.setattr(learners, "learners", small_learners)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> tuple[Results, Path]:
    out = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imitation, "ABLATIONS", ABLATIONS)
        patch.setattr(learners, "learners", small_learners)
        return summarise(reproduce(study.STUDY, CONFIG, out), methods(CONFIG)), out


def test_the_oracle_loses_nothing_and_nobody_beats_it(finished: tuple[Results, Path]) -> None:
    rows = finished[0].rows
    assert {row.split for row in rows} == set(SPLITS)
    for row in rows:
        assert row.degradation.value >= 0
        if row.method == ORACLE:
            assert row.degradation == (0.0, 0.0, 0.0)


def test_its_rows_are_as_they_were(finished: tuple[Results, Path]) -> None:
    table = finished[1] / "results.csv"
    snapshots.check_table(
        "study-tandem", table, drawn=("qmix", "sl-step-then-mappo"),
        without=("decision_us", "train_s"), rel=1e-6,
    )  # fmt: skip


def test_the_gap_ends_at_the_yardstick(finished: tuple[Results, Path]) -> None:
    results = finished[0]
    for split in SPLITS:
        best = results.best_heuristic[split]
        (row,) = results.select(split, [best], ["none"])
        (yardstick,) = results.select(split, [YARDSTICK], ["none"])
        others = results.select(split, results.heuristics(split), ["none"])
        assert row.degradation.value == min(r.degradation.value for r in others)
        if row.degradation.value != yardstick.degradation.value:
            assert (row.gap_closed.value, yardstick.gap_closed.value) == (0.0, 1.0)


def test_everything_is_written(finished: tuple[Results, Path]) -> None:
    results, out = finished
    for number in ("2", "3a", "3b", "4", "5a", "5b", "5c", "6"):
        assert (out / f"figure{number}.png").read_bytes().startswith(b"\x89PNG")
    with (out / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(results.rows)
    page = (out / "tables.md").read_text().splitlines()
    assert sum(line.startswith("| QMIX |") for line in page) == 4
    summary = json.loads((out / "summary.json").read_text())
    assert summary["configuration"]["test_traces"] == CONFIG.test_traces
    assert summary["seeds"] == [0, 1]
    assert {"date", "machine", "versions", "rows"} <= set(summary)
    episodes = pq.read_table(out / "rows.parquet", filters=[("kind", "==", "test")])
    units = list((out / "units").glob("test-*"))
    assert episodes.num_rows == len(units) * len(SPLITS) * CONFIG.test_traces
    assert not list(out.rglob("*.part"))


def degradations(out: Path) -> list[str]:
    with (out / "results.csv").open() as file:
        return [row["degradation"] for row in csv.DictReader(file)]


@pytest.mark.usefixtures("small")
def test_finished_units_are_not_done_again(
    finished: tuple[Results, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out = finished
    before = degradations(out)
    shutil.rmtree(next(out.glob("units/test-edf-none-*")))
    done = []
    once_more = Scheduling.compute

    def counted(unit: Scheduling, artefacts: Path, needed: Sequence[Path]) -> Mapping[str, Any]:
        done.append(unit.method)
        return once_more(unit, artefacts, needed)

    monkeypatch.setattr(Scheduling, "compute", counted)
    reproduce(study.STUDY, CONFIG, out)
    assert done == ["edf"]
    assert degradations(out) == before


def test_another_configuration_is_another_unit() -> None:
    def name(method: str, **changes: object) -> str:
        config = CONFIG.model_copy(update=changes)
        return methods(config)[method].units(config)[0].name

    assert name("edf") == name("edf", seeds=9)
    assert name("edf") != name("edf", test_traces=7)
    # Other traces.
    assert name("edf") != name("edf", workload=TandemWorkload(hevc_share=0.9))
    assert name(END_TO_END) != name(END_TO_END, step_share=0.5)


def test_training_and_test_traces_are_different_ones() -> None:
    train = CONFIG.training_set("3-3", 20)
    test = CONFIG.test_set("3-3")
    assert not (train.deadline[: len(test)] == test.deadline).all(axis=1).any()
    mixed = CONFIG.training_set("mixed", 20)
    assert len(mixed) == 20
    assert [int(n) for n in (mixed.app == 1).sum(axis=1)] == [
        videos for videos in (5, 4, 3, 2, 1) for _ in range(4)
    ]
