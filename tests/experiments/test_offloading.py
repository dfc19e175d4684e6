"""Peer offloading behind the commands of learning: what runs and checkpoints are judged by."""

import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from edge_marl.algorithms.actors import Actor
from edge_marl.envs.batched import make_batched
from edge_marl.errors import InputError
from edge_marl.experiments.evaluate.command import evaluate
from edge_marl.experiments.evaluate.episodes import evaluation_seeds, play, validation_seeds
from edge_marl.experiments.export.agents import export_agent
from edge_marl.experiments.training.checkpoints import read_checkpoint
from edge_marl.experiments.training.recipe import Recipe
from edge_marl.experiments.training.validation import Validation
from edge_marl.json_files import read_json
from edge_marl.peer_offloading.bound import success_bound
from edge_marl.peer_offloading.heuristics import HEURISTICS, heuristic
from edge_marl.peer_offloading.scenario import OffloadingScenario
from edge_marl.peer_offloading.simulator import PeerOffloadingSimulator
from edge_marl.simulation import run
from tests.experiments.checkpoint_files import untrained_actor, write_untrained

ENV = "peer_offloading_v0"
SMALL = {"nodes": 3, "slots": 12}
CONFIG = {"scenario": SMALL}


def small_actor(seed: int = 0) -> Actor:
    return untrained_actor(
        seed,
        agents=("node_0", "node_1", "node_2"),
        observation_shape=(14,),
        n_actions=4,
        groups=(0, 0, 0),
    )


def small_recipe(algorithm: str) -> Recipe:
    return Recipe(env=ENV, algorithm=algorithm, env_config=CONFIG)


def test_a_run_is_judged_by_success_beside_the_heuristics_on_the_same_episodes() -> None:
    validation = Validation(small_recipe("mappo"), 5)
    assert validation.goal.score({"success_rate": 0.7}) > validation.goal.score(
        {"success_rate": 0.6}
    )
    seeds = validation_seeds(5)
    assert set(validation.baselines) == set(HEURISTICS)
    make = partial(PeerOffloadingSimulator, OffloadingScenario(**SMALL))
    greedy = run(heuristic("greedy"), make, seeds)
    assert validation.baselines["greedy"]["success_rate"] == np.nanmean(greedy.success_rate)
    own = play(small_actor(), make_batched(ENV, CONFIG, 5), seeds)
    assert validation(small_actor())["success_rate"] == np.nanmean(own["success_rate"])


def test_only_algorithms_that_are_deployed_as_they_explore_are_sampled() -> None:
    greedy, sampled = (Validation(small_recipe(name), 5) for name in ("mappo", "o2o"))
    assert greedy(small_actor()) != sampled(small_actor())
    drawn = play(small_actor(), make_batched(ENV, CONFIG, 5), validation_seeds(5), sampled=True)
    assert sampled(small_actor())["dropped"] == drawn["dropped"].mean()


def test_checkpoints_heuristics_and_bound_play_the_same_episodes(tmp_path: Path) -> None:
    folders = [
        write_untrained(tmp_path / f"s{seed}" / "best", small_actor(seed), env=ENV,
                        env_config=CONFIG, algorithm="o2o", seed=seed)
        for seed in (0, 1)
    ]  # fmt: skip
    out = evaluate(folders, episodes=12, out=tmp_path / "out")
    rows = pq.read_table(out / "episodes.parquet").to_pylist()

    def column(policy: str, metric: str = "success_rate") -> list[float]:
        return [row[metric] for row in rows if row["policy"] == policy]

    scenario, seeds = OffloadingScenario(**SMALL), evaluation_seeds(12)
    for name in HEURISTICS:
        make = partial(PeerOffloadingSimulator, scenario)
        assert column(name) == run(heuristic(name), make, seeds).success_rate.tolist()
    bounds = [success_bound(scenario, int(seed)).success_rate for seed in seeds[:10]]
    assert column("bound (clairvoyant)") == bounds
    own = play(small_actor(1), make_batched(ENV, CONFIG, 4), seeds, sampled=True)
    assert column("s1/best") == own["success_rate"].tolist()
    shares = column("s1/best", "of_possible")
    assert shares[:10] == pytest.approx(own["success_rate"][:10] / bounds)
    assert max(shares[:10]) <= 1
    assert np.isnan(shares[10:]).all()
    summary = json.loads((out / "summary.json").read_text())
    best = max(HEURISTICS, key=lambda name: np.mean(column(name)))
    assert (summary["metric"], summary["reference"]) == ("success_rate", best)
    joint = next(row for row in summary["rows"] if row["policy"] == "o2o, 2 seeds")
    assert joint["of_possible"] == pytest.approx(
        np.mean([column(f"s{seed}/best", "of_possible")[:10] for seed in (0, 1)])
    )


def test_the_reward_makes_no_difference_to_what_is_compared_but_the_scenario_does(
    tmp_path: Path,
) -> None:
    configs = (CONFIG, {**CONFIG, "reward": "own"}, {"scenario": {**SMALL, "slots": 13}})
    folders = [
        write_untrained(tmp_path / str(k) / "best", small_actor(), env=ENV, env_config=config)
        for k, config in enumerate(configs)
    ]
    evaluate(folders[:2], episodes=2, out=tmp_path / "out")
    with pytest.raises(InputError, match=r"env\.scenario\.slots: expected \d+ as in .*, found 13"):
        evaluate(folders, episodes=2, out=tmp_path / "out")
    with pytest.raises(InputError, match="--on: expected none for peer_offloading_v0"):
        evaluate(folders[:1], on="3-3", out=tmp_path / "out")


def test_what_episodes_do_not_have_is_a_dash_and_null(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one slot of few nodes some episodes have no task, which could succeed or not."""
    config = {"scenario": {**SMALL, "slots": 1}}
    folder = write_untrained(tmp_path / "best", small_actor(), env=ENV, env_config=config)
    evaluate([folder], episodes=12, out=tmp_path / "out")
    rows = {row["policy"]: row for row in read_json(tmp_path / "out" / "summary.json")["rows"]}
    assert rows["ratc"]["mean"]["value"] is rows["ratc"]["versus"] is None
    text = (tmp_path / "out" / "summary.json").read_text()
    assert not re.search("NaN|Infinity", text)
    assert "nan" not in capsys.readouterr().out


def test_export(tmp_path: Path) -> None:
    folder = write_untrained(tmp_path / "best", small_actor(), env=ENV, env_config=CONFIG)
    exported = export_agent(read_checkpoint(folder), 2, tmp_path / "out")
    assert exported.agent == exported.folder.name == "node_2"
