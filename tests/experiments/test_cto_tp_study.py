"""The study of cooperative offloading, at sizes that only show that everything runs."""

from pathlib import Path

import pytest

from edge_marl.cooperative_offloading import HEURISTICS, CooperativeScenario
from edge_marl.experiments.cto_tp import methods, study
from edge_marl.experiments.cto_tp.config import SETTINGS, StudyConfig, episodes_of
from edge_marl.experiments.cto_tp.results import Results
from edge_marl.experiments.cto_tp.tables import costs
from edge_marl.experiments.study.engine import reproduce
from tests import snapshots

SMALLEST = StudyConfig(
    seeds=1, episodes=2, iterations=1, settings=("default", "bursts"), methods=("MAPPO", "IPPO"),
    workers=0,
)  # fmt: skip


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "_BATCH", 512)
    sizes = (
        ("num_envs_per_env_runner", 8), ("train_batch_size_per_learner", 512),
        ("minibatch_size", 256),
    )  # fmt: skip
    for name, value in sizes:
        monkeypatch.setitem(methods._OPTIONS, name, value)


@pytest.mark.usefixtures("local_ray", "small_batches")
def test_a_study_is_written_and_goes_on_where_it_was(tmp_path: Path) -> None:
    methods.training_of.cache_clear()
    results = Results(SMALLEST, reproduce(study.STUDY, SMALLEST, tmp_path))
    methods.training_of.cache_clear()
    written = {path.name for path in tmp_path.iterdir()}
    assert {"tables.md", "results.csv", "summary.json", "curves.png", "trade.png"} <= written
    assert results.methods("bursts") == [*HEURISTICS, "MAPPO", "IPPO"]
    values = results.values("default", "MAPPO")
    assert values is not None
    assert values.shape == (1, 2)
    bound = results.bound("default")
    for method in results.methods("default"):
        found = results.values("default", method)
        assert found is not None
        assert (found >= bound.cost - 1e-9).all()
    best = results.best_heuristic("default")
    change = results.change("default", best)
    assert change is not None
    assert change.value == 0.0
    cells = [column.header for column in costs(results).columns]
    assert cells == ["policy", "default", "bursts"]
    drawn = ("MAPPO", "IPPO")
    snapshots.check_table("study-cto-tp", tmp_path / "results.csv", drawn=drawn, rel=1e-6)


def test_settings_differ_and_tests_are_none_of_the_validation() -> None:
    scenarios = {episodes_of(setting, 2).env_config["scenario"]["servers"] for setting in SETTINGS}
    assert scenarios == {3, 10}
    of_settings = [
        CooperativeScenario.model_validate(episodes_of(setting, 2).env_config["scenario"])
        for setting in SETTINGS
    ]
    assert len({scenario.model_dump_json() for scenario in of_settings}) == len(SETTINGS)
    tests, validation = (episodes_of("default", 50, validation=v).seeds for v in (False, True))
    assert not set(tests) & set(validation)
