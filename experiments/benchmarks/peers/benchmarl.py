"""Run BenchMARL in a virtual environment of its own, as its dependencies conflict with ours."""

from __future__ import annotations

import json
import subprocess
import sysconfig
import venv
from importlib import metadata
from pathlib import Path

import edge_marl
from edge_marl.errors import InputError
from edge_marl.experiments.benchmarks.learning_sizes import LearningSizes
from edge_marl.files import writing

ENVS = 10
"""Environments at a time: BenchMARL's default, and faster there than our 64, since its collector
steps environments one after the other."""
_PACKAGES = ("benchmarl==1.5.2", "torchrl==0.11.1", "tensordict==0.11.0", "pettingzoo==1.24.3")
_SAME_AS_OURS = ("torch", "numpy", "numba", "pydantic", "gymnasium")
_DRIVER = "edge_marl.experiments.benchmarks.peers.benchmarl_driver"


def prepare_venv(folder: Path) -> Path:
    """Create a virtual environment with BenchMARL unless it exists, and return its interpreter.

    pip installs the wheels that its configuration selects. PyPI's torch for Linux brings along
    several GB of CUDA that are not used; an index of CPU wheels in pip's configuration avoids them.

    Raises:
        InputError: if the folder holds something else or cannot be written, or if pip fails.
    """
    python, stamp = folder / "bin" / "python", folder / ".edge-marl"
    ours = (f"{name}=={metadata.version(name).partition('+')[0]}" for name in _SAME_AS_OURS)
    requirements = [*_PACKAGES, *ours]
    wanted = "\n".join(requirements)
    if stamp.is_file() and stamp.read_text() == wanted:
        _link_package(folder)
        return python
    with writing(folder):
        if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").is_file():
            raise InputError(f"{folder}: expected a new folder or a virtual environment")
        venv.create(folder, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, *requirements], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise InputError(f"{folder}: pip failed: {done.stderr.strip()}")
    stamp.write_text(wanted)
    _link_package(folder)
    return python


def _link_package(folder: Path) -> None:
    """Let the environment import this very code, but none of our dependencies beside it."""
    link = Path(sysconfig.get_path("purelib", vars={"base": str(folder)})) / "edge_marl"
    link.unlink(missing_ok=True)
    link.symlink_to(Path(edge_marl.__file__).resolve().parent)


def command(python: Path, algorithm: str, sizes: LearningSizes) -> list[str]:
    """Return the command that measures BenchMARL's ``mappo`` or ``qmix`` on ``tandem_v0``."""
    on_policy = algorithm == "mappo"
    arguments = {
        "algorithm": algorithm,
        "frames": sizes.frames,
        "envs": ENVS,
        "hidden_sizes": sizes.hidden_sizes,
        "minibatch": sizes.minibatch if on_policy else sizes.replay_batch,
        "passes": sizes.epochs if on_policy else sizes.replay_steps,
        "iterations": sizes.iterations,
        "seed": 0,
    }
    return [str(python), "-P", "-m", _DRIVER, json.dumps(arguments)]
