"""What several test files share: a Ray of our own, and an end of the process that is our own."""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_marl.envs import register
from edge_marl.experiments.parallel import import_environment, stay_on_loopback

exit_status = 0


def pytest_sessionfinish(exitstatus: int) -> None:
    global exit_status
    exit_status = int(exitstatus)
    _stop_ray()


@atexit.register  # before any other, so that it runs after them
def end_without_destructors() -> None:
    """End the process before C++ destroys what Ray's threads still use.

    `ray.shutdown()` leaves threads of gRPC and of its statistics running, one more with every
    `ray.init()`. The suite starts Ray often, and now and then one of them meets a destroyed object
    while the process ends: a segmentation fault after the last test has passed.
    """
    if "ray" in sys.modules:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_status)


@pytest.fixture(scope="module")
def local_ray(monkeypatch_module: pytest.MonkeyPatch) -> None:
    """The Ray of the suite on loopback, which is started where it does not run yet."""
    from ray.tune.trainable import trainable

    folder = _start_ray()
    # Algorithms make their folders there, else in the home directory.
    monkeypatch_module.setattr(trainable, "DEFAULT_STORAGE_PATH", str(folder))
    register()  # anew where this Ray has taken the place of another


@pytest.fixture
def no_ray() -> None:
    """No Ray runs when the test begins: it may look after one of its own."""
    _stop_ray()


_folders: list[Path] = []
"""Of the Ray that runs."""


def _start_ray() -> Path:
    import ray

    if not ray.is_initialized():
        # The names of Ray's sockets lie below this folder and a socket's name is at most 107 long.
        _folders.append(Path(tempfile.mkdtemp(prefix="ray")))
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        # Workers are what most tests wait for: nothing is to starve them.
        os.environ["RAY_worker_niceness"] = "0"
        stay_on_loopback()
        ray.init(
            address="local",
            num_cpus=4,
            include_dashboard=False,
            log_to_driver=False,
            runtime_env={"env_vars": {"PYTHONPATH": import_environment()["PYTHONPATH"]}},
            _node_ip_address="127.0.0.1",
            _temp_dir=str(_folders[-1]),
        )
    return _folders[-1]


def _stop_ray() -> None:
    if _folders:
        import ray

        ray.shutdown()
        shutil.rmtree(_folders.pop(), ignore_errors=True)


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch
