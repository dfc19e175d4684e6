"""Workflows of traces: what is read, what is left out and why, what is refused and where."""

import csv
import gzip
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_marl.dag_placement.readers.collecting import Collector, topological
from edge_marl.dag_placement.scenario import RecordedWorkflows
from edge_marl.dag_placement.workflows import Workflow, pack
from edge_marl.errors import InputError
from tests.dag_placement.recorded import critical_path_s, edges_of, public, read, refusal

HEADER = "task_name,instance_num,job_name,task_type,status,start_time,end_time,plan_cpu,plan_mem"
INSTANCE = """{"workflow": {"specification": {"tasks": [
{"id": "a", "parents": [], "children": ["b"], "inputFiles": [], "outputFiles": ["f"]},
{"id": "b", "parents": ["a"], "children": [], "inputFiles": ["f"], "outputFiles": []}
], "files": [{"id": "f", "sizeInBytes": 9}]}, "execution": {"tasks": [
{"id": "a", "runtimeInSeconds": 1.5, "memoryInBytes": 7}, {"id": "b", "runtimeInSeconds": 2}]}}}
"""
GRAPH = "2\n0 0 0\n1 4 1 0\n2 6 1 1\n3 0 1 2\n# end\n"


def published(folder: Path, *rows: str, header: bool = True) -> Path:
    """A file of batch tasks; each row is name, job, start, end and maybe status and memory."""
    path = folder / "batch_task.csv"
    lines = [HEADER] * header
    for row in rows:
        name, job, start, end, *rest = row.split()
        status, memory = [*rest, *["Terminated", "0.5"][len(rest) :]]
        lines.append(f"{name},1.0,{job},1,{status},{start},{end},100.0,{memory}")
    path.write_text("\n".join(lines) + "\n")
    return path


def spar(folder: Path, *rows: str) -> Path:
    """A file of tasks without starts; each row is arrival, job, name and duration."""
    path = folder / "tasks.csv"
    path.write_text("".join(",".join(row.split()) + ",50.0,0.25,9\n" for row in rows))
    return path


def test_work_begins_when_the_last_parent_has_ended(tmp_path: Path) -> None:
    # All start at 100; 3 waits for 1 until 110 and for 2 until 104.
    rows = ("R3_1_2 j 100 115", "M1 j 100 110", "M2 j 100 104")
    workflows, report = read("alibaba", published(tmp_path, *rows))
    assert workflows.compute_gflop.tolist() == [10, 4, 5]
    assert edges_of(workflows) == [[0, 2], [1, 2]]
    assert report.changed == {"output of 0.5 GB, as none is recorded": 3}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=7),
    st.booleans(),
)
def test_the_critical_path_of_a_job_that_starts_at_once_is_the_time_that_it_took(
    tmp_path: Path, drawn: list[tuple[int, int]], starts_known: bool
) -> None:
    # Each task has one parent, drawn from those before it, and ends at least a second later.
    took: list[int] = []
    rows = []
    for i, (after, seconds) in enumerate(drawn):
        parent = after % i if i else None
        took.append(1 + seconds + (0 if parent is None else took[parent]))
        name = f"M{i}" if parent is None else f"R{i}_{parent}"
        rows.append(f"{name} j 50 {50 + took[i]}" if starts_known else f"50 j {name} {took[i]}")
    path = published(tmp_path, *rows) if starts_known else spar(tmp_path, *rows)
    workflows, _ = read("alibaba", path)
    assert critical_path_s(workflows.one(0)) == max(took)


def test_a_task_that_starts_after_its_parents_keeps_its_time(tmp_path: Path) -> None:
    workflows, _ = read("alibaba", published(tmp_path, "M1 j 100 110", "R2_1 j 120 123"))
    assert workflows.compute_gflop.tolist() == [10, 3]
    assert workflows.arrival_s is not None


def test_work_of_less_than_a_second_is_half_a_second(tmp_path: Path) -> None:
    # 2 ends with its parent, 3 even before: clocks of machines differ.
    rows = ("M1 j 100 110", "R2_1 j 100 110", "R3_1 j 100 109", "M4 j 100 100")
    workflows, report = read("alibaba", published(tmp_path, *rows))
    assert sorted(workflows.compute_gflop.tolist()) == [0.5, 0.5, 0.5, 10]
    assert report.changed["run time raised to 0.5 s"] == 3


def test_without_starts_all_start_at_the_arrival_but_who_would_end_before_a_parent(
    tmp_path: Path,
) -> None:
    # 1: 0 to 10. 2: 0 to 14, of which 4 are work. 3 took 5, so it began at 14 and ended at 19.
    # 4 took 17: less than 19, so it began then; were 3 taken as done at 5, it would be 3 s of work.
    rows = ("7 j M1 10", "7 j R2_1 14", "7 j R3_2 5", "7 j J4_3 17", "7 j J5_1_3 30")
    workflows, _ = read("alibaba", spar(tmp_path, *rows))
    # 5 ended at 30: 11 after 3 did.
    assert workflows.compute_gflop.tolist() == [10, 4, 5, 17, 11]
    assert edges_of(workflows) == [[0, 1], [0, 4], [1, 2], [2, 3], [2, 4]]
    assert workflows.memory_gb.tolist() == [0.25 / 100 * 512] * 5


def test_arrivals_are_first_starts_sorted_from_0_on(tmp_path: Path) -> None:
    rows = ("M1 a 50 51", "M1 b 20 25", "M2 b 17 19", "M1 c 30 33")
    workflows, _ = read("alibaba", published(tmp_path, *rows))
    assert workflows.arrival_s is not None
    assert workflows.arrival_s.tolist() == [0, 13, 33]
    assert workflows.compute_gflop.tolist() == [5, 2, 3, 1]
    workflows, _ = read("alibaba", spar(tmp_path, "0 a M1 1", "0 b M1 2", "9 c M1 3"))
    assert workflows.arrival_s is not None
    assert workflows.arrival_s.tolist() == [0, 0, 9]


def test_memory_is_a_share_of_a_machine_where_it_is_recorded(tmp_path: Path) -> None:
    rows = [f"M{k} j 1 2 Terminated {text}" for k, text in enumerate(("0.5", "-1", "101", "0"))]
    path = published(tmp_path, *rows)
    path.write_text(path.read_text() + "M9,1.0,j,1,Terminated,1,2,100.0,\n")
    workflows, report = read("alibaba", path, memory_gb=3.0)
    assert workflows.memory_gb.tolist() == [2.56, 3, 3, 3, 3]
    assert report.changed["memory of 3 GB, as none is recorded"] == 4


def test_run_times_become_compute_by_the_reference_and_the_scale(tmp_path: Path) -> None:
    path = published(tmp_path, "M1 j 10 20")
    workflows, _ = read("alibaba", path, reference_gflops=6.0, time_scale=0.5, output_gb=2.0)
    assert workflows.compute_gflop.tolist() == [30]
    assert workflows.output_gb.tolist() == [2]


def test_task_names_say_what_depends_on_what(tmp_path: Path) -> None:
    rows = ("task_a== j 1 2", "task_b== j 1 3", "m1 j 1 4", "MR12_1_1 j 1 6")
    workflows, _ = read("alibaba", published(tmp_path, *rows))
    assert len(workflows.compute_gflop) == 4
    assert len(edges_of(workflows)) == 1


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (("M1 j 5 9", "M2 j 5 8 Running"), "a task is not finished"),
        (("M1 j 5 9 Failed",), "a task is not finished"),
        (("M1 j 0 9",), "a task has no start or no end"),
        (("M1 j 5 0",), "a task has no start or no end"),
        (("M1 j 5 9", "M2 j 5 4"), "a task ends before it starts"),
        (("M1 j 5 9", "J2_1_ j 5 9"), "a task name cannot be read"),
        (("MergeTask j 5 9",), "a task name cannot be read"),
        (("M1 j 5 9", "R1 j 5 9"), "two tasks have one number"),
        (("M1 j 5 9", "R2_1_3 j 5 9"), "a parent is missing"),
        (("M1_2 j 5 9", "R2_1 j 5 9"), "a cycle of tasks"),
        (("M1_1 j 5 9",), "a cycle of tasks"),
        (tuple(f"M{k} j 5 9" for k in range(4)), "more than 3 primitives"),
    ],
)
def test_a_job_that_cannot_be_used_is_left_out_and_counted(
    rows: tuple[str, ...], reason: str, tmp_path: Path
) -> None:
    good = tuple(f"M{k} good 7 9" for k in range(3))
    workflows, report = read("alibaba", published(tmp_path, *rows, *good), largest=3)
    assert (len(workflows), workflows.largest) == (1, 3)
    assert report.left_out == {reason: 1}
    assert (report.found, report.kept) == (2, 1)


def test_tasks_without_starts_are_left_out_by_the_same_rules(tmp_path: Path) -> None:
    rows = ("0 a M1 -1", "0 b R2_1 3", "0 c M1 3", "0 c R2_1 5")
    path = spar(tmp_path, *rows)
    path.write_text(path.read_text() + "0,d,M1,,50,0.3,1\n")
    workflows, report = read("alibaba", path)
    assert workflows.compute_gflop.tolist() == [3, 2]
    assert report.left_out == {
        "a task ends before it starts": 1,
        "a parent is missing": 1,
        "a task has no end": 1,
    }


def test_if_all_is_left_out_the_refusal_says_why(tmp_path: Path) -> None:
    path = published(tmp_path, "M1 a 5 9 Running", "M1 b 5 9 Waiting", "R2_1 c 5 9")
    assert refusal("alibaba", path) == (
        "expected workflows to use, found 3, all left out: 2 (a task is not finished), "
        "1 (a parent is missing)"
    )
    assert refusal("alibaba", published(tmp_path)) == "expected workflows to use, found 0"


def test_the_first_row_may_be_a_task(tmp_path: Path) -> None:
    rows = ("M1 a 5 9", "M1 b 6 9")
    without, _ = read("alibaba", published(tmp_path, *rows, header=False))
    with_header, _ = read("alibaba", published(tmp_path, *rows))
    assert without.compute_gflop.tolist() == with_header.compute_gflop.tolist() == [4, 3]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "row 1: expected 9 columns (task_name, instance_num, job_name, task_type, status, "),
        ("a,b\n", "row 1: expected 9 columns"),
        (f"{HEADER}\nM1,1,j,1,Terminated,1,2,100\n", "row 2: expected 9 columns, found 8"),
        ("M1,1,j,1,Terminated,soon,2,9,0\n", "row 1: start_time: expected a number, found 'soon'"),
        ("M1,1,j,1,Waiting,1,later,9,0\n", "row 1: end_time: expected a number, found 'later'"),
        ("M1,1,j,1,Terminated,1,inf,9,0\n", "row 1: end_time: expected a number, found 'inf'"),
        ("M1,1,j,1,Terminated,1,2,9,lots\n", "row 1: plan_mem: expected a number, found 'lots'"),
        ("0,j,M1,3,50,0.3,1\nx,j,M2,3,50,0.3,1\n", "row 2: arrival: expected a number, found 'x'"),
        ("0,j,M1,nan,50,0.3,1\n", "row 1: duration: expected a number, found 'nan'"),
        ("0,j,M1,1e308,50,0.3,1\n", "row 1: duration: expected a number, found '1e308'"),
        ("0,j,M1,3,50,much,1\n", "row 1: plan_mem: expected a number, found 'much'"),
        (
            "0,a,M1,1,1,1,1\n0,b,M1,1,1,1,1\n0,a,M2,1,1,1,1\n0,b,M2,1,1,1,1\n",
            "row 3: job: expected the rows of a job one behind the other, found a job again",
        ),
        (b"M1,\xff\xfe\n", "expected a CSV file in UTF-8, found"),
        ('"M1,1\n', "expected a CSV file in UTF-8, found"),
    ],
)
def test_a_bad_row_is_refused_by_place(content: str | bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "batch_task.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    assert refusal("alibaba", path).startswith(expected)


def test_rows_without_a_job_are_left_out_one_by_one(tmp_path: Path) -> None:
    """Nobody knows whose they are; they may be anywhere."""
    path = published(tmp_path, "M1 a 5 9", "R2_1 a 5 9")
    rows = path.read_text().splitlines()
    nameless = rows[1].replace(",a,", ",,")
    path.write_text("\n".join([rows[0], nameless, nameless, *rows[1:], nameless]) + "\n")
    workflows, report = read("alibaba", path)
    assert len(workflows) == report.kept == 1
    assert (report.found, report.left_out) == (4, {"a task has no job": 3})


def test_the_published_archive_is_read_as_its_table(tmp_path: Path) -> None:
    path = published(tmp_path, "M1 a 5 9", "R2_1 a 5 9")
    plain, _ = read("alibaba", path)
    with tarfile.open(tmp_path / "batch_task.tar.gz", "w:gz") as archive:
        archive.add(path, "batch_task.csv")
    (tmp_path / "batch_task.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    for name in ("batch_task.tar.gz", "batch_task.csv.gz"):
        workflows, report = read("alibaba", tmp_path / name)
        assert workflows.compute_gflop.tolist() == plain.compute_gflop.tolist()
        assert report.source.endswith(name)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("format_", ["alibaba", "wfcommons", "stg"])
def test_byte_order_marks_and_blank_lines_are_no_part_of_a_file(
    mark: str, format_: str, tmp_path: Path
) -> None:
    name, text = DAMAGED[format_]
    plain, spaced = tmp_path / name, tmp_path / f"spaced-{name}"
    plain.write_text(text)
    spaced.write_text(mark + "\n \n" + text.replace("\n", "\r\n\r\n"), encoding="utf-8", newline="")
    workflows, report = read(format_, spaced)
    expected, _ = read(format_, plain)
    assert workflows.compute_gflop.tolist() == expected.compute_gflop.tolist()
    assert report.left_out == {}


# All formats


@pytest.mark.parametrize("format_", ["alibaba", "wfcommons", "stg"])
def test_missing_files_are_refused(format_: str, tmp_path: Path) -> None:
    assert refusal(format_, tmp_path / "absent").startswith("cannot be read: No such file")
    assert refusal(format_, tmp_path).startswith("expected files *.")


@pytest.mark.parametrize("format_", ["alibaba", "wfcommons", "stg"])
def test_work_out_of_range_is_refused(format_: str, tmp_path: Path) -> None:
    name, text = DAMAGED[format_]
    (tmp_path / name).write_text(text)
    for scale in (1e12, 1e-12):
        expected = (
            "expected work from 1e-18 to 1e+18 GFLOP (run time x reference_gflops x time_scale)"
        )
        found = refusal(format_, tmp_path / name, time_scale=scale, reference_gflops=scale)
        assert found.startswith(expected)


def test_arrivals_that_are_not_recorded_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "g.stg"
    path.write_text(GRAPH)
    expected = "arrivals: expected poisson, as none are recorded at different times, found recorded"
    assert refusal("stg", path, arrivals="recorded") == expected
    path = spar(tmp_path, "9 a M1 1", "9 b M1 1")
    assert refusal("alibaba", path, arrivals="recorded") == expected
    workflows, _ = read("alibaba", spar(tmp_path, "9 a M1 1", "8 b M1 1"), arrivals="recorded")
    assert len(workflows) == 2


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[list[int]], float]:
    """Parents of each primitive, numbered at will but without cycles; arrival."""
    n = draw(st.integers(1, 6))
    number = draw(st.permutations(range(n)))
    parents: list[list[int]] = [[] for _ in range(n)]
    for i in range(n):
        for j in range(i):
            if draw(st.booleans()):
                parents[number[i]].append(number[j])
    return parents, draw(st.floats(0, 100))


@given(st.lists(graphs(), min_size=1, max_size=5), st.booleans())
def test_what_is_collected_is_what_pack_makes(
    made: list[tuple[list[list[int]], float]], timed: bool
) -> None:
    recorded = RecordedWorkflows(format="stg", path="p", reference_gflops=2.0)
    collector = Collector(recorded, 0.1)
    workflows = []
    for parents, arrival in made:
        n = len(parents)
        run_s, arrival_s = [1.0 + i for i in range(n)], arrival if timed else None
        order = topological(parents)
        assert order is not None
        collector.add(order, parents, run_s, [4.0] * n, [0.5] * n, arrival_s)
        edges = [(parent, i) for i, before in enumerate(parents) for parent in before]
        compute = [2 * seconds for seconds in run_s]
        workflows.append(Workflow(compute, [4.0] * n, [0.5] * n, edges, arrival_s))
    collected, _ = collector.finish()
    packed = pack(workflows)
    for k in range(len(workflows)):
        assert_same_graph(collected.one(k), packed.one(k))
    if timed:
        np.testing.assert_array_equal(collected.arrival_s, packed.arrival_s)
    assert (np.diff(collected.first_successor) >= 0).all()


def assert_same_graph(one: Workflow, other: Workflow) -> None:
    """But for the order among primitives; their compute tells them apart."""

    def by_compute(workflow: Workflow) -> tuple[list[float], list[list[float]]]:
        compute = np.asarray(workflow.compute_gflop)
        edges = np.asarray(workflow.edges)
        assert (edges[:, 0] < edges[:, 1]).all()
        return sorted(compute.tolist()), sorted(compute[edges].tolist())

    assert by_compute(one) == by_compute(other)


DAMAGED = {
    "alibaba": ("t.csv", f"{HEADER}\nM1,1.0,j,1,Terminated,10,20,100.0,0.5\n"
                         "R2_1,1.0,j,1,Terminated,10,25,100.0,0.5\n"),
    "wfcommons": ("w.json", INSTANCE),
    "stg": ("g.stg", GRAPH),
}  # fmt: skip


@pytest.mark.parametrize("format_", list(DAMAGED))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_in_one_line(
    format_: str, tmp_path: Path, data: st.DataObject
) -> None:
    name, text = DAMAGED[format_]
    content = bytearray(text.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        stop = data.draw(st.integers(at, min(at + 3, len(content))))
        content[at:stop] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b"9" * 400, b"1e999"])
        )
        if not content:
            break
    path = tmp_path / name
    path.write_bytes(content)
    try:
        workflows, _ = read(format_, path)
    except InputError as error:
        message = str(error)
    else:
        pack([workflows.one(k) for k in range(len(workflows))])
        message = f"{path}: "
    assert message.startswith(f"{path}: ")


# The public files


def test_the_published_trace() -> None:
    path = public("alibaba2018_batch_task", "batch_task_sample.csv")
    workflows, report = read("alibaba", path, largest=200)
    assert report.found == 1854
    assert report.left_out == {
        "a task name cannot be read": 31,
        "a task is not finished": 30,
        "a cycle of tasks": 2,
    }
    assert len(workflows) == report.kept == 1791
    assert np.median(workflows.compute_gflop) == 5
    assert 0.5 < np.median(workflows.memory_gb) < 3
    assert workflows.memory_gb.max() < 16
    smaller, report = read("alibaba", path, largest=50)
    assert smaller.largest <= 50
    assert len(smaller) == 1791 - int((np.diff(workflows.first) > 50).sum())


def test_the_trace_of_half_an_hour() -> None:
    path = public("alibaba2018_hour_spar", "sample_tasks_first1800s.csv")
    workflows, report = read("alibaba", path, largest=100)
    assert (len(workflows), len(workflows.compute_gflop)) == (7320, 28435)
    assert report.left_out == {}
    assert workflows.arrival_s is not None
    assert (workflows.arrival_s[0], workflows.arrival_s[-1]) == (0, 1799)
    assert (np.diff(workflows.arrival_s) >= 0).all()
    # Less than half of what the durations add up to: the rest is waiting.
    durations = sum(float(row[3]) for row in csv.reader(path.open()))
    assert 0.3 < workflows.compute_gflop.sum() / durations < 0.7
