"""Statistics of every comparison: means with bootstrap intervals, and paired tests.

All methods play the same traces, so everything is paired by trace. Values are arrays ``[S, K]``:
S training seeds (1 for a method without training) on K traces.

Two averages are reported. The **mean** over traces and seeds is the headline: it is what the
paper's normalised score averages, and a dropped job, which is rare and expensive, counts in full.
The **interquartile mean** beside it (mean of the middle half) says how the method does on a
typical trace; it leaves out the worst quarter of the traces, which is where most drops are, so it
never stands alone.

Intervals are 95% percentile bootstrap intervals that resample traces and seeds independently
(two-way, so the spread between training seeds is part of them), from a fixed random stream.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from edge_marl.errors import InputError

FloatArray = NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 1000
_BATCH = 100  # resamples in memory at once
_RANDOM_STREAM = 20260
_TRIMMED_SHARE = 0.25  # from each end: the interquartile mean of rliable (Agarwal et al., 2021)


class Estimate(NamedTuple):
    """A value with its 95% bootstrap interval."""

    value: float
    low: float
    high: float

    def text(self, between: str = " ", *, percent: bool = False) -> str:
        """Such as ``0.330 [0.281, 0.386]``, a dash where there is no value."""
        if np.isnan(self.value):
            return "-"
        form = ".0%" if percent else ".3f"
        return f"{self.value:{form}}{between}[{self.low:{form}}, {self.high:{form}}]"


class Comparison(NamedTuple):
    """A method against a baseline on the same traces; a lower value is better."""

    p_value: float
    """Two-sided Wilcoxon signed-rank test over traces of the seeds' mean; 1 if all are equal."""
    probability_of_improvement: float
    """Share of (seed, trace) pairs in which the method is better, ties counted half."""

    def text(self) -> str:
        """Such as ``71% (<.001)``: how often better, and the p-value."""
        p = "<.001" if self.p_value < 1e-3 else f"{self.p_value:.3f}"
        return f"{self.probability_of_improvement:.0%} ({p})"


def mean(values: FloatArray) -> Estimate:
    """Mean over seeds and traces of ``[S, K]`` values."""
    return _bootstrap(_table(values), lambda table: table.mean(axis=(-2, -1)))


def interquartile_mean(values: FloatArray) -> Estimate:
    """Mean of the middle half of all ``[S, K]`` values."""

    def middle(table: FloatArray) -> FloatArray:
        flat = table.reshape(*table.shape[:-2], -1)
        return np.asarray(stats.trim_mean(flat, _TRIMMED_SHARE, axis=-1))

    return _bootstrap(_table(values), middle)


def gap_closed(
    method: FloatArray, best_heuristic: FloatArray, online_oracle: FloatArray
) -> Estimate:
    """Share of the achievable gap that a method closes, of mean degradations.

    ``(best heuristic - method) / (best heuristic - online oracle)``: 0 is the best heuristic, 1
    the re-planning oracle with the global view, below 0 worse than the heuristic.

    Args:
        method: ``[S, K]`` degradations.
        best_heuristic: ``[1, K]`` degradations of the heuristic that is best on these traces.
        online_oracle: ``[1, K]`` degradations of the online oracle with the global view.

    Returns:
        NaN throughout where heuristic and online oracle do not differ: there is no gap.
    """
    heuristic, oracle = _table(best_heuristic), _table(online_oracle)
    if heuristic.mean() == oracle.mean():
        return Estimate(np.nan, np.nan, np.nan)
    # One table of three layers, so that a resample takes the same traces of all of them.
    method = _table(method)
    layers = np.stack([method, *(np.broadcast_to(t, method.shape) for t in (heuristic, oracle))])

    def share(table: FloatArray) -> FloatArray:
        of_method, of_heuristic, of_oracle = table.mean(axis=(-2, -1))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((of_heuristic - of_method) / (of_heuristic - of_oracle))

    return _bootstrap(layers, share)


def compare(method: FloatArray, baseline: FloatArray) -> Comparison:
    """Test a method ``[S, K]`` against a baseline ``[1, K]`` on the same traces."""
    method, baseline = _table(method), _table(baseline)
    if method.shape[1] != baseline.shape[1]:
        raise InputError(
            f"comparison: expected the same traces, found {method.shape[1]} and {baseline.shape[1]}"
        )
    difference = method - baseline
    per_trace = difference.mean(axis=0)
    p_value = 1.0 if not per_trace.any() else float(stats.wilcoxon(per_trace).pvalue)
    better = (difference < 0).mean() + 0.5 * (difference == 0).mean()
    return Comparison(p_value, float(better))


def _table(values: FloatArray) -> FloatArray:
    table = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if table.ndim != 2 or table.size == 0:
        raise InputError(f"values: expected [seeds, traces], found shape {table.shape}")
    return table


def _bootstrap(table: FloatArray, statistic: Callable[[FloatArray], FloatArray]) -> Estimate:
    """Estimate with an interval; ``statistic`` reduces the last two axes of ``[..., S, K]``."""
    n_seeds, n_traces = table.shape[-2:]
    value = float(statistic(table))
    if n_traces < 2:
        return Estimate(value, value, value)

    def of_resample(traces: NDArray[np.int64], seeds: NDArray[np.int64], axis: int) -> FloatArray:
        return statistic(table[..., seeds[..., :, None], traces[..., None, :]])

    def of_traces(traces: NDArray[np.int64], axis: int) -> FloatArray:
        return of_resample(traces, np.zeros((*traces.shape[:-1], 1), dtype=np.int64), axis)

    # The samples are the indices of traces and of seeds: scipy resamples each independently.
    samples = (np.arange(n_traces), np.arange(n_seeds))[: 1 if n_seeds == 1 else 2]
    # A resample of few traces may hold no gap at all: its share is infinite, which is a result.
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            samples,
            of_traces if n_seeds == 1 else of_resample,
            n_resamples=RESAMPLES,
            batch=_BATCH,
            vectorized=True,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(_RANDOM_STREAM),
        )
    return Estimate(
        value, float(result.confidence_interval.low), float(result.confidence_interval.high)
    )
