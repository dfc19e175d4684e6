"""Normalise rewards, offline and online alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_marl.algorithms.core.algorithm import RewardScaler


class RewardNormaliser:
    """Normalise rewards, as the line "Normalize the rewards" of Algorithms 1 and 2 asks.

    Args:
        kind: "standardise": less the mean, over the standard deviation; "scale": over the latter
            only; "none".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.moments = RewardScaler()
        self.fixed = False
        """Whether the moments are those of a log, and stay."""

    def update(self, rewards: NDArray[np.float32]) -> None:
        """Update the moments with ``rewards [K]``, unless they are fixed."""
        if not self.fixed:
            self.moments.update(rewards)

    def normalise(self, rewards: NDArray[np.float32]) -> NDArray[np.float32]:
        """Normalise rewards of any shape for learning."""
        if self.kind == "none":
            return rewards
        mean = self.moments.mean if self.kind == "standardise" else 0.0
        normalised: NDArray[np.float32] = (rewards - np.float32(mean)) / np.float32(
            self.moments.scale
        )
        return normalised

    def get_state(self) -> dict[str, Any]:
        """Return what :meth:`set_state` needs."""
        return {"moments": dict(vars(self.moments)), "fixed": self.fixed}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from where ``state`` was taken."""
        vars(self.moments).update(state["moments"])
        self.fixed = state["fixed"]
