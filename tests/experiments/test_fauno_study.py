"""The FAuNO study, at sizes that say nothing but show that everything runs."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from edge_marl.algorithms.federation.privacy import DELTA
from edge_marl.experiments.fauno import figures, hyperparameters, methods, paper, study, tables
from edge_marl.experiments.fauno import results as results_module
from edge_marl.experiments.fauno.config import (
    ABLATED,
    FAILING,
    FEDERATED,
    LARGE,
    REGIONS,
    Cell,
    Setting,
    StudyConfig,
)
from edge_marl.experiments.fauno.disagreement import FROM_ORACLE, OWN, SAME, disagreement
from edge_marl.experiments.fauno.methods import (
    DISAGREEING,
    GROUPS,
    LEARNERS,
    METHODS,
    NOISES,
    ORACLE,
    training_of,
)
from edge_marl.experiments.fauno.results import TRIAGE, Results
from edge_marl.experiments.statistics import Estimate
from edge_marl.experiments.study.engine import reproduce
from edge_marl.experiments.study.outcomes import Outcomes
from edge_marl.experiments.study.policies import Play
from edge_marl.graph_offloading.heuristics import HEURISTICS
from tests import snapshots

SMALLEST = StudyConfig(
    seeds=1, episodes=2, ticks=40, topologies=("random_10",), rates=(2.0,), iterations=1,
    ablation_seeds=1, workers=0, settings=("main", "components", "disagreement", "byzantine"),
)  # fmt: skip
CELL = Cell("random_10", 2.0)


def test_a_study_is_written_and_goes_on_where_it_was(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    local_ray: None,
) -> None:
    # One method of each group; the others differ in options only.
    lost = DISAGREEING[0.3]
    monkeypatch.setattr(study, "DISAGREEING", {0.3: lost})
    monkeypatch.setattr(tables, "DISAGREEING", {0.3: lost})
    groups: dict[Setting, methods.Group] = {
        "components": GROUPS["components"]._replace(
            methods={"FAuNO, synchronous": LEARNERS["FAuNO, synchronous"]}
        ),
        "disagreement": GROUPS["disagreement"]._replace(
            methods={name: LEARNERS[name] for name in (lost, ORACLE)}
        ),
        "byzantine": GROUPS["byzantine"]._replace(methods={"nan, mean": LEARNERS["nan, mean"]}),
    }
    played = {*METHODS, "FAuNO, synchronous", "nan, mean", lost, ORACLE}
    monkeypatch.setattr(methods, "_ENVS", 2)
    monkeypatch.setattr(methods, "_STEPS", 42)
    updates = {
        key: one._replace(minibatch_size=40) for key, one in hyperparameters._UPDATES.items()
    }
    monkeypatch.setattr(hyperparameters, "_UPDATES", updates)
    small = {**hyperparameters._OWN, "scof": {"updates_per_batch": 2, "minibatch_size": 2}}
    monkeypatch.setattr(hyperparameters, "_OWN", small)
    soon = {name: replace(learner, rewards={**learner.rewards, "delay_ticks": 20})
            for name, learner in LEARNERS.items() if name in played}  # fmt: skip
    for module in (methods, study, results_module):
        monkeypatch.setattr(module, "LEARNERS", soon)
    for module in (study, results_module, tables):
        monkeypatch.setattr(module, "GROUPS", groups)
    results = Results(SMALLEST, reproduce(study.STUDY, SMALLEST, tmp_path))
    assert "units to compute, roughly 0:0" in capsys.readouterr().err
    written = {path.name for path in tmp_path.iterdir()}
    assert {"tables.md", "results.csv", "summary.json", "finished.png", "curves.png"} <= written
    assert set(results.methods(CELL)) == {*HEURISTICS, *played} - {lost, ORACLE}
    assert set(results.methods(REGIONS)) == {*HEURISTICS, lost, ORACLE}
    for name in (OWN, SAME, FROM_ORACLE):
        found = results.disagreement(lost, name)
        assert found is not None
        assert found.value > 0.0
    alike = results.disagreement(ORACLE, SAME)
    assert alike is not None
    assert alike.value == pytest.approx(0.0, abs=1e-5), "there it is one critic"
    steps, ratios = results.curve(CELL, "IPPO") or ([], np.empty(0))
    assert len(steps) == 1
    assert ratios.shape == (1, 1)
    own = results.values(CELL, "IPPO")
    other = results.values(CELL, "least_queues")
    assert own is not None
    assert other is not None
    found = results.difference(CELL, "IPPO", "least_queues")
    assert found is not None
    assert found.value == pytest.approx(own.mean() - other.mean())
    assert results.best_triage(CELL) in TRIAGE
    learning = results.while_learning(CELL, "FAuNO")
    assert learning is not None
    assert 0.0 < learning.value < 1.0
    text = (tmp_path / "tables.md").read_text()
    assert "| random_10, 2 |" in text
    assert "| 0.803 |" in text, "the paper's Least Queues stands beside ours"
    assert "FAuNO, synchronous minus FAuNO" in text
    snapshots.check_table("study-fauno", tmp_path / "results.csv", drawn=played, rel=1e-6)


class Known(Results):
    """Results that are the same everywhere."""

    def mean(self, cell: Cell, method: str, metric: str = "finished_ratio") -> Estimate | None:
        return Estimate(0.9, 0.88, 0.93)


def test_privacy_is_drawn_over_what_a_client_loses(tmp_path: Path) -> None:
    results = Known(StudyConfig(), Outcomes(pd.DataFrame()))
    for method, noise in NOISES.items():
        epsilon = results.epsilon(method)
        # The Gaussian mechanism's own trade-off, of 20 versions.
        mu = math.sqrt(20) / noise
        kept, other = norm.cdf(mu / 2 - epsilon / mu), norm.cdf(-mu / 2 - epsilon / mu)
        assert kept - math.exp(epsilon) * other == pytest.approx(DELTA, rel=0.1)
    table = tables.privacy(results)
    assert [*table.columns[0].cells] == [*NOISES]
    figures.privacy(results, tmp_path / "privacy.png")
    assert (tmp_path / "privacy.png").stat().st_size > 1000


def trained(config: StudyConfig) -> list[tuple[Cell, str]]:
    """Where which method is trained and played."""
    plays = [unit for unit in study.units_of(config) if isinstance(unit, Play) and unit.training]
    return [(Cell(*(play.labels[name] for name in Cell._fields)), play.method) for play in plays]


def test_every_method_is_trained_in_every_cell_with_seeds_of_its_own() -> None:
    found = trained(StudyConfig(seeds=2, topologies=("ether_2",), rates=(1.0, 2.0)))
    for name in (*METHODS, *GROUPS["components"].methods, *GROUPS["sparse"].methods):
        for cell in (Cell("ether_2", 1.0), Cell("ether_2", 2.0)):
            assert found.count((cell, name)) == 2
    for setting in ("threshold", "byzantine", "privacy"):
        for name in ("FAuNO", *GROUPS[setting].methods):
            assert found.count((FEDERATED, name)) == 2
    for cell in (*LARGE, FAILING):
        assert found.count((cell, "FAuNO")) == 2
    for name in ("IPPO", *GROUPS["ablation"].methods):
        assert found.count((ABLATED, name)) == 3


def test_only_what_is_asked_for_is_trained() -> None:
    found = trained(StudyConfig(settings=("proximal",), seeds=1, topologies=("ether_2",)))
    assert {name for _, name in found} == {"FAuNO", "FAuNO, proximal"}
    assert {cell.topology for cell, _ in found} == {"ether_2"}


@pytest.mark.parametrize("method", LEARNERS)
def test_recipes_are_valid_and_no_test_episode_is_trained_on(method: str) -> None:
    config = StudyConfig()
    training = training_of(config, method, ABLATED, 0)
    training.recipe.resolved()
    tested = config.test(ABLATED, LEARNERS[method].env(ABLATED.scenario(10)))
    assert not set(tested.seeds.tolist()) & set(training.validation.seeds.tolist())


@pytest.mark.parametrize("cell", LARGE)
def test_train_batches_of_large_graphs_fit_into_the_memory(cell: Cell) -> None:
    found = training_of(StudyConfig(), "FAuNO", cell, 0).recipe.resolved()["options"]
    assert found["minibatch_size"] <= found["train_batch_size_per_learner"] < 10_000


def test_the_papers_figures_are_those_of_its_cells() -> None:
    finished, response = "finished_ratio", "response_ticks"
    assert paper.figures("fauno", finished)[Cell("random_10", 2.0)] == 0.570
    assert paper.figures("least_queues", response)[Cell("ether_4", 0.5)] == 239.59
    assert paper.figures("scof", finished)[Cell("random_15", 1.0)] == 0.435
    assert paper.figures("mappo", finished)[Cell("ether_2", 2.0)] == 0.878
    for method in paper.NAMES:
        assert len(paper.figures(method, finished)) == len(paper.figures(method, response)) == 12


def test_every_group_stands_beside_the_papers_tables() -> None:
    for group in GROUPS.values():
        for name in group.papers.values():
            for metric in ("finished_ratio", "response_ticks"):
                assert len(paper.figures(name, metric, group.tables)) == 12, (group.title, name)


@pytest.mark.parametrize("cell", LARGE)
def test_batches_of_large_graphs_are_smaller(cell: Cell) -> None:
    large = training_of(StudyConfig(), "FAuNO", cell, 1).recipe.options
    usual = training_of(StudyConfig(), "FAuNO", ABLATED, 1).recipe.options
    size = "train_batch_size_per_learner"
    assert large[size] < usual[size]


def test_disagreement_is_the_mean_over_pairs_of_critics() -> None:
    # RMSE of the pairs: sqrt((9 + 16) / 2) = 3.5355, sqrt((0 + 4) / 2), sqrt((9 + 4) / 2).
    valued = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 2.0]])
    pairs = [12.5**0.5, 2.0**0.5, 6.5**0.5]
    assert disagreement(valued) == pytest.approx(sum(pairs) / 3)


def test_the_papers_disagreement() -> None:
    assert paper.disagreement(0.3) == ("74.5", "63.6")
    assert paper.disagreement(1.0) == ("319.35", "325.55")
