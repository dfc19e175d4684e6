"""The four folders import under one name however they were brought to a machine."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("edge_marl", "edge_marl.envs", "edge_marl.algorithms", "edge_marl.experiments")
FOLDERS = ("edge_marl", "envs", "algorithms", "experiments")

# Runs in a child that first forgets this checkout, in case it is installed there as editable.
REPORT = f"""
import importlib, json, sys
found = {{name: importlib.import_module(name).__file__ for name in {PACKAGES!r}}}
refused = []
for bare in {FOLDERS[1:]!r}:
    try:
        importlib.import_module(bare)
    except ImportError:
        refused.append(bare)
print(json.dumps([found, refused]))
"""


def run(code: str, cwd: Path) -> str:
    """Standard output of ``code`` in a child whose path does not hold this checkout."""
    forget = f"import sys, site\nsys.path[:] = [p for p in sys.path if p != {str(ROOT)!r}]\n"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", forget + code],
        cwd=cwd,
        env={**environment, "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def pip_install(target: Path, *what: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    options = ["--no-build-isolation", "--target", str(target)]
    subprocess.run([*command, *options, *what], check=True, capture_output=True, cwd=target.parent)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    return next(folder.glob("*.whl"))


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a short name: Ray's sockets lie below it and their names are limited."""
    folder = Path(tempfile.mkdtemp(prefix="ray"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def copy_of_the_tree(target: Path) -> Path:
    for folder in FOLDERS:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, target / folder, ignore=ignore)
    return target


def test_a_checkout_imports_every_layer_and_no_bare_name(tmp_path: Path) -> None:
    checkout = copy_of_the_tree(tmp_path / "copy").resolve()
    found, refused = json.loads(run("sys.path.insert(0, '')\n" + REPORT, cwd=checkout))
    assert {name: Path(file).parent for name, file in found.items()} == {
        name: checkout / folder for name, folder in zip(PACKAGES, FOLDERS, strict=True)
    }
    assert refused == list(FOLDERS[1:])


def test_an_installed_wheel_imports_every_layer(wheel: Path, tmp_path: Path) -> None:
    site = (tmp_path / "site").resolve()
    pip_install(site, str(wheel))
    found, _ = json.loads(run(f"sys.path.insert(0, {str(site)!r})\n" + REPORT, cwd=tmp_path))
    assert [Path(found[name]).relative_to(site).as_posix() for name in PACKAGES] == [
        "edge_marl/__init__.py",
        "edge_marl/envs/__init__.py",
        "edge_marl/algorithms/__init__.py",
        "edge_marl/experiments/__init__.py",
    ]


def test_an_editable_install_imports_the_checkout(tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip_install(site, "--editable", str(ROOT))
    found, refused = json.loads(run(f"site.addsitedir({str(site)!r})\n" + REPORT, cwd=tmp_path))
    assert {Path(file).parent for file in found.values()} == {ROOT / name for name in FOLDERS}
    assert refused == list(FOLDERS[1:])


def test_a_ray_worker_imports_the_folder_that_it_was_sent(short_folder: Path) -> None:
    sent = copy_of_the_tree(short_folder / "sent")
    code = f"""
import ray
ray.init(address="local", num_cpus=1, include_dashboard=False, _node_ip_address="127.0.0.1",
         _temp_dir={str(short_folder / "t")!r}, runtime_env={{"working_dir": {str(sent)!r}}})

@ray.remote
def report():
    import contextlib, io
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec({REPORT!r}, {{}})
    return said.getvalue()

answer = ray.get(report.remote())
ray.shutdown()
print(answer)
"""
    found, refused = json.loads(run(code, cwd=short_folder))
    below = {Path(file).resolve().relative_to(short_folder.resolve()) for file in found.values()}
    assert len(below) == len(PACKAGES)
    assert all("runtime_resources" in path.parts for path in below)
    assert refused == list(FOLDERS[1:])


def test_the_wheel_holds_all_modules_and_data_files_but_those_of_peers(wheel: Path) -> None:
    expected = {
        (path if folder == "edge_marl" else Path("edge_marl") / path).as_posix()
        for folder in FOLDERS
        for path in (file.relative_to(ROOT) for file in (ROOT / folder).rglob("*"))
        if path.suffix in {".py", ".json", ".parquet", ".yaml", ".typed"}
        and "peers" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == expected


def test_the_wheel_brings_nothing_else_into_site_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        top = {name.split("/")[0] for name in archive.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"edge_marl"}
