"""Search spaces, and a search that is stopped and continued."""

import csv
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edge_marl.errors import InputError
from edge_marl.experiments import cli
from edge_marl.experiments.systems.system import Goal
from edge_marl.experiments.training.checkpoints import CheckpointCard, read_checkpoint
from edge_marl.experiments.training.recipe import ALGORITHMS, parse_recipe
from edge_marl.experiments.tuning.errors import errors_in_a_line
from edge_marl.experiments.tuning.search import SearchSettings
from edge_marl.experiments.tuning.space import explore, read_space, shipped_space
from edge_marl.experiments.tuning.trial import Trial
from tests.experiments.command_line import call

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_comes_with_a_space(algorithm: str) -> None:
    space = read_space(shipped_space(algorithm), parse_recipe("tandem_v0", algorithm))
    assert "lr" in space.searched


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lrr: {uniform: [0.1, 1]}", "lrr: unknown option; did you mean lr?"),
        ("lr: {unifrom: [0.1, 1]}", "lr: unifrom: unknown option; did you mean uniform?"),
        ("lr: {uniform: [1, 0.1]}", "lr: uniform: expected .lowest, highest."),
        ("lr: {uniform: [low, high]}", "lr: uniform: expected .lowest, highest."),
        ("lr: {loguniform: [0, 0.1]}", "lr: loguniform: expected a lowest above 0"),
        ("n_step: {randint: [1, 2.5]}", "n_step: randint: expected .*two whole numbers"),
        ("loss: {choice: mse}", "loss: choice: expected a list"),
        ("loss: {choice: [mse, l1]}", "loss: expected 'huber' or 'mse', found 'l1'"),
        ("tau: {uniform: [0.5, 1.5]}", "tau: expected at most 1, found 1.5"),
        ("network.kind: {choice: [mlp, cnn]}", "network.kind: "),
        ("lr: 0.001", "expected a distribution, found fixed values only"),
        ("lr: {uniform: [0.1, 1], choice: [1]}", "lr: expected one of uniform"),
        ("- lr", "expected options and their distributions"),
        ("lr: {uniform: [0.1", "expected YAML"),
        ("", "expected options and their distributions"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as refused:
        read_space(path, parse_recipe("tandem_v0", "vdn"))
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


def test_what_the_user_sets_comes_before_the_space() -> None:
    options = ["train_batch_size_per_learner=1024", "network.hidden_sizes=[8]"]
    space = read_space(shipped_space("mappo"), parse_recipe("tandem_v0", "mappo", options))
    assert space.searched["minibatch_size"].values == (512, 1024)
    assert "network.hidden_sizes" not in space.searched
    assert space.notes[0] == "network.hidden_sizes=[8] is not searched"
    assert space.notes[1].startswith(
        "minibatch_size=2048 is left out beside train_batch_size_per_learner=1024: "
    )

    small = ["train_batch_size_per_learner=256", "minibatch_size=128"]
    recipe = parse_recipe("tandem_v0", "mappo", small)
    space = read_space(shipped_space("mappo"), recipe)
    assert "minibatch_size" not in space.searched
    for name, distribution in space.searched.items():
        for value in distribution.values:
            recipe.with_options({**space.fixed, name: value}).config()


def test_a_contradiction_names_both_sides_and_no_path(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("minibatch_size: {choice: [3072, 4096]}\n")
    recipe = parse_recipe("tandem_v0", "mappo", ["train_batch_size_per_learner=2048"])
    with pytest.raises(InputError) as refused:
        read_space(path, recipe)
    message = str(refused.value)
    assert message.startswith(
        f"{path}: minibatch_size=3072 is left out beside train_batch_size_per_learner=2048: "
    )
    assert message.endswith("; set minibatch_size too")
    recipe = parse_recipe("tandem_v0", "mappo", ["train_batch_size_per_learner=256"])
    with pytest.raises(InputError, match=r"^mappo: `minibatch_size`") as refused:
        read_space(shipped_space("mappo"), recipe)
    assert "\n" not in str(refused.value)


def test_samples_are_of_the_space_and_perturbed_ones_come_back(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("n_step: {randint: [1, 3]}\nloss: {choice: [mse, huber]}\ntau: 0.5\n")
    space = read_space(path, parse_recipe("tandem_v0", "vdn"))
    assert {space.searched["n_step"].domain().sample() for _ in range(100)} == {1, 2, 3}
    assert {space.searched["loss"].domain().sample() for _ in range(100)} == {"mse", "huber"}
    assert space.fixed == {"tau": 0.5}
    assert explore(space, {"n_step": 4, "loss": "mse"}) == {"n_step": 3, "loss": "mse"}


def test_bad_input_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ("tandem_v0", "vdn", "--space", "none.yaml"),
        ("--resume", "none"),
        ("tandem_v0",),
        ("tandem_v0", "vdn", "lrr=1"),
        ("--resume", "none", "--samples", "3"),
        ("--resume", "none", "--time", "3m"),
    ):
        assert call("tune", *arguments) == cli.BAD_INPUT
        assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "space", "message"),
    [
        (("log=none.sqlite",), "lr: {uniform: [0.1, 1]}", "none.sqlite: expected a task log"),
        (("--scheduler", "pbt"), "lr: {choice: [0.1, 1]}", "expected a range to move options in"),
    ],
    ids=["trials", "scheduler"],
)
def test_a_search_that_cannot_begin_leaves_nothing(
    local_ray: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: tuple[str, ...],
    space: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yaml").write_text(space)
    begin = ("tune", "peer_offloading_v0", "o2o", "--space", "space.yaml", "--episodes", "2")
    assert call(*begin, *arguments, "--out", "new/search") == cli.BAD_INPUT
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["space.yaml"]


def test_another_space_than_the_one_in_the_folder_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "space.yaml").write_text("lr: {uniform: [0.1, 1]}")
    assert call("tune", "tandem_v0", "vdn", "--out", tmp_path) == cli.BAD_INPUT
    assert "expected a new folder, found one with space.yaml" in capsys.readouterr().err


def command(*arguments: str, log: Path) -> subprocess.Popen[bytes]:
    with log.open("w") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "edge_marl.experiments", "tune", *arguments],
            cwd=ROOT, stdout=stream, stderr=stream, start_new_session=True,
        )  # fmt: skip


def test_errors_that_ray_logs_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("ray.tune")
    with errors_in_a_line():
        try:
            raise ValueError("two\nlines")
        except ValueError:
            logger.exception("Trial %s:\nfailed", "a1")
        logger.error("Trials did not complete: [a1]")
    said = capsys.readouterr().err
    assert re.fullmatch(r"edge-marl: Trial a1: failed: ValueError: two lines \(.+:\d+\)\n", said)


class Counted:
    """An algorithm that counts its iterations."""

    def __init__(self) -> None:
        self.iterations = self.env_steps_sampled = 0

    def train(self) -> dict[str, Any]:
        self.iterations += 1
        return {"env_runners": {}}

    def actor(self) -> None:
        return None


def test_a_trial_trains_all_of_its_iterations_also_where_the_last_turn_is_shorter() -> None:
    recipe = parse_recipe("tandem_v0", "vdn")
    settings = SearchSettings(recipe=recipe, space=Path("s"), iterations=50, evaluate_every=20)
    trial: Any = object.__new__(Trial)
    trial._algorithm = Counted()
    trial._turn, trial._iterations = settings.evaluate_every, settings.iterations
    trial._card = CheckpointCard(recipe=recipe, iteration=0, env_steps=0, time_s=0.0)
    trial._validation = lambda actor: {"objective": 1.0}
    trial._validation.goal = Goal("objective", higher_is_better=False)
    trained = []
    for trial._iteration in range(settings.turns):
        trial.step()
        trained.append(trial._algorithm.iterations)
    assert trained == [20, 40, 50]
    assert trial._card.iteration == 50


@pytest.mark.slow
def test_a_search_whose_trials_fail_says_why_and_how_to_go_on(tmp_path: Path) -> None:
    out, log, space = tmp_path / "search", tmp_path / "log", tmp_path / "space.yaml"
    space.write_text("lr: {loguniform: [0.0001, 0.01]}\n")
    first = (
        "tests.experiments.troubled:parallel_env", "mappo", "env.raise_at=9",
        "--space", str(space), "--samples", "2", "--iterations", "2", "--evaluate-every", "1",
        "--episodes", "4", "--out", str(out), "num_envs_per_env_runner=4",
    )  # fmt: skip
    for arguments in (first, ("--resume", str(out))):
        process = command(*arguments, log=log)
        try:
            assert process.wait(timeout=300) == 1, log.read_text()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        said = log.read_text()
        assert "Traceback" not in said
        assert said.count("the environment raised ValueError: the road is blocked (") == 2
        assert f"2 of 2 trials failed; begin them anew with: edge-marl tune --resume {out}" in said


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["asha", "pbt"])
def test_a_search_that_was_stopped_continues(tmp_path: Path, scheduler: str) -> None:
    out, log, space = tmp_path / "search", tmp_path / "log", tmp_path / "space.yaml"
    space.write_text("lr: {loguniform: [0.0001, 0.01]}\nnum_epochs: {randint: [1, 3]}\n")
    process = command(
        "tandem_v0", "mappo", "--space", str(space), "--samples", "3", "--scheduler", scheduler,
        "--iterations", "12", "--evaluate-every", "1", "--episodes", "4", "--out", str(out),
        "train_batch_size_per_learner=256", "minibatch_size=256", "num_envs_per_env_runner=8",
        log=log,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 180
        while not list(out.glob("trials/Trial_*/checkpoint_*")):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM if scheduler == "pbt" else signal.SIGINT)
        assert process.wait(timeout=120) == 130, log.read_text()
        assert f"edge-marl tune --resume {out}" in log.read_text()
        process = command("--resume", str(out), log=log)
        assert process.wait(timeout=300) == 0, log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    with (out / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    assert max(int(row["iterations"]) for row in rows) == 12
    best = read_checkpoint(out / "best")
    assert best.card.evaluation is not None
    assert -best.card.evaluation["objective"] == pytest.approx(float(rows[0]["score"]))
    assert json.loads((out / "search.json").read_text())["samples"] == 3
