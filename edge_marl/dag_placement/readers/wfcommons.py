"""Read executed scientific workflows of WfCommons, in WfFormat 1.5 (JSON), one per file.

``workflow.specification`` has the tasks with their parents, children and files, and the sizes of
the files; ``workflow.execution`` says for each task how long it ran (seconds) and, in some files,
how much memory it had. Machines, cores and utilisation are not used: a primitive has a server to
itself, as a task has its machine's cores.

**Output.** A primitive has one output in the model, sent whole to each successor elsewhere: here it
is the bytes of all files that it writes and any of its children reads, each counted once. Children
that read different files are thus sent more than they read. Inputs from outside are not counted.

**Zeros.** Some systems record no run time below their resolution, and 0 bytes of memory: such run
times are raised to :data:`LEAST_S`, and such memory counts as not recorded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_marl.dag_placement.readers.collecting import Collector, topological
from edge_marl.errors import InputError
from edge_marl.json_files import read_json
from edge_marl.validation import shown

# As short as the shortest run times that are recorded where sub-second ones are.
LEAST_S = 0.01
_BYTES_PER_GB = 1e9
_MOST = 1e18  # of seconds or bytes
_SPECIFICATION = "workflow.specification"
_EXECUTION = "workflow.execution"


def collect(path: Path, collector: Collector) -> None:
    """Add the workflow of a file, unless it is too large.

    Raises:
        InputError: naming file and place in the JSON document of what is not of this format; for
            parents and children that contradict each other, and for a cycle.
    """
    document = _Document(path)
    tasks = document.objects(f"{_SPECIFICATION}.tasks")
    if not tasks:
        raise InputError(f"{path}: {_SPECIFICATION}.tasks: expected tasks, found none")
    place = _by_id(path, f"{_SPECIFICATION}.tasks", tasks)
    parents = _parents(path, tasks, place)
    executed = document.objects(f"{_EXECUTION}.tasks")
    run = _by_id(path, f"{_EXECUTION}.tasks", executed)
    run_s: list[float] = []
    memory_gb: list[float | None] = []
    for name in place:
        if name not in run:
            raise InputError(f"{path}: {_EXECUTION}.tasks: expected a task {name!r}, found none")
        where, task = f"{_EXECUTION}.tasks[{run[name]}]", executed[run[name]]
        run_s.append(_number(path, where, task, "runtimeInSeconds"))
        size = _number(path, where, task, "memoryInBytes") if "memoryInBytes" in task else 0.0
        memory_gb.append(size / _BYTES_PER_GB or None)
    output_gb = _output_gb(document, tasks, parents)
    if collector.too_large(len(tasks)):
        return
    order = topological(parents)
    if order is None:
        raise InputError(f"{path}: {_SPECIFICATION}.tasks: parents: expected no cycle")
    collector.add(order, parents, run_s, memory_gb, output_gb)


class _Document:
    """Look up values in a JSON file by their place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = read_json(path)

    def get(self, place: str) -> Any:
        """Return what is at a place such as ``workflow.specification``, or None."""
        value = self._root
        for key in place.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def objects(self, place: str) -> list[dict[str, Any]]:
        """Return the list of objects at a place; refuse anything else."""
        value = self.get(place)
        if not isinstance(value, list):
            raise InputError(
                f"{self.path}: {place}: expected a list (WfFormat 1.5), found {_shown(value)}"
            )
        for k, item in enumerate(value):
            if not isinstance(item, dict):
                raise InputError(
                    f"{self.path}: {place}[{k}]: expected an object, found {_shown(item)}"
                )
        return value


def _shown(value: Any) -> str:
    return "none" if value is None else shown(value)


def _by_id(path: Path, place: str, items: list[dict[str, Any]]) -> dict[str, int]:
    """Return the place of each item by its id, which no other may have."""
    found: dict[str, int] = {}
    for k, item in enumerate(items):
        name = item.get("id")
        if not isinstance(name, str):
            raise InputError(f"{path}: {place}[{k}].id: expected a text, found {_shown(name)}")
        if found.setdefault(name, k) != k:
            raise InputError(f"{path}: {place}[{k}].id: expected a new one, found {name!r} again")
    return found


def _number(path: Path, place: str, item: dict[str, Any], name: str) -> float:
    value: Any = item.get(name)
    if type(value) not in (int, float) or not 0 <= value <= _MOST:
        raise InputError(
            f"{path}: {place}.{name}: expected a number from 0 to {_MOST:g}, found {_shown(value)}"
        )
    return float(value)


def _names(path: Path, k: int, task: dict[str, Any], name: str) -> list[str]:
    """Return the ids that a task lists under ``name``, each once."""
    value = task.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InputError(
            f"{path}: {_SPECIFICATION}.tasks[{k}].{name}: expected a list of ids, "
            f"found {_shown(value)}"
        )
    return list(dict.fromkeys(value))


def _parents(path: Path, tasks: list[dict[str, Any]], place: dict[str, int]) -> list[list[int]]:
    """Return the parents of each of n tasks; refuse children that contradict them."""
    named: dict[str, list[list[int]]] = {"parents": [], "children": []}
    for k, task in enumerate(tasks):
        for name, related in named.items():
            ids = _names(path, k, task, name)
            for missing in (id_ for id_ in ids if id_ not in place):
                raise InputError(
                    f"{path}: {_SPECIFICATION}.tasks[{k}].{name}: expected ids of tasks, "
                    f"found {missing!r}"
                )
            related.append([place[id_] for id_ in ids])
    children: list[set[int]] = [set() for _ in tasks]
    for k, before in enumerate(named["parents"]):
        for parent in before:
            children[parent].add(k)
    for k, after in enumerate(named["children"]):
        if children[k] != set(after):
            other = min(children[k].symmetric_difference(after))
            raise InputError(
                f"{path}: {_SPECIFICATION}.tasks[{k}].children: expected the tasks that have it "
                f"as a parent; {tasks[other]['id']!r} is in one of the two lists only"
            )
    return named["parents"]


def _output_gb(
    document: _Document, tasks: list[dict[str, Any]], parents: list[list[int]]
) -> list[float | None]:
    """Return how many GB each of n tasks writes for its children, None if no files are listed."""
    path, files_at = document.path, f"{_SPECIFICATION}.files"
    if document.get(files_at) is None:
        return [None] * len(tasks)
    files = document.objects(files_at)
    sizes = {
        name: _number(path, f"{files_at}[{k}]", files[k], "sizeInBytes")
        for name, k in _by_id(path, files_at, files).items()
    }
    read: list[set[str]] = [set() for _ in tasks]
    for k, task in enumerate(tasks):
        inputs = _names(path, k, task, "inputFiles")
        for parent in parents[k]:
            read[parent].update(inputs)
    output_gb: list[float | None] = []
    for k, task in enumerate(tasks):
        sent = [name for name in _names(path, k, task, "outputFiles") if name in read[k]]
        for missing in (name for name in sent if name not in sizes):
            raise InputError(
                f"{path}: {files_at}: expected a file {missing!r}, "
                f"which {_SPECIFICATION}.tasks[{k}] writes, found none"
            )
        output_gb.append(sum(sizes[name] for name in sent) / _BYTES_PER_GB)
    return output_gb
