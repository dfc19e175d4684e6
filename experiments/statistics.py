"""Compute what every comparison reports: means with intervals that cover, and paired tests.

All methods play the same episodes, so everything is paired by episode. Values are arrays
``[S, K]``: S independent units (networks, or trainings; 1 for a method without training) on K
episodes.

Two averages are reported. The **mean** over episodes and units is the headline: it is what the
tandem paper's normalised score averages, and a dropped job, which is rare and expensive, counts in
full. The **interquartile mean** beside it (mean of the middle half) says how the method does on a
typical episode; it leaves out the worst quarter of the episodes, which is where most drops are, so
it never stands alone.

Intervals are 95% t intervals over what is independent: units and episodes. A mean over ``[S, K]``
varies because other units could have been drawn and because other episodes could have been. With
the variances ``v_S`` and ``v_K`` of the mean over rows and over columns, the half width is

``h^2 = t(S - 1)^2 v_S + t(K - 1)^2 v_K``

with ``t(n)`` the 97.5% quantile of Student's distribution with n degrees of freedom: Banerjee's
bound (1960), which covers at least 95% whichever of the two dominates, and exactly so where one of
them does. Percentile bootstrap intervals do not: over 2, 3 and 5 units they cover 76, 82 and 88%. A
factor with one level (a single network, a single training) says nothing about its spread, so the
interval is then about that very one; with one level of both there is none. Ratios have Fieller's
interval, from the same variances; other statistics are linearised first (by their influence
function).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from edge_marl.errors import InputError

FloatArray = NDArray[np.float64]

CONFIDENCE = 0.95
_TRIMMED_SHARE = 0.25  # from each end: the interquartile mean of rliable (Agarwal et al., 2021)


class Estimate(NamedTuple):
    """Hold a value with its 95% interval; the bounds are NaN if nothing is known of its spread."""

    value: float
    low: float
    high: float

    @property
    def surely_above_zero(self) -> bool:
        """Return whether the whole interval lies above zero."""
        return self.low > 0

    @property
    def surely_below_zero(self) -> bool:
        """Return whether the whole interval lies below zero."""
        return self.high < 0

    def text(self, between: str = " ", form: str = ".3f") -> str:
        """Return text such as ``0.330 [0.281, 0.386]``, a dash where there is no value."""
        if np.isnan(self.value):
            return "-"
        if np.isnan(self.low) or np.isnan(self.high):
            return f"{self.value:{form}}"
        return f"{self.value:{form}}{between}[{self.low:{form}}, {self.high:{form}}]"


class Comparison(NamedTuple):
    """Compare a method with a baseline on the same traces; a lower value is better."""

    p_value: float
    """Two-sided Wilcoxon signed-rank test over episodes of the mean of these very units, which says
    nothing about others; 1 if all are equal."""
    probability_of_improvement: float
    """Share of (seed, trace) pairs in which the method is better, ties counted half."""

    def text(self) -> str:
        """Return text such as ``71% (<.001)``: how often the method is better, and the p-value."""
        p = "<.001" if self.p_value < 1e-3 else f"{self.p_value:.3f}"
        return f"{self.probability_of_improvement:.0%} ({p})"


def mean(values: FloatArray) -> Estimate:
    """Average ``[S, K]`` values over units and episodes."""
    table = _table(values)
    return _around(float(table.mean()), table)


def interquartile_mean(values: FloatArray) -> Estimate:
    """Average the middle half of all ``[S, K]`` values."""
    table = _table(values)
    cut = int(_TRIMMED_SHARE * table.size)
    ordered = np.sort(table, axis=None)
    middle = ordered[cut : table.size - cut]
    # The influence of a value on a trimmed mean: its own in the middle, that of the edge beyond.
    kept = len(middle) / table.size
    return _around(float(middle.mean()), np.clip(table, middle[0], middle[-1]) / kept)


def relative_change(values: FloatArray, baseline: FloatArray) -> Estimate:
    """Return ``mean(values) / mean(baseline) - 1``, paired by episode; below 0 is a decrease.

    Args:
        values: ``[S, K]``.
        baseline: ``[S, K]``, paired by unit too, or ``[1, K]``.
    """
    table, other = np.broadcast_arrays(_table(values), _table(baseline))
    return _ratio(table - other, other)


def gap_closed(
    method: FloatArray, best_heuristic: FloatArray, online_oracle: FloatArray
) -> Estimate:
    """Return the share of the achievable gap that a method closes, from mean degradations.

    ``(best heuristic - method) / (best heuristic - online oracle)``: 0 is the best heuristic, 1
    the re-planning oracle with the global view, below 0 worse than the heuristic.

    Args:
        method: ``[S, K]`` degradations.
        best_heuristic: ``[1, K]`` degradations of the heuristic that is best on these traces.
        online_oracle: ``[1, K]`` degradations of the online oracle with the global view.

    Returns:
        NaN throughout where heuristic and online oracle do not differ: there is no gap.
    """
    own, heuristic, oracle = np.broadcast_arrays(
        _table(method), _table(best_heuristic), _table(online_oracle)
    )
    return _ratio(heuristic - own, heuristic - oracle)


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


def _around(value: float, influence: FloatArray) -> Estimate:
    """Return a value with its interval, from the ``[S, K]`` influences of its parts."""
    half = float(np.sqrt(_squared_half_widths(influence[None])[0, 0]))
    return Estimate(value, value - half, value + half)


def _ratio(numerator: FloatArray, denominator: FloatArray) -> Estimate:
    """Return ``mean(numerator) / mean(denominator)``, ``[S, K]`` each, with Fieller's interval.

    The interval holds every ratio r for which that of the mean of ``numerator - r denominator``
    includes 0. Where the denominator's own interval includes 0, there are no bounds.
    """
    n, d = float(numerator.mean()), float(denominator.mean())
    if d == 0:
        return Estimate(np.nan, np.nan, np.nan)
    (nn, nd), (_, dd) = _squared_half_widths(np.stack([numerator, denominator]))
    # (n - r d)^2 <= nn - 2 r nd + r^2 dd, a quadratic inequality in r.
    a, b, c = d * d - dd, n * d - nd, n * n - nn
    if not a > 0:
        return Estimate(n / d, np.nan, np.nan)
    root = float(np.sqrt(max(b * b - a * c, 0.0)))
    return Estimate(n / d, (b - root) / a, (b + root) / a)


def _squared_half_widths(layers: FloatArray) -> FloatArray:
    """Return the squared half widths of the means of L layers, and their cross terms.

    Args:
        layers: ``[L, S, K]``.

    Returns:
        ``[L, L]``, NaN where S and K are 1.
    """
    n_layers, n_units, n_episodes = layers.shape
    total = np.zeros((n_layers, n_layers))
    for n, means in ((n_units, layers.mean(axis=2)), (n_episodes, layers.mean(axis=1))):
        if n > 1:
            quantile = stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1)
            away = means - means.mean(axis=1, keepdims=True)
            total += quantile**2 * (away @ away.T) / (n - 1) / n
    return total if n_units > 1 or n_episodes > 1 else np.full_like(total, np.nan)
