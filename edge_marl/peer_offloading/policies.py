"""The one interface of everything that offloads: heuristics and learned policies."""

from __future__ import annotations

from typing import Protocol

from edge_marl.peer_offloading.simulator import IntArray, PeerOffloadingSimulator


class Policy(Protocol):
    """All nodes of a batch of episodes."""

    name: str

    def act(self, simulator: PeerOffloadingSimulator) -> IntArray:
        """Decide for the slot that the simulator is at.

        Returns:
            ``[B, N]`` the node that each node's task goes to, N where there is no task.
        """
        ...
