"""Damaged files of the domain are read into valid values or refused in one line."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_marl.dag_placement.readers import read_workflows
from edge_marl.dag_placement.scenario import RecordedWorkflows
from edge_marl.dag_placement.workflows import pack
from edge_marl.errors import InputError
from edge_marl.oracle import solve
from edge_marl.tandem.oracle.schedule_files import (
    read_folder,
    read_schedules,
    write_part,
    write_schedules,
)
from edge_marl.tandem.profile import measure_profile, read_profile, segments_of, uplink_of
from edge_marl.tandem.scenario import TandemWorkload
from edge_marl.tandem.trace_files import read_traces, write_traces
from edge_marl.task_log import open_log, read_episodes, write_parquet
from tests.fuzzing import (
    damage_sqlite,
    damaged_bytes,
    damaged_csv,
    damaged_json,
    damaged_parquet,
    fuzzed,
    no_files,
    refused_or_read,
)
from tests.task_log.logs import write_log

RUNS = ",".join(f"run {i + 1}" for i in range(10))
TRANSCODING = f"machine,size (kb),des_codec,des_res,des_fr,{RUNS}"
UPLINK = "Time,RATE(MBit/s)\n" + "".join(
    f"Thu Aug 11 13:42:{10 + 3 * k} UTC 2022,{10.0 + k}\n" for k in range(4)
)
PUBLISHED = (
    "task_name,instance_num,job_name,task_type,status,start_time,end_time,plan_cpu,plan_mem\n"
    "M1,1.0,j,1,Terminated,10,20,100.0,0.5\nR2_1,1.0,j,1,Terminated,10,25,100.0,0.5\n"
    "M1,1.0,k,1,Terminated,15,20,100.0,0.5\n"
)
SPAR = "0,j,M1,3,50,0.3,1\n0,j,R2_1,5,50,0.3,1\n4,k,M1,2,50,0.3,1\n"
INSTANCE = """{"workflow": {"specification": {"tasks": [
{"id": "a", "parents": [], "children": ["b"], "inputFiles": [], "outputFiles": ["f"]},
{"id": "b", "parents": ["a"], "children": [], "inputFiles": ["f"], "outputFiles": []}
], "files": [{"id": "f", "sizeInBytes": 9}]}, "execution": {"tasks": [
{"id": "a", "runtimeInSeconds": 1.5, "memoryInBytes": 7}, {"id": "b", "runtimeInSeconds": 2}]}}}
"""
GRAPH = "2\n0 0 0\n1 4 1 0\n2 6 1 1\n3 0 1 2\n# end\n"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of each kind."""
    folder = tmp_path_factory.mktemp("good")
    rows = [f"vm,{600 + k},{codec},720,30,{','.join([str(1.0 + k)] * 10)}"
            for codec in ("hevc", "mpeg4") for k in range(3)]  # fmt: skip
    (folder / "transcoding.csv").write_text("\n".join([TRANSCODING, *rows]) + "\n")
    (folder / "uplink.csv").write_text(UPLINK)
    profile = measure_profile(folder / "transcoding.csv", folder / "uplink.csv")
    profile.write(folder / "profile.json")
    write_traces(TRACES, folder / "traces.parquet")
    schedules = [solve(TRACES[k]) for k in range(len(TRACES))]
    write_schedules(folder / "schedules.parquet", schedules, TRACES, drop_penalty=100)
    write_log(folder / "log.sqlite", 2)
    with open_log(folder / "log.sqlite") as log:
        write_parquet(log, folder / "log")
    (folder / "published.csv").write_text(PUBLISHED)
    (folder / "spar.csv").write_text(SPAR)
    (folder / "instance.json").write_text(INSTANCE)
    (folder / "graph.stg").write_text(GRAPH)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(folder / "published.csv", "published.csv")
    # Damage to what is compressed shows: damage to compression is mostly found by its checksum.
    (folder / "published.tar").write_bytes(packed.getvalue())
    (folder / "published.csv.gz").write_bytes(gzip.compress(PUBLISHED.encode(), mtime=0))
    return folder


TRACES = TandemWorkload(files=1, videos=1).make(3)


def check_traces(path: Path) -> None:
    traces = read_traces(path)
    traces.validate("t")
    assert traces.n_jobs.min() >= 1


def check_transcoding(path: Path) -> None:
    for codecs in segments_of(path).values():
        for profile in codecs.values():
            tables = (profile.size_mb, profile.compute_s, profile.run_ratio)
            assert all(np.isfinite(table).all() and min(table) > 0 for table in tables)


def check_uplink(path: Path) -> None:
    profile = uplink_of(path)
    assert np.isfinite(profile.rate_mbit_s).all()
    assert 0 <= profile.step_correlation < 1


def check_schedules(path: Path) -> None:
    for schedule in read_schedules(path, TRACES, drop_penalty=100):
        numbers = (schedule.objective, schedule.bound, schedule.gap, schedule.solve_s)
        assert np.isfinite(numbers).all()
        assert schedule.objective == pytest.approx(schedule.makespan + 100 * len(schedule.dropped))


def check_log(path: Path) -> None:
    for episode in read_episodes(path):
        assert np.isfinite(episode.features).all()
        assert np.isfinite(episode.rewards).all()
        chosen = episode.actions[..., None].astype(int)
        assert np.take_along_axis(episode.action_mask, chosen, -1).all()


def check_workflows(format_: Any) -> Callable[[Path], None]:
    def check(path: Path) -> None:
        workflows, report = read_workflows(RecordedWorkflows(format=format_, path=str(path)))
        pack([workflows.one(k) for k in range(len(workflows))])  # which checks every one
        assert report.kept == len(workflows)
        if workflows.arrival_s is not None:
            assert np.isfinite(workflows.arrival_s).all()

    return check


READERS: dict[str, tuple[Callable[[Path], object], Callable[[bytes], st.SearchStrategy[bytes]]]] = {
    "traces.parquet": (check_traces, damaged_parquet),
    "transcoding.csv": (check_transcoding, damaged_csv),
    "uplink.csv": (check_uplink, damaged_csv),
    "profile.json": (read_profile, damaged_json),
    "schedules.parquet": (check_schedules, damaged_parquet),
    "published.csv": (check_workflows("alibaba"), damaged_csv),
    "published.tar": (check_workflows("alibaba"), damaged_bytes),
    "published.csv.gz": (check_workflows("alibaba"), damaged_bytes),
    "spar.csv": (check_workflows("alibaba"), damaged_csv),
    "instance.json": (check_workflows("wfcommons"), damaged_json),
    "graph.stg": (check_workflows("stg"), damaged_bytes),
}


@pytest.mark.parametrize("name", READERS)
@fuzzed
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(
    name: str, good: Path, tmp_path: Path, data: st.DataObject
) -> None:
    read, damaged = READERS[name]
    path = tmp_path / name
    path.write_bytes(data.draw(damaged((good / name).read_bytes())))
    refused_or_read(path, read)


@pytest.mark.parametrize("name", READERS)
def test_whole_files_are_read(name: str, good: Path) -> None:
    assert refused_or_read(good / name, READERS[name][0]) == ""


@fuzzed
@given(data=st.data())
def test_a_damaged_task_log_is_read_or_refused(
    good: Path, tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "log.sqlite"
    shutil.copy(good / "log.sqlite", path)
    damage_sqlite(data.draw, path)
    refused_or_read(path, check_log)


@fuzzed
@given(data=st.data())
def test_a_damaged_folder_of_a_task_log_is_read_or_refused(
    good: Path, tmp_path: Path, data: st.DataObject
) -> None:
    folder = tmp_path / "log"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(good / "log", folder)
    file = folder / data.draw(
        st.sampled_from(["runs.json", "episodes.parquet", "tasks.parquet", "decisions.parquet"])
    )
    damaged = damaged_json if file.suffix == ".json" else damaged_parquet
    file.write_bytes(data.draw(damaged(file.read_bytes())))
    refused_or_read(folder, check_log)


ANY_PLACE: dict[str, Callable[[Path], object]] = {
    **{name: read for name, (read, _) in READERS.items()},
    "log": check_log,
    "profile from a folder": lambda path: measure_profile(path, path),
}


@pytest.mark.parametrize("name", ANY_PLACE)
def test_what_is_no_file_is_refused(name: str, tmp_path: Path) -> None:
    for path in no_files(tmp_path):
        assert refused_or_read(path, ANY_PLACE[name])


def test_a_folder_is_read_file_by_file(good: Path, tmp_path: Path) -> None:
    """One that is none of them is named."""
    uplinks = tmp_path / "uplinks"
    uplinks.mkdir()
    for k in range(2):
        shutil.copy(good / "uplink.csv", uplinks / f"{k}.csv")
    profile = measure_profile(good / "transcoding.csv", uplinks)
    assert list(profile.uplinks) == ["0", "1"]
    (uplinks / "2.csv").mkdir()
    with pytest.raises(InputError, match=r"2\.csv: cannot be read: expected a file"):
        measure_profile(good / "transcoding.csv", uplinks)
    folder = tmp_path / "schedules"
    write_part(folder, 0, [solve(TRACES[k]) for k in range(3)], TRACES, drop_penalty=100)
    assert len(read_folder(folder, TRACES, drop_penalty=100)) == 3
    (part,) = folder.iterdir()
    part.write_bytes(b"")
    with pytest.raises(InputError, match=rf"{part.name}: expected a Parquet file"):
        read_folder(folder, TRACES, drop_penalty=100)
