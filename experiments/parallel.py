"""Start a Ray of our own on loopback, for independent tasks on all cores or an algorithm."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import edge_marl
from edge_marl.errors import original

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

Result = TypeVar("Result")

_TMPDIR = "RAY_TMPDIR"
_OBJECT_STORE_BYTES = 256 * 2**20  # results are small; the default takes a third of the memory


@contextmanager
def local_ray(cores: int) -> Iterator[Any]:
    """Provide the ``ray`` module with a Ray of our own on loopback, gone with its files at the end.

    A Ray that is already running in this process is used as it is.
    """
    import ray

    if ray.is_initialized():
        yield ray
        return
    # The names of Ray's sockets lie below this folder and a socket's name is at most 107 long.
    outside = os.environ.get(_TMPDIR)
    folder = tempfile.mkdtemp(prefix="ray", dir=outside)
    os.environ[_TMPDIR] = folder  # for the locks of files, which Ray never removes
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Otherwise Ray waits for a worker per core that lacks our path and is never used.
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
    try:
        stay_on_loopback()
        ray.init(
            address="local",
            num_cpus=cores,
            include_dashboard=False,
            logging_level="error",
            log_to_driver=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            runtime_env={"env_vars": {"PYTHONPATH": _python_path()}},
            _node_ip_address="127.0.0.1",
            _temp_dir=folder,
        )
        yield ray
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        if outside is None:
            del os.environ[_TMPDIR]
        else:
            os.environ[_TMPDIR] = outside


@contextmanager
def built(config: AlgorithmConfig) -> Iterator[Any]:
    """Build an algorithm, and stop it at the end."""
    algorithm = config.build_algo()
    try:
        yield algorithm
    finally:
        algorithm.stop()
        # RLlib's own algorithms make an empty folder in the user's home.
        with suppress(OSError):
            Path(algorithm.logdir).rmdir()


def stay_on_loopback() -> None:
    """Let a Ray that is started after this listen on 127.0.0.1 only.

    Otherwise Ray replaces that address by the machine's on the network and listens there. Its
    switch against that is named after certain systems, but works on all.
    """
    from ray._private import ray_constants

    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"  # for its own processes
    ray_constants.ENABLE_RAY_CLUSTER = False


def run_tasks(
    task: Callable[..., Result], arguments: Sequence[tuple[Any, ...]], *, workers: int
) -> Iterator[tuple[int, Result]]:
    """Call ``task(*arguments[i])`` for every i, and yield ``(i, result)`` as each call finishes.

    Args:
        task: a function of a module, with what it needs in its arguments.
        arguments: one tuple per call.
        workers: tasks at a time, each on one core; 0 calls them here, one after the other.

    What a task raises is raised here too.
    """
    if workers == 0 or not arguments:
        for i, values in enumerate(arguments):
            yield i, task(*values)
        return
    with local_ray(workers) as ray:
        remote = ray.remote(num_cpus=1, max_retries=1)(task)
        pending = {remote.remote(*values): i for i, values in enumerate(arguments)}
        while pending:
            (finished, *_), _ = ray.wait(list(pending), num_returns=1)
            try:
                result = ray.get(finished)
            except ray.exceptions.RayTaskError as error:
                raise original(error) from error
            yield pending.pop(finished), result


def all_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def import_environment() -> dict[str, str]:
    """Return the environment of a child process that is to import this very code."""
    return {**os.environ, "PYTHONPATH": _python_path()}


def _python_path() -> str:
    """Return the path on which workers find this very code, in a checkout or in site-packages."""
    here = str(Path(edge_marl.__file__).resolve().parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    return os.pathsep.join([here, *([inherited] if inherited else [])])
