"""The FAuNO study, at sizes that say nothing but show that everything runs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_marl.experiments.fauno import methods, paper, study
from edge_marl.experiments.fauno.config import ABLATED, Cell, StudyConfig
from edge_marl.experiments.fauno.methods import LEARNERS, METHODS, VARIANTS, training_of
from edge_marl.experiments.fauno.results import TRIAGE, Results
from edge_marl.experiments.study.engine import reproduce
from edge_marl.experiments.study.policies import Play
from edge_marl.graph_offloading.heuristics import HEURISTICS
from tests import snapshots

SMALLEST = StudyConfig(
    seeds=1, episodes=2, ticks=40, topologies=("random_15",), rates=(2.0,), iterations=1,
    ablation_seeds=1, workers=0,
)  # fmt: skip


def test_a_study_is_written_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_ray: None
) -> None:
    # One variant; the others differ in options only.
    kept = {"paid when known": VARIANTS["paid when known"]}
    short = {"num_envs_per_env_runner": 2, "rollout_fragment_length": 44, "minibatch_size": 40,
             "train_batch_size_per_learner": 80}  # fmt: skip
    monkeypatch.setattr(methods, "_OPTIONS", {**methods._OPTIONS, **short})
    soon = {name: replace(learner, rewards={**learner.rewards, "delay_ticks": 20})
            for name, learner in METHODS.items()}  # fmt: skip
    monkeypatch.setattr(methods, "LEARNERS", soon | kept)
    monkeypatch.setattr(study, "LEARNERS", soon | kept)
    monkeypatch.setattr(study, "VARIANTS", kept)
    results = Results(SMALLEST, reproduce(study.STUDY, SMALLEST, tmp_path))
    written = {path.name for path in tmp_path.iterdir()}
    assert {"tables.md", "results.csv", "summary.json", "finished.png", "curves.png"} <= written
    assert set(results.methods(ABLATED)) == {*HEURISTICS, *METHODS, *kept}
    steps, ratios = results.curve(ABLATED, "IPPO") or ([], np.empty(0))
    assert len(steps) == 1
    assert ratios.shape == (1, 1)
    own = results.values(ABLATED, "IPPO")
    other = results.values(ABLATED, "least_queues")
    assert own is not None
    assert other is not None
    found = results.difference(ABLATED, "IPPO", "least_queues")
    assert found is not None
    assert found.value == pytest.approx(own.mean() - other.mean())
    assert results.best_triage(ABLATED) in TRIAGE
    tables = (tmp_path / "tables.md").read_text()
    assert "| random_15, 2 |" in tables
    assert "| 0.358 |" in tables, "the paper's Least Queues stands beside ours"
    snapshots.check_table(
        "study-fauno", tmp_path / "results.csv", drawn={*METHODS, *kept}, rel=1e-6
    )


def test_every_method_is_trained_in_every_cell_with_seeds_of_its_own() -> None:
    config = StudyConfig(seeds=2, topologies=("ether_2",), rates=(1.0, 2.0), ablation_seeds=3)
    plays = [unit for unit in study.units_of(config) if isinstance(unit, Play) and unit.training]
    trained = [(str(p.labels["topology"]), p.labels["rate"], p.method) for p in plays]
    assert trained.count(("ether_2", 1.0, "IPPO")) == trained.count(("ether_2", 2.0, "MAPPO")) == 2
    assert trained.count(("random_15", 2.0, "IPPO")) == 3, "beside its variants"
    assert all(trained.count(("random_15", 2.0, name)) == 3 for name in VARIANTS)


@pytest.mark.parametrize("method", LEARNERS)
def test_recipes_are_valid_and_no_test_episode_is_trained_on(method: str) -> None:
    config = StudyConfig()
    training = training_of(config, method, ABLATED, 0)
    training.recipe.resolved()
    tested = config.test(ABLATED, LEARNERS[method].env(ABLATED.scenario(10)))
    assert not set(tested.seeds.tolist()) & set(training.validation.seeds.tolist())


def test_the_papers_figures_are_those_of_its_cells() -> None:
    finished, response = "finished_ratio", "response_ticks"
    assert paper.figures("fauno", finished)[Cell("random_10", 2.0)] == 0.570
    assert paper.figures("least_queues", response)[Cell("ether_4", 0.5)] == 239.59
    assert paper.figures("scof", finished)[Cell("random_15", 1.0)] == 0.435
    assert paper.figures("mappo", finished)[Cell("ether_2", 2.0)] == 0.878
    for method in paper.NAMES:
        assert len(paper.figures(method, finished)) == len(paper.figures(method, response)) == 12
