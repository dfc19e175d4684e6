"""What is compiled when, and who may call it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CALLER = """
from edge_marl.compiled import compiled
from {package}.callee import STEP, plus
from {package}.records import Record


@compiled(entry=True)
def twice(record, x):
    return plus(plus(x)) + record.offset[0]
"""
CALLEE = """
from edge_marl.compiled import compiled

STEP = {step}


@compiled
def plus(x):
    return x + STEP
"""
RECORDS = """
from typing import NamedTuple

import numpy as np


class {name}(NamedTuple):
    offset: np.ndarray


Record = {name}
"""
ROOT = Path(__file__).resolve().parent.parent


def write(package: Path, step: int, name: str = "First") -> None:
    package.mkdir(exist_ok=True)
    (package / "__init__.py").touch()
    (package / "caller.py").write_text(CALLER.format(package=package.name), encoding="utf-8")
    (package / "callee.py").write_text(CALLEE.format(step=step), encoding="utf-8")
    (package / "records.py").write_text(RECORDS.format(name=name), encoding="utf-8")


def called(package: Path) -> tuple[int, bool]:
    """What a new process gets, and whether it found the compiled code in the cache."""
    code = (
        f"import sys; sys.path.insert(0, {str(package.parent)!r})\n"
        "import numpy as np\n"
        f"from {package.name}.caller import Record, twice\n"
        "found = twice(Record(np.zeros(1, dtype=np.int64)), 0)\n"
        "print(found, bool(twice.stats.cache_hits))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, hit = done.stdout.split()
    return int(found), hit == "True"


def test_a_change_in_a_callee_of_another_file_changes_the_result(tmp_path: Path) -> None:
    package = tmp_path / "kernels_of_a_test"
    write(package, step=1)
    assert called(package) == (2, False)
    assert called(package) == (2, True)
    write(package, step=5)
    assert called(package) == (10, False)


def test_a_record_may_be_renamed(tmp_path: Path) -> None:
    package = tmp_path / "kernels_of_a_test"
    write(package, step=1)
    called(package)
    write(package, step=1, name="Second")
    assert called(package) == (2, False)


def test_python_cannot_call_what_is_compiled_for_compiled_functions_only(tmp_path: Path) -> None:
    package = tmp_path / "kernels_of_a_test"
    write(package, step=1)
    code = (
        f"import sys; sys.path.insert(0, {str(package.parent)!r})\n"
        "import numpy as np\n"
        f"from {package.name}.caller import Record, plus, twice\n"
        "for _ in range(2):\n"
        "    try:\n"
        "        plus(1)\n"
        "    except TypeError as error:\n"
        "        print(error)\n"
        "    twice(Record(np.zeros(1, dtype=np.int64)), 0)"
    )
    for _ in range(2):  # compiled, and from the cache
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": ""},
        )  # fmt: skip
        assert done.stdout.count("plus: called by Python, but compiled for") == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any folder")
def test_where_sources_lie_in_a_folder_that_is_read_only_it_is_kept_elsewhere(
    tmp_path: Path,
) -> None:
    package = tmp_path / "kernels_of_a_test"
    write(package, step=1)
    package.chmod(0o555)
    try:
        called(package)
        assert called(package) == (2, True)
    finally:
        package.chmod(0o755)
