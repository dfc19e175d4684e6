"""Divide rows among several learners."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_marl.algorithms.sampling.columns import Fragment


def shard_fragments(fragments: Mapping[str, NDArray[Any]], n: int) -> list[dict[str, NDArray[Any]]]:
    """Divide fragments into n parts of nearly equal size; some parts may be empty."""
    ends = np.linspace(0, len(fragments[Fragment.VALID]), n + 1).round().astype(int)
    return [
        {name: column[begin:end] for name, column in fragments.items()}
        for begin, end in itertools.pairwise(ends)
    ]


def shard_updates(
    rows: Mapping[str, NDArray[Any]], n_updates: int, n_learners: int
) -> list[dict[str, NDArray[Any]]]:
    """Return every learner's part of the rows of several updates, one update after the other.

    Args:
        rows: columns of the rows of one update after the other, equally many of each.
        n_updates: how many there are.
        n_learners: that share the rows of every update.
    """
    n_rows = len(next(iter(rows.values())))
    of_learner = np.arange(n_rows).reshape(n_updates, n_learners, -1)
    return [
        {name: column[of_learner[:, k].ravel()] for name, column in rows.items()}
        if n_learners > 1
        else dict(rows)
        for k in range(n_learners)
    ]
