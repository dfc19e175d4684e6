"""Schedule files: what is written is read back, and nothing else is accepted."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from edge_marl.errors import InputError
from edge_marl.oracle import Schedule, solve
from edge_marl.tandem.oracle.schedule import Method
from edge_marl.tandem.oracle.schedule_files import (
    OpenPart,
    open_parts,
    read_folder,
    read_schedules,
    write_part,
    write_schedules,
)
from edge_marl.tandem.traces import TraceSet
from tests.tandem.oracle.test_online import many


@pytest.fixture(scope="module")
def traces() -> TraceSet:
    return many(5)


@pytest.fixture(scope="module")
def schedules(traces: TraceSet) -> list[Schedule]:
    return [solve(traces[k]) for k in range(len(traces))]


def same(a: Schedule, b: Schedule) -> bool:
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(Schedule))


def test_round_trip(tmp_path: Path, traces: TraceSet, schedules: list[Schedule]) -> None:
    # The last one has no slots at all.
    nothing = TraceSet.from_jobs([[(0, 5, 5, 9)]])
    write_schedules(tmp_path / "none.parquet", [solve(nothing)], nothing, drop_penalty=100)
    (read,) = read_schedules(tmp_path / "none.parquet", nothing, drop_penalty=100)
    assert same(read, Schedule(**{**vars(solve(nothing)), "solve_s": read.solve_s}))

    write_schedules(tmp_path / "all.parquet", schedules, traces, drop_penalty=100)
    back = read_schedules(tmp_path / "all.parquet", traces, drop_penalty=100)
    assert all(same(a, b) for a, b in zip(schedules, back, strict=True))
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".tmp"] == []


def still_open(
    folder: Path, traces: TraceSet, chunk: int = 9, method: Method = "auto", time_limit: float = 1.0
) -> list[OpenPart]:
    return open_parts(
        folder, traces, drop_penalty=100, chunk=chunk, method=method, time_limit=time_limit
    )


def test_a_killed_run_goes_on(tmp_path: Path, traces: TraceSet, schedules: list[Schedule]) -> None:
    def runs(chunk: int) -> list[list[int]]:
        return [part.unsettled for part in still_open(tmp_path, traces, chunk)]

    assert runs(2) == [[0, 1], [2, 3], [4]]
    write_part(tmp_path, 2, schedules[2:4], traces, drop_penalty=100)
    assert runs(3) == [[0, 1], [4]]
    with pytest.raises(InputError, match="trace 0: expected a schedule"):
        read_folder(tmp_path, traces, drop_penalty=100)
    write_part(tmp_path, 0, schedules[:2], traces, drop_penalty=100)
    write_part(tmp_path, 4, schedules[4:], traces, drop_penalty=100)
    assert runs(3) == []
    back = read_folder(tmp_path, traces, drop_penalty=100)
    assert all(same(a, b) for a, b in zip(schedules, back, strict=True))


def unproved(schedule: Schedule, **changes: Any) -> Schedule:
    """The schedule as if a time limit had stopped the integer programme, 10 slots from a proof."""
    bound = schedule.objective - 10
    known = {"optimal": False, "bound": bound, "gap": 10 / schedule.objective, "asked": "ilp"}
    return replace(schedule, **{**known, "time_limit": 2.0, **changes})


@pytest.mark.parametrize(
    ("asked", "method", "time_limit", "settled"),
    [
        ("ilp", "ilp", 2.0, True),
        ("ilp", "ilp", 1.0, True),
        ("ilp", "ilp", 2.1, False),
        ("ilp", "auto", 1.0, False),
        ("ilp", "search", 1.0, False),
        ("auto", "ilp", 1.0, False),
        ("auto", "search", 60.0, True),  # auto begins with the search
        ("search", "search", 60.0, True),  # which does the same in any time
        ("search", "auto", 1.0, False),
        ("", "auto", 1.0, False),
    ],
)
def test_what_is_not_proved_is_open_to_more_time_and_to_other_methods(
    tmp_path: Path,
    traces: TraceSet,
    schedules: list[Schedule],
    asked: str,
    method: Method,
    time_limit: float,
    settled: bool,
) -> None:
    stored = [*schedules[:3], unproved(schedules[3], asked=asked), schedules[4]]
    write_part(tmp_path, 0, stored, traces, drop_penalty=100)
    parts = still_open(tmp_path, traces, method=method, time_limit=time_limit)
    assert [part.unsettled for part in parts] == ([] if settled else [[3]])


def test_files_that_do_not_say_how_are_open_where_nothing_is_proved(
    tmp_path: Path, traces: TraceSet, schedules: list[Schedule]
) -> None:
    path = write_part(
        tmp_path, 0, [*schedules[:4], unproved(schedules[4])], traces, drop_penalty=100
    )
    pq.write_table(pq.read_table(path).drop_columns(["asked", "time_limit"]), path)
    (part,) = still_open(tmp_path, traces, time_limit=1e-6)
    assert (part.first, part.unsettled) == (0, [4])
    assert (read_folder(tmp_path, traces, drop_penalty=100)[4]).optimal is False


def test_the_better_schedule_and_the_better_bound_are_kept(schedules: list[Schedule]) -> None:
    earlier = unproved(schedules[0])
    worse = replace(
        earlier, objective=earlier.objective + 7, bound=earlier.bound + 4, asked="auto",
        time_limit=9.0, solve_s=1.5,
    )  # fmt: skip
    kept = earlier.improved(worse)
    assert (kept.objective, kept.bound) == (earlier.objective, earlier.objective - 6)
    assert kept.gap == pytest.approx(6 / earlier.objective)
    assert kept.settled("auto", 9.0)
    assert kept.solve_s == earlier.solve_s + 1.5
    better = replace(earlier, objective=earlier.objective - 10, bound=0.0, order=(1,))
    proof = earlier.improved(better)  # what is found meets the bound that was known
    assert (proof.objective, proof.order) == (earlier.objective - 10, (1,))
    assert (proof.optimal, proof.bound, proof.gap) == (True, proof.objective, 0.0)
    part = OpenPart(3, [earlier, None, earlier], [3, 4])
    assert part.improved({3: worse, 4: better})[0].objective == earlier.objective
    assert part.improved({3: worse, 4: better})[1:] == [better, earlier]


def test_other_traces_penalties_and_rows_are_refused(
    tmp_path: Path, traces: TraceSet, schedules: list[Schedule]
) -> None:
    path = tmp_path / "all.parquet"
    write_schedules(path, schedules, traces, drop_penalty=100)
    with pytest.raises(InputError, match=r"drop_penalty: expected 50\.0, found 100\.0"):
        read_schedules(path, traces, drop_penalty=50)
    with pytest.raises(InputError, match="traces: expected"):
        read_schedules(path, traces[::-1], drop_penalty=100)
    with pytest.raises(InputError, match="row 1, trace: expected 1, found 0"):
        read_schedules(path, traces, drop_penalty=100, first=1)
    with pytest.raises(InputError, match="within 0 to 5"):
        write_schedules(path, schedules, traces, drop_penalty=100, first=1)


def test_damaged_files_are_refused(
    tmp_path: Path, traces: TraceSet, schedules: list[Schedule]
) -> None:
    path = tmp_path / "all.parquet"
    with pytest.raises(InputError, match=r"all\.parquet: cannot be read: No such file"):
        read_schedules(path, traces, drop_penalty=100)
    write_schedules(path, schedules, traces, drop_penalty=100)
    pq.write_table(pq.read_table(path).drop_columns(["order"]), tmp_path / "cut.parquet")
    with pytest.raises(InputError, match="column order: expected one, found none"):
        read_schedules(tmp_path / "cut.parquet", traces, drop_penalty=100)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"all\.parquet: "):
        read_schedules(path, traces, drop_penalty=100)
