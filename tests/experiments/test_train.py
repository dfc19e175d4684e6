"""Training from the command line: options, checkpoints, going on, stopping."""

import csv
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_marl.algorithms.actors import load_actor
from edge_marl.errors import InputError
from edge_marl.experiments import cli
from edge_marl.experiments.training.checkpoints import (
    numbered_checkpoints,
    read_card,
    read_checkpoint,
)
from edge_marl.experiments.training.logs import RunLog, flat_numbers, read_log
from edge_marl.experiments.training.loop import Limits
from edge_marl.experiments.training.recipe import ALGORITHMS, parse_recipe
from edge_marl.experiments.training.validation import Validation
from tests.experiments.command_line import call, signal_when

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("num_envs_per_env_runner=8", "rollout_fragment_length=4", "network.hidden_sizes=[16]",
         "num_steps_sampled_before_learning_starts=32", "train_batch_size_per_learner=16",
         "--episodes", "4", "--evaluate-every", "2", "--checkpoint-every", "1")  # fmt: skip


@pytest.fixture(scope="module")
def run_folder(
    local_ray: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A run of three iterations."""
    out = tmp_path_factory.mktemp("train") / "run"
    arguments = ("train", "tandem_v0", "vdn", *SMALL, "--iterations", "3", "--keep", "2")
    assert call(*arguments, "--out", str(out)) == 0
    return out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tandem_v0", "vdn", "lrr=1"), "lrr: unknown option; did you mean lr?"),
        (("tandem_v0", "vdn", "lr=fast"), "lr: expected a number, found 'fast'"),
        (("tandem_v0", "vdn", "double_q=2"), "double_q: expected true or false, found 2"),
        (("tandem_v0", "vdn", "tau=7"), "tau: "),
        (("tandem_v0", "vdn", "network.kid=mlp"), "did you mean network.kind?"),
        (("tandem_v0", "vdn", "network.kind=cnn"), "network.kind: "),
        (("tandem_v0", "vdn", "env.workload.fils=1"), "did you mean env.workload.files?"),
        (("tandem_v0", "vdn", "env.workload.files=-1"), "workload.files: "),
        (("tandem_v0", "vdn", "env.traces=none.parquet"), "none.parquet"),
        (("tandem_v0", "dqn"), "fauno, scof, madqn, maddpg, cto, sac, found"),
        (("tango_v0", "vdn"), "environment: expected tandem_v0"),
        (("no_such_module:make", "vdn"), "no_such_module"),
        (("tandem_v0",), "expected ENV and ALGORITHM"),
        (("tandem_v0", "vdn", "--time", "soon"), "--time: expected a duration"),
        (("--resume", "nowhere"), "expected the folder of a run"),
        (("tandem_v0", "vdn", "--resume", "nowhere"), "--resume: goes on with the run as it is"),
        (("--resume", "nowhere", "--seed", "3"), "it takes no --seed"),
        (("--resume", "nowhere", "--seed", "0"), "it takes no --seed"),
        (("--resume", "nowhere", "--episodes", "9"), "it takes no --episodes"),
        (("--resume", "nowhere", "--out", "here"), "it takes no --out"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("train", *arguments) == cli.BAD_INPUT
    said = capsys.readouterr().err
    assert said.startswith("edge-marl: ")
    assert said.count("\n") == 1
    assert message in said
    assert list(tmp_path.iterdir()) == []


def test_options_reach_the_configuration() -> None:
    recipe = parse_recipe(
        "tandem_v0",
        "qmix",
        ["lr=0.01", "network.gru=8", "mixer_embedding=4", "num_envs_per_env_runner=3",
         "env.workload.files=1", "env.max_queue=4"],
        seed=5,
    )  # fmt: skip
    config: Any = recipe.config(workers=2)
    assert (config.lr, config.network.gru, config.mixer_embedding) == (0.01, 8, 4)
    assert config.network.hidden_sizes == (64, 64)
    assert (config.num_envs_per_env_runner, config.num_env_runners, config.seed) == (3, 2, 5)
    assert config.env_config == {"workload": {"files": 1}, "max_queue": 4}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_of_the_list_is_there(algorithm: str) -> None:
    assert parse_recipe("tandem_v0", algorithm).config().env == "tandem_v0"


def test_ippo_is_mappo_with_a_local_critic() -> None:
    config: Any = parse_recipe("tandem_v0", "ippo").config()
    assert config.critic == "local"


def test_the_nearest_limit_counts() -> None:
    done = {"iteration": 5, "env_steps": 900, "time_s": 1.0}
    assert Limits().share_done(**done) is None
    assert Limits(iterations=10).share_done(**done) == 0.5
    assert Limits(iterations=10, env_steps=1000).share_done(**done) == 0.9
    assert Limits(iterations=5, env_steps=1000).share_done(**done) == 1.0


def test_a_run_leaves_checkpoints_logs_and_the_best(run_folder: Path) -> None:
    assert [path.name for path in numbered_checkpoints(run_folder / "checkpoints")] == [
        "000002", "000003",
    ]  # fmt: skip
    rows = read_log(run_folder / "progress.csv")
    assert [row["iteration"] for row in rows] == ["1", "2", "3"]
    assert [float(row["env_steps"]) > 0 for row in rows] == [True] * 3
    assert rows[1]["evaluation/objective"] == rows[1]["evaluation/objective"]
    assert list((run_folder / "tensorboard").iterdir())
    best = read_card(run_folder / "best")
    assert best.evaluation is not None
    evaluated = [float(row["evaluation/objective"]) for row in rows if row["evaluation/objective"]]
    assert best.evaluation["objective"] == min(evaluated)


def test_a_checkpoint_holds_the_weights_that_were_evaluated(run_folder: Path) -> None:
    checkpoint = read_checkpoint(run_folder / "best")
    validation = Validation(checkpoint.card.recipe, 4)
    assert validation(checkpoint.actor) == checkpoint.card.evaluation
    assert {"edf", "llf+edf"} <= set(validation.baselines)


def test_a_checkpoint_is_read_without_rllibs_part(run_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(run_folder / "best", tmp_path / "best")
    shutil.rmtree(tmp_path / "best" / "algorithm")
    assert read_checkpoint(tmp_path / "best").card.iteration > 0


def test_a_used_folder_is_refused(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("train", "tandem_v0", "vdn", "--out", str(run_folder)) == 2
    assert f"--resume {run_folder}" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["checkpoints", "best", "progress.csv", "tensorboard"])
def test_a_folder_that_holds_what_a_run_writes_is_refused(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / name).mkdir()
    assert call("train", "tandem_v0", "vdn", "--out", str(tmp_path)) == 2
    assert f"{tmp_path}: expected a new folder, found one with {name}" in capsys.readouterr().err


def test_a_start_that_fails_leaves_nothing(
    local_ray: None,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    out = tmp_path / "results" / "run"
    arguments = ("train", "peer_offloading_v0", "o2o", f"log={tmp_path}/none.sqlite")
    assert call(*arguments, "--episodes", "2", "--out", str(out)) == cli.BAD_INPUT
    assert "none.sqlite: expected a task log, found no file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_options_given_with_resume_take_effect(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(run_folder, out)
    other = out / "checkpoints" / "20240101"  # not of the run
    other.mkdir()
    options = ("--iterations", "4", "--keep", "1", "--checkpoint-every", "2")
    assert call("train", "--resume", str(out), *options) == 0
    settings = json.loads((out / "run.json").read_text())
    assert [settings[name] for name in ("keep", "checkpoint_every", "evaluate_every")] == [1, 2, 2]
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["000004", "20240101"]


def test_a_best_checkpoint_that_cannot_be_replaced_is_found_out_at_once(
    run_folder: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    out = tmp_path / "run"
    shutil.copytree(run_folder, out)
    (out / "best" / "thesis.tex").write_text("years of work")
    assert call("train", "--resume", str(out), "--iterations", "5") == cli.BAD_INPUT
    assert f"{out / 'best'}: expected an earlier output" in capsys.readouterr().err
    assert (out / "best" / "thesis.tex").exists()


def test_a_resumed_run_ends_as_one_that_was_never_stopped(run_folder: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    shutil.copytree(run_folder, parts)
    arguments = ("train", "tandem_v0", "vdn", *SMALL, "--iterations", "5", "--keep", "2")
    assert call(*arguments, "--out", str(whole)) == 0
    assert call("train", "--resume", str(parts), "--iterations", "5") == 0
    assert json.loads((parts / "run.json").read_text())["limits"]["iterations"] == 5
    rows, again = read_log(whole / "progress.csv"), read_log(parts / "progress.csv")
    assert [row["iteration"] for row in again] == ["1", "2", "3", "4", "5"]
    assert [row["env_steps"] for row in again] == [row["env_steps"] for row in rows]
    expected = load_actor(whole / "checkpoints" / "000005" / "policy").state_dict()
    found = load_actor(parts / "checkpoints" / "000005" / "policy").state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", "expected a checkpoint"),
        ("no json", "expected JSON"),
        ("other format", "format: expected 'edge-marl checkpoint'"),
        ("newer format", "newer than this edge-marl"),
        ("newer version", "update edge-marl"),
        ("field", "iteration"),
        ("weights", "SHA-256"),
        ("no weights", "cannot be read: No such file"),
    ],
)
def test_a_damaged_or_newer_checkpoint_is_refused(
    run_folder: Path, tmp_path: Path, damage: str, message: str
) -> None:
    folder = tmp_path / "best"
    shutil.copytree(run_folder / "best", folder)
    path = folder / "checkpoint.json"
    card = json.loads(path.read_text())
    weights = folder / "policy" / "actor.safetensors"
    if damage == "missing":
        path.unlink()
    elif damage == "no json":
        path.write_text(path.read_text()[:100])
    elif damage == "weights":
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(bytes(content))
    elif damage == "no weights":
        weights.unlink()
    else:
        changed = {
            "other format": {"format": "zip"},
            "newer format": {"format_version": 99},
            "newer version": {"edge_marl_version": "999.0"},
            "field": {"iteration": -1},
        }[damage]
        path.write_text(json.dumps({**card, **changed}))
    with pytest.raises(InputError, match=message) as refused:
        read_checkpoint(folder)
    assert "\n" not in str(refused.value)
    assert str(folder) in str(refused.value)


def test_the_log_takes_new_columns_and_forgets_what_is_made_again(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.add({"iteration": 1, "a": 1.0})
    log.add({"iteration": 2, "a": 2.0, "b": 3.0})
    log.close()
    log = RunLog(tmp_path, after=1)
    log.add({"iteration": 2, "b": 4.0})
    log.close()
    with (tmp_path / "progress.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["iteration", "a", "b"],
            ["1", "1.0", ""],
            ["2", "", "4.0"],
        ]


def test_only_finite_numbers_are_logged() -> None:
    result = {"a": {"b": np.float32(1.5), "num_x": 3, "c": float("nan")}, "d": "text", "e": [1]}
    assert dict(flat_numbers(result)) == {"a/b": 1.5}


def test_an_unknown_option_of_an_environment_from_elsewhere_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    walkers = "tests.experiments.walkers:parallel_env"
    monkeypatch.chdir(ROOT)
    out = tmp_path / "run"
    arguments = ("train", walkers, "vdn", "env.stepz=2", "--out", str(out))
    assert call(*arguments) == cli.BAD_INPUT
    assert "unexpected keyword argument 'stepz'" in capsys.readouterr().err
    assert not out.exists()


def test_divergence_is_said_in_one_line_and_keeps_the_last_checkpoint(
    run_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    out = tmp_path / "run"
    shutil.copytree(run_folder, out)
    monkeypatch.setattr(
        "edge_marl.algorithms.value_decomposition.learner.td_targets",
        lambda returns, *_: torch.full_like(returns, torch.inf),
    )
    assert call("train", "--resume", str(out), "--iterations", "30") == 1
    said = capsys.readouterr().err
    assert "edge-marl: training diverged: loss term" in said
    last = numbered_checkpoints(out / "checkpoints")[-1]
    assert f"last checkpoint {last}" in said
    for weights in load_actor(last / "policy").state_dict().values():
        assert torch.isfinite(weights).all()


def test_a_damaged_checkpoint_is_not_continued(
    run_folder: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    out = tmp_path / "run"
    shutil.copytree(run_folder, out)
    state = out / "checkpoints" / "000003" / "algorithm" / "algorithm_state.pkl"
    state.write_bytes(state.read_bytes()[:100])
    assert call("train", "--resume", str(out), "--iterations", "5") == cli.BAD_INPUT
    assert "algorithm: damaged checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_and_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str],
    local_ray: None,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    out = tmp_path / "run"

    signal_when(lambda: len(read_log(out / "progress.csv")) >= 2, number)
    assert call("train", "tandem_v0", "vdn", *SMALL, "--out", out) == 128 + number
    assert f"edge-marl train --resume {out}" in capsys.readouterr().err
    last = numbered_checkpoints(out / "checkpoints")[-1]
    assert read_checkpoint(last).card.iteration == len(read_log(out / "progress.csv")) >= 2


def test_the_file_is_a_script_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "experiments" / "train.py"), "tango_v0", "vdn"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == cli.BAD_INPUT
    assert done.stderr.startswith("edge-marl: environment: expected tandem_v0")
