"""A system that another package brings has everything that the project's own systems have."""

import csv
import io
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest

from edge_marl.experiments import parallel

PACKAGE = Path(__file__).parent / "third_party"
SMALL = ("num_envs_per_env_runner=4", "train_batch_size_per_learner=128", "minibatch_size=64")


class Done(NamedTuple):
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Done]

# Of the process that has the package installed:
running = ExitStack()


def install(folder: Path) -> None:
    """Install the package in this process, which has not looked for systems yet."""
    sys.path.insert(0, str(PACKAGE))
    os.environ["PYTHONPATH"] = str(PACKAGE)  # for the processes of this one
    os.environ["COLUMNS"] = "200"
    os.chdir(folder)
    running.enter_context(parallel.local_ray(2))  # one for all commands


def stop() -> bool:
    """Stop the Ray of this process. Returns whether nothing of it is left."""
    import ray

    folder = Path(os.environ["RAY_TMPDIR"])
    assert folder.exists()
    running.close()
    return not ray.is_initialized() and not folder.exists()


def called(arguments: tuple[str, ...]) -> Done:
    from tests.experiments.command_line import call  # which looks for systems

    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = call(*arguments)
    return Done(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("third")


@pytest.fixture(scope="module")
def command(folder: Path) -> Iterator[Command]:
    """The command line in a process that has the package installed."""
    new = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, new, initializer=install, initargs=(folder,)) as process:
        yield lambda *arguments: process.submit(called, arguments).result()
        assert process.submit(stop).result()


@pytest.fixture(scope="module")
def trained(command: Command, folder: Path) -> Path:
    # A remote runner has never heard of the package.
    how = ("--iterations", "3", "--workers", "1", "--episodes", "4")
    done = command("train", "dispatching_v0", "mappo", *how, "--out", "run", *SMALL)
    assert done.returncode == 0, done.stderr
    # Its heuristics stand beside what was trained.
    assert "shortest" in done.stdout
    return folder / "run"


def test_help_names_it(command: Command) -> None:
    assert "dispatching_v0" in command("train", "--help").stdout
    assert "dispatching" in command("reproduce", "--help").stdout


def test_its_options_are_checked(command: Command) -> None:
    done = command("train", "dispatching_v0", "mappo", "env.slot=3")
    assert done.returncode == 2
    assert done.stderr.strip().endswith("env.slot: unknown option; did you mean env.slots?")


def test_it_is_evaluated_beside_its_heuristics(command: Command, trained: Path) -> None:
    done = command("evaluate", str(trained), "--episodes", "6", "--out", "evaluated")
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(trained.parent / "evaluated/episodes.parquet").to_pylist()
    assert {row["policy"] for row in rows} == {"fastest", "shortest", "run/best"}
    waits = {
        name: [row["mean_wait"] for row in rows if row["policy"] == name]
        for name in ("fastest", "shortest")
    }
    # Who looks at the queues waits less.
    assert sum(waits["shortest"]) < sum(waits["fastest"])


def test_it_is_exported(command: Command, trained: Path) -> None:
    done = command("export", str(trained / "best"), "--out", "exported")
    assert done.returncode == 0, done.stderr
    exported = {path.name for path in (trained.parent / "exported").iterdir()}
    assert {"left", "right"} <= exported


def test_it_is_tuned(command: Command, folder: Path) -> None:
    turns = ("--samples", "1", "--iterations", "2", "--evaluate-every", "1", "--episodes", "2")
    done = command("tune", "dispatching_v0", "ippo", *turns, "--out", "search", *SMALL)
    assert done.returncode == 0, done.stderr
    assert (folder / "search").is_dir()


def test_it_has_a_study(command: Command, folder: Path) -> None:
    # Without processes of its own: that others find the package is stated above.
    done = command("reproduce", "dispatching", "--workers", "0", "seeds=1", "--out", "study")
    assert done.returncode == 0, done.stderr
    with (folder / "study/results.csv").open() as file:
        assert [row["method"] for row in csv.DictReader(file)] == ["fastest", "shortest", "IPPO"]
