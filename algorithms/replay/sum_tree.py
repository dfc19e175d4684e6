"""Draw indices with probabilities in proportion to their priorities, by a sum tree."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_marl.compiled import compiled

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@compiled(entry=True)
def _assign(nodes: Any, leaves: Any, priorities: Any) -> None:
    """Set leaves and, from the bottom up, the sums above them."""
    half = len(nodes) // 2
    for k in range(len(leaves)):
        node = half + leaves[k]
        nodes[node] = priorities[k]
        while node > 1:
            node //= 2
            # Added afresh instead of by differences, whose rounding errors would pile up.
            nodes[node] = nodes[2 * node] + nodes[2 * node + 1]


@compiled(entry=True)
def _find(nodes: Any, targets: Any, leaves: Any) -> None:
    """Find the leaf at which the running sum of priorities passes each target."""
    half = len(nodes) // 2
    for k in range(len(targets)):
        node, target = 1, targets[k]
        while node < half:
            left, right = nodes[2 * node], nodes[2 * node + 1]
            # Rounding must not lead into a part without priority.
            if (target < left and left > 0.0) or right <= 0.0:
                node = 2 * node
            else:
                target -= left
                node = 2 * node + 1
        leaves[k] = node - half


class SumTree:
    """Hold priorities of ``size`` indices, all 0 at first (Schaul et al., 2016, appendix B.2.1).

    Node 1 of a complete binary tree holds the sum of all, nodes 2k and 2k + 1 the parts of node k.
    """

    def __init__(self, size: int) -> None:
        self._half = 1 << max(size - 1, 1).bit_length()
        self._nodes = np.zeros(2 * self._half)
        self._size = size

    @property
    def total(self) -> float:
        """Return the sum of all priorities."""
        return float(self._nodes[1])

    @property
    def priorities(self) -> FloatArray:
        """Return the priorities ``[size]`` of all indices, as a view to read only."""
        return self._nodes[self._half : self._half + self._size]

    def assign(self, indices: IntArray, priorities: FloatArray) -> None:
        """Set ``priorities [K]`` of ``indices [K]``; if one is named twice, the last counts."""
        _assign(self._nodes, indices, priorities)

    def find(self, shares: FloatArray) -> IntArray:
        """Return the indices ``[K]`` at ``shares [K]`` of the total, each share in [0, 1)."""
        indices = np.empty(len(shares), dtype=np.int64)
        _find(self._nodes, shares * self.total, indices)
        return indices
