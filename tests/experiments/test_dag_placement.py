"""DAG placement behind the commands of learning, and at cluster sizes that nobody trained on."""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from edge_marl.algorithms.actors import Actor, load_actor
from edge_marl.dag_placement.heuristics import HEURISTICS, heuristic
from edge_marl.dag_placement.scenario import DagScenario
from edge_marl.dag_placement.simulator import DagPlacementSimulator
from edge_marl.envs.batched import make_batched
from edge_marl.errors import InputError
from edge_marl.experiments import cli
from edge_marl.experiments.evaluate.command import evaluate
from edge_marl.experiments.evaluate.episodes import evaluation_seeds, play, validation_seeds
from edge_marl.experiments.export.command import export
from edge_marl.experiments.export.onnx_files import LocalActor, open_session
from edge_marl.experiments.training.checkpoints import read_card, read_checkpoint
from edge_marl.experiments.training.recipe import Recipe, parse_recipe
from edge_marl.experiments.training.validation import Validation
from edge_marl.simulation import run
from tests.experiments.checkpoint_files import untrained_actor, write_untrained
from tests.experiments.command_line import call

ENV = "dag_placement_v0"
SMALL = {"servers": 6, "horizon_s": 10.0}
CONFIG = {"scenario": SMALL}
POINTER = {"kind": "pointer", "hidden_sizes": (16, 16)}
QUICK = ("num_envs_per_env_runner=4", "train_batch_size_per_learner=64", "minibatch_size=32",
         "env.scenario.servers=6", "env.scenario.horizon_s=10", "--episodes", "3",
         "--evaluate-every", "1", "--checkpoint-every", "1")  # fmt: skip


def placer(seed: int = 0, servers: int = 6, **network: Any) -> Actor:
    return untrained_actor(
        seed,
        agents=("placer",),
        observation_shape=(1 + servers, 10),
        n_actions=servers + 1,
        groups=(0,),
        network=network or POINTER,
    )


def write(folder: Path, **how: Any) -> Path:
    actor = how.pop("actor", None) or placer()
    return write_untrained(folder, actor, **{"env": ENV, "env_config": CONFIG, **how})


@pytest.mark.usefixtures("local_ray")
def test_a_run_is_trained_continued_and_evaluated_at_two_sizes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "run")
    train = ("train", ENV, "scale", *QUICK, "--iterations", "1", "--out", folder)
    assert call(*train) == 0
    assert call("train", "--resume", folder, "--iterations", "2") == 0
    cards = [read_card(path) for path in sorted((tmp_path / "run" / "checkpoints").iterdir())]
    assert [card.iteration for card in cards] == [1, 2]
    scores = [card.evaluation["response_s"] for card in cards if card.evaluation is not None]
    best = read_card(tmp_path / "run" / "best")
    assert best.evaluation is not None
    assert best.evaluation["response_s"] == min(scores)
    for override, servers in (((), 6), (("env.scenario.servers=8",), 8)):
        out = tmp_path / f"at-{servers}"
        arguments = ("evaluate", folder, *override, "--episodes", "3", "--out", str(out))
        assert call(*arguments) == 0
        summary = json.loads((out / "summary.json").read_text())
        assert [row["policy"] for row in summary["rows"]] == [*HEURISTICS, "run/best"]
        (one,) = summary["checkpoints"].values()
        assert one["played_in"]["scenario"]["servers"] == servers
        assert one["recipe"]["env_config"]["scenario"]["servers"] == 6
        assert f"{servers} servers" in summary["episodes"]
    assert "response_s" in capsys.readouterr().out


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(
    ("algorithm", "options"),
    [
        ("sac", ("network.kind=structured_mlp",)),
        ("vdn", ("network.kind=structured_mlp", "network.dueling=true")),
        ("scale", ("network.kind=structured_mlp", "srr=false", "env.selector=learned")),
    ],
)
def test_what_scale_is_compared_with_trains_from_the_command_line_too(
    tmp_path: Path, algorithm: str, options: tuple[str, ...]
) -> None:
    replay = ("minibatch_size=32",) if algorithm == "scale" else ("rollout_fragment_length=4",)
    quick = [one for one in QUICK if one != "minibatch_size=32"]
    arguments = ("train", ENV, algorithm, *quick, *replay, *options, "--iterations", "1")
    assert call(*arguments, "--out", str(tmp_path / "run")) == 0
    network = read_checkpoint(tmp_path / "run").actor.spec.network
    assert (network.kind, network.dueling) == ("structured_mlp", algorithm == "vdn")


def test_a_run_is_judged_by_its_response_time_the_shorter_the_better() -> None:
    recipe = Recipe(env=ENV, algorithm="scale", env_config=CONFIG)
    validation = Validation(recipe, 5)
    goal = validation.goal
    assert goal.score({"response_s": 2.0}) > goal.score({"response_s": 3.0})
    assert goal.score({"response_s": 3.0}) > goal.score({"response_s": float("nan")})
    assert set(validation.baselines) == set(HEURISTICS)
    seeds = validation_seeds(5)
    make = partial(DagPlacementSimulator, DagScenario(**SMALL))
    fastest = run(heuristic("fastest_idle"), make, seeds)
    assert validation.baselines["fastest_idle"]["response_s"] == fastest.response_s.mean()
    own = play(placer(), make_batched(ENV, CONFIG, 5), seeds)
    assert validation(placer())["response_s"] == own["response_s"].mean()


def test_checkpoints_and_heuristics_play_the_same_episodes_at_any_size(tmp_path: Path) -> None:
    folder = write(tmp_path / "run" / "best")
    out = evaluate([folder], ["env.scenario.servers=8"], episodes=4, out=tmp_path / "out")
    rows = pq.read_table(out / "episodes.parquet").to_pylist()
    seeds, larger = evaluation_seeds(4), {**SMALL, "servers": 8}
    for name in HEURISTICS:
        found = [row["response_s"] for row in rows if row["policy"] == name]
        make = partial(DagPlacementSimulator, DagScenario(**larger))
        assert found == run(heuristic(name), make, seeds).response_s.tolist()
    own = play(placer().resized(8), make_batched(ENV, {"scenario": larger}, 4), seeds)
    found = [row["response_s"] for row in rows if row["policy"] == "run/best"]
    assert found == own["response_s"].tolist()
    assert min(row["ratio_to_bound"] for row in rows) >= 1


def test_checkpoints_of_different_sizes_and_features_meet_on_one_cluster(tmp_path: Path) -> None:
    paper = untrained_actor(
        agents=("placer",), observation_shape=(6, 5), n_actions=6, groups=(0,), network=POINTER
    )
    config = {"scenario": {**SMALL, "servers": 5}, "features": "paper"}
    folders = [
        write(tmp_path / "a" / "best"),
        write(tmp_path / "b" / "best", actor=paper, env_config=config),
    ]
    with pytest.raises(
        InputError, match=r"b/best: env\.scenario\.servers: expected 6 as in .*, found 5"
    ):
        evaluate(folders, episodes=2, out=tmp_path / "out")
    evaluate(folders, ["env.scenario.servers=7"], episodes=2, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("env.scenario.server=5", "did you mean env.scenario.servers?"),
        ("env.scenario.servers=0", "scenario.servers: "),
        ("env.scenario.servers=5", "expected pointer or attention to choose from 5 instead of 6"),
    ],
)
def test_what_cannot_be_evaluated_elsewhere_is_one_line(
    override: str,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = write(tmp_path / "best", actor=placer(kind="structured_mlp"))
    assert call("evaluate", str(folder), override) == cli.BAD_INPUT
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert message in said


def test_an_exported_placer_decides_alike_at_any_size(tmp_path: Path) -> None:
    folder = write(tmp_path / "run" / "best")
    export(folder, tmp_path / "out")
    card = json.loads((tmp_path / "out" / "placer" / "card.json").read_text())
    assert card["inputs"]["observation"]["shape"] == ["batch", "1 + servers", 10]
    session = open_session(tmp_path / "out" / "placer" / "actor.onnx")
    trained, alone = read_checkpoint(folder).actor, load_actor(tmp_path / "out" / "placer")
    for servers in (5, 6, 33):
        env = make_batched(ENV, {"scenario": {**SMALL, "servers": servers}}, 6)
        seen = env.reset(np.arange(6))
        features, mask = torch.from_numpy(seen.features), torch.from_numpy(seen.action_mask)
        outputs, _ = trained.resized(servers)(features, mask)
        expected = trained.resized(servers).greedy(outputs, mask)
        scores = outputs.gather(-1, expected[..., None])[:, 0, 0]
        inputs = {
            "observation": seen.features.reshape(6, 1 + servers, 10),
            "action_mask": seen.action_mask[:, 0],
            "random": np.full(6, 0.5, dtype=np.float32),
        }
        for found in (
            session.run(["action"], inputs)[0],
            LocalActor(alone.resized(servers)).decide(inputs)["action"],
        ):
            # Servers of one tier are equally good: rounding decides between them.
            chosen = outputs[:, 0].gather(-1, torch.from_numpy(found)[:, None])[:, 0]
            torch.testing.assert_close(chosen, scores, rtol=1e-4, atol=1e-4)
            assert seen.action_mask[np.arange(6), 0, found].all()


def test_waits_are_drawn_as_the_episode_says_not_its_batch() -> None:
    seeds = evaluation_seeds(4)
    alone = play(placer(), make_batched(ENV, CONFIG, 1), seeds)
    together = play(placer(), make_batched(ENV, CONFIG, 4), seeds[::-1].copy())
    for name, values in alone.items():
        assert np.array_equal(values, together[name][::-1], equal_nan=True), name


def test_a_policy_that_would_rather_wait_gets_its_work_done() -> None:
    """Asked again and again, the likelier answer would always be the same one."""
    actor = placer()
    with torch.no_grad():
        actor.network.wait_key.zero_()
        actor.network.wait_bias.fill_(math.log(2.0))
    patient, eager = (
        play(one, make_batched(ENV, CONFIG, 4), evaluation_seeds(4)) for one in (actor, placer())
    )
    share = patient["waits"].sum() / patient["length"].sum()
    assert 0.5 < share < 0.7  # two of three, but where nothing else happens waiting is illegal
    assert patient["response_s"].mean() < 3.0 * eager["response_s"].mean()


def test_options_of_recorded_workflows_are_options_and_their_path_is_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Three tasks side by side between the two that begin and end a Standard Task Graph.
    lines = ["3", "0 0 0", "1 4 1 0", "2 5 1 0", "3 6 1 0", "4 0 3 1 2 3"]
    (tmp_path / "small.stg").write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    options = ("kind=recorded", "format=stg", "path=small.stg")
    recipe = parse_recipe(ENV, "scale", [f"env.scenario.workflows.{one}" for one in options])
    assert recipe.env_config["scenario"]["workflows"]["path"] == str(tmp_path / "small.stg")
    with pytest.raises(InputError, match=r"did you mean env\.scenario\.workflows\.format"):
        parse_recipe(ENV, "scale", ["env.scenario.workflows.formad=stg"])
