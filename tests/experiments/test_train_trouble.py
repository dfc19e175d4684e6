"""Whatever ends a run or takes too long: nothing is lost, and what is left is said."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from tensorboardX.event_file_writer import EventsWriter

from edge_marl.algorithms.actors import load_actor
from edge_marl.errors import InputError
from edge_marl.experiments import cli
from edge_marl.experiments.training import run
from edge_marl.experiments.training.checkpoints import numbered_checkpoints, read_checkpoint
from edge_marl.experiments.training.interrupts import StopRequested
from edge_marl.experiments.training.logs import RunLog, read_log
from edge_marl.experiments.training.recipe import parse_recipe
from edge_marl.experiments.training.validation import Validation
from tests.experiments.command_line import call, signal_when, wait_for
from tests.experiments.troubled import Troubled

ROOT = Path(__file__).resolve().parents[2]
TROUBLED = "tests.experiments.troubled:parallel_env"
VDN = ("vdn", "num_envs_per_env_runner=4", "rollout_fragment_length=8",
       "network.hidden_sizes=[16]", "num_steps_sampled_before_learning_starts=16",
       "train_batch_size_per_learner=16")  # fmt: skip
ENDLESS = tuple(one.replace("length=8", "length=1000000") for one in VDN)
MAPPO = ("mappo", "num_envs_per_env_runner=4", "rollout_fragment_length=8",
         "network.hidden_sizes=[16]", "train_batch_size_per_learner=64",
         "minibatch_size=32", "num_epochs=2", "reward_scaling=true")  # fmt: skip
FOUR = ("--episodes", "4")
NEVER = 10**9

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # where the environment is found
    monkeypatch.setattr(Troubled, "interrupted", False)


def train(*arguments: object) -> int:
    return call("train", *arguments)


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.strip().splitlines()[-1]


def iterations(out: Path) -> list[int]:
    return [int(path.name) for path in numbered_checkpoints(out / "checkpoints")]


# Episodes without an end ---------------------------------------------------------------------


def test_episodes_without_an_end_are_cut_off_and_the_table_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = (*VDN, f"env.steps={NEVER}", *FOUR, "--max-episode-steps", 50)
    assert train(TROUBLED, *arguments, "--iterations", 1, "--out", tmp_path / "run") == 0
    said = capsys.readouterr().out
    assert "last (iteration 1): 4 of 4 episodes had not ended after 50 steps" in said
    evaluation = read_checkpoint(tmp_path / "run" / "best").card.evaluation
    assert evaluation is not None
    assert (evaluation["length"], evaluation["cut"]) == (50, 1)


def test_episodes_of_this_project_take_no_greatest_length(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert train("tandem_v0", *VDN, "--max-episode-steps", 5, "--out", out) == cli.BAD_INPUT
    assert "max_episode_steps: episodes of tandem_v0 end by themselves" in last_line(capsys)
    assert not out.exists()


@pytest.mark.parametrize("env", ["tandem_v0", TROUBLED])
def test_every_evaluation_can_be_stopped(env: str) -> None:
    def stop() -> None:
        raise StopRequested

    recipe = parse_recipe(env, "vdn", ["network.hidden_sizes=[4]"])
    algorithm = recipe.config().build_algo()
    with pytest.raises(StopRequested):
        Validation(recipe, 2)(algorithm.actor(), stop)
    algorithm.stop()


def test_ctrl_c_is_obeyed_in_an_evaluation_without_an_end_which_shows_in_a_pipe(
    tmp_path: Path,
) -> None:
    out, log = tmp_path / "run", tmp_path / "log"
    program = (
        "from edge_marl.experiments import cli; "
        "from edge_marl.experiments.training import display; "
        "display._LINE_EVERY_S = 0.1; cli.main()"
    )
    arguments = (*VDN, f"env.steps={NEVER}", "env.slow_s=0.01", *FOUR, "--evaluate-every", "1",
                 "--max-episode-steps", str(NEVER), "--out", str(out))  # fmt: skip
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", program, "train", TROUBLED, *arguments],
            cwd=ROOT, stdout=stream, stderr=stream, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(lambda: "evaluating" in log.read_text(), process)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    said = log.read_text()
    assert "iteration 1 · 32 steps" in said
    assert said.splitlines()[-1].endswith(f"continue with: edge-marl train --resume {out}")
    assert read_checkpoint(out / "checkpoints" / "000001").card.iteration == 1


# Long iterations -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [VDN, (*VDN, "network.gru=8"), MAPPO],
    ids=["fragment", "memory", "several fragments"],
)
def test_a_run_left_within_an_iteration_goes_on_exactly(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    options: tuple[str, ...],
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    arguments = (TROUBLED, *options, *FOUR, "--evaluate-every", 2)
    assert train(*arguments, "--iterations", 4, "--out", whole) == 0
    within = 31 if options is MAPPO else 15  # of 24 played in two iterations, or 12
    assert train(*arguments, f"env.signal_at={within}", "--out", parts) == 130
    assert f"--resume {parts}" in last_line(capsys)
    assert iterations(parts)[-1] == len(read_log(parts / "progress.csv")) == 2
    assert train("--resume", parts, "--iterations", 4) == 0
    rows, again = read_log(whole / "progress.csv"), read_log(parts / "progress.csv")
    timings = ("time_s", "steps_per_s")
    for row, other in zip(rows, again, strict=True):
        assert {k: v for k, v in row.items() if k not in timings and "timer" not in k} == {
            k: v for k, v in other.items() if k not in timings and "timer" not in k
        }
    expected = load_actor(whole / "checkpoints" / "000004" / "policy").state_dict()
    found = load_actor(parts / "checkpoints" / "000004" / "policy").state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_limit_of_time_ends_an_iteration_that_would_take_hours(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    options = (*ENDLESS, "env.slow_s=0.001")
    assert train(TROUBLED, *options, *FOUR, "--time", "1s", "--out", out) == 0
    assert "last (iteration 0)" in capsys.readouterr().out
    card = read_checkpoint(out / "checkpoints" / "000000").card
    assert card.evaluation is not None
    assert 1 <= card.time_s < 60
    assert [row["iteration"] for row in read_log(out / "progress.csv")] == ["0"]


def test_a_limit_of_time_ends_an_evaluation(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(run, "_LAST_EVALUATION_S", 0.5)
    out = tmp_path / "run"
    options = (*VDN, f"env.steps={NEVER}", "env.slow_s=0.001", *FOUR)
    limits = ("--evaluate-every", 1, "--max-episode-steps", NEVER, "--time", "1s")
    assert train(TROUBLED, *options, *limits, "--out", out) == 0
    assert "the last evaluation was given up at iteration 1" in last_line(capsys)
    assert read_checkpoint(out / "checkpoints" / "000001").card.time_s < 60


def test_ctrl_c_does_not_wait_for_remote_runners(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out, seen = tmp_path / "run", tmp_path / "seen"
    signal_when(seen.exists, signal.SIGINT)
    options = (*ENDLESS, "env.slow_s=0.01", f"env.seen={seen}")
    assert train(TROUBLED, *options, *FOUR, "--workers", 1, "--out", out) == 130
    assert f"--resume {out}" in last_line(capsys)
    assert iterations(out) == [0]


def test_the_first_checkpoint_comes_early_and_later_ones_by_the_clock_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = (TROUBLED, *VDN, *FOUR, "--iterations", 4, "--checkpoint-every", 1000, "--keep", 9)
    assert train(*options, "--out", tmp_path / "fast") == 0
    assert iterations(tmp_path / "fast") == [1, 4]
    monkeypatch.setattr(run, "_SAVED_EVERY_S", 0.0)
    assert train(*options, "--out", tmp_path / "slow") == 0
    assert iterations(tmp_path / "slow") == [1, 2, 3, 4]


# Exceptions ----------------------------------------------------------------------------------


# Slow: processes.
@pytest.mark.parametrize("workers", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_environment_that_raises_is_told_once_and_ends_the_run_with_a_checkpoint(
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    workers: int,
) -> None:
    out = tmp_path / "run"
    arguments = (*VDN, "env.raise_at=20", *FOUR, "--workers", workers, "--out", out)
    assert train(TROUBLED, *arguments, "--checkpoint-every", 1000) == run.FAILED
    raised = next(
        number
        for number, line in enumerate((ROOT / "tests/experiments/troubled.py").open(), start=1)
        if "road is blocked" in line
    )
    text = (
        "the environment raised ValueError: the road is blocked "
        f"({ROOT}/tests/experiments/troubled.py:{raised})"
    )
    told = [one.getMessage() for one in caplog.records if one.name.startswith("edge_marl")]
    assert told == [f"{text}; going on with new episodes"]
    said = capfd.readouterr().err
    assert "Traceback" not in said
    last = numbered_checkpoints(out / "checkpoints")[-1]
    assert said.strip().splitlines()[-1].startswith(f"edge-marl: {text} at iteration ")
    assert said.endswith(f"last checkpoint {last}; continue with: edge-marl train --resume {out}\n")
    card = read_checkpoint(last).card
    assert card.time_s < 60, "no runner was restarted, which takes a minute"
    done = card.iteration
    assert done == len(read_log(out / "progress.csv")) > 0
    monkeypatch.setattr(Troubled, "step", Troubled.__mro__[1].step)  # mended
    assert train("--resume", out, "--iterations", done + 1, "--workers", 0) == 0


def test_a_rare_exception_is_counted_and_survived(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    out, trap = tmp_path / "run", tmp_path / "trap"
    trap.touch()
    arguments = (*VDN, f"env.trap={trap}", *FOUR, "--out", out)
    assert train(TROUBLED, *arguments, "--iterations", 2) == 0
    assert len([one for one in caplog.records if "the road was blocked" in one.getMessage()]) == 1
    rows = read_log(out / "progress.csv")
    assert [row["environment_faults"] for row in rows] == ["1", "1"]
    assert float(rows[0]["env_steps"]) > 0


def test_an_exception_in_an_evaluation_is_survived(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    out = tmp_path / "run"
    arguments = (*VDN, "env.unjudgeable=true", *FOUR, "--iterations", 2, "--out", out)
    assert train(TROUBLED, *arguments) == 0
    assert "the environment raised KeyError: 'judge'" in caplog.text
    assert "the last evaluation was given up at iteration 2" in last_line(capsys)
    assert iterations(out) == [1, 2]


# A full disk, and what nobody thought of -----------------------------------------------------


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("owner", "name"),
    [(Algorithm, "save_to_path"), (EventsWriter, "flush"), (RunLog, "add")],
    ids=["checkpoint", "events", "log"],
)
def test_a_full_disk_leaves_the_last_checkpoint_usable(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    owner: type,
    name: str,
) -> None:
    out = tmp_path / "run"
    write = getattr(owner, name)

    def sometimes(self: Any, *arguments: Any, **options: Any) -> Any:
        if iterations(out)[-1:] == [2]:
            full()
        return write(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, sometimes)
        arguments = (*VDN, *FOUR, "--iterations", 5, "--checkpoint-every", 1, "--out", out)
        assert train(TROUBLED, *arguments) == cli.BAD_INPUT
    said = last_line(capsys)
    assert "No space left on device at iteration 3" in said
    assert said.endswith(f"000002; continue with: edge-marl train --resume {out}")
    assert iterations(out) == [1, 2]
    assert not list(out.rglob(".*"))
    assert train("--resume", out, "--iterations", 5) == 0
    assert [row["iteration"] for row in read_log(out / "progress.csv")] == list("12345")


def test_a_row_that_was_half_written_is_taken_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = RunLog(tmp_path)
    log.add({"iteration": 1, "a": 1.0})

    class Half:
        def __init__(self, file: Any) -> None:
            self.file = file

        def writerow(self, row: Any) -> None:
            self.file.write("2,")
            self.file.flush()
            full()

    with monkeypatch.context() as patch:
        patch.setattr(log, "_writer", Half)
        with pytest.raises(InputError, match="No space"):
            log.add({"iteration": 2, "a": 2.0})
    log.close()
    assert read_log(tmp_path / "progress.csv") == [{"iteration": "1", "a": "1.0"}]


def test_further_numbers_of_the_last_iteration_join_its_row(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.add({"iteration": 1, "a": 1.0})
    log.complete({"iteration": 1, "b": 2.0})
    log.add({"iteration": 2, "a": 3.0})
    log.close()
    rows = read_log(tmp_path / "progress.csv")
    assert rows == [{"iteration": "1", "a": "1.0", "b": "2.0"},
                    {"iteration": "2", "a": "3.0", "b": ""}]  # fmt: skip


def test_any_other_exception_says_at_its_end_how_to_go_on(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    out = tmp_path / "run"
    once = Algorithm.train

    def twice(self: Any) -> Any:
        if iterations(out):
            raise ZeroDivisionError("a flaw of ours")
        return once(self)

    monkeypatch.setattr(Algorithm, "train", twice)
    assert train(TROUBLED, *VDN, *FOUR, "--out", out) == cli.INTERNAL_ERROR
    told = (
        rf"ZeroDivisionError: a flaw of ours .* at iteration 1, .*--resume {out}; run with --debug"
    )
    assert re.search(told, last_line(capsys))
    assert read_checkpoint(out / "checkpoints" / "000001").card.iteration == 1
