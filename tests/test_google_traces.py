"""Google's traces of 2011 and 2019: what is a task, and what is refused."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edge_marl.errors import InputError
from edge_marl.google_traces import Form, read_google, read_requests

DATA = Path(__file__).parents[2] / "shared" / "data"
SUBMIT, SCHEDULE, EVICT, FAIL, FINISH, KILL = range(6)


def task_event(
    time_s: float, job: int, index: int, event: int, cpu: str = "0.5", memory: str = "0.25"
) -> str:
    return f"{round(time_s * 1e6)},,{job},{index},42,{event},user,2,9,{cpu},{memory},0.001,0"


ROWS = [
    task_event(1, 7, 0, SUBMIT),
    task_event(1, 7, 1, SUBMIT, "0.1"),
    task_event(2, 7, 0, SCHEDULE),
    task_event(3, 7, 1, SCHEDULE),
    task_event(4, 7, 1, 8, "0.2", "0.125"),  # updated while it runs
    task_event(5, 7, 1, FINISH),
    task_event(6, 7, 0, EVICT),  # and once more
    task_event(6, 7, 0, SUBMIT),
    task_event(7, 7, 0, SCHEDULE),
    task_event(11, 7, 0, FINISH),
]
LEFT_OUT = [
    task_event(1, 8, 0, SCHEDULE),
    task_event(2, 8, 0, FINISH),
    task_event(2, 9, 0, SUBMIT, "", ""),
    task_event(3, 9, 0, SCHEDULE, "", ""),
    task_event(4, 9, 0, FINISH, "", ""),
    task_event(5, 10, 0, SUBMIT),
    task_event(0, 11, 0, SUBMIT),  # before the trace
    task_event(0, 11, 0, SCHEDULE),
    task_event(9, 11, 0, FINISH),
]


def write(path: Path, rows: list[str]) -> Path:
    content = ("\n".join(rows) + "\n").encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_a_task_is_a_run_that_finished(tmp_path: Path) -> None:
    left_out: Counter[str] = Counter()
    tasks = read_google(write(tmp_path / "part.csv", ROWS + LEFT_OUT), "google2011", left_out)
    assert tasks.arrival_s.tolist() == [0.0, 5.0]
    assert tasks.duration_s.tolist() == [2.0, 4.0]
    assert tasks.cpu.tolist() == [0.2, 0.5]
    assert tasks.memory.tolist() == [0.125, 0.25]
    assert left_out == {
        "evict events": 1,
        "submitted or scheduled before the first row": 1,
        "nothing requested": 1,
        "not finished at the last row": 1,
        "times before or after the trace, or not in order": 1,
    }


def test_parts_are_one_trace_in_the_order_of_their_names(tmp_path: Path) -> None:
    write(tmp_path / "part-00001-of-00500.csv.gz", ROWS[5:])
    write(tmp_path / "part-00000-of-00500.csv.gz", ROWS[:5])
    (tmp_path / "README.md").write_text("not a part")
    assert len(read_google(tmp_path, "google2011").arrival_s) == 2


EVENTS_2019 = ((1, 0), (2, 1), (2, 2), (3, 3), (8, 6))
NAMES_2019 = {0: "SUBMIT", 1: "QUEUE", 2: "ENABLE", 3: "SCHEDULE", 6: "FINISH"}


def json_row(time_s: int, event: int, **changes: object) -> str:
    return json.dumps({
        "time": str(time_s * 10**6), "type": event, "collection_id": "23", "instance_index": 4,
        "collection_type": 0, "resource_request": {"cpus": 0.5, "memory": 0.25}, **changes,
    })  # fmt: skip


HEADER = "time,type,collection_id,collection_type,instance_index,"
CSV_2019 = {
    "two columns": HEADER + "resource_request.cpus,resource_request.memory",
    "underscores": HEADER + "resource_request_cpus,resource_request_memory",
    "an object": HEADER + "resource_request",
}


@pytest.mark.parametrize("name", ["json", "json by name", *CSV_2019])
def test_the_trace_of_2019_comes_in_several_forms(name: str, tmp_path: Path) -> None:
    if name.startswith("json"):
        rows = [
            json_row(time_s, NAMES_2019[event] if "name" in name else event)  # type: ignore[arg-type]
            for time_s, event in EVENTS_2019
        ]
        rows.append(json_row(9, 3, collection_type=1))  # of an alloc set
        path = write(tmp_path / "instance_events-000000000000.json.gz", rows)
    else:
        request = "\"{'cpus': 0.5, 'memory': 0.25}\"" if name == "an object" else "0.5,0.25"
        rows = [CSV_2019[name]]
        rows += [f"{time_s}000000,{event},23,0,4,{request}" for time_s, event in EVENTS_2019]
        path = write(tmp_path / "instance_events.csv", rows)
    left_out: Counter[str] = Counter()
    tasks = read_google(path, "google2019", left_out)
    assert [column.tolist() for column in tasks] == [[0.0], [5.0], [0.5], [0.25]]
    assert not left_out


@pytest.mark.parametrize(
    ("form", "rows", "message"),
    [
        (
            "google2011",
            ["1,2,3"],
            r"row 1: expected 8 columns \(job_events\) or 13 \(task_events\)",
        ),
        (
            "google2011",
            [ROWS[0], ROWS[1].replace("1000000", "soon")],
            "row 2: time: expected micro",
        ),
        ("google2011", [task_event(1, 7, 0, 9)], "row 1: event type: expected 0 to 8 or a name"),
        ("google2011", [task_event(1, 7, 0, 0, "nan")], "CPU request: expected a number from 0 to"),
        ("google2011", [task_event(1, 7, 0, 0, "1", "1e9")], "memory request: expected a number f"),
        ("google2011", ["-1,,7,0,u,0,n,l"], "row 1: time: expected microseconds from 0 on"),
        ("google2011", ["1,,,0,u,0,n,l"], "row 1: job ID: expected a number, found none"),
        ("google2011", ROWS[:1], "expected tasks that were submitted and finished, found 1: not f"),
        ("google2011", [], "expected tasks that were submitted and finished, found no events"),
        ("google2019", ["time,type"], "row 1: expected a header with time, type, collection_id, i"),
        ("google2019", [CSV_2019["an object"], "1,0,2,0,4,5"], "resource_request: expected an obj"),
        ("google2019", [CSV_2019["an object"], "1,0,2,0,4"], "row 2: expected 6 columns, found 5"),
    ],
)
def test_what_is_wrong_is_named(form: Form, rows: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as raised:
        read_google(write(tmp_path / "part.csv", rows), form)
    assert "\n" not in str(raised.value)


def test_lines_that_are_no_objects_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "part.json", [json_row(1, 0), "[1]"])
    with pytest.raises(InputError, match=r"part.json: row 2: expected an object, found \[1\]"):
        read_google(path, "google2019")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="expected parts of a trace"):
        read_google(tmp_path / "empty", "google2011")


def test_requests_are_those_of_all_that_is_submitted(tmp_path: Path) -> None:
    found = read_requests(write(tmp_path / "part.csv", ROWS), "google2011")
    assert found.cpu.tolist() == [0.5, 0.1, 0.5]
    assert found.memory.tolist() == [0.25] * 3
    jobs = write(tmp_path / "jobs.csv", ["1,,7,0,u,0,n,l"])
    with pytest.raises(InputError, match="expected events of tasks, found events of jobs"):
        read_requests(jobs, "google2011")


@pytest.mark.skipif(not DATA.exists(), reason="needs the recorded data beside the repository")
def test_the_published_events_of_jobs() -> None:
    left_out: Counter[str] = Counter()
    tasks = read_google(DATA / "google2011_job_events", "google2011", left_out)
    # 2,287 jobs finish in these parts, of which 70 had begun before.
    assert len(tasks.arrival_s) == 2217
    assert left_out["submitted or scheduled before the first row"] == 70
    assert left_out["kill events"] == 1133
    assert left_out["fail events"] == 74
    assert np.isnan(tasks.cpu).all()
    assert 15_000 > tasks.arrival_s[-1] > 14_000
    assert 60 < np.median(tasks.duration_s) < 120


@pytest.mark.skipif(not DATA.exists(), reason="needs the recorded data beside the repository")
def test_the_requests_of_the_tasks_at_the_beginning(tmp_path: Path) -> None:
    source = DATA / "google2011_tasks_t0" / "task_events_every6th.csv"
    rows = []
    for line in source.read_text().splitlines():  # another order of the published columns
        time_us, job, index, user, kind, priority, _, _, cpu, memory = line.split(";")
        rows.append(f"{time_us},,{job},{index},,0,{user},{kind},{priority},{cpu},{memory},,")
    found = read_requests(write(tmp_path / "part.csv", rows), "google2011")
    assert len(found.cpu) == 5551
    assert np.median(found.cpu) == 0.0625
    assert np.quantile(found.memory, 0.95) == pytest.approx(0.158, abs=0.003)
