"""Schedule files: what is written is read back, and nothing else is accepted."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from edge_marl.errors import InputError
from edge_marl.oracle import Schedule, solve
from edge_marl.oracle.schedule_files import (
    missing_parts,
    read_folder,
    read_schedules,
    write_part,
    write_schedules,
)
from edge_marl.tandem.traces import TraceSet
from tests.oracle.test_online import many


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


def test_a_killed_run_goes_on(tmp_path: Path, traces: TraceSet, schedules: list[Schedule]) -> None:
    assert missing_parts(tmp_path, traces, drop_penalty=100, chunk=2) == [(0, 2), (2, 4), (4, 5)]
    write_part(tmp_path, 2, schedules[2:4], traces, drop_penalty=100)
    assert missing_parts(tmp_path, traces, drop_penalty=100, chunk=3) == [(0, 2), (4, 5)]
    with pytest.raises(InputError, match="trace 0: expected a schedule"):
        read_folder(tmp_path, traces, drop_penalty=100)
    write_part(tmp_path, 0, schedules[:2], traces, drop_penalty=100)
    write_part(tmp_path, 4, schedules[4:], traces, drop_penalty=100)
    assert missing_parts(tmp_path, traces, drop_penalty=100, chunk=3) == []
    back = read_folder(tmp_path, traces, drop_penalty=100)
    assert all(same(a, b) for a, b in zip(schedules, back, strict=True))


def test_other_traces_penalties_and_rows_are_refused(
    tmp_path: Path, traces: TraceSet, schedules: list[Schedule]
) -> None:
    path = tmp_path / "all.parquet"
    write_schedules(path, schedules, traces, drop_penalty=100)
    with pytest.raises(InputError, match=r"drop_penalty: expected 50\.0, found 100\.0"):
        read_schedules(path, traces, drop_penalty=50)
    with pytest.raises(InputError, match="traces: expected"):
        read_schedules(path, traces[::-1], drop_penalty=100)
    with pytest.raises(InputError, match="row 0, trace: expected 1, found 0"):
        read_schedules(path, traces, drop_penalty=100, first=1)
    with pytest.raises(InputError, match="within 0 to 5"):
        write_schedules(path, schedules, traces, drop_penalty=100, first=1)


def test_damaged_files_are_refused(
    tmp_path: Path, traces: TraceSet, schedules: list[Schedule]
) -> None:
    path = tmp_path / "all.parquet"
    with pytest.raises(InputError, match=r"all\.parquet: expected a readable"):
        read_schedules(path, traces, drop_penalty=100)
    write_schedules(path, schedules, traces, drop_penalty=100)
    pq.write_table(pq.read_table(path).drop_columns(["order"]), tmp_path / "cut.parquet")
    with pytest.raises(InputError, match="expected column order"):
        read_schedules(tmp_path / "cut.parquet", traces, drop_penalty=100)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"all\.parquet: expected a readable"):
        read_schedules(path, traces, drop_penalty=100)
