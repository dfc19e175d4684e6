"""Columns of offline transitions, and where they come from."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Transition:
    """Names of the columns; K rows, each a step of one node; F features, A actions."""

    FEATURES = "features"
    """``[K, F]``"""
    ACTION_MASK = "action_mask"
    """``[K, A]`` bool"""
    ACTIONS = "actions"
    """``[K]``"""
    REWARDS = "rewards"
    """``[K]``"""
    NEXT_FEATURES = "next_features"
    """``[K, F]``; anything where terminated."""
    NEXT_ACTION_MASK = "next_action_mask"
    """``[K, A]`` bool; anything where terminated."""
    TERMINATED = "terminated"
    """``[K]`` bool: nothing follows. A truncation is none."""
    NODE = "node"
    """``[K]`` position of the node among the agents."""


class Transitions(Protocol):
    """A log as offline learning reads it."""

    def draw(self, n_rows: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """``n_rows`` random rows, columns named and shaped as in :class:`Transition`."""
        ...
