"""Aggregate the updates of several clients into one.

The mean is the paper's. The other rules bear clients that send anything (Byzantine ones): the
coordinate-wise median and trimmed mean (Yin et al., 2018), and Krum (Blanchard et al., 2017).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import trim_mean

Deltas = NDArray[np.float32]


def coefficients(steps: Sequence[int]) -> NDArray[np.float32]:
    """Return ``p_n`` of the updates in a buffer: their shares of all local trainings.

    This is Algorithm 3, which the paper calls computeCoefficient.

    Args:
        steps: local trainings behind each of n updates, ``[n]``.

    Returns:
        ``[n]``, with sum 1.
    """
    counts = np.asarray(steps, dtype=np.float64)
    return (counts / counts.sum()).astype(np.float32)


def weighted_mean(deltas: Deltas, weights: NDArray[np.float32]) -> Deltas:
    """Return the sum of updates ``[n, P]`` times their weights ``[n]``: that of equation 15.

    It is no matrix product, whose last bits depend on where in memory the updates lie.
    """
    mean: Deltas = (weights[:, None] * deltas).sum(axis=0)
    return mean


def median(deltas: Deltas, byzantine: int) -> Deltas:
    """Return the median of each coordinate of updates ``[n, P]``; it bears fewer than n / 2."""
    middle: Deltas = np.median(deltas, axis=0).astype(np.float32)
    return middle


def trimmed_mean(deltas: Deltas, byzantine: int) -> Deltas:
    """Return the mean of each coordinate without its ``byzantine`` largest and smallest values.

    Where that leaves none, it is the median.
    """
    n = len(deltas)
    if 2 * byzantine >= n:
        return median(deltas, byzantine)
    # Exactly so many at each end: the share is rounded down.
    mean: Deltas = trim_mean(deltas.astype(np.float64), (byzantine + 0.5) / n, axis=0)
    return mean.astype(np.float32)


def krum(deltas: Deltas, byzantine: int) -> Deltas:
    """Return the update that is nearest to its ``n - byzantine - 2`` nearest others (Krum).

    With fewer updates than ``byzantine + 3`` the nearest other decides.
    """
    n = len(deltas)
    if n == 1:
        return deltas[0]
    squares = cdist(deltas, deltas, "sqeuclidean")
    np.fill_diagonal(squares, math.inf)
    nearest = np.sort(squares, axis=1)[:, : max(1, n - byzantine - 2)]
    chosen: Deltas = deltas[int(nearest.sum(axis=1).argmin())]
    return chosen


ROBUST: Mapping[str, Callable[[Deltas, int], Deltas]] = {
    "median": median,
    "trimmed_mean": trimmed_mean,
    "krum": krum,
}
"""Rules that take updates ``[n, P]`` and how many of them may be Byzantine."""
