"""What several test files share: a Ray of our own."""

import shutil
import tempfile
from collections.abc import Iterator

import pytest

from edge_marl.envs import register
from edge_marl.experiments.parallel import stay_on_loopback


@pytest.fixture(scope="module")
def local_ray(monkeypatch_module: pytest.MonkeyPatch) -> Iterator[None]:
    """A fresh two-core Ray on loopback, gone with all its files when the module is done."""
    import ray

    # The names of Ray's sockets lie below this folder and a socket's name is at most 107 long.
    folder = tempfile.mkdtemp(prefix="ray")
    monkeypatch_module.setenv("RAY_USAGE_STATS_ENABLED", "0")
    stay_on_loopback()
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
