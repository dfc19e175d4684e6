"""Solving sets: the same schedules however they were come by, and nothing solved twice."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from edge_marl.errors import InputError
from edge_marl.experiments import cli, oracle_sets
from edge_marl.experiments.oracle_sets import CHUNK, schedule_folder, solve_set
from edge_marl.oracle import Schedule, solve
from edge_marl.tandem.oracle.schedule import Method
from edge_marl.tandem.scenario import TandemWorkload
from edge_marl.tandem.trace_files import write_traces
from edge_marl.tandem.traces import TraceSet
from tests.experiments.command_line import call
from tests.tandem.oracle.test_solve import crowded

ROOT = Path(__file__).resolve().parents[2]

# Solves by integer programmes with Ray at once, so that there is time to be killed.
SOLVE_WITH_RAY = """
import sys
from pathlib import Path
from edge_marl.experiments import oracle_sets
from edge_marl.tandem.trace_files import read_traces
oracle_sets.RAY_START_S = 0.0
oracle_sets.solve_set(read_traces(sys.argv[1]), Path(sys.argv[2]), method="ilp", workers=2)
"""


@pytest.fixture(scope="module")
def traces() -> TraceSet:
    return TandemWorkload().make(2 * CHUNK + 3)


def parts(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("schedules-*.parquet")}


def test_a_set_is_solved_as_its_traces_are_alone(traces: TraceSet, tmp_path: Path) -> None:
    schedules = solve_set(traces, tmp_path)
    assert len(schedules) == len(traces)
    for k in (0, CHUNK, len(traces) - 1):
        assert schedules[k].objective == solve(traces[k]).objective


def test_what_is_solved_is_read_and_not_solved_again(traces: TraceSet, tmp_path: Path) -> None:
    solve_set(traces, tmp_path)
    before = parts(tmp_path)
    assert len(before) == 3
    lost = sorted(before)[1]
    (tmp_path / lost).unlink()
    solve_set(traces, tmp_path)
    after = parts(tmp_path)
    assert {name for name in before if after[name] != before[name]} == {lost}


def test_what_the_time_limit_left_unproved_is_solved_again_with_more_time(tmp_path: Path) -> None:
    hard = crowded(9)

    def solved(method: Method, time_limit: float) -> Schedule:
        (schedule,) = solve_set(hard, tmp_path, method=method, time_limit=time_limit)
        return schedule

    first = solved("ilp", 1e-6)
    assert not first.optimal
    before = parts(tmp_path)
    assert solved("ilp", 1e-7).time_limit == 1e-6
    assert parts(tmp_path) == before
    again = solved("ilp", 1e-5)
    assert parts(tmp_path) != before
    assert again.objective <= first.objective
    assert again.solve_s > first.solve_s
    best = solved("auto", 1e-5)
    assert best.optimal
    assert best.objective == solve(hard).objective < first.objective
    before = parts(tmp_path)
    assert solved("ilp", 60).objective == best.objective
    assert parts(tmp_path) == before


def test_a_bad_time_limit_is_refused_also_where_nothing_is_left_to_solve(
    traces: TraceSet, tmp_path: Path
) -> None:
    solve_set(traces[:3], tmp_path)
    with pytest.raises(InputError, match="time_limit"):
        solve_set(traces[:3], tmp_path, time_limit=0)


def test_schedules_of_another_penalty_are_refused(traces: TraceSet, tmp_path: Path) -> None:
    solve_set(traces[:3], tmp_path)
    with pytest.raises(InputError, match="drop_penalty"):
        solve_set(traces[:3], tmp_path, drop_penalty=7.0)


def test_folders_differ_by_traces_and_penalty(traces: TraceSet) -> None:
    root = Path("root")
    folders = {
        schedule_folder(root, traces, 100.0),
        schedule_folder(root, traces, 50.0),
        schedule_folder(root, traces[1:], 100.0),
    }
    assert len(folders) == 3


@pytest.mark.usefixtures("local_ray")
def test_ray_tasks_give_the_same_schedules(
    traces: TraceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oracle_sets, "RAY_START_S", 0.0)
    by_ray = solve_set(traces, tmp_path / "ray", workers=2)
    here = solve_set(traces, tmp_path / "here", workers=0)
    assert [s.objective for s in by_ray] == [s.objective for s in here]


def test_a_killed_run_continues_where_it_was(tmp_path: Path) -> None:
    traces = TandemWorkload().make(8 * CHUNK)
    write_traces(traces, tmp_path / "traces.parquet")
    folder, ray_folder = tmp_path / "schedules", tempfile.mkdtemp(prefix="kill")
    run = subprocess.Popen(
        [sys.executable, "-c", SOLVE_WITH_RAY, str(tmp_path / "traces.parquet"), str(folder)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": ray_folder},
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 90
        # The first part is solved before Ray starts: two more are Ray's.
        while len(parts(folder)) < 3 and run.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
        time.sleep(2)  # the workers notice that their driver is gone
        shutil.rmtree(ray_folder, ignore_errors=True)
    before = parts(folder)
    assert 3 <= len(before) < 8
    schedules = solve_set(traces, folder)
    after = parts(folder)
    assert [after[name] for name in before] == list(before.values())
    assert len(after) == 8
    assert [s.objective for s in schedules[::40]] == [
        solve(traces[k]).objective for k in range(0, len(traces), 40)
    ]


def test_a_filtered_file_and_one_without_traces_are_refused_before_anything_is_solved(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "traces.parquet"
    write_traces(TandemWorkload().make(4), path)
    table = pq.read_table(path)
    for kept, missing in ((2, 2), (0, 0)):
        pq.write_table(table.filter(pc.less(table["trace"], kept)), path)
        arguments = ("oracle", "solve", str(path), "--out", str(tmp_path / "out"))
        assert call(*arguments) == cli.BAD_INPUT
        assert capsys.readouterr().err.splitlines() == [
            f"edge-marl: {path}: trace {missing}: expected jobs, found none: the metadata say 4 "
            f"traces, the rows have {kept}"
        ]
    assert [file.name for file in tmp_path.iterdir()] == ["traces.parquet"]
