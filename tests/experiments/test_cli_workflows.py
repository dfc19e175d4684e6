"""The command that sums up recorded workflows."""

from pathlib import Path

import numpy as np
import pytest

from edge_marl.dag_placement import DagScenario
from edge_marl.dag_placement.workflows import Workflow, pack
from edge_marl.experiments import cli
from edge_marl.experiments.workflow_stats import longest_paths, shapes
from tests.experiments.command_line import call

TASKS = """\ufeff0,a,M1,10,50,0.25,1
0,a,R2_1,14,50,0.25,1
30,b,M1,5,50,0.25,1
60,c,M1,0,50,0.25,1

90,d,R2_1,5,50,0.25,1
91,,M1,5,50,0.25,1
"""


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("tasks.csv").write_text(TASKS)
    return Path("tasks.csv")


def rows_of(text: str) -> list[list[str]]:
    """Cells of all tables, without their frames."""
    lines = (line.split("│") for line in text.splitlines() if line.startswith("│"))
    return [[cell.strip() for cell in line[1:-1]] for line in lines]


def test_what_is_read_and_what_is_left_out_is_shown(
    capsys: pytest.CaptureFixture[str], tasks: Path
) -> None:
    options = ("reference_gflops=1", "output_gb=2")
    assert call("workflows", str(tasks), "--format", "alibaba", *options) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    first, *_, arrivals, load = captured.out.splitlines()
    assert first == "tasks.csv: 5 workflows found, 3 kept"
    assert arrivals == "recorded arrivals: 0.0333 workflows/s in 60 s"
    assert rows_of(captured.out) == [
        ["a parent is missing", "1"],
        ["a task has no job", "1"],
        ["output of 2 GB, as none is recorded", "4"],
        ["run time raised to 0.5 s", "1"],
        ["primitives", "1", "1", "1.9", "1.98", "2", "1.33"],
        ["edges", "0", "0", "0.9", "0.98", "1", "0.333"],
        ["depth", "1", "1", "1.9", "1.98", "2", "1.33"],
        ["width", "1", "1", "1", "1", "1", "1"],
        ["work, GFLOP", "0.95", "5", "13.1", "13.8", "14", "6.5"],
        ["critical path, GFLOP", "0.95", "5", "13.1", "13.8", "14", "6.5"],
        ["compute of a primitive, GFLOP", "1.03", "4.5", "9.25", "9.85", "10", "4.88"],
        ["memory of a primitive, GB", "1.28", "1.28", "1.28", "1.28", "1.28", "1.28"],
        ["output of a primitive, GB", "2", "2", "2", "2", "2", "2"],
    ]
    # A workflow a second has 6.5 GFLOP to do; the default servers do 108 GFLOP in that time.
    scale = 55 / 6.5
    assert load == (
        "load of the default cluster at its arrival rate: 6%; 51%, as with random workflows, "
        f"at time_scale={scale:.3g}"
    )
    assert DagScenario().of_servers("capacity_gflops").sum() == 108


def test_the_scale_that_it_names_gives_that_load(
    capsys: pytest.CaptureFixture[str], tasks: Path
) -> None:
    for options in ((), ("time_scale=1.41",)):
        assert call("workflows", str(tasks), "--format", "alibaba", *options) == 0
        *_, last = capsys.readouterr().out.splitlines()
        assert last.endswith("at time_scale=1.41")
    assert last.startswith("load of the default cluster at its arrival rate: 51%;")


def test_shapes_of_a_diamond_with_a_tail_and_of_a_lone_primitive() -> None:
    edges = [(0, 1), (0, 2), (1, 3), (2, 3), (0, 4), (3, 4)]
    compute = [1.0, 5.0, 2.0, 1.0, 4.0]
    diamond = Workflow(compute, [1.0] * 5, [0.0] * 5, edges)
    lone = Workflow([3.0], [1.0], [0.0], [])
    both = pack([lone, diamond, lone])
    assert {name: values.tolist() for name, values in shapes(both).items()} == {
        "primitives": [1, 5, 1],
        "edges": [0, 6, 0],
        "depth": [1, 4, 1],
        "width": [1, 2, 1],
        "work, GFLOP": [3, 13, 3],
        "critical path, GFLOP": [3, 11, 3],
    }
    alone = pack([lone, lone])
    np.testing.assert_array_equal(longest_paths(alone, alone.compute_gflop), [3, 3])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tasks.csv",), "--format"),
        (("tasks.csv", "--format", "csv"), "--format"),
        (
            ("tasks.csv", "--format", "alibaba", "largets=9"),
            "largets: unknown option; did you mean",
        ),
        (("tasks.csv", "--format", "alibaba", "largest=0"), "largest: "),
        (("tasks.csv", "--format", "stg"), "tasks.csv: line 1: expected whole numbers"),
        (("absent.csv", "--format", "alibaba"), "absent.csv: cannot be read: No such file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tasks: Path,
) -> None:
    assert call("workflows", *arguments) == cli.BAD_INPUT
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert captured.out == ""
