"""Average metrics over the episodes of several runners."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from ray.rllib.utils.metrics.stats import ItemSeriesStats

EPISODE_MEAN = "episode_mean"
"""As a way to reduce, of RLlib's metrics; what is logged are pairs of a mean and how many."""


class EpisodeMeanStats(ItemSeriesStats):
    """Average over all episodes; RLlib's own statistics average the means of the runners."""

    stats_cls_identifier = EPISODE_MEAN

    def reduce(self, compile: bool = True) -> Any:
        """Return the mean, or with ``compile=False`` statistics of the pairs, for merging."""
        reduced = super().reduce(compile=compile)
        return _mean(reduced) if compile else reduced

    def peek(self, compile: bool = True, latest_merged_only: bool = False) -> Any:
        """Return the mean (of the latest merge if asked), or the pairs with ``compile=False``."""
        pairs = super().peek(compile=False, latest_merged_only=latest_merged_only)
        return _mean(pairs) if compile else pairs


def _mean(pairs: Iterable[tuple[float, int]]) -> float:
    known = [(mean, n) for mean, n in pairs if n > 0]
    if not known:
        return float("nan")
    means, counts = zip(*known, strict=True)
    return float(np.average(means, weights=counts))
