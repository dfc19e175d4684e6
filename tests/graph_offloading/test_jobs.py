"""Jobs that tasks are drawn from: the rule by which they are read, the shipped profile, regions."""

from __future__ import annotations

import gzip
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_marl.errors import InputError
from edge_marl.graph_offloading.jobs import (
    FORMAT,
    Jobs,
    constant,
    read_alibaba,
    read_jobs,
    shipped_jobs,
    three_regions,
    write_jobs,
)
from edge_marl.graph_offloading.topology import shipped
from tests.fuzzing import damaged_csv, damaged_parquet, fuzzed, no_files, refused_or_read

HOUR = Path(__file__).parents[3].joinpath(
    "shared", "data", "alibaba2018_hour_spar", "sample_tasks_full_hour.csv.gz"
)  # fmt: skip

# arrival, job, name, duration, plan_cpu, plan_mem, instances
SPAR = "0,a,M1,10,50,0.25,7\n0,a,R2_1,30,100,0.5,1\n4,b,task_x,0,200,1.5,1\n"
PUBLISHED = (
    "task_name,instance_num,job_name,task_type,status,start_time,end_time,plan_cpu,plan_mem\n"
    "M1,7,late,1,Terminated,104,104,200,1.5\n"
    "M1,7,early,1,Terminated,100,110,50,0.25\n"
    "R2_1,1,early,1,Terminated,102,132,100,0.5\n"
)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def assert_equal(found: Jobs, expected: Jobs) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def line_of(path: Path, read: object = read_alibaba) -> str:
    """What a file is refused with, without its name."""
    line = refused_or_read(path, read)  # type: ignore[arg-type]
    assert line
    return line.removeprefix(f"{path}: ")


# The rule


@pytest.mark.parametrize("text", [SPAR, PUBLISHED], ids=["spar", "published"])
def test_a_job_is_one_task_of_the_largest_plans_and_the_sum_of_durations(
    text: str, tmp_path: Path
) -> None:
    jobs = read_alibaba(written(tmp_path / "tasks.csv", text))
    # 100 / 100 x (10 + 30) / 1000 x 2.4e9 x 0.1; the second task takes 30 s, parent or not.
    assert jobs.instructions.tolist() == [9.6e6, 0]
    assert jobs.size_mb.tolist() == [50, 150]
    assert jobs.arrival_s.tolist() == [0, 4]


def test_compressed_files_are_read_as_their_table(tmp_path: Path) -> None:
    plain = read_alibaba(written(tmp_path / "tasks.csv", PUBLISHED))
    with tarfile.open(tmp_path / "tasks.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "tasks.csv", "tasks.csv")
    (tmp_path / "tasks.csv.gz").write_bytes(gzip.compress(PUBLISHED.encode()))
    for name in ("tasks.tar.gz", "tasks.csv.gz"):
        assert_equal(read_alibaba(tmp_path / name), plain)


def test_jobs_arrive_in_order_those_of_one_time_as_in_the_file(tmp_path: Path) -> None:
    rows = [f"{arrival},j{k},M1,{k},100,1,1\n" for k, arrival in enumerate((9, 3, 9, 3))]
    jobs = read_alibaba(written(tmp_path / "tasks.csv", "".join(rows)))
    assert jobs.arrival_s.tolist() == [0, 0, 6, 6]
    assert jobs.instructions.tolist() == [240e3 * k for k in (1, 3, 0, 2)]


def test_jobs_that_cannot_be_used_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = (
        "M1,1,a,1,Terminated,5,9,100,1\nM2,1,a,1,Running,5,0,,\n"
        "M1,1,b,1,Terminated,0,9,100,1\n"
        "M1,1,c,1,Terminated,9,5,100,1\n"
        "M1,1,d,1,Terminated,5,9,,1\n"
        "M1,1,e,1,Terminated,5,9,100,101\n"  # which marks memory that is not known
        "M1,1,,1,Terminated,5,9,100,1\n"
        "M1,1,f,1,Terminated,5,9,-1,-1\nM2,1,f,1,Terminated,5,6,100,2\n"
    )
    left_out = Counter[str]()
    jobs = read_alibaba(written(tmp_path / "tasks.csv", rows), left_out)
    assert jobs.instructions.tolist() == [1.2e6]
    assert jobs.size_mb.tolist() == [200]
    assert left_out == {
        "a task is not finished": 1,
        "a task has no start or no end": 1,
        "a task ends before it starts": 1,
        "no task has a plan_cpu": 1,
        "no task has a plan_mem": 1,
        "a task has no job": 1,
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\n", "row 1: expected 9 columns (task_name, "),
        ("0,a,M1,3,much,1,1\n", "row 1: plan_cpu: expected a number, found 'much'"),
        (SPAR + "4,c,M1,3,50,nan,1\n", "row 4: plan_mem: expected a number, found 'nan'"),
        (SPAR + "4,a,M1,3,50,1,1\n", "row 4: job: expected the rows of a job one behind the other"),
        (
            "9,a,M1,1,1,1,1\n5,b,M1,1e9,1e12,1,1\n",
            "row 2, instructions: expected 0 to 1e+18, found 2.4e+24",
        ),
        ("", "row 1: expected 9 columns"),
        (PUBLISHED.splitlines()[0], "expected jobs to use, found none"),
        (
            "0,a,M1,-1,1,1,1\n0,b,M1,1,,1,1\n0,c,M1,1,0,1,1\n",
            "expected jobs to use, found none, left out: 2 (no task has a plan_cpu), "
            "1 (a task ends before it starts)",
        ),
    ],
)
def test_a_trace_is_refused_by_place(text: str, expected: str, tmp_path: Path) -> None:
    assert line_of(written(tmp_path / "tasks.csv", text)).startswith(expected)


@pytest.mark.parametrize("text", [SPAR, PUBLISHED], ids=["spar", "published"])
@fuzzed
@given(data=st.data())
def test_a_damaged_trace_is_read_or_refused(text: str, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "tasks.csv"
    path.write_bytes(data.draw(damaged_csv(text.encode())))
    refused_or_read(path, lambda path: check(read_alibaba(path)))


def check(jobs: Jobs) -> None:
    for values in jobs:
        assert len(values) == len(jobs.instructions) > 0
        assert values.dtype == np.float64
        assert np.isfinite(values).all()
        assert (values >= 0).all()
    assert (np.diff(jobs.arrival_s) >= 0).all()


# The shipped profile


def test_the_shipped_jobs_are_a_whole_hour() -> None:
    jobs = shipped_jobs()
    check(jobs)
    assert len(jobs.instructions) == 16_749
    assert (jobs.arrival_s[0], jobs.arrival_s[-1]) == (0, 3600)
    assert jobs.instructions.mean() == pytest.approx(6.156e7, rel=1e-3)
    assert jobs.size_mb.mean() == pytest.approx(37.94, rel=1e-3)
    assert (jobs.instructions == 0).sum() == 546
    assert shipped_jobs() is jobs


@pytest.mark.parametrize(
    ("above", "jobs_share", "work_share"), [(1e9, 0.0047, 0.514), (1e10, 0.00066, 0.348)]
)
def test_the_tail_of_the_shipped_jobs_is_not_cut(
    above: float, jobs_share: float, work_share: float
) -> None:
    """Capped at the 99% quantile, their list would lose half of the work."""
    instructions = shipped_jobs().instructions
    assert (instructions > above).mean() == pytest.approx(jobs_share, rel=0.01)
    share = instructions[instructions > above].sum() / instructions.sum()
    assert share == pytest.approx(work_share, rel=1e-3)


def test_the_shipped_jobs_are_those_of_the_trace() -> None:
    if not HOUR.exists():
        pytest.skip("../shared/data has no alibaba2018_hour_spar/sample_tasks_full_hour.csv.gz")
    left_out = Counter[str]()
    assert_equal(shipped_jobs(), read_alibaba(HOUR, left_out))
    assert not left_out


# Files of jobs


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.floats(0, 1e18), st.floats(0, 1e12), st.floats(0, 1e12)),
        min_size=1,
        max_size=5,
    )
)
def test_jobs_are_read_as_they_were_written(
    tmp_path: Path, rows: list[tuple[float, float, float]]
) -> None:
    instructions, size_mb, arrival_s = np.array(rows).T
    jobs = Jobs(instructions, size_mb, np.sort(arrival_s))
    write_jobs(jobs, tmp_path / "jobs.parquet", source="drawn")
    assert_equal(read_jobs(tmp_path / "jobs.parquet"), jobs)
    assert pq.read_schema(tmp_path / "jobs.parquet").metadata[b"source"] == b"drawn"


GOOD = {"instructions": [8e7, 0.0], "size_mb": [38.0, 2.0], "arrival_s": [0.0, 1.0]}


def parquet(path: Path, columns: dict[str, list[object]], format_: str | None = FORMAT) -> Path:
    table = pa.table({**GOOD, **columns})
    if format_ is not None:
        table = table.replace_schema_metadata({"format": format_})
    pq.write_table(table, path)
    return path


def test_whole_numbers_are_numbers_too(tmp_path: Path) -> None:
    path = parquet(tmp_path / "jobs.parquet", {"instructions": [80_000_000, 0]})
    check(read_jobs(path))
    assert read_jobs(path).instructions.tolist() == GOOD["instructions"]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"size_mb": [38.0, -1.0]}, "row 2, size_mb: expected 0 to 1e+12, found -1"),
        ({"instructions": [1e19, 1.0]}, "row 1, instructions: expected 0 to 1e+18, found 1e+19"),
        ({"instructions": [1.0, float("nan")]}, "row 2, instructions: expected a value, found nan"),
        ({"arrival_s": [0.0, None]}, "row 2, arrival_s: expected a value, found None"),
        ({"arrival_s": [2.0, 1.0]}, "row 2, arrival_s: expected jobs sorted by arrival, found 1"),
        ({"size_mb": ["38", "2"]}, "column size_mb: expected double, found string"),
        ({name: pa.array([], pa.float64()) for name in GOOD}, "expected jobs, found none"),
    ],
)
def test_a_file_of_jobs_is_refused_by_place(
    columns: dict[str, list[object]], expected: str, tmp_path: Path
) -> None:
    assert line_of(parquet(tmp_path / "jobs.parquet", columns), read_jobs) == expected


@pytest.mark.parametrize(("format_", "found"), [(None, "none"), ("other 1", "other 1")])
def test_a_file_of_another_format_is_refused(
    format_: str | None, found: str, tmp_path: Path
) -> None:
    path = parquet(tmp_path / "jobs.parquet", {}, format_)
    assert line_of(path, read_jobs) == f"metadata format: expected {FORMAT!r}, found {found!r}"


def test_jobs_that_could_not_be_read_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "jobs.parquet"
    with pytest.raises(InputError, match=r"^jobs: row 1, size_mb: expected 0 to 1e\+12, found nan"):
        write_jobs(constant(1.0, float("nan")), path, source="")
    assert not path.exists()


@fuzzed
@given(data=st.data())
def test_a_damaged_file_of_jobs_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "jobs.parquet"
    whole = parquet(path, {}).read_bytes()
    path.write_bytes(data.draw(damaged_parquet(whole)))
    refused_or_read(path, lambda path: check(read_jobs(path)))


@pytest.mark.parametrize("read", [read_jobs, read_alibaba])
def test_what_is_no_file_is_refused(read: object, tmp_path: Path) -> None:
    for path in no_files(tmp_path):
        assert line_of(path, read)


# Loads that were not recorded


def test_constant_is_one_kind_of_task() -> None:
    assert_equal(constant(8e7, 38.0), Jobs(*(np.array([x]) for x in (8e7, 38.0, 0.0))))


def test_three_regions_divide_the_graph_of_15_nodes() -> None:
    regions = three_regions(shipped("random_15"))
    assert regions.rate_per_s.tolist() == [0.5, 1, 2]
    assert regions.instructions.tolist() == [3.2e8, 6.4e8, 1.6e8]
    assert regions.size_mb.tolist() == [38, 16, 64]
    names = [node.name for node in shipped("random_15").nodes]
    of_region = [{names[i] for i in np.flatnonzero(regions.region == r)} for r in range(3)]
    assert of_region == [
        {"nuc_0", "nuc_1", "rpi5_8G_0", "rpi5_8G_1", "rpi5_6G_0"},
        {"nuc_2", "nuc_3", "rpi5_8G_2", "rpi5_8G_3", "rpi4_0"},
        {"nuc_4", "rpi5_6G_1", "rpi5_6G_2", "rpi4_1", "rpi4_2"},
    ]


def test_three_regions_of_another_graph_are_refused() -> None:
    expected = "nodes: expected 5 nuc, 3 rpi4, 3 rpi5_6g, 4 rpi5_8g for three regions, found "
    found = {
        "random_10": "5 nuc, 2 rpi4, 2 rpi5_6g, 1 rpi5_8g",
        "ether_2": "2 nuc, 5 others, 4 rpi4, 7 rpi5_6g, 5 rpi5_8g",
    }
    for name, counted in found.items():
        with pytest.raises(InputError) as refused:
            three_regions(shipped(name))
        assert str(refused.value) == f"{name}: {expected}{counted}"
