"""The layers of the design: who may import whom."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("edge_marl", "envs", "algorithms", "experiments")  # each may import those before it
HEAVY = {"ray", "torch", "gymnasium", "pettingzoo"}


def imported_names(path: Path) -> Iterator[str]:
    """Full dotted names of everything that a file imports, at any depth of the code."""
    package = ("edge_marl", *path.relative_to(ROOT).parent.parts)
    if package[1:2] == ("edge_marl",):
        package = package[1:]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            stem = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*stem, node.module) if node.module else stem)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def layer_of(name: str) -> int | None:
    """Position in LAYERS of a dotted name, None if it is not of this project."""
    parts = name.split(".")
    if parts[0] != "edge_marl":
        return None
    return LAYERS.index(parts[1]) if len(parts) > 1 and parts[1] in LAYERS else 0


def sources(layer: str) -> list[Path]:
    return sorted((ROOT / layer).rglob("*.py"))


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_layers_below(layer: str) -> None:
    assert sources(layer)
    upward = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources(layer)
        for name in imported_names(path)
        if (layer_of(name) or 0) > LAYERS.index(layer)
    ]
    assert upward == []


ROOMS = {
    # Each room of the algorithms, with the rooms that it may import beside itself.
    "networks": {"tandem"},  # the table of kinds
    "tandem": {"networks"},
    "sampling": {"networks", "core"},  # the spaces
    "core": {"networks", "sampling"},
    "federation": {"core", "sampling"},
    "fauno": {"networks", "sampling", "core", "mappo", "federation"},
    "replay": {"networks", "sampling", "core"},
    "offline": {"replay"},
    "sac": {"networks", "sampling", "core", "replay"},
    "value_decomposition": {"networks", "sampling", "core", "replay"},
    "mappo": {"networks", "sampling", "core"},
    "o2o": {"networks", "sampling", "core", "replay", "offline", "sac", "mappo"},
    "prediction": {"networks"},
    "scof": {"networks", "sampling", "core", "replay", "federation"},
    "cto": {"networks", "sampling", "core", "replay", "federation"},  # who is slow
    "scale": {"networks", "sampling", "core", "mappo"},
}


def test_rooms_of_the_algorithms_import_only_what_they_build_on() -> None:
    rooms = {
        path.name for path in (ROOT / "algorithms").iterdir() if (path / "__init__.py").exists()
    }
    assert rooms == set(ROOMS)
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for room, allowed in ROOMS.items()
        for path in sources(f"algorithms/{room}")
        for name in imported_names(path)
        if name.startswith("edge_marl.algorithms.")
        and name.split(".")[2] in set(ROOMS) - allowed - {room}
    ]
    assert found == []


def test_the_domain_never_imports_the_learning_stack() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources("edge_marl")
        for name in imported_names(path)
        if name.split(".")[0] in HEAVY
    ]
    assert found == []


def test_no_file_uses_the_bare_name_of_a_folder() -> None:
    bare = [
        f"{path.relative_to(ROOT)}: {name}"
        for folder in (*LAYERS, "tests")
        for path in sources(folder)
        for name in imported_names(path)
        if name.split(".")[0] in LAYERS[1:]
    ]
    assert bare == []


def test_importing_the_domain_leaves_ray_and_torch_alone() -> None:
    code = (
        "import sys, edge_marl, edge_marl.tandem.simulator, edge_marl.oracle\n"
        f"print(sorted(set({sorted(HEAVY)}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
