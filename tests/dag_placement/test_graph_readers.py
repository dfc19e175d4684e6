"""Workflows of WfCommons and Standard Task Graphs: what is read, what is refused and where."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.dag_placement.recorded import critical_path_s, edges_of, public, read, refusal

# WfCommons


def instance(*tasks: tuple[str, str, float], **sizes: int) -> dict[str, Any]:
    """An instance of tasks (id, ids of parents, run time) that have no files but ``sizes``."""
    children: dict[str, list[str]] = {id_: [] for id_, _, _ in tasks}
    for id_, parents, _ in tasks:
        for parent in parents.split():
            children[parent].append(id_)
    specified = [
        {"id": id_, "parents": parents.split(), "children": children[id_],
         "inputFiles": [], "outputFiles": []}
        for id_, parents, _ in tasks
    ]  # fmt: skip
    executed = [{"id": id_, "runtimeInSeconds": run_s} for id_, _, run_s in tasks]
    files = [{"id": id_, "sizeInBytes": size} for id_, size in sizes.items()]
    return {
        "schemaVersion": "1.5",
        "workflow": {
            "specification": {"tasks": specified, "files": files},
            "execution": {"tasks": executed[::-1]},  # found by their id
        },
    }


def diamond() -> dict[str, Any]:
    return instance(
        ("a", "", 3.0), ("b", "a", 1), ("c", "a", 0.0), ("d", "b c", 2.5),
        x=2_000_000_000, y=500_000_000, z=7_000_000_000,
    )  # fmt: skip


def written(folder: Path, document: Any, name: str = "w.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(document))
    return path


def task(document: dict[str, Any], k: int, part: str = "specification") -> dict[str, Any]:
    found: dict[str, Any] = document["workflow"][part]["tasks"][k]
    return found


def test_an_instance_gives_run_times_files_and_memory(tmp_path: Path) -> None:
    document = diamond()
    # b reads x, c reads x and y; nobody reads z, and d reads what no parent writes.
    task(document, 0)["outputFiles"] = ["x", "y", "z"]
    task(document, 1)["inputFiles"] = ["x"]
    task(document, 2)["inputFiles"] = ["x", "y"]
    task(document, 3)["inputFiles"] = ["z"]
    task(document, 3, "execution")["memoryInBytes"] = 6_000_000_000  # of a, as the list is reversed
    task(document, 2, "execution")["memoryInBytes"] = 0
    workflows, report = read("wfcommons", written(tmp_path, document))
    assert workflows.compute_gflop.tolist() == [3, 1, 0.01, 2.5]
    assert workflows.memory_gb.tolist() == [6, 4, 4, 4]
    assert workflows.output_gb.tolist() == [2.5, 0, 0, 0]
    assert edges_of(workflows) == [[0, 1], [0, 2], [1, 3], [2, 3]]
    assert workflows.arrival_s is None
    assert report.changed == {
        "memory of 4 GB, as none is recorded": 3,
        "run time raised to 0.01 s": 1,
    }


def test_an_instance_without_files_has_the_output_of_the_options(tmp_path: Path) -> None:
    document = diamond()
    del document["workflow"]["specification"]["files"]
    workflows, _ = read("wfcommons", written(tmp_path, document), output_gb=0.25)
    assert workflows.output_gb.tolist() == [0.25] * 4


def test_a_folder_has_a_workflow_per_file_those_below_it_too(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    written(tmp_path, instance(("a", "", 5.0)), "2.json")
    written(tmp_path / "below", instance(("a", "", 7.0)), "1.json")
    written(tmp_path, diamond(), "3.json")
    (tmp_path / "README.md").write_text("not a workflow")
    workflows, report = read("wfcommons", tmp_path, largest=3)
    assert workflows.compute_gflop.tolist() == [5, 7]
    assert report.left_out == {"more than 3 primitives": 1}


SPECIFIED, EXECUTED = "workflow.specification", "workflow.execution"
B, TASK = f"{SPECIFIED}.tasks.1", f"{SPECIFIED}.tasks[1]"


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (SPECIFIED, None, f"{SPECIFIED}.tasks: expected a list (WfFormat 1.5), found none"),
        ("workflow", [], f"{SPECIFIED}.tasks: expected a list (WfFormat 1.5), found none"),
        (f"{SPECIFIED}.tasks", [], f"{SPECIFIED}.tasks: expected tasks, found none"),
        (B, 3, f"{TASK}: expected an object, found 3"),
        (f"{B}.id", 3, f"{TASK}.id: expected a text, found 3"),
        (f"{B}.id", "a", f"{TASK}.id: expected a new one, found 'a' again"),
        (f"{B}.parents", "a", f"{TASK}.parents: expected a list of ids, found 'a'"),
        (f"{B}.parents", ["q"], f"{TASK}.parents: expected ids of tasks, found 'q'"),
        (
            f"{B}.parents",
            [],
            f"{SPECIFIED}.tasks[0].children: expected the tasks that have it as a parent; 'b' is "
            "in one of the two lists only",
        ),
        (f"{B}.children", ["e"], f"{TASK}.children: expected ids of tasks, found 'e'"),
        (f"{B}.inputFiles", None, f"{TASK}.inputFiles: expected a list of ids, found none"),
        (
            f"{SPECIFIED}.files",
            {},
            f"{SPECIFIED}.files: expected a list (WfFormat 1.5), found {{}}",
        ),
        (
            f"{SPECIFIED}.files.1.sizeInBytes",
            -1,
            f"{SPECIFIED}.files[1].sizeInBytes: expected a number from 0 to 1e+18, found -1",
        ),
        (f"{EXECUTED}.tasks", None, f"{EXECUTED}.tasks: expected a list (WfFormat 1.5)"),
        (f"{EXECUTED}.tasks.2.id", "q", f"{EXECUTED}.tasks: expected a task 'b', found none"),
        *(
            (
                f"{EXECUTED}.tasks.2.{name}",
                value,
                f"{EXECUTED}.tasks[2].{name}: expected a number from 0 to 1e+18, found {found}",
            )
            for name in ("runtimeInSeconds", "memoryInBytes")
            for value, found in (("3", "'3'"), (True, "True"), (-2, "-2"), (float("nan"), "none"))
        ),
    ],
)
def test_a_bad_instance_is_refused_by_place(
    place: str, value: Any, expected: str, tmp_path: Path
) -> None:
    document = diamond()
    inner: Any = document
    *way, last = (int(key) if key.isdigit() else key for key in place.split("."))
    for key in way:
        inner = inner[key]
    inner[last] = value
    assert refusal("wfcommons", written(tmp_path, document)).startswith(expected)


def test_a_file_that_is_written_but_not_listed_is_refused(tmp_path: Path) -> None:
    document = diamond()
    task(document, 0)["outputFiles"] = ["lost"]
    task(document, 1)["inputFiles"] = ["lost"]
    assert refusal("wfcommons", written(tmp_path, document)) == (
        "workflow.specification.files: expected a file 'lost', "
        "which workflow.specification.tasks[0] writes, found none"
    )


def test_an_instance_with_a_cycle_is_refused(tmp_path: Path) -> None:
    document = instance(("a", "", 1), ("b", "a", 1))
    task(document, 0)["parents"] = ["b"]
    task(document, 1)["children"] = ["a"]
    path = written(tmp_path, document)
    assert refusal("wfcommons", path) == (
        "workflow.specification.tasks: parents: expected no cycle"
    )


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    for content in (b"{", b"\xff", b""):
        path.write_bytes(content)
        assert refusal("wfcommons", path).startswith("expected JSON, found")
    path.write_text("[]")
    assert refusal("wfcommons", path).startswith("workflow.specification.tasks: expected a list")


# Standard Task Graphs

GRAPH = """ 3
 0 0 0
 1 4 1 0
 2 6 2 0 1
 3 5 1 1
 4 0 2 2 3
# Task graph
"""


def test_a_task_graph_loses_its_marks_of_entry_and_exit(tmp_path: Path) -> None:
    path = tmp_path / "g.stg"
    path.write_text(GRAPH)
    workflows, report = read("stg", path, memory_gb=2.0, time_scale=2.0)
    assert workflows.compute_gflop.tolist() == [8, 12, 10]
    assert workflows.memory_gb.tolist() == [2, 2, 2]
    assert workflows.output_gb.tolist() == [0, 0, 0]
    assert edges_of(workflows) == [[0, 1], [0, 2]]
    assert report.changed == {"memory of 2 GB, as none is recorded": 3}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (GRAPH, "", "line 1: tasks: expected their number, at least 1, found nothing"),
        (" 3\n", " 0\n", "line 1: tasks: expected their number, at least 1, found 0"),
        (" 3\n", " 3 3\n", "line 1: tasks: expected their number, at least 1, found 3 3"),
        (
            " 4 0 2 2 3\n",
            "",
            "task 4: expected task, time, number of predecessors and these, found ",
        ),
        (" 3\n", " 2\n", "line 6: expected 4 tasks, found another"),
        ("1 4 1 0", "1 4 1", "line 3: expected task, time, number of predecessors and these, fou"),
        ("1 4 1 0", "1 4 x 0", "line 3: expected whole numbers of up to 9 digits, found '1 4 x 0'"),
        ("1 4 1 0", "1 -4 1 0", "line 3: expected whole numbers of up to 9 digits, found '1 -4 1"),
        ("1 4 1 0", "1 4.5 1 0", "line 3: expected whole numbers of up to 9 digits, found '1 4.5"),
        ("1 4 1 0", "1 0 1 0", "line 3: time: expected at least 1, found 0"),
        ("1 4 1 0", "7 4 1 0", "line 3: task: expected 1, found 7"),
        ("1 4 1 0", "1 4 1 5", "line 3: predecessors: expected other tasks from 0 to 4, found 5"),
        ("1 4 1 0", "1 4 1 1", "line 3: predecessors: expected other tasks from 0 to 4, found 1"),
        ("1 4 1 0", "1 4 1 2", "predecessors: expected no cycle"),
    ],
)
def test_a_bad_task_graph_is_refused_by_line(
    old: str, new: str, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "g.stg"
    path.write_text(GRAPH.replace(old, new))
    assert refusal("stg", path).startswith(expected)
    path.write_bytes(b"\xff")
    assert refusal("stg", path).startswith("expected text in UTF-8, found")


# The public files


@pytest.mark.parametrize(
    ("name", "primitives", "edges", "path_s", "output_gb"),
    [
        ("1000genome-chameleon-2ch-100k-001", 52, 76, 204.7, 2.6),
        ("blast-chameleon-small-001", 43, 120, 10.4, 5.2),
        ("fetchngs-dirt02-001", 43, 28, 13.0, 0.1),
        ("hic-dirt02-001", 38, 47, 274.6, 0.4),
        ("montage-chameleon-2mass-005d-001", 58, 114, 21.4, 0.3),
        ("sarek-dirt02-001", 26, 50, 309.7, 0.1),
        ("seismology-chameleon-100p-001", 101, 100, 2.8, 0.1),
    ],
)
def test_the_instances_of_wfcommons(
    name: str, primitives: int, edges: int, path_s: float, output_gb: float
) -> None:
    workflows, _ = read("wfcommons", public("wfinstances", f"{name}.json"), largest=200)
    assert (len(workflows.compute_gflop), len(workflows.successor)) == (primitives, edges)
    assert critical_path_s(workflows.one(0)) == pytest.approx(path_s, abs=0.1)
    assert 0 < workflows.output_gb.sum() < output_gb


@pytest.mark.parametrize("processors", [2, 4, 8, 16])
def test_no_task_graph_is_done_before_its_critical_path(processors: int) -> None:
    folder = public("stg_task_graphs")
    with (folder / f"Case50_{processors}_OPT.csv").open() as file:
        optimum = {row[0]: float(row[2]) for row in csv.reader(file) if len(row) == 3}
    files = sorted(folder.rglob("*.stg"))
    known = [file for file in files if str(file.relative_to(folder)) in optimum]
    assert len(known) > len(files) / 2
    for file in known:
        workflows, _ = read("stg", file)
        assert len(workflows.compute_gflop) == 50
        best = optimum[str(file.relative_to(folder))]
        bound = max(critical_path_s(workflows.one(0)), workflows.compute_gflop.sum() / processors)
        assert bound <= best
