"""Draw workloads of the tandem system from measured profiles (tandem paper, section 4.1).

A file transfer is a large upload with a short compute stage (checksum and store, see
:mod:`edge_marl.tandem.measure`). A video job is one measured two-second segment: its uplink
carries the segment, its compute stage transcodes it. Uplink time is size over a measured
uplink rate. The paper gives no sizes, rates, arrivals or deadlines: see each field.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from edge_marl.errors import InputError
from edge_marl.limits import LARGEST
from edge_marl.memory import check_memory
from edge_marl.options import CountOrZero, NotNegative, Options, Positive, Share
from edge_marl.tandem.profile import (
    SegmentProfile,
    UplinkProfile,
    WorkloadProfile,
    network_name,
    read_profile,
    segments_of,
    shipped_profile,
    uplink_of,
)
from edge_marl.tandem.readers import CODECS
from edge_marl.tandem.scenario_kernel import draw_traces
from edge_marl.tandem.traces import JOB_FIELDS, MOST_SLOTS, IntArray, TraceSet

FloatArray = NDArray[np.float64]

Slack = Annotated[float, Field(ge=1, le=LARGEST)]
T = TypeVar("T")


class TandemWorkload(Options):
    """Configure the distribution that traces are drawn from.

    A trace has ``files + videos`` jobs, the two applications in random order. Time 0 is the
    arrival of the first job. Each job gets, from the random stream of its trace's own seed:

    * a file's size, log-uniform between the two bounds; a segment's codec, size and compute
      time with their measured dependence (:class:`~edge_marl.tandem.profile.SegmentProfile`);
      the ratio of one run to the segment's median, from the measured runs;
    * the uplink rate: the jobs of a trace share one channel, whose normal score is a
      first-order autoregression over the time between arrivals with the measured correlation;
    * ``comm = ceil(size / rate / slot)``, ``comp = ceil(compute time / slot)``, at least 1;
    * the deadline ``arrival + ceil(slack * (comm + comp)) + downlink`` with slack uniform
      between the two bounds: a multiple of the time the job would take alone.

    The defaults were chosen, out of some thousands of settings of slot, window, sizes, slack,
    machine and codec share, so that simple heuristics are clearly worse than the oracle: they
    are a hard case of this system, not a typical one. Measured on 3,000 fresh 3-3 traces with
    a drop penalty of 100 slots: 50 uplink and 44 compute slots a trace, an oracle makespan of
    62 slots, a job dropped by the oracle in 27% of traces, and a degradation over the oracle
    (mean; median) of 0.46; 0.22 for EDF, 0.59; 0.02 for SRTF, 0.41; 0.22 for least laxity.
    SRTF is optimal or nearly so on half of the traces and loses whole jobs on others.
    """

    files: CountOrZero = Field(default=3, description="file-transfer jobs of a trace (paper: 3)")
    videos: CountOrZero = Field(
        default=3, description="video-transcoding jobs of a trace (paper: 3)"
    )

    # Not given in the paper: everything below.
    slot_s: Positive = Field(default=0.2, description="length of a slot, s")
    machine: str = Field(default="AWS-m5a2xlarge", description="machine type that computes")
    hevc_share: Share = Field(
        default=0.85, description="share of videos transcoded to hevc; the others to mpeg4"
    )
    network: str | None = Field(
        default=None,
        description="uplink recording; 5g_static, or the one in `uplink`, if not given",
    )
    file_mb: tuple[Positive, Positive] = Field(
        default=(2.0, 4.0), description="smallest and largest file, MB; log-uniform between"
    )
    file_fixed_s: NotNegative | None = Field(
        default=None, description="compute time of any file, s; measured if not given"
    )
    file_s_per_mb: NotNegative | None = Field(
        default=None, description="more compute time per MB of file, s; measured if not given"
    )
    arrivals: Literal["window", "poisson"] = Field(
        default="window", description="uniform within a window, or Poisson with a mean gap"
    )
    window_s: NotNegative = Field(
        default=3.0, description="window of arrivals, s (arrivals=window)"
    )
    mean_gap_s: Positive = Field(
        default=1.0, description="mean time between arrivals, s (arrivals=poisson)"
    )
    slack: tuple[Slack, Slack] = Field(
        default=(2.0, 3.5),
        description="smallest and largest deadline slack, multiple of comm + comp",
    )
    downlink_slots: CountOrZero = Field(default=1, description="constant downlink delay, slots")
    profile: Path | None = Field(
        default=None,
        description="file that `edge-marl workload profile` wrote; else the shipped profile",
    )
    transcoding: Path | None = Field(
        default=None, description="full file of transcoding runs to resample; else the profile"
    )
    uplink: Path | None = Field(
        default=None, description="full file of uplink rates to resample; else the profile"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.files + self.videos < 1:
            raise InputError("files + videos: expected at least 1 job, found 0")
        if self.file_mb[0] > self.file_mb[1]:
            raise InputError(f"file_mb: expected smallest <= largest, found {self.file_mb}")
        if self.slack[0] > self.slack[1]:
            raise InputError(f"slack: expected smallest <= largest, found {self.slack}")
        slots = _most_slots(self)
        if slots > MOST_SLOTS:
            raise InputError(
                f"slot_s: expected traces of at most {MOST_SLOTS} slots, found up to {slots:.3g} "
                "(slot_s, file_mb, slack, downlink_slots, window_s or mean_gap_s, files, videos)"
            )
        return self

    @property
    def n_jobs(self) -> int:
        """Return the number of jobs of a trace."""
        return self.files + self.videos

    def measured(self) -> WorkloadProfile:
        """Return the profile.

        Raises:
            InputError: for a file that holds none.
        """
        return shipped_profile() if self.profile is None else _profile_of(self.profile)

    def segment_profiles(self) -> list[SegmentProfile]:
        """Return one segment profile per codec.

        Raises:
            InputError: if the source knows no such machine type or codec.
        """
        if self.transcoding is None:
            machines = self.measured().segments
        else:
            machines = _segments_of(self.transcoding)
        codecs = _entry(machines, self.machine, "machine")
        return [_entry(codecs, codec, "codec") for codec in CODECS]

    def uplink_profile(self) -> UplinkProfile:
        """Return the uplink profile of the network.

        Raises:
            InputError: if the source knows no such network.
        """
        if self.uplink is None:
            return _entry(self.measured().uplinks, self.network or "5g_static", "network")
        if self.network not in (None, network_name(self.uplink)):
            raise InputError(
                f"network: expected {network_name(self.uplink)!r} (of {self.uplink}) or nothing, "
                f"found {self.network!r}"
            )
        return _uplink_of(self.uplink)

    def sample(self, seeds: Iterable[int] | NDArray[np.integer[Any]]) -> TraceSet:
        """Draw one trace per seed; the same seed gives the same trace, whatever the others.

        Args:
            seeds: ``[K]`` int64.

        Returns:
            ``K`` traces of :attr:`n_jobs` jobs; their metadata hold seeds and configuration.
        """
        values = seeds if isinstance(seeds, np.ndarray) else list(seeds)
        self.check_memory(len(values))
        seed_array = np.ascontiguousarray(values, dtype=np.int64)
        if seed_array.ndim != 1:
            raise InputError(f"seeds: expected a list, found an array of shape {seed_array.shape}")
        shape = (len(seed_array), self.n_jobs)
        jobs = _Jobs(*(np.empty(shape, dtype=np.int32) for _ in _Jobs._fields))
        draw_traces(seed_array, self._parameters(), _tables(self), jobs)
        return TraceSet(
            **jobs._asdict(),
            n_jobs=np.full(len(seed_array), self.n_jobs, dtype=np.int32),
            downlink=self.downlink_slots,
            slot_s=self.slot_s,
            metadata={
                "generator": "edge_marl.tandem.scenario.TandemWorkload",
                "seed": _seed_record(seed_array),
                "config": self.model_dump(mode="json"),
            },
        )

    def _parameters(self) -> _Parameters:
        return _Parameters(
            files=self.files,
            slot_s=self.slot_s,
            poisson=self.arrivals == "poisson",
            spread_s=self.mean_gap_s if self.arrivals == "poisson" else self.window_s,
            slack_low=self.slack[0],
            slack_high=self.slack[1],
            downlink=self.downlink_slots,
        )

    def make(self, n: int, seed: int = 0) -> TraceSet:
        """Draw ``n`` traces from the seeds ``seed``, ``seed + 1`` and so on."""
        self.check_memory(n)
        return self.sample(np.arange(seed, seed + n, dtype=np.int64))

    def check_memory(self, n: int) -> None:
        """Refuse to draw more traces than fit into memory.

        Raises:
            InputError: if ``n`` traces would not.
        """
        numbers = len(JOB_FIELDS) * self.n_jobs
        check_memory(4.0 * n * numbers, f"{n} traces of {self.n_jobs} jobs (files, videos)")

    def stage_slots(self) -> FloatArray:
        """Return the mean slots of a (file, video) job on (uplink, compute), ``[2, 2]``.

        The means are those of a fixed sample.
        """
        means = np.zeros((2, 2))
        for app, counts in enumerate(({"files": 8, "videos": 0}, {"files": 0, "videos": 8})):
            traces = self.model_copy(update=counts).make(4096)
            means[app] = traces.comm.mean(), traces.comp.mean()
        return means

    def stream(self, n_jobs: int, *, file_share: float = 0.5, load: float = 0.8) -> TandemWorkload:
        """Return an open system, with ``n_jobs`` rolling Poisson arrivals instead of a handful.

        Args:
            n_jobs: jobs of a trace.
            file_share: share of file transfers (rounded to whole jobs).
            load: mean utilisation of the busier stage if no job were dropped; above 1 the
                queues grow for as long as jobs arrive.
        """
        if not 0 <= file_share <= 1:
            raise InputError(f"file_share: expected 0 to 1, found {file_share}")
        if not load > 0:
            raise InputError(f"load: expected more than 0, found {load}")
        files = round(n_jobs * file_share)
        shares = np.array([files, n_jobs - files]) / n_jobs
        # Not by a matrix product, whose last digit depends on the processor, as traces would.
        busier = float((shares[:, None] * self.stage_slots()).sum(axis=0).max())
        changed = {
            "files": files,
            "videos": n_jobs - files,
            "arrivals": "poisson",
            "mean_gap_s": busier * self.slot_s / load,
        }
        return TandemWorkload(**{**self.model_dump(), **changed})


class _Parameters(NamedTuple):
    """Hold what the kernel needs of a workload."""

    files: int
    slot_s: float
    poisson: bool
    spread_s: float
    """Mean gap between arrivals if they are Poisson, otherwise the window that they fall into."""
    slack_low: float
    slack_high: float
    downlink: int
    """In slots."""


class _Jobs(NamedTuple):
    """Hold the jobs of K traces as :class:`TraceSet` has them, ``[K, J]`` each."""

    arrival: IntArray
    comm: IntArray
    comp: IntArray
    deadline: IntArray
    app: IntArray


class _Tables(NamedTuple):
    """Hold the kernel's flat tables; codec c has the entries start[c] to start[c + 1]."""

    size_mb: FloatArray  # segments, by codec
    compute_s: FloatArray
    start: NDArray[np.int64]
    run_ratio: FloatArray
    ratio_start: NDArray[np.int64]
    copula: FloatArray  # [codecs]
    hevc_share: float
    paired: bool
    rate_mbit_s: FloatArray
    step_s: float
    step_correlation: float
    file_mb_low: float
    file_mb_high: float
    file_fixed_s: float
    file_s_per_mb: float


@lru_cache(maxsize=64)
def _tables(workload: TandemWorkload) -> _Tables:
    segments, uplink = workload.segment_profiles(), workload.uplink_profile()
    storage = workload.measured().storage
    fixed_s, s_per_mb = workload.file_fixed_s, workload.file_s_per_mb
    return _Tables(
        np.concatenate([profile.size_mb for profile in segments]),
        np.concatenate([profile.compute_s for profile in segments]),
        np.cumsum([0, *(len(profile.size_mb) for profile in segments)]),
        np.concatenate([profile.run_ratio for profile in segments]),
        np.cumsum([0, *(len(profile.run_ratio) for profile in segments)]),
        np.array([profile.copula for profile in segments]),
        workload.hevc_share,
        segments[0].paired,
        np.array(uplink.rate_mbit_s),
        uplink.step_s,
        uplink.step_correlation,
        workload.file_mb[0],
        workload.file_mb[1],
        storage.fixed_s if fixed_s is None else fixed_s,
        storage.s_per_mb if s_per_mb is None else s_per_mb,
    )


def _most_slots(workload: TandemWorkload) -> float:
    """Estimate from above how many slots a trace of a workload can have.

    Poisson arrivals are unbounded; ones later than assumed here practically never happen.
    """
    tables, n = _tables(workload), workload.n_jobs
    size_mb = max(tables.file_mb_high, float(tables.size_mb.max()))
    compute_s = max(
        tables.file_fixed_s + tables.file_s_per_mb * tables.file_mb_high,
        float(tables.compute_s.max() * tables.run_ratio.max()),
    )
    busy = 8.0 * size_mb / float(tables.rate_mbit_s.min()) + compute_s
    arriving = workload.window_s
    if workload.arrivals == "poisson":
        arriving = workload.mean_gap_s * (n + 8.0 * math.sqrt(n) + 40.0)
    longest = arriving + workload.slack[1] * (busy + 2.0 * workload.slot_s)
    return longest / workload.slot_s + workload.downlink_slots


@lru_cache(maxsize=8)
def _profile_of(path: Path) -> WorkloadProfile:
    return read_profile(path)


@lru_cache(maxsize=8)
def _segments_of(path: Path) -> dict[str, dict[str, SegmentProfile]]:
    return segments_of(path)


@lru_cache(maxsize=8)
def _uplink_of(path: Path) -> UplinkProfile:
    return uplink_of(path)


def _entry(table: dict[str, T], name: str, field: str) -> T:
    if name not in table:
        raise InputError(f"{field}: expected one of {', '.join(sorted(table))}, found {name!r}")
    return table[name]


def _seed_record(seeds: NDArray[np.int64]) -> dict[str, int] | list[int]:
    """Return successive seeds as first and count, any others one by one."""
    if len(seeds) and np.all(np.diff(seeds) == 1):
        return {"first": int(seeds[0]), "count": len(seeds)}
    return [int(seed) for seed in seeds]
