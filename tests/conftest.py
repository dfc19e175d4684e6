"""What several test files share: a Ray of our own, and an end of the process that is our own."""

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import hypothesis
import pytest

from edge_marl.envs import register
from edge_marl.experiments import parallel

# A machine may be slow, or busy.
hypothesis.settings.register_profile("edge-marl", deadline=None)
hypothesis.settings.load_profile("edge-marl")

exit_status = 0


def pytest_sessionfinish(exitstatus: int) -> None:
    global exit_status
    exit_status = int(exitstatus)
    _running.close()


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


# One process compiles all simulators, heuristics and bounds, while another is busy with what is not
# compiled: else both would compile the same at the same time.
FIRST = ("envs/test_systems.py", "algorithms/test_continuation.py", "snapshots/test_episodes.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first, so that several processes end together."""

    def place(item: pytest.Item) -> int:
        folder = item.path.parent.name
        file = f"{folder}/{item.path.name}"
        if file in FIRST:
            return FIRST.index(file)
        return len(FIRST) + (folder not in ("experiments", "algorithms"))

    items.sort(key=place)


@pytest.fixture(scope="module")
def local_ray(
    monkeypatch_module: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The Ray of the suite on loopback, which is started where it does not run yet."""
    from ray.tune.trainable import trainable

    _start_ray()
    # Algorithms make their folders there, else in the home directory.
    folder = str(tmp_path_factory.getbasetemp() / "ray_results")
    monkeypatch_module.setattr(trainable, "DEFAULT_STORAGE_PATH", folder)
    register()


_running = ExitStack()


def _start_ray() -> None:
    # Workers are what most tests wait for: nothing is to starve them.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (so Ray has it)
    _running.enter_context(parallel.local_ray(4))  # which goes on with one that runs


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch
