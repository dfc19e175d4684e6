"""Provide the tasks of a trace, or of a profile measured from one, relative to their means.

The shipped profile, ``profiles/google_2011.json``, is measured from Google's cluster trace of 2011
(github.com/google/cluster-data, CC-BY 4.0; John Wilkes, Charles Reiss): the run times of the jobs
that were submitted and finished in parts 1 to 3 of ``job_events``, and the requests of every sixth
task that was there when the trace began. ``edge-marl workload google`` measures one anew.

No trace says how many cycles a task has. Here they are its run time, times its request of CPU where
one is known. Nor does any say how much data belongs to a task, which is in proportion to memory.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from edge_marl.cooperative_offloading.scenario import RecordedTasks
from edge_marl.errors import InputError
from edge_marl.google_traces import GoogleTasks, Requests, read_google
from edge_marl.json_files import read_model, write_json

FloatArray = NDArray[np.float64]

SHIPPED = "google_2011.json"
QUANTILES = 201
"""Of a table, entry i is the quantile i / 200."""

_N_TASKS = 8192
_GOLDEN = (5**0.5 - 1) / 2
_DIGITS = 6

Quantile = Annotated[float, Field(gt=0, le=1e12)]
Request = Annotated[float, Field(gt=0, le=1e3)]
Times = Annotated[int, Field(ge=1, le=10**12)]


class TraceTasks(NamedTuple):
    """Hold the demands of the n tasks of a trace, relative to their means, ``[n]`` each."""

    arrival_s: FloatArray
    """As recorded, from 0 on, in ascending order; of a profile all 0."""
    gcycles: FloatArray
    memory: FloatArray
    """Of the memory and of the input."""


class Profile(BaseModel):
    """Describe tasks by a table of run times and, independent of it, one of requests."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    source: str = Field(max_length=1000, description="what it was measured from")
    duration_s: tuple[Quantile, ...] = Field(
        min_length=QUANTILES, max_length=QUANTILES, description="quantiles of run times"
    )
    requests: tuple[tuple[Request, Request, Times], ...] = Field(
        min_length=1, max_length=100_000, description="CPU, memory, and how often both occur"
    )

    def tasks(self) -> TraceTasks:
        """Return tasks with the distributions of the profile, the same at every call."""
        i = np.arange(_N_TASKS)
        # A low-discrepancy sequence of pairs: every part of either table is there as often as it
        # should be, with every part of the other.
        durations = np.interp(
            (i + 0.5) / _N_TASKS, np.linspace(0.0, 1.0, QUANTILES), self.duration_s
        )
        cpu, memory, counts = np.array(self.requests).T
        shares = counts.cumsum() / counts.sum()
        pair = np.searchsorted(shares, np.mod((i + 0.5) * _GOLDEN, 1.0), side="right")
        return _relative(np.zeros(_N_TASKS), durations * cpu[pair], memory[pair])


def measure_profile(jobs: GoogleTasks, requests: Requests, source: str) -> Profile:
    """Measure a profile.

    Args:
        jobs: whose run times count.
        requests: of tasks; those that ask for nothing are left out.
        source: what was measured.

    Raises:
        InputError: if no task requests anything.
    """
    asked = (requests.cpu > 0) & (requests.memory > 0)
    if not asked.any():
        raise InputError("requests: expected tasks that request CPU and memory, found none")
    both = np.stack([requests.cpu, requests.memory], axis=1)[asked].round(_DIGITS)
    pairs, counts = np.unique(both, axis=0, return_counts=True)
    quantiles = np.quantile(jobs.duration_s, np.linspace(0.0, 1.0, QUANTILES)).round(_DIGITS)
    return Profile(
        source=source,
        duration_s=tuple(quantiles.tolist()),
        requests=tuple((*pair, n) for pair, n in zip(pairs.tolist(), counts.tolist(), strict=True)),
    )


def write_profile(profile: Profile, path: Path) -> None:
    """Write a profile as JSON."""
    write_json(path, profile, indent=None)


@lru_cache(maxsize=8)
def read_tasks(load: RecordedTasks) -> TraceTasks:
    """Read the tasks that a load names, only once however many simulators a process makes.

    Raises:
        InputError: for a file that cannot be read or is not of its format.
    """
    if load.format == "profile":
        if load.path is not None:
            return read_model(load.path, Profile).tasks()
        shipped = resources.files("edge_marl.cooperative_offloading") / "profiles" / SHIPPED
        with resources.as_file(shipped) as path:
            return read_model(path, Profile).tasks()
    assert load.path is not None
    found = read_google(load.path, load.format)
    return _relative(found.arrival_s, found.cycles, found.memory_or_one)


def _relative(arrival_s: FloatArray, gcycles: FloatArray, memory: FloatArray) -> TraceTasks:
    return TraceTasks(arrival_s, gcycles / gcycles.mean(), memory / memory.mean())
