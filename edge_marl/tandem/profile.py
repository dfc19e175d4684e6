"""Define the measured profile behind tandem workloads: quantile tables, dependence and spread.

The shipped profile (``profiles/measured.json``) is measured from two public data sets, so
that workloads need no download:

* video segments: size and compute time per machine type and codec, HPCC lab, ULL, "Descriptive
  and Predictive Analysis of Aggregating Functions in Serverless Clouds: the Case of Video
  Streaming" (HPCC 2020), github.com/hpcclab/videostreamingBenchmark;
* uplink rates: github.com/MTU-Insectt/Measurements5G, saturated uplink in Cork.

``edge-marl workload profile`` and :func:`measure_profile` measure it anew.
"""

from __future__ import annotations

import math
import os
from functools import lru_cache
from importlib import resources
from pathlib import Path
from statistics import NormalDist
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from edge_marl.errors import InputError
from edge_marl.json_files import read_model, write_json
from edge_marl.tandem.measure import StorageModel
from edge_marl.tandem.readers import CODECS, read_transcoding, read_uplink

FloatArray = NDArray[np.float64]

QUANTILES = 101  # table entry i is the quantile i / 100
SHIPPED = "measured.json"

Table = Annotated[tuple[Annotated[float, Field(gt=0, le=1e9)], ...], Field(min_length=2)]
Ratios = Annotated[tuple[Annotated[float, Field(gt=0, le=1e15)], ...], Field(min_length=2)]

# Short names of the recordings of Measurements5G; any other file goes by its own name.
_NETWORKS = {
    "Data5G_static5G_070322": "5g_static",
    "Data5G_static4Gonly_110122": "4g_static",
    "Data5G_151221": "5g_151221",
    "Data5G_171221": "5g_171221",
    "Data5G_110822": "5g_110822",
    "synced_Data5G": "5g_synced",
    "synced_DataLTE": "lte_synced",
    "synced_DataUMTS": "umts_synced",
}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SegmentProfile(_Frozen):
    """Describe two-second video segments transcoded on one machine type to one codec.

    As a profile (``paired`` false), the tables are marginal quantiles, and size and compute time
    are joined by a Gaussian copula, whose correlation ``2 sin(pi rho / 6)`` reproduces the
    measured Spearman rank correlation ``rho``. As read from a full file (``paired`` true), the
    tables hold the measured segments themselves, entry i of both being segment i, and are
    resampled.
    """

    segments: int = Field(gt=0, description="measured segments")
    failed_runs: int = Field(default=0, ge=0, description="runs left out, as they failed")
    paired: bool = Field(default=False, description="entry i of both tables is one segment")
    size_mb: Table = Field(description="segment size, MB")
    compute_s: Table = Field(description="compute time, median of the repeated runs, s")
    rank_correlation: float = Field(ge=-1, le=1, description="Spearman, size and compute_s")
    run_ratio: Ratios = Field(description="quantiles of a run's time over the segment's median")

    @property
    def copula(self) -> float:
        """Return the correlation of the Gaussian copula."""
        return 2 * math.sin(math.pi * self.rank_correlation / 6)


class UplinkProfile(_Frozen):
    """Describe the uplink rates of one recording."""

    samples: int = Field(gt=0, description="measured samples with a rate above 0")
    rate_mbit_s: Table = Field(description="quantiles of the rate, Mbit/s")
    step_s: float = Field(gt=0, description="time between samples, s")
    step_correlation: float = Field(
        ge=0, lt=1, description="correlation of the normal scores of successive samples"
    )


class WorkloadProfile(_Frozen):
    """Hold all that :class:`edge_marl.tandem.scenario.TandemWorkload` needs to draw jobs."""

    segments: dict[str, dict[str, SegmentProfile]] = Field(description="machine type, then codec")
    uplinks: dict[str, UplinkProfile] = Field(description="by network")
    storage: StorageModel = Field(description="compute time of a file transfer")

    def write(self, path: str | Path) -> None:
        """Write the profile as JSON to a file that appears whole or not at all."""
        write_json(path, self)


@lru_cache(maxsize=1)
def shipped_profile() -> WorkloadProfile:
    """Return the profile that comes with the package."""
    folder = resources.files("edge_marl.tandem") / "profiles"
    return WorkloadProfile.model_validate_json((folder / SHIPPED).read_bytes())


def read_profile(path: str | Path) -> WorkloadProfile:
    """Read a profile written by :meth:`WorkloadProfile.write`.

    Raises:
        InputError: if it cannot be read or fails validation, naming the first field at fault.
    """
    return read_model(path, WorkloadProfile)


def measure_profile(
    transcoding: str | Path, uplink: str | Path, storage: StorageModel | None = None
) -> WorkloadProfile:
    """Measure quantile tables from the full public files.

    Args:
        transcoding: CSV file of :func:`~edge_marl.tandem.readers.read_transcoding`.
        uplink: a CSV file of :func:`~edge_marl.tandem.readers.read_uplink`, or a folder of them.
        storage: compute model of file transfers; the shipped one if not given.

    Raises:
        InputError: as the readers do, or if the folder holds no CSV file.
    """
    segments = {
        machine: {codec: _tabulated(found) for codec, found in codecs.items()}
        for machine, codecs in segments_of(transcoding).items()
    }
    files = sorted(Path(uplink).glob("*.csv")) if os.path.isdir(uplink) else [Path(uplink)]
    if not files:
        raise InputError(f"{uplink}: expected CSV files of uplink rates, found none")
    uplinks = {network_name(path): uplink_of(path, QUANTILES) for path in files}
    return WorkloadProfile(
        segments=segments, uplinks=uplinks, storage=storage or shipped_profile().storage
    )


def segments_of(path: str | Path) -> dict[str, dict[str, SegmentProfile]]:
    """Return the measured segments of a file, by machine type and codec, ready for resampling."""
    runs = read_transcoding(path)
    found: dict[str, dict[str, SegmentProfile]] = {}
    for machine in sorted(set(runs.machine.tolist())):
        for codec in CODECS:
            rows = (runs.machine == machine) & (runs.codec == codec)
            measured = rows & ~np.isnan(runs.run_s).all(axis=1)
            if measured.sum() < 2:
                continue
            size, run_s = runs.size_mb[measured], runs.run_s[measured]
            median = np.nanmedian(run_s, axis=1)
            ratio = run_s / median[:, None]
            found.setdefault(machine, {})[codec] = SegmentProfile(
                segments=int(measured.sum()),
                failed_runs=int(np.isnan(runs.run_s[rows]).sum()),
                paired=True,
                size_mb=tuple(size.tolist()),
                compute_s=tuple(median.tolist()),
                rank_correlation=_correlation(_ranks(size), _ranks(median)),
                run_ratio=_quantiles(ratio[~np.isnan(ratio)], QUANTILES),
            )
    if not found:
        raise InputError(f"{path}: expected 2 rows of a machine type and codec, found fewer")
    return found


def uplink_of(path: str | Path, entries: int | None = None) -> UplinkProfile:
    """Return the uplink of one recording as a table of ``entries`` quantiles, or of every sample.

    Samples of rate 0 (a lost connection: a job could never be sent at that rate) are left out.
    """
    recording = read_uplink(path)
    sent = recording.rate_mbit_s > 0
    rate, time_s = recording.rate_mbit_s[sent], recording.time_s[sent]
    if len(rate) < 2:
        raise InputError(f"{path}: RATE(MBit/s): expected 2 rates above 0, found {len(rate)}")
    gaps = np.diff(time_s)
    step_s = float(max(np.median(gaps), 1.0))
    score = _normal_scores(rate)
    # Cleaned files have gaps: only pairs one step apart tell about one step.
    pairs = gaps <= 1.5 * step_s
    correlation = _correlation(score[:-1][pairs], score[1:][pairs])
    return UplinkProfile(
        samples=len(rate),
        rate_mbit_s=_quantiles(rate, entries or len(rate)),
        step_s=step_s,
        # Normal scores pass through the C library's logarithm, whose last digit may differ.
        step_correlation=round(min(max(correlation, 0.0), 0.999), 9),
    )


def network_name(path: str | Path) -> str:
    """Return the name of a recording: a short one for a public file, else the file's own."""
    stem = Path(path).stem.removeprefix("cleaned_")
    return _NETWORKS.get(stem, stem)


def _tabulated(found: SegmentProfile) -> SegmentProfile:
    return found.model_copy(
        update={
            "paired": False,
            "size_mb": _quantiles(np.array(found.size_mb), QUANTILES),
            "compute_s": _quantiles(np.array(found.compute_s), QUANTILES),
            "rank_correlation": round(found.rank_correlation, 4),
        }
    )


def _quantiles(values: FloatArray, entries: int) -> tuple[float, ...]:
    table = np.quantile(values, np.linspace(0, 1, entries))
    return tuple(float(f"{value:.5g}") for value in table)


def _ranks(values: FloatArray) -> FloatArray:
    """Return the ranks of values, from 0; ties share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts + 1) / 2)[inverse], dtype=np.float64)


def _normal_scores(values: FloatArray) -> FloatArray:
    share = (_ranks(values) + 0.5) / len(values)
    return np.array([NormalDist().inv_cdf(u) for u in share])


def _correlation(x: FloatArray, y: FloatArray) -> float:
    """Return Pearson's correlation, or 0 where x or y does not vary.

    The sums are exact: those of a library would differ by processor, and so would a profile.
    """
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    x, y = x - math.fsum(x) / len(x), y - math.fsum(y) / len(y)
    correlation = math.fsum(x * y) / math.sqrt(math.fsum(x * x) * math.fsum(y * y))
    return min(max(correlation, -1.0), 1.0)
