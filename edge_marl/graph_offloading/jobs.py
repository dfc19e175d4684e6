"""Define the list of jobs that tasks are drawn from, and read it from traces and profiles.

FAuNO's tables were made with jobs of the Alibaba cluster trace of 2018, each of which becomes one
task. Which task is not given in the paper; :func:`read_alibaba` has the rule of its authors' public
code. The shipped profile, ``profiles/alibaba_2018.parquet``, holds by this rule all jobs of the
hour of the trace that comes with the spar package (PyPI, 0.0.7, ``sample_tasks.csv``). They are
unequal: 11 of 16,749 have a third of all instructions, so that neither quantiles nor a sample can
stand for the list.

The trace is published by the Alibaba Cluster Trace Program, github.com/alibaba/clusterdata, for
research or study purpose.

:func:`three_regions` has the workload of annex 6.1, in which every region has a job of its own.
"""

from __future__ import annotations

from array import array
from collections import Counter
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from edge_marl.alibaba import read_batch_jobs
from edge_marl.errors import InputError
from edge_marl.files import aside
from edge_marl.graph_offloading.topology import DEVICES, Topology
from edge_marl.limits import LARGEST
from edge_marl.parquet_files import check_type, read_parquet
from edge_marl.validation import shown

FloatArray = NDArray[np.float64]

FORMAT = "edge-marl jobs 1"
SHIPPED = "alibaba_2018.parquet"

INSTRUCTIONS_PER_PLAN_CPU_S = 2.4e9 / 100 / 1000 / 10
"""As in the authors' code: ``plan_cpu / 100 x duration_s / 1000 x 2.4e9``, "rescaled by 0.1"."""
MB_PER_PLAN_MEM = 100.0

# The annex swaps the symbols of the two: "rho in MBytes" = 38, "alpha_in" = 32e7.
_REGIONS = (
    (0.5, 3.2e8, 38.0, {"nuc": 2, "rpi5_8g": 2, "rpi5_6g": 1}),
    (1.0, 6.4e8, 16.0, {"nuc": 2, "rpi5_8g": 2, "rpi4": 1}),
    (2.0, 1.6e8, 64.0, {"nuc": 1, "rpi5_6g": 2, "rpi4": 2}),
)
"""W1 to W3 of annex 6.1: rate per second, instructions, MB, and nodes by model."""
_MODELS = {
    (device.cpu_millis, device.memory_bytes): name
    for name, device in DEVICES.items()
    if any(name in nodes for *_, nodes in _REGIONS)
}

_MOST = {"instructions": 1e18, "size_mb": LARGEST, "arrival_s": LARGEST}


class Jobs(NamedTuple):
    """Describe K jobs, each of one task, in the order of their arrival."""

    instructions: FloatArray
    """``[K]``, of some recorded jobs 0."""
    size_mb: FloatArray
    """``[K]``: of the input, and of the result."""
    arrival_s: FloatArray
    """``[K]``: as recorded, for a replay."""


class Regions(NamedTuple):
    """Describe R regions of N nodes, each with one kind of task."""

    region: NDArray[np.int32]
    """``[N]``: of each node, from 0."""
    rate_per_s: FloatArray
    """``[R]``: ``lambda`` of each client in a region."""
    instructions: FloatArray
    """``[R]``"""
    size_mb: FloatArray
    """``[R]``"""


def constant(instructions: float, size_mb: float) -> Jobs:
    """Return one job, so that all tasks are alike: in Table 30 of 8e7 instructions and 38 MB."""
    return Jobs(np.array([instructions]), np.array([size_mb]), np.zeros(1))


def three_regions(graph: Topology) -> Regions:
    """Return the regions W1, W2 and W3 of annex 6.1, which divide the graph ``random_15``.

    Which node is in which region is not given in the paper, only how many of each model are. Here
    the nodes of a model go to the first region that has one, then to the next, in their order.

    Raises:
        InputError: for a graph that has not just as many nodes of each model.
    """
    places: dict[str, list[int]] = {}
    for r, (*_, nodes) in enumerate(_REGIONS):
        for model, count in nodes.items():
            places.setdefault(model, []).extend([r] * count)
    models = [_MODELS.get((n.cpu_millis, n.memory_bytes), "others") for n in graph.nodes]
    expected = {model: len(regions) for model, regions in places.items()}
    if Counter(models) != expected:
        raise InputError(
            f"{graph.name}: nodes: expected {_counted(expected)} for three regions, "
            f"found {_counted(Counter(models))}"
        )
    next_place = {model: iter(regions) for model, regions in places.items()}
    rate_per_s, instructions, size_mb, _ = zip(*_REGIONS, strict=True)
    return Regions(
        np.array([next(next_place[model]) for model in models], dtype=np.int32),
        *map(np.array, (rate_per_s, instructions, size_mb)),
    )


def _counted(models: dict[str, int]) -> str:
    return ", ".join(f"{count} {model}" for model, count in sorted(models.items()))


@lru_cache(maxsize=1)
def shipped_jobs() -> Jobs:
    """Return the jobs that come with the package, in arrays that all who ask for them share."""
    profile = resources.files("edge_marl.graph_offloading") / "profiles" / SHIPPED
    with resources.as_file(profile) as path:
        return read_jobs(path)


def read_alibaba(path: str | Path, left_out: Counter[str] | None = None) -> Jobs:
    """Read the jobs of an Alibaba trace, in either form of :mod:`edge_marl.alibaba`.

    A job's instructions are the largest ``plan_cpu`` of its tasks, times the sum of their durations
    from start to end as recorded, times :data:`INSTRUCTIONS_PER_PLAN_CPU_S`. Its size is their
    largest ``plan_mem`` times :data:`MB_PER_PLAN_MEM`. It arrives when its first task starts; the
    first job arrives at 0. A job is left out if one of its tasks is not finished, has no start or
    end, or ends before it starts, and if no task has a ``plan_cpu`` or none a ``plan_mem``.

    Args:
        path: of a ``.csv``, a ``.csv.gz``, or a ``.tar.gz`` with one CSV file.
        left_out: where jobs that are left out are counted, by reason.

    Raises:
        InputError: naming file, row and field of what is not of this format or out of range; if no
            job is left.
    """
    left_out = Counter() if left_out is None else left_out
    values, lines = array("d"), array("q")
    jobs_of_file, _ = read_batch_jobs(Path(path), ["plan_cpu", "plan_mem"])
    for tasks in jobs_of_file:
        plan_cpu, plan_mem = map(max, zip(*(task.plans for task in tasks), strict=True))
        fault = next((task.fault for task in tasks if task.fault), "")
        if not fault and not (plan_cpu and plan_mem):
            fault = f"no task has a {'plan_mem' if plan_cpu else 'plan_cpu'}"
        if fault:
            left_out[fault] += 1
            continue
        duration_s = sum(task.end_s - task.start_s for task in tasks)
        values.append(plan_cpu * duration_s * INSTRUCTIONS_PER_PLAN_CPU_S)
        values.append(plan_mem * MB_PER_PLAN_MEM)
        values.append(min(task.start_s for task in tasks))
        lines.append(tasks[0].line)
    if not lines:
        why = ", ".join(f"{count} ({reason})" for reason, count in left_out.most_common())
        raise InputError(
            f"{path}: expected jobs to use, found none" + (f", left out: {why}" if why else "")
        )
    instructions, size_mb, arrival_s = np.array(values).reshape(-1, 3).T
    order = np.argsort(arrival_s, kind="stable")
    jobs = Jobs(instructions[order], size_mb[order], arrival_s[order] - arrival_s.min())
    _check(path, jobs, np.array(lines)[order])
    return jobs


def write_jobs(jobs: Jobs, path: str | Path, *, source: str) -> None:
    """Write jobs to a Parquet file, from which :func:`read_jobs` returns them bit for bit.

    Columns are the fields of :class:`Jobs`, 64-bit floats. The metadata of the schema are
    ``format``, which is :data:`FORMAT`, and ``source``.

    Args:
        jobs: the jobs.
        path: of the file.
        source: where they are from and on what terms they may be used.

    Raises:
        InputError: if there are none, one is out of range or order, or the file cannot be written.
    """
    _check("jobs", jobs, 1 + np.arange(len(jobs.instructions)))
    table = pa.table(jobs._asdict())
    table = table.replace_schema_metadata({"format": FORMAT, "source": source})
    with aside(path) as place:
        pq.write_table(table, place, compression="zstd")


def read_jobs(path: str | Path) -> Jobs:
    """Read and check jobs written by :func:`write_jobs` (or by anyone in that format).

    Raises:
        InputError: naming file, row (from 1) and column if the file is not Parquet, is of another
            format or has no jobs, a column is missing or does not hold numbers, a value is missing,
            not finite, negative or too large, or jobs are not sorted by arrival.
    """
    table = read_parquet(path, Jobs._fields)
    found = (table.schema.metadata or {}).get(b"format", b"none")
    if found != FORMAT.encode():
        raise InputError(
            f"{path}: metadata format: expected {FORMAT!r}, "
            f"found {shown(found.decode(errors='replace'))}"
        )
    for name in Jobs._fields:
        check_type(path, table, name, pa.float64())
    jobs = Jobs(*(table.column(name).to_numpy().astype(np.float64) for name in Jobs._fields))
    _check(path, jobs, 1 + np.arange(len(table)))
    return jobs


def _check(place: str | Path, jobs: Jobs, row: NDArray[np.int64]) -> None:
    """Refuse jobs that break a rule; ``row [K]`` says where each stands."""
    if not len(row):
        raise InputError(f"{place}: expected jobs, found none")
    for name, values in jobs._asdict().items():
        most = _MOST[name]
        rules = [((values >= 0) & (values <= most), f"0 to {most:g}")]
        if name == "arrival_s":
            rules.append((np.diff(values, prepend=0.0) >= 0, "jobs sorted by arrival"))
        for holds, expected in rules:
            if not holds.all():
                k = int(holds.argmin())
                raise InputError(
                    f"{place}: row {row[k]}, {name}: expected {expected}, found {values[k]:g}"
                )
