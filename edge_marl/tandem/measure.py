"""Measure the compute time of a file transfer, checksum and store, on the machine at hand.

The paper does not say what the edge server does with an uploaded file. Here it computes the
file's SHA-256, writes it and flushes it to the disk, which is what a server that acknowledges
an upload must do. ``edge-marl workload measure`` runs :func:`measure_storage`.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from edge_marl.errors import InputError

SIZES_MB = (1, 2, 4, 8, 16, 32, 64)


class StorageModel(BaseModel):
    """Model the compute time of a file of s MB as ``fixed_s + s_per_mb * s`` seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    fixed_s: float = Field(ge=0, description="seconds for a file of any size")
    s_per_mb: float = Field(gt=0, description="seconds for each MB (10^6 bytes)")

    def seconds(self, size_mb: float) -> float:
        """Return the compute time of one file."""
        return self.fixed_s + self.s_per_mb * size_mb


def checksum_and_store(content: bytes, path: Path) -> str:
    """Write the content to ``path``, flush it to the disk and return its SHA-256."""
    digest = hashlib.sha256(content).hexdigest()
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return digest


def measure_storage(repeats: int = 5, folder: str | Path | None = None) -> StorageModel:
    """Time checksum-and-store for files of 1 to 64 MB and fit a line to the medians.

    Args:
        repeats: runs of each size; their median counts, as a flush now and then takes long.
        folder: where to write (the disk to measure); the system's temporary folder if None.

    Raises:
        InputError: if ``repeats`` is below 1 or the folder cannot be written.
    """
    if repeats < 1:
        raise InputError(f"repeats: expected at least 1, found {repeats}")
    block = os.urandom(1_000_000)
    medians = []
    try:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            path = Path(scratch) / "upload"
            for size_mb in SIZES_MB:
                content = block * size_mb
                seconds = []
                for _ in range(repeats):
                    begin = time.perf_counter()
                    checksum_and_store(content, path)
                    seconds.append(time.perf_counter() - begin)
                medians.append(float(np.median(seconds)))
    except OSError as error:
        raise InputError(f"{folder or tempfile.gettempdir()}: {error.strerror}") from error
    return fit_storage(np.array(SIZES_MB, dtype=float), np.array(medians))


def fit_storage(
    size_mb: np.typing.NDArray[np.float64], seconds: np.typing.NDArray[np.float64]
) -> StorageModel:
    """Fit a line of least relative error to the measured times.

    If one of its parts came out negative, the fixed part is 0 and the other one the median time
    per MB.
    """
    # Weighted by 1 / seconds: otherwise the largest file alone decides the fixed part.
    rows = np.stack([np.ones_like(size_mb), size_mb], axis=1) / seconds[:, None]
    fixed_s, s_per_mb = np.linalg.lstsq(rows, np.ones_like(seconds), rcond=None)[0]
    if fixed_s < 0 or s_per_mb <= 0:
        fixed_s, s_per_mb = 0.0, float(np.median(seconds / size_mb))
    return StorageModel(fixed_s=float(f"{fixed_s:.4g}"), s_per_mb=float(f"{s_per_mb:.4g}"))
