"""The one interface of everything that schedules: heuristics, oracles and learned policies."""

from __future__ import annotations

from typing import Protocol

from edge_marl.tandem.simulator import Observation
from edge_marl.tandem.traces import IntArray


class Policy(Protocol):
    """A pair of schedulers for a batch of episodes."""

    name: str

    def reset(self, batch_size: int) -> None:
        """Forget every episode; B new ones begin."""
        ...

    def act(self, observation: Observation) -> IntArray:
        """Decide for one slot.

        Returns:
            ``[B, 2]`` positions in the queues, Q to idle on an empty queue.
        """
        ...
