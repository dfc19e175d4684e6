"""Training as a job on a Ray cluster with token authentication, the project not installed there."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from edge_marl.experiments.training.checkpoints import read_checkpoint

ROOT = Path(__file__).resolve().parents[2]
START_S = 60


@dataclass(frozen=True)
class Head:
    """A Ray head on loopback."""

    python: Path
    """Of an environment with everything but this project."""
    folder: Path
    environment: dict[str, str]
    """Of a client that knows the address and the token."""

    def submit(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Submit the checkout as a job and wait for its end."""
        return subprocess.run(
            [str(self.python), "-m", "ray.scripts.scripts", "job", "submit",
             "--working-dir", ".", "--", *command],
            cwd=ROOT, env={**self.environment, **environment},
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    # The names of Ray's sockets lie below this folder and a socket's name is at most 107 long.
    folder = Path(tempfile.mkdtemp(prefix="ray"))
    process = None
    try:
        python = environment_without_the_project(folder / "venv")
        token = folder / "token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        gcs, dashboard, agent, client = free_ports(4)
        inherited = {name: value for name, value in os.environ.items()
                     if not name.startswith("RAY_") and name != "PYTHONPATH"}  # fmt: skip
        environment = {
            **inherited,
            "PATH": f"{python.parent}{os.pathsep}{inherited['PATH']}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
            "RAY_USAGE_STATS_ENABLED": "0",
            # Ray takes 127.0.0.1 for the address of the network otherwise, and listens there.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        }
        with (folder / "head.log").open("w") as log:
            process = subprocess.Popen(
                [str(python), "-m", "ray.scripts.scripts", "start", "--head", "--block",
                 "--node-ip-address", "127.0.0.1", "--dashboard-host", "127.0.0.1",
                 "--port", str(gcs), "--dashboard-port", str(dashboard),
                 "--dashboard-agent-listen-port", str(agent),
                 "--ray-client-server-port", str(client),
                 "--num-cpus", "2", "--object-store-memory", str(128 * 2**20),
                 "--temp-dir", str(folder / "t")],
                cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        wait_for_port(dashboard, process, folder / "head.log")
        yield Head(python, folder, environment)
    finally:
        if process is not None:
            stop(process)
        shutil.rmtree(folder, ignore_errors=True)


def environment_without_the_project(folder: Path) -> Path:
    """The interpreter of an environment that borrows our packages, but not our editable install.

    Folders named in a .pth file are searched for packages, but their own .pth files, which is
    what an editable install consists of, are not read.
    """
    create = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
    subprocess.run(create, check=True, capture_output=True)
    site = next((folder / "lib").glob("python*/site-packages"))
    import ray

    (site / "borrowed.pth").write_text(f"{Path(ray.__file__).parents[1]}\n")
    python = folder / "bin" / "python"
    alone = subprocess.run(
        [str(python), "-c", "import ray, torch, pettingzoo, edge_marl"],
        cwd=folder, capture_output=True, text=True, check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )  # fmt: skip
    assert alone.stderr.strip().endswith("No module named 'edge_marl'")
    return python


def free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError(log.read_text())


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the head and everything that it started, which is in its session."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=3)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def test_a_job_trains_what_it_was_sent(head: Head) -> None:
    out = head.folder / "results"
    walkers = "tests.experiments.troubled:parallel_env"  # for which nothing is compiled
    done = head.submit(
        "python", "-m", "edge_marl.experiments.train", walkers, "vdn",
        "num_envs_per_env_runner=4", "--iterations", "1", "--episodes", "2", "--out", str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_checkpoint(out).card.iteration == 1
    run = json.loads((out / "run.json").read_text())
    assert run["recipe"]["algorithm"] == "vdn"


# Slow: a process. The job above could not train without.
@pytest.mark.slow
def test_a_job_imports_the_folder_that_was_sent(head: Head) -> None:
    code = "import edge_marl.experiments as e; print('imported', e.__file__)"
    done = head.submit("python", "-c", code)
    assert done.returncode == 0, done.stdout + done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("imported"))
    assert str(head.folder / "t") in line
    assert "working_dir_files" in line


# Slow: a process. That commands fail with a line is tested without a cluster too.
@pytest.mark.slow
def test_a_job_that_fails_says_so(head: Head) -> None:
    done = head.submit("python", "-m", "edge_marl.experiments.train", "tango_v0", "vdn")
    assert done.returncode != 0
    assert "edge-marl: environment: expected tandem_v0" in done.stdout


def test_a_wrong_token_is_refused(head: Head) -> None:
    wrong = head.folder / "wrong"
    wrong.write_text(secrets.token_hex(32))
    done = head.submit("python", "-c", "pass", RAY_AUTH_TOKEN_PATH=str(wrong))
    assert done.returncode != 0
    assert "succeeded" not in done.stdout.lower()
    assert "token" in (done.stdout + done.stderr).lower()


def test_the_cluster_file_is_valid_and_asks_for_a_token() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((ROOT / "docker" / "cluster.yaml").read_text())
    validate_config(prepare_config(config))
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    start = next(line for line in config["head_start_ray_commands"] if "--head" in line)
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0" in start
    assert "--dashboard-host=127.0.0.1" in start
