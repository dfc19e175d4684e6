"""Generate topologies of the kinds of the FAuNO paper at any size (annex 12).

The same arguments give the same topology on every machine.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import cycle, islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_marl.errors import InputError
from edge_marl.graph_offloading.topology import (
    DEVICES,
    MOST_LINKS,
    MOST_NODES,
    Link,
    Node,
    Topology,
)
from edge_marl.random_stream import uniforms
from edge_marl.seeds import NETWORK_DRAWS, SEED_LIMIT
from edge_marl.validation import shown

FloatArray = NDArray[np.float64]
NumberArray = NDArray[np.int64]

SIDE_M = 100.0
"""Of the square that the paper's nodes are in."""

TASK_BYTES = 3.2e8
"""Memory that a place in a queue takes; not given in the paper, its authors' code has it."""

_NODES_PER_SQUARE = 15
"""Nodes in a square of :data:`SIDE_M`, as in the paper's larger random topology."""

_GPUS = 2
"""Of a cluster (annex 12.1)."""

_SBC_REACH_M, _GPU_REACH_M = 40.0, 5.0
"""Of a cluster's NUC, in each coordinate: so its nodes are as far from it as in the paper's files.
"""

_BLOCK = 2**18
"""Distances that are in memory at once."""


_SBCS = ("rpi4", "rpi5_6g", "rpi5_8g")


GENERATED = r"(aot|random)_(\d{1,5})_seed_(\d{1,9})"
"""Names of generated graphs, for :func:`generated`."""


@lru_cache(maxsize=16)
def generated(name: str) -> Topology:
    """Generate a graph by its name.

    Args:
        name: ``aot_C_seed_S`` for C clusters whose NUCs alone are linked to the server, or
            ``random_N_seed_S`` for N nodes, a third of them NUCs.

    Raises:
        InputError: for another name, and for numbers out of range.
    """
    found = re.fullmatch(GENERATED, name)
    if found is None:
        raise InputError(f"topology: expected aot_C_seed_S or random_N_seed_S, found {shown(name)}")
    n, seed = int(found[2]), int(found[3])
    if found[1] == "aot":
        return aot_clusters(n, seed=seed, server_links="nucs")
    return random_geometric(n - n // 3, n // 3, seed=seed)


def aot_clusters(
    clusters: int, *, seed: int, sbcs: int = 8, server_links: Literal["all", "nucs"] = "all"
) -> Topology:
    """Generate AoT clusters around one remote server (annex 12.1, Tables 27 to 29).

    A cluster has SBCs, the three models in equal parts, a NUC and two GPU units. Each of them is
    linked to the NUC. Only SBCs receive tasks; GPU units have no agent.

    Not given in the paper: where the nodes are. Here all are in a square of 100 m: the NUCs
    anywhere, SBCs and GPU units within 40 and 5 m of their NUC in each coordinate, and the server
    in the middle. The lengths of links are then within the range of ``ether_2`` and ``ether_4``.

    Args:
        clusters: number of clusters.
        seed: of the places.
        sbcs: of each cluster; in Table 27, 8.
        server_links: which nodes are linked to the server: all, as in the paper, or only the NUCs,
            so that observations of all neighbours do not grow with the square of the nodes.

    Returns:
        ``clusters * (sbcs + 3) + 1`` nodes: for each cluster its SBCs, NUC and GPU units; last, the
        server. Neighbours are in ascending order.

    Raises:
        InputError: for arguments out of range, and more than ``MOST_NODES`` nodes.
    """
    _check("sbcs", sbcs, 1, MOST_NODES - _GPUS - 2)
    size = sbcs + 1 + _GPUS
    _check("clusters", clusters, 1, (MOST_NODES - 1) // size)
    if server_links not in ("all", "nucs"):
        raise InputError(f"server_links: expected all or nucs, found {shown(server_links)}")
    server = clusters * size
    number = np.arange(server)
    nuc = number // size * size + sbcs
    is_nuc = number == nuc

    draws = _places(server, seed)
    centre = SIDE_M * draws[nuc]
    reach_m = np.tile([_SBC_REACH_M] * sbcs + [0.0] + [_GPU_REACH_M] * _GPUS, clusters)[:, None]
    low, high = (np.clip(centre + way * reach_m, 0, SIDE_M) for way in (-1, 1))
    place = np.concatenate([low + (high - low) * draws, [[SIDE_M / 2, SIDE_M / 2]]])

    to_server = number if server_links == "all" else number[is_nuc]
    model = cycle(_SBCS)
    devices = [
        device
        for _ in range(clusters)
        for device in (*islice(model, sbcs), "nuc", *["tx2"] * _GPUS)
    ]
    return Topology(
        name=f"aot_{clusters}_seed_{seed}",
        nodes=_nodes([*devices, "server"], place),
        links=_links(
            server + 1,
            np.concatenate([number[~is_nuc], to_server]),
            np.concatenate([nuc[~is_nuc], np.full(len(to_server), server)]),
        ),
    )


def random_geometric(
    sbcs: int,
    nucs: int,
    *,
    seed: int,
    side_m: float | None = None,
    radius_m: float = 50.0,
    least_links: int = 1,
) -> Topology:
    """Generate SBCs and NUCs anywhere in a square, linked where they are near (annex 12.2).

    The three models of SBC come in equal parts. SBCs receive tasks, and all nodes have agents. The
    graph may fall into several parts. The time taken grows with the square of the nodes, with a
    small factor: 5,000 nodes take less than a second.

    Args:
        sbcs: number of SBCs.
        nucs: number of NUCs.
        seed: of the places.
        side_m: of the square. If not given, 100 m for up to 15 nodes, as in the paper; for more,
            100 m times the root of nodes / 15. With a radius of 50 m, a node away from the border
            then has 11.8 neighbours in the mean, however many nodes there are.
        radius_m: distance up to which two nodes are linked.
        least_links: every node is also linked to so many nodes that are nearest to it.

    Returns:
        the SBCs, then the NUCs; neighbours are in ascending order.

    Raises:
        InputError: for arguments out of range, and more than ``MOST_NODES`` nodes or ``MOST_LINKS``
            links.
    """
    _check("sbcs", sbcs, 1, MOST_NODES)
    _check("nucs", nucs, 0, MOST_NODES - sbcs)
    N = sbcs + nucs
    if side_m is None:
        side_m = SIDE_M * math.sqrt(max(1.0, N / _NODES_PER_SQUARE))
    _check("side_m", side_m, 1, 10**6)
    _check("radius_m", radius_m, 0, 10**7)
    _check("least_links", least_links, 0, N - 1)
    place = side_m * _places(N, seed)
    return Topology(
        name=f"random_{N}_seed_{seed}",
        nodes=_nodes([*islice(cycle(_SBCS), sbcs), *["nuc"] * nucs], place),
        links=_links(N, *_near(place, radius_m, least_links)),
    )


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError(f"{name}: expected a number from {low} to {high}, found {shown(value)}")


def _places(nodes: int, seed: int) -> FloatArray:
    """Draw a place in the unit square for each node, ``[N, 2]``."""
    _check("seed", seed, 0, SEED_LIMIT - 1)
    return uniforms(np.array([seed]), NETWORK_DRAWS.start, 2 * nodes).reshape(nodes, 2)


def _nodes(devices: Sequence[str], place: FloatArray) -> tuple[Node, ...]:
    """Return a node for each device, at ``place [N, 2]``."""
    nodes = []
    count: Counter[str] = Counter()
    for device, (x_m, y_m) in zip(devices, place.tolist(), strict=True):
        kind, cpu_millis, memory_bytes = DEVICES[device]
        nodes.append(
            Node(
                name=f"{device}_{count[device]}",
                kind=kind,
                cpu_millis=cpu_millis,
                memory_bytes=memory_bytes,
                queue_limit=round(memory_bytes / TASK_BYTES),
                x_m=x_m,
                y_m=y_m,
                has_agent=kind != "gpu",
                receives_tasks=kind == "sbc",
            )
        )
        count[device] += 1
    return tuple(nodes)


def _links(N: int, a: NumberArray, b: NumberArray) -> tuple[Link, ...]:
    """Return the links between ``a [k]`` and ``b [k]`` in both directions, each of them once."""
    source, target = np.divmod(np.unique(np.concatenate([a * N + b, b * N + a])), N)
    return tuple(
        Link(source=i, target=j) for i, j in zip(source.tolist(), target.tolist(), strict=True)
    )


def _near(place: FloatArray, radius_m: float, least_links: int) -> tuple[NumberArray, NumberArray]:
    """Return the pairs of nodes that are within the radius, or nearest to one of the two."""
    N = len(place)
    x, y = place.T
    pairs, count = [], 0
    for start in range(0, N, max(1, _BLOCK // N)):
        own = np.arange(N)[start : start + max(1, _BLOCK // N)]
        square = (x[own, None] - x) ** 2 + (y[own, None] - y) ** 2
        square[own - start, own] = np.inf
        near = square <= radius_m**2
        # Where enough are within the radius, the nearest are among them.
        lonely = np.flatnonzero(near.sum(axis=1) < least_links)
        if lonely.size:
            nearest = np.argpartition(square[lonely], least_links - 1, axis=1)[:, :least_links]
            near[lonely[:, None], nearest] = True
        row, neighbour = near.nonzero()
        pairs.append((own[row], neighbour))
        count += len(row)
        if count > MOST_LINKS:
            raise InputError(
                f"radius_m, least_links: expected at most {MOST_LINKS} links, found more"
            )
    a, b = (np.concatenate(ends) for ends in zip(*pairs, strict=True))
    return a, b
