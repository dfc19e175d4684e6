"""The one interface of everything that places: heuristics and learned policies."""

from __future__ import annotations

from typing import Protocol

from edge_marl.dag_placement.simulator import DagPlacementSimulator, IntArray


class Policy(Protocol):
    """The agents of a batch of episodes."""

    name: str

    def act(self, simulator: DagPlacementSimulator) -> IntArray:
        """Make the decision that the simulator is at.

        Returns:
            ``[B, agents]``, see :attr:`edge_marl.dag_placement.simulator.Observation.action_mask`.
        """
        ...
