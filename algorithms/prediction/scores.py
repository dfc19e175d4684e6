"""Score predictions, and tell whether there is anything to predict."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from edge_marl.algorithms.prediction.networks import MEDIAN, pinball
from edge_marl.algorithms.prediction.series import Series

FloatArray = NDArray[np.float64]

_LAGS = 10
_INNER, _OUTER = (1, 3), (0, 4)


class Scores(NamedTuple):
    """Hold what the predictions of a part are worth, ``[3]`` each, NaN where nothing varies."""

    r2: FloatArray
    """Share of the variance of the values that medians explain."""
    r2_of_logarithms: FloatArray
    """The same of their logarithms, in which a few large values do not decide."""
    absolute_error: FloatArray
    """Mean of the median's, over the mean of the values."""
    pinball: FloatArray
    """Mean over quantiles of the standardised logarithms."""
    covered_50: FloatArray
    """Share of the values between the quartiles."""
    covered_90: FloatArray


def score(quantiles: FloatArray, original: FloatArray, z: FloatArray, values: FloatArray) -> Scores:
    """Score predictions.

    Args:
        quantiles: ``[k, 3, Q]``, standardised.
        original: ``[k, 3, Q]``, the same over the means of the training part.
        z: ``[k, 3]`` standardised values.
        values: ``[k, 3]``, over the means.
    """
    varies = np.ptp(z, axis=0) > 0

    def known(found: FloatArray) -> FloatArray:
        return np.where(varies, found, np.nan)

    def covered(which: tuple[int, int]) -> FloatArray:
        low, high = (quantiles[..., q] for q in which)
        return known(((low <= z) & (z <= high)).mean(axis=0))

    losses = pinball(torch.from_numpy(quantiles), torch.from_numpy(z)).numpy()
    return Scores(
        r2=known(_explained(values, original[..., MEDIAN])),
        r2_of_logarithms=known(_explained(z, quantiles[..., MEDIAN])),
        absolute_error=known(np.abs(values - original[..., MEDIAN]).mean(axis=0)),
        pinball=known(losses.mean(axis=(0, 2))),
        covered_50=covered(_INNER),
        covered_90=covered(_OUTER),
    )


def r2_of_moments(series: Series, interarrival: FloatArray) -> float:
    """Return R² of the moments of arrival in the test part, by ``interarrival [k]`` over its mean.

    Moments only grow: whoever knows the last one explains nearly all of their variance, however bad
    the interval is that is added.
    """
    test = series.part("test")
    predicted = series.arrival_s[test] + series.means[0] * (interarrival - series.values[test, 0])
    return float(_explained(series.arrival_s[test], predicted))


def _explained(values: FloatArray, predicted: FloatArray) -> FloatArray:
    variance = values.var(axis=0)
    error = np.square(values - predicted).mean(axis=0)
    found: FloatArray = 1.0 - error / np.where(variance > 0, variance, np.nan)
    return found


class Dependence(NamedTuple):
    """Say how much tasks of a server depend on those before, ``[3]`` each, NaN of constants."""

    largest: FloatArray
    """Rank correlation with one of the last ten tasks, the largest in magnitude."""
    p_value: FloatArray
    """Of the sum of the squares of all ten, if every order were as likely: small for a trace in
    which the past tells something, evenly distributed for a renewal process."""


def dependence(series: Series, permutations: int = 999, seed: int = 0) -> Dependence:
    """Test whether the tasks of the servers come in any order, as in a renewal process.

    Args:
        series: all of it.
        permutations: of the tasks of each server, against which the trace is held.
        seed: of the permutations.
    """
    rng = np.random.default_rng(seed)
    servers = [
        rankdata(series.values[series.server == s], axis=0) for s in np.unique(series.server)
    ]
    varies = np.ptp(series.values, axis=0) > 0
    observed = _correlations(servers)
    exceeded = np.ones(observed.shape[1])
    for _ in range(permutations):
        shuffled = _correlations([rng.permuted(ranks, axis=0) for ranks in servers])
        exceeded += np.square(shuffled).sum(0) >= np.square(observed).sum(0)
    strongest = np.abs(observed).argmax(axis=0)
    largest = observed[strongest, np.arange(observed.shape[1])]
    return Dependence(
        largest=np.where(varies, largest, np.nan),
        p_value=np.where(varies, exceeded / (permutations + 1), np.nan),
    )


def _correlations(servers: list[FloatArray]) -> FloatArray:
    """Return the correlations ``[lags, 3]`` of ranks with those before, over all servers."""
    found = np.zeros((_LAGS, servers[0].shape[1]))
    total = np.zeros(servers[0].shape[1])
    for ranks in servers:
        centred = (ranks - ranks.mean(axis=0)) / len(ranks)
        total += np.square(centred).sum(axis=0)
        for lag in range(1, min(_LAGS, len(ranks) - 1) + 1):
            found[lag - 1] += (centred[lag:] * centred[:-lag]).sum(axis=0)
    return found / np.where(total > 0, total, 1.0)
