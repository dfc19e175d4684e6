"""Keep transitions of agents in rings, one for each set of parameters that learns from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge_marl.algorithms.replay.columns import AgentTransition

Columns = dict[str, Tensor]


def _drawn_each(
    n: int, sizes: Sequence[int], generators: Sequence[torch.Generator | None]
) -> Tensor:
    """Draw n indices below each of G sizes, ``[n, G]``; 0 where there is no generator to do so."""
    return torch.stack([
        torch.zeros(n, dtype=torch.int64) if own is None
        else torch.randint(size, (n,), generator=own)
        for size, own in zip(sizes, generators, strict=True)
    ], dim=1)  # fmt: skip


class TransitionRings:
    """Keep the last transitions of each of G sets in rings, in which new ones replace the oldest.

    Args:
        capacity: transitions of each set.
        sets: ``[N]``: the set that an agent belongs to, from 0 to G - 1.
    """

    def __init__(self, capacity: int, sets: Sequence[int]) -> None:
        self._capacity = capacity
        self._sets = torch.tensor(sets)
        self._rings: Columns = {}
        n_sets = max(sets) + 1
        self._next, self._sizes = [0] * n_sets, [0] * n_sets

    @property
    def sizes(self) -> list[int]:
        """Return how many transitions of each set there are."""
        return [*self._sizes]

    @property
    def row_bytes(self) -> int:
        """Return the bytes of a transition; 0 if there has been none."""
        return sum(ring[0, 0].nbytes for ring in self._rings.values())

    def add(self, transitions: Mapping[str, Tensor], sets: Tensor | None = None) -> None:
        """Take in transitions of any agents.

        Args:
            transitions: columns of :class:`.columns.DecisionTransition`, ``[K, ...]``.
            sets: ``[K]`` which keep them; None: those that their agents belong to.
        """
        if not self._rings:
            shape = len(self._sizes), self._capacity
            self._rings = {
                name: torch.zeros((*shape, *column.shape[1:]), dtype=column.dtype)
                for name, column in transitions.items()
            }
            # What is not there yet is looked at too, with weight 0: it must not give NaN.
            for name in (AgentTransition.ACTION_MASK, AgentTransition.NEXT_ACTION_MASK):
                self._rings[name].fill_(True)
        if sets is None:
            sets = self._sets[transitions[AgentTransition.NODE]]
        for k in range(len(self._sizes)):
            own = (sets == k).nonzero()[-self._capacity :, 0]
            slots = (self._next[k] + torch.arange(len(own))) % self._capacity
            for name, ring in self._rings.items():
                ring[k, slots] = transitions[name][own]
            self._next[k] = (self._next[k] + len(own)) % self._capacity
            self._sizes[k] = min(self._sizes[k] + len(own), self._capacity)

    def draw(self, n: int, generators: Sequence[torch.Generator | None]) -> Columns:
        """Draw transitions of every set with replacement, each with its own generator.

        Returns:
            Columns ``[n, G, ...]``; those of a set without a generator mean nothing.
        """
        drawn = _drawn_each(n, self._sizes, generators)
        flat = drawn + torch.arange(len(self._sizes)) * self._capacity
        return {name: ring.flatten(0, 1)[flat] for name, ring in self._rings.items()}

    def get_state(self) -> dict[str, Any]:
        """Return everything that is kept."""
        most = max(self._sizes)  # rings fill from their beginning
        return {
            "rings": {name: ring[:, :most].numpy().copy() for name, ring in self._rings.items()},
            "next": [*self._next],
            "sizes": [*self._sizes],
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from where ``state`` was taken, with rings of the same capacity."""
        self._rings = {}
        for name, saved in state["rings"].items():
            kept = torch.from_numpy(np.array(saved))
            ring = kept.new_ones(len(kept), self._capacity, *kept.shape[2:])
            ring[:, : kept.shape[1]] = kept
            self._rings[name] = ring
        self._next, self._sizes = [*state["next"]], [*state["sizes"]]
