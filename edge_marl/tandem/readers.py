"""Read the public measurement files that tandem workloads are built from.

None of these files is shipped: :mod:`edge_marl.tandem.profile` keeps quantiles of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_marl.errors import InputError
from edge_marl.reading import csv_rows
from edge_marl.validation import shown

FloatArray = NDArray[np.float64]

RUNS = 10
# h264 and vp9 rows of the public file take the same 0.03 to 0.24 s at every resolution: they
# are stream copies or failed runs, not transcodings.
CODECS = ("hevc", "mpeg4")
_LIKE = ("machine", "des_codec", "des_res", "des_fr")  # segments that take similar times
_RUN_COLUMNS = tuple(f"run {i + 1}" for i in range(RUNS))
_TRANSCODING_COLUMNS = (*_LIKE, "size (kb)", *_RUN_COLUMNS)
_KIB_MB = 1024 / 1e6
# What a run takes at least, as shares of medians. In the public file a segment takes at least
# 0.36 of the median of those like it, and seven 0.015 to 0.064 (transcodings to hevc in a sheet
# of vp9); a run takes at least 0.53 of its segment's median, but for two segments and for three
# runs of one machine, which go down to 0.026.
_LEAST_OF_RUNS = 0.5
_LEAST_OF_SEGMENTS = 0.2
_UPLINK_COLUMNS = ("Time", "RATE(MBit/s)")
_LEAST, _MOST = 1e-6, 1e9
"""Of KB, seconds and Mbit/s; beyond, quotients of them would not be numbers any more."""
_UPLINK_TIME = "%a %b %d %H:%M:%S UTC %Y"


@dataclass(frozen=True)
class TranscodingRuns:
    """Hold the measured transcodings of N two-second video segments.

    Attributes:
        machine: ``[N]`` machine type, such as ``AWS-c52xlarge``.
        codec: ``[N]`` codec transcoded to, one of :data:`CODECS`.
        size_mb: ``[N]`` segment size in MB (10^6 bytes).
        run_s: ``[N, 10]`` seconds of each repeated run, NaN where it failed.
        left_out: rows of other codecs, read and left out.
    """

    machine: NDArray[np.str_]
    codec: NDArray[np.str_]
    size_mb: FloatArray
    run_s: FloatArray
    left_out: int


@dataclass(frozen=True)
class UplinkRates:
    """Hold one recording of a saturated uplink.

    Attributes:
        time_s: ``[N]`` seconds since 1970, never decreasing; gaps where samples are missing.
        rate_mbit_s: ``[N]`` uplink rate in Mbit/s, at least 0.
    """

    time_s: FloatArray
    rate_mbit_s: FloatArray


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the rows of a CSV file as (place, fields), if its header has all ``columns``."""
    rows = csv_rows(path)
    line, header = next(rows, (1, []))
    for column in columns:
        count = header.count(column)
        if count != 1:
            raise InputError(
                f"{path}: row {line}: expected a column {column!r}, found {count or 'none'}"
            )
    for line, row in rows:
        place = f"{path}: row {line}"
        if len(row) > len(header):
            raise InputError(f"{place}: expected {len(header)} values, found {len(row)}")
        fields = dict(zip(header, row, strict=False))
        for column in columns:
            if column not in fields:
                raise InputError(f"{place}: {column}: expected a value, found a short row")
        yield place, fields


def _number(place: str, row: dict[str, str], column: str, *, zero: bool = False) -> float:
    """Return a column's number if it is positive (or 0 with ``zero``) and of a plausible size."""
    text = row[column]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    expected = ""
    if not (math.isfinite(value) and (value > 0 or (zero and value == 0))):
        expected = "a number of at least 0" if zero else "a number above 0"
    elif value and not _LEAST <= value <= _MOST:
        expected = f"a number from {_LEAST:g} to {_MOST:g}"
    if expected:
        raise InputError(f"{place}: {column}: expected {expected}, found {shown(text)}")
    return value


def read_transcoding(path: str | Path) -> TranscodingRuns:
    """Read repeated transcoding runs by machine type.

    The format is the HPCC lab's video streaming benchmark (videostreamingBenchmark, "sampled
    data" of seven machine types) as one CSV: columns ``machine``, ``size (kb)``, ``des_codec``,
    ``des_res``, ``des_fr`` and ``run 1`` to ``run 10`` (seconds); other columns are ignored.
    Sizes are in KiB, whatever the column's name says: bitrate times duration is 1.024 times the
    size in every row.

    A run that ended early has a time but is no transcoding. A run has *failed* if it took less
    than half the median of its segment's ten; all runs of a segment have failed if their median is
    less than a fifth of the median of the segments transcoded on the same machine to the same
    codec, resolution and frame rate.

    Raises:
        InputError: naming file, row and column of a value that is missing, not a number or
            not above 0, or if no row has a usable codec.
    """
    path = Path(path)
    like: list[tuple[str, ...]] = []
    size_mb: list[float] = []
    run_s: list[list[float]] = []
    left_out = 0
    for place, row in _rows(path, _TRANSCODING_COLUMNS):
        for column in _LIKE:
            if not row[column]:
                raise InputError(f"{place}: {column}: expected a value, found nothing")
        if row["des_codec"] not in CODECS:
            left_out += 1
            continue
        like.append(tuple(row[column] for column in _LIKE))
        size_mb.append(_number(place, row, "size (kb)") * _KIB_MB)
        run_s.append([_number(place, row, column) for column in _RUN_COLUMNS])
    if not like:
        raise InputError(f"{path}: des_codec: expected rows of {' or '.join(CODECS)}, found none")
    return TranscodingRuns(
        machine=np.array([machine for machine, *_ in like]),
        codec=np.array([codec for _, codec, *_ in like]),
        size_mb=np.array(size_mb),
        run_s=_without_failed(np.array(run_s), like),
        left_out=left_out,
    )


def _without_failed(run_s: FloatArray, like: list[tuple[str, ...]]) -> FloatArray:
    """Return the times ``[N, 10]``, NaN for failed runs; comparable segments share ``like``."""
    segment_s = np.median(run_s, axis=1)
    alike: dict[tuple[str, ...], list[float]] = {}
    for kind, seconds in zip(like, segment_s.tolist(), strict=True):
        alike.setdefault(kind, []).append(seconds)
    like_s = np.array([np.median(alike[kind]) for kind in like])
    failed = run_s < _LEAST_OF_RUNS * segment_s[:, None]
    failed |= (segment_s < _LEAST_OF_SEGMENTS * like_s)[:, None]
    return np.where(failed, np.nan, run_s)


def read_uplink(path: str | Path) -> UplinkRates:
    """Read a recording of uplink rates.

    The format is MTU-Insectt/Measurements5G (``cleaned`` and ``cleaned_and_synced`` CSV files
    of 5G, LTE and UMTS): ``Time`` like ``Thu Aug 11 13:42:06 UTC 2022`` and ``RATE(MBit/s)``;
    the signal columns differ between networks and are ignored.

    Raises:
        InputError: naming file, row and column of a time that cannot be read or runs
            backwards, or of a rate that is not a number of at least 0; or if there are fewer
            than two rows.
    """
    path = Path(path)
    time_s: list[float] = []
    rate: list[float] = []
    for place, row in _rows(path, _UPLINK_COLUMNS):
        try:
            moment = datetime.strptime(row["Time"], _UPLINK_TIME).replace(tzinfo=UTC)
        except ValueError:
            raise InputError(
                f"{place}: Time: expected a time like 'Thu Aug 11 13:42:06 UTC 2022', "
                f"found {shown(row['Time'])}"
            ) from None
        seconds = moment.timestamp()
        if time_s and seconds < time_s[-1]:
            raise InputError(
                f"{place}: Time: expected a time no earlier than the row before, "
                f"found {shown(row['Time'])}"
            )
        time_s.append(seconds)
        rate.append(_number(place, row, "RATE(MBit/s)", zero=True))
    if len(rate) < 2:
        raise InputError(f"{path}: expected at least 2 rows, found {len(rate)}")
    return UplinkRates(np.array(time_s), np.array(rate))
