"""The SCALE study, at sizes that say nothing but show that everything runs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

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
    training_of,
)
from edge_marl.experiments.scale.results import Results
from edge_marl.experiments.scale.tables import all_tables
from edge_marl.experiments.study.engine import reproduce
from edge_marl.experiments.study.outcomes import Outcomes
from edge_marl.experiments.study.policies import Play, Training
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
    results = Results(SMALLEST, reproduce(study.STUDY, SMALLEST, tmp_path))
    written = {path.name for path in tmp_path.iterdir()}
    assert {"tables.md", "results.csv", "summary.json", "figure5.png", "figure6.png"} <= written
    assert {"heft", "earliest_finish", SCALE, DQN} <= set(results.methods(trained_in("paper")))
    # A network whose outputs are servers is tested at its own size only.
    larger = Point("paper", "20", 20)
    assert SCALE in results.methods(larger)
    assert not {PPO, DQN} & set(results.methods(larger))
    assert results.features(larger, SCALE, "kl") is not None
    steps, responses = results.curve(SCALE, "response_s") or ([], np.empty(0))
    assert steps.tolist() == [64 * 128]
    assert responses.shape == (1, 1)
    snapshots.check_table("study-scale", tmp_path / "results.csv", drawn=kept, rel=1e-6)


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


def test_a_unit_stands_for_its_configuration() -> None:
    def name(method: str, seed: int, **changes: Any) -> str:
        return training_of(SMALLEST.model_copy(update=changes), method, seed).name

    names = {
        name(SCALE, 0), name(SCALE, 0, paper_iterations=2), name(SCALE, 1), name(CROSS_ATTN, 0),
    }  # fmt: skip
    assert len(names) == 4
    # How often it is tested makes no difference to a training.
    assert name(SCALE, 0, episodes=9) in names


def test_options_of_a_learner_are_behind_its_training() -> None:
    before = training_of(SMALLEST, SCALE, 0)
    for changes in ({"minibatch_size": 512}, {"entropy_coeff": 0.1}):
        options = {**before.recipe.options, **changes}
        recipe = before.recipe.model_copy(update={"options": options})
        assert replace(before, recipe=recipe).name != before.name


def test_every_method_is_played_wherever_it_can_be() -> None:
    units = study.units_of(StudyConfig(seeds=2))
    assert len(units) == len(set(units))
    trainings = {unit.training for unit in units if isinstance(unit, Play) and unit.training}
    assert len(trainings) == 2 * len(LEARNERS)
    assert all(isinstance(training, Training) for training in trainings)


def constructed(responses: dict[str, list[list[float]]]) -> Results:
    """Results in which every method has these response times ``[S][K]`` at N = 16."""
    point = trained_in("event")
    rows = [
        {
            "kind": "test", "family": point.family, "scenario": point.name, "method": method,
            "seed": seed, "episode": k, "response_s": response, "ratio_to_bound": 1.0,
            "completed": 1.0, "unfinished": 1.0, "waits": 1.0,
        }
        for method, of_method in responses.items()
        for seed, row in enumerate(of_method)
        for k, response in enumerate(row)
    ]  # fmt: skip
    return Results(StudyConfig(sizes=(16,), changed=False), Outcomes(pd.DataFrame(rows)))


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
