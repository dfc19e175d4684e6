"""Find how long messages travel over a graph, as the updates of a federation do (annex 10.1)."""

from __future__ import annotations

import math

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from edge_marl.graph_offloading.records import IntArray, Network
from edge_marl.graph_offloading.topology import Topology
from edge_marl.simulation import Travel

BYTES_PER_MB = 1e6


def manager_of(graph: Topology, network: Network) -> int:
    """Return the node that manages a federation.

    It is the first server or, where there is none, the node that is nearest to all others together:
    the paper says that it can be any.
    """
    for n, node in enumerate(graph.nodes):
        if node.kind == "server":
            return n
    return int(dijkstra(_links(network, 1.0)).sum(axis=1).argmin())


def travel(network: Network, manager: int, n_bytes: float) -> Travel:
    """Return how many ticks a message takes on the fastest way between each node and a manager.

    On each link of its way it is sent when it has wholly arrived, at the link's rate and latency
    (equation 1), beside everything else: there is no contention.

    Args:
        network: of a scenario.
        manager: its node.
        n_bytes: of the message.
    """
    links = _links(network, n_bytes / BYTES_PER_MB)
    return Travel(
        to_manager=dijkstra(links.T, indices=manager), from_manager=dijkstra(links, indices=manager)
    )


def ways(network: Network, manager: int, n_bytes: float) -> IntArray:
    """Return the links of the fastest way from each agent to a manager.

    Args:
        network: of a scenario.
        manager: its node.
        n_bytes: of a message.

    Returns:
        ``[A, 1 + H]``: the number of links, -1 where there is no way, then the links; H is that of
        the longest way.
    """
    links = _links(network, n_bytes / BYTES_PER_MB)
    ticks, following = dijkstra(links.T, indices=manager, return_predecessors=True)
    found: list[list[int]] = []
    for n in network.node.tolist():
        way = []
        while n != manager and math.isfinite(ticks[n]):
            first, end = network.first[n : n + 2]
            way.append(int(first + np.flatnonzero(network.neighbour[first:end] == following[n])[0]))
            n = int(following[n])
        found.append([len(way) if n == manager else -1, *way])
    table = np.zeros((len(found), max(map(len, found))), dtype=np.int32)
    for row, way in zip(table, found, strict=True):
        row[: len(way)] = way
    return table


def _links(network: Network, size_mb: float) -> csr_array:
    """Return the ticks that a message takes over each link, ``[N, N]``."""
    ticks = size_mb * network.ticks_per_mb + network.latency_ticks
    n = len(network.capacity)
    return csr_array((ticks, network.neighbour, network.first), shape=(n, n))
