"""The study of cooperative offloading, at sizes that only show that everything runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from edge_marl.cooperative_offloading import HEURISTICS
from edge_marl.experiments.cto_tp import figures, methods, predictors, study, tables
from edge_marl.experiments.cto_tp.config import (
    SETTINGS,
    Method,
    StudyConfig,
    episodes_of,
    scenario_of,
)
from edge_marl.experiments.cto_tp.predictors import arrivals
from edge_marl.experiments.cto_tp.results import Results
from edge_marl.experiments.study.engine import reproduce
from tests import snapshots

SMALLEST = StudyConfig(
    seeds=1, episodes=2, iterations=1, updates=2, settings=("default", "bursts"), workers=0,
    methods=("CTO-TP", "CTO-TP, actors", "MADQN", "MAPPO"),
)  # fmt: skip


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make everything small: batches, predictors, and where policies are moved to."""
    replay = ("cto", "maddpg", "madqn")
    for name in ("mappo", *replay):
        batch, minibatch = (128, 16) if name in replay else (512, 256)
        pace = methods._PACES[name]
        sizes = {
            "num_envs_per_env_runner": 8, "train_batch_size_per_learner": batch,
            "minibatch_size": minibatch,
        }  # fmt: skip
        if name in replay:
            sizes |= {"updates_per_batch": 2, "num_steps_sampled_before_learning_starts": 0}
        monkeypatch.setitem(methods._PACES, name, pace._replace(options={**pace.options, **sizes}))
    monkeypatch.setattr(predictors, "_TASKS_OF_A_SERVER", 200)
    monkeypatch.setattr(predictors, "_EPOCHS", 1)
    monkeypatch.setattr(study, "MOVED", ("failing",))
    monkeypatch.setattr(tables, "MOVED", ("failing",))
    for part in (study, tables, figures):
        monkeypatch.setattr(part, "INTERVALS", (4,))
    methods.training_of.cache_clear()
    yield
    methods.training_of.cache_clear()


@pytest.mark.usefixtures("local_ray", "small")
def test_a_study_is_written_and_compares_what_it_says(tmp_path: Path) -> None:
    results = Results(SMALLEST, reproduce(study.STUDY, SMALLEST, tmp_path), ("default", "bursts"))
    written = {path.name for path in tmp_path.iterdir()}
    drawings = {"curves.png", "trade.png", "exchange.png"}
    assert {"tables.md", "results.csv", "summary.json", *drawings} <= written
    learned = SMALLEST.methods
    assert results.methods("bursts") == [*HEURISTICS, *learned]
    values = results.values("default", "CTO-TP, actors")
    assert values is not None
    assert values.shape == (1, 2)
    bound = results.bound("default")
    for method in results.methods("default"):
        found = results.values("default", method)
        assert found is not None
        assert (found >= bound.cost - 1e-9).all()
    best = results.best_heuristic("default")
    change = results.change("default", best, best)
    assert change is not None
    assert change.value == 0.0
    # Policies of the default setting are played where servers fail, too.
    assert results.methods("failing", "default") == [*learned]
    cells = [column.header for column in tables.costs(results).columns]
    assert cells == ["policy", "default", "bursts"]
    drawn = (*learned, tables.exchange_name(4))
    snapshots.check_table("study-cto-tp", tmp_path / "results.csv", drawn=drawn, rel=1e-6)


@pytest.mark.parametrize("method", get_args(Method))
def test_every_method_has_options_that_its_algorithm_takes(method: Method) -> None:
    recipe = methods.training_of(StudyConfig(), method, "default", 0).recipe
    config = recipe.config()
    assert {name: getattr(config, name) for name in ("gamma", "minibatch_size")} == {
        name: recipe.options[name] for name in ("gamma", "minibatch_size")
    }


def test_settings_differ_and_tests_are_none_of_the_validation() -> None:
    scenarios = [scenario_of(setting) for setting in SETTINGS]
    assert {scenario.servers for scenario in scenarios} == {3, 10, 30}
    assert len({scenario.model_dump_json() for scenario in scenarios}) == len(SETTINGS)
    tests, validation = (episodes_of("default", 50, validation=v).seeds for v in (False, True))
    assert not set(tests) & set(validation)


def test_predictors_learn_from_what_arrives_as_the_environment_shows_it() -> None:
    scenario = scenario_of("bursts apart")
    series = arrivals(scenario, 5)
    n = 2000 * scenario.servers
    assert series.values.shape == (n, 3)
    assert series.values.mean(axis=0) == pytest.approx(np.ones(3), rel=0.15)
    # The environment tells a predictor of the same gaps.
    own = np.flatnonzero(series.server == 1)
    gaps = np.diff(series.arrival_s[own]) * scenario.rates_per_s[1]
    np.testing.assert_allclose(series.values[own[1:], 0], gaps)
    assert (np.diff(series.arrival_s) >= 0).all()
