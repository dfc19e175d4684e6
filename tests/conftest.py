"""What several test files share: a Ray of our own, and an end of the process that is our own."""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator

import pytest

from edge_marl.envs import register
from edge_marl.experiments.parallel import stay_on_loopback

exit_status = 0


def pytest_sessionfinish(exitstatus: int) -> None:
    global exit_status
    exit_status = int(exitstatus)


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
def local_ray(monkeypatch_module: pytest.MonkeyPatch) -> Iterator[None]:
    """A fresh two-core Ray on loopback, gone with all its files when the module is done."""
    import ray
    from ray.tune.trainable import trainable

    # The names of Ray's sockets lie below this folder and a socket's name is at most 107 long.
    folder = tempfile.mkdtemp(prefix="ray")
    monkeypatch_module.setenv("RAY_USAGE_STATS_ENABLED", "0")
    stay_on_loopback()
    # Algorithms make their folders there, else in the home directory.
    monkeypatch_module.setattr(trainable, "DEFAULT_STORAGE_PATH", folder)
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
        _temp_dir=folder,
    )
    register()  # what was registered before went with the Ray of another module
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch
