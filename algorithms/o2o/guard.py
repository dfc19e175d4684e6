"""Guard the online phase: what is significantly worse than before is not deployed."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from edge_marl.seeds import GUARD_SEEDS

SIGNIFICANCE = 0.05


def check_seeds(n_checks: int, n_episodes: int) -> NDArray[np.int64]:
    """Return the seeds of a check's episodes, which differ for every ``n_checks``.

    New episodes in every check keep training from being fitted to the same few.
    """
    first = GUARD_SEEDS.start + n_checks * n_episodes % len(GUARD_SEEDS)
    return first + np.arange(n_episodes, dtype=np.int64)


def significantly_worse(candidate: NDArray[np.float64], deployed: NDArray[np.float64]) -> bool:
    """Return whether the candidate's returns ``[B]`` are significantly lower on the same episodes.

    The test is a one-sided paired t-test at 5%.
    """
    if (candidate == deployed).all():
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # equal differences are very significant
        test = stats.ttest_rel(candidate, deployed, alternative="less")
    return bool(test.pvalue < SIGNIFICANCE)
