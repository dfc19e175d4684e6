"""The SCALE study, at sizes that say nothing but show that everything runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_marl.errors import InputError
from edge_marl.experiments.scale import study
from edge_marl.experiments.scale.config import CHANGED, Point, StudyConfig, trained_in
from edge_marl.experiments.scale.methods import (
    CROSS_ATTN,
    DQN,
    LEARNERS,
    POINTER,
    POINTER_SRR,
    PPO,
    SCALE,
)
from edge_marl.experiments.scale.results import Results
from edge_marl.experiments.scale.tables import all_tables
from edge_marl.experiments.scale.units import Test, Training, read_test
from tests import snapshots

SMALLEST = StudyConfig(
    seeds=1, episodes=2, large_episodes=2, paper_iterations=1, event_iterations=1,
    off_policy_steps=512, sizes=(16, 20), changed=False, workers=0,
)  # fmt: skip


def test_a_study_is_written_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_ray: None
) -> None:
    # One method of each kind; the others differ in options only.
    kept = {name: LEARNERS[name] for name in (SCALE, CROSS_ATTN, PPO, DQN, POINTER)}
    monkeypatch.setattr("edge_marl.experiments.scale.study.LEARNERS", kept)
    results = study.reproduce(SMALLEST, tmp_path)
    written = {path.name for path in tmp_path.iterdir()}
    assert {"tables.md", "results.csv", "summary.json", "figure5.png", "figure6.png"} <= written
    assert {"heft", "earliest_finish", SCALE, DQN} <= set(results.methods(trained_in("paper")))
    # A network whose outputs are servers is tested at its own size only.
    larger = Point("paper", "20", 20)
    assert SCALE in results.methods(larger)
    assert not {PPO, DQN} & set(results.methods(larger))
    assert results.features(larger, SCALE, "kl") is not None
    snapshots.check_table("study-scale", tmp_path / "results.csv", rel=1e-6)
    # What is done is read: a unit whose file was changed keeps the change.
    (path,) = (tmp_path / "units").glob("paper-20-fastest-idle-*")
    unit = Test("fastest_idle", 0, larger)
    metrics, _ = results.tests[unit]
    path.write_text(path.read_text().replace(repr(float(metrics["response_s"][0])), "77.0"))
    again = study.reproduce(SMALLEST, tmp_path)
    assert again.tests[unit][0]["response_s"][0] == 77.0


def test_clusters_of_any_size_are_as_loaded_and_play_as_long() -> None:
    small, large = trained_in("paper").scenario, Point("paper", "48", 48).scenario
    assert small.arrival_rate_per_server_s == large.arrival_rate_per_server_s
    assert (small.decisions, large.decisions) == (200, 600)
    assert small.tier_sizes == (4, 10, 2)
    assert large.tier_sizes == (12, 30, 6)


def test_every_changed_scenario_can_be_drawn_from() -> None:
    from edge_marl.dag_placement.simulator import DagPlacementSimulator

    for point in CHANGED:
        simulator = DagPlacementSimulator(point.scenario, 1)
        simulator.reset([1])
        assert simulator.workload.n_workflows[0] > 0
    assert len({point.scenario.model_dump_json() for point in CHANGED}) == len(CHANGED)


def test_traces_are_played_where_they_are_given(tmp_path: Path) -> None:
    without = StudyConfig().points("event")
    given = StudyConfig(alibaba=tmp_path / "batch_task.csv").points("event")
    assert [point.name for point in given if point not in without] == ["alibaba"]
    source = given[-1].scenario.workflows
    assert source.kind == "recorded"
    assert source.path == tmp_path / "batch_task.csv"


def test_a_file_stands_for_its_configuration() -> None:
    unit = Training(SCALE, 0)
    paths = {
        unit.path(SMALLEST),
        unit.path(SMALLEST.model_copy(update={"paper_iterations": 2})),
        Training(SCALE, 1).path(SMALLEST),
        Training(CROSS_ATTN, 0).path(SMALLEST),
    }
    assert len(paths) == 4
    # How often it is tested makes no difference to a training.
    assert unit.path(SMALLEST.model_copy(update={"episodes": 9})) in paths
    tests = study.tests_of(StudyConfig(seeds=2))
    assert len(tests) == len(set(tests))
    assert len(study.trainings_of(StudyConfig(seeds=2))) == 2 * len(LEARNERS)


def constructed(responses: dict[str, list[list[float]]]) -> Results:
    """Results in which every method has these response times ``[S][K]`` at N = 16."""
    point = trained_in("event")
    tests: dict[Test, Any] = {}
    for method, rows in responses.items():
        for seed, row in enumerate(rows):
            others = dict.fromkeys(
                ("ratio_to_bound", "completed", "unfinished", "waits"), np.ones(len(row))
            )
            tests[Test(method, seed, point)] = ({"response_s": np.array(row), **others}, None)
    return Results(StudyConfig(sizes=(16,), changed=False), tests, {})


def test_changes_are_relative_to_the_mean_of_the_baseline() -> None:
    results = constructed(
        {
            "random": [[4.0, 6.0]],
            "earliest_finish": [[2.0, 3.0]],
            "heft": [[1.0, 1.0]],
            POINTER: [[1.5, 2.5], [2.0, 3.0]],
            POINTER_SRR: [[3.0, 5.0], [3.0, 5.0]],
        }
    )
    point = trained_in("event")
    # HEFT plans ahead and is no online heuristic.
    assert results.best_online(point) == "earliest_finish"
    change = results.change(point, POINTER, "earliest_finish")
    assert change is not None
    assert change.value == pytest.approx((2.25 - 2.5) / 2.5)
    assert results.change(point, SCALE, "random") is None
    titles = [str(table.title) for table in all_tables(results)]
    assert titles[0].startswith("Table 3")


def test_damaged_outcomes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "unit.json"
    path.write_text('{"metrics": {"response_s": ["soon"]}}')
    with pytest.raises(InputError, match=r"unit\.json: metrics\.response_s\.0: expected a number"):
        read_test(path)
