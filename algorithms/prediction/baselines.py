"""Predict the next task without a network: what a predictor has to be better than."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from edge_marl.algorithms.prediction.networks import MEDIAN, QUANTILES
from edge_marl.algorithms.prediction.series import TARGETS, Part, Series

FloatArray = NDArray[np.float64]
Standardised = FloatArray
"""``[n, 3]``: the values of all tasks as :meth:`.networks.Predictor.standardised` has them."""
Baseline = Callable[[Series, Standardised, Part], FloatArray]
"""Gives the standardised quantiles ``[k, 3, Q]`` of the tasks of a part."""

_WINDOWS = (2, 4, 8, 16, 32)
_SMOOTHING = (0.05, 0.1, 0.2, 0.4, 0.8)
_LAGS = 8


def constant(series: Series, z: Standardised, part: Part) -> FloatArray:
    """Return the quantiles of the training part, whatever came before."""
    found = np.quantile(z[series.part("train")], QUANTILES, axis=0).T
    return np.broadcast_to(found, (len(series.part(part)), *found.shape))


def last_value(series: Series, z: Standardised, part: Part) -> FloatArray:
    """Expect that the next task is like the last one of its server."""
    return _around(_smoothed(series, z, 1.0), series, z, part)


def moving_average(series: Series, z: Standardised, part: Part) -> FloatArray:
    """Expect the mean of the last tasks; of how many, the validation part decides."""
    return _best([_averaged(series, z, window) for window in _WINDOWS], series, z, part)


def exponential_smoothing(series: Series, z: Standardised, part: Part) -> FloatArray:
    """Expect a mean in which a task counts less the older it is; the validation decides how."""
    return _best([_smoothed(series, z, weight) for weight in _SMOOTHING], series, z, part)


def boosted_trees(series: Series, z: Standardised, part: Part) -> FloatArray:
    """Fit gradient-boosted trees of each quantile to the last tasks of a server."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    train, asked = series.part("train"), series.part(part)
    lags = _lags(series, z)
    found = np.zeros((len(asked), len(TARGETS), len(QUANTILES)))
    for t in range(len(TARGETS)):
        for q, level in enumerate(QUANTILES):
            trees = HistGradientBoostingRegressor(
                loss="quantile", quantile=level, max_iter=200, learning_rate=0.05,
                max_leaf_nodes=8, early_stopping=True, random_state=0,
            )  # fmt: skip
            trees.fit(lags[train], z[train, t])
            found[:, t, q] = trees.predict(lags[asked])
    return np.sort(found, axis=-1)


BASELINES: Mapping[str, Baseline] = {
    "constant": constant,
    "last value": last_value,
    "moving average": moving_average,
    "exponential smoothing": exponential_smoothing,
    "boosted trees": boosted_trees,
}


def _servers(series: Series) -> list[NDArray[np.int64]]:
    return [np.flatnonzero(series.server == s) for s in np.unique(series.server)]


def _smoothed(series: Series, z: Standardised, weight: float) -> FloatArray:
    """Return what exponential smoothing expects of every task, ``[n, 3]``; first 0, the mean."""
    expected = np.zeros_like(z)
    for own in _servers(series):
        level = np.zeros(z.shape[1])
        for i in own:
            expected[i] = level
            level = level + weight * (z[i] - level)
    return expected


def _averaged(series: Series, z: Standardised, window: int) -> FloatArray:
    """Return the mean of up to ``window`` tasks before every task, ``[n, 3]``."""
    expected = np.zeros_like(z)
    for own in _servers(series):
        sums = np.concatenate([np.zeros((1, z.shape[1])), z[own].cumsum(axis=0)])
        ends = np.arange(len(own))
        begins = np.maximum(ends - window, 0)
        expected[own] = (sums[ends] - sums[begins]) / np.maximum(ends - begins, 1)[:, None]
    return expected


def _lags(series: Series, z: Standardised) -> FloatArray:
    """Return the last tasks before every task, newest first, ``[n, 3 lags]``; NaN without."""
    found = np.full((len(z), _LAGS, z.shape[1]), np.nan)
    for own in _servers(series):
        for lag in range(1, min(_LAGS, len(own) - 1) + 1):
            found[own[lag:], lag - 1] = z[own[:-lag]]
    return found.reshape(len(z), -1)


def _around(expected: FloatArray, series: Series, z: Standardised, part: Part) -> FloatArray:
    """Return quantiles around what is expected ``[n, 3]``: those of the training's errors."""
    train, asked = series.part("train"), series.part(part)
    errors = np.quantile(z[train] - expected[train], QUANTILES, axis=0).T
    return expected[asked][..., None] + errors


def _best(candidates: list[FloatArray], series: Series, z: Standardised, part: Part) -> FloatArray:
    """Return the quantiles around the candidate with the least errors in the validation part.

    Every target has its own.
    """
    validation = series.part("validation")
    found = [_around(expected, series, z, part) for expected in candidates]
    medians = [_around(e, series, z, "validation")[..., MEDIAN] for e in candidates]
    errors = np.array([np.abs(z[validation] - median).mean(axis=0) for median in medians])
    best = errors.argmin(axis=0)
    return np.stack([found[best[t]][:, t] for t in range(len(TARGETS))], axis=1)
