"""Define graphs of nodes that tasks are offloaded on, read and write them.

Those that come with the package are the four that the experiments of the FAuNO paper ran on (annex
12): ``ether_2`` and ``ether_4``, with 2 and 4 AoT clusters, and ``random_10`` and ``random_15``.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from edge_marl.errors import InputError
from edge_marl.files import write_aside
from edge_marl.json_files import json_text, read_model
from edge_marl.options import Options
from edge_marl.validation import shown

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int32]

Kind = Literal["sbc", "nuc", "gpu", "server"]

Shipped = Literal["ether_2", "ether_4", "random_10", "random_15"]

SHIPPED: tuple[Shipped, ...] = get_args(Shipped)
"""Names of the topologies that come with the package."""

MOST_NODES = 10_000
"""Of a topology."""

MOST_LINKS = 500_000
"""Of a topology, each direction counted."""

_Name = Annotated[str, Field(min_length=1, max_length=100)]
_NodeNumber = Annotated[int, Field(ge=0, lt=MOST_NODES)]
_Coordinate = Annotated[float, Field(ge=-1e7, le=1e7)]


class Device(NamedTuple):
    """Describe a row of Table 29."""

    kind: Kind
    cpu_millis: int
    memory_bytes: int


DEVICES = {
    "rpi4": Device("sbc", 7200, 6_442_450_944),
    "rpi5_6g": Device("sbc", 9600, 6_442_450_944),
    "rpi5_8g": Device("sbc", 9600, 8_589_934_592),
    "nuc": Device("nuc", 14_800, 68_719_476_736),
    "tx2": Device("gpu", 4000, 8_240_386_048),  # not given in the paper: its authors' files
    "server": Device("server", 290_400, 188_000_000_000),
}
"""Rows of Table 29, by name."""


class Node(Options):
    """Describe a node: what it can do (Table 29), where it is, and what it does."""

    name: _Name = Field(description="which no other node of the topology has")
    kind: Kind = Field(description="single-board computer, small PC, GPU unit or remote server")
    cpu_millis: int = Field(ge=1, le=10**9, description="thousandths of a CPU")
    memory_bytes: int = Field(ge=1, le=10**15, description="memory")
    queue_limit: int = Field(ge=1, le=10**6, description="tasks that fit, the running one included")
    x_m: _Coordinate = Field(description="coordinate")
    y_m: _Coordinate = Field(description="coordinate")
    has_agent: bool = Field(description="whether it decides on tasks; if not, it executes them")
    receives_tasks: bool = Field(description="whether a client is attached to it")


class Link(Options):
    """Describe a link in one direction."""

    source: _NodeNumber = Field(description="number of the node that sends, from 0")
    target: _NodeNumber = Field(description="number of the node that receives")
    mbit_per_s: float | None = Field(None, ge=1e-6, le=1e9, description="bandwidth, if known")
    latency_ms: float | None = Field(None, ge=0, le=1e6, description="latency, if known")


class Adjacency(NamedTuple):
    """Hold the L links of N nodes in compressed rows, as compiled functions take them."""

    first: IntArray
    """``[N + 1]``: number of the first link of each node; last, L."""
    neighbour: IntArray
    """``[L]``: the node that a link leads to."""
    back: IntArray
    """``[L]``: number of the link in the other direction."""
    source: IntArray
    """``[L]``: the node that a link leads from."""


class Topology(Options):
    """Describe a graph of nodes; every link has a reverse, since results travel back.

    Links are kept sorted by their source and, within a source, in the order given: that is the
    order in which the neighbours of a node, and so its actions, are numbered.
    """

    name: _Name = Field(description="of the topology")
    source: str | None = Field(None, max_length=1000, description="where it is from")
    nodes: tuple[Node, ...] = Field(min_length=1, max_length=MOST_NODES, description="numbered")
    links: tuple[Link, ...] = Field(max_length=MOST_LINKS, description="in both directions")

    @field_validator("links")
    @classmethod
    def _by_source(cls, links: tuple[Link, ...]) -> tuple[Link, ...]:
        return tuple(sorted(links, key=lambda link: link.source))

    @model_validator(mode="after")
    def _consistent(self) -> Topology:
        names: dict[str, int] = {}
        for k, node in enumerate(self.nodes):
            if names.setdefault(node.name, k) != k:
                raise ValueError(
                    f"nodes.{k}.name: expected another than that of node {names[node.name]}, "
                    f"found {shown(node.name)}"
                )
        for role in ("has_agent", "receives_tasks"):
            if not any(getattr(node, role) for node in self.nodes):
                raise ValueError(f"nodes: expected one with {role}, found none")
        _ = self.adjacency  # which checks the links
        return self

    @property
    def adjacency(self) -> Adjacency:
        """Return the links in compressed rows, made anew; link l of its arrays is ``links[l]``."""
        N, L = len(self.nodes), len(self.links)
        source = np.fromiter((link.source for link in self.links), np.int64, L)
        target = np.fromiter((link.target for link in self.links), np.int64, L)
        bad = np.flatnonzero((source >= N) | (target >= N) | (source == target))
        if bad.size:
            raise ValueError(
                f"links: expected two nodes from 0 to {N - 1}, "
                f"found {source[bad[0]]} and {target[bad[0]]}"
            )
        ends, reverse = source * N + target, target * N + source
        order = np.argsort(ends)
        ends = ends[order]
        bad = order[1:][ends[1:] == ends[:-1]]
        if bad.size:
            raise ValueError(
                f"links: expected one from {source[bad[0]]} to {target[bad[0]]}, found two"
            )
        place = np.minimum(np.searchsorted(ends, reverse), L - 1)
        bad = np.flatnonzero(ends[place] != reverse)
        if bad.size:
            i, j = source[bad[0]], target[bad[0]]
            raise ValueError(f"links: expected one from {j} to {i}, the reverse of {i} to {j}")
        return Adjacency(
            first=np.searchsorted(source, np.arange(N + 1)).astype(np.int32),
            neighbour=target.astype(np.int32),
            back=order[place].astype(np.int32),
            source=source.astype(np.int32),
        )

    @property
    def degree(self) -> IntArray:
        """Return the number of neighbours of each node, ``[N]``."""
        return np.diff(self.adjacency.first)

    @property
    def distance_m(self) -> FloatArray:
        """Return the length of each link, ``[L]``."""
        place = np.array([(node.x_m, node.y_m) for node in self.nodes])
        ends = self.adjacency
        dx, dy = (place[ends.neighbour] - place[ends.source]).T
        return np.asarray(np.hypot(dx, dy))

    @property
    def mbit_per_s(self) -> FloatArray:
        """Return the bandwidth of each link, ``[L]``; NaN where it is not known."""
        return np.array([link.mbit_per_s for link in self.links], dtype=np.float64)

    @property
    def latency_ms(self) -> FloatArray:
        """Return the latency of each link, ``[L]``; NaN where it is not known."""
        return np.array([link.latency_ms for link in self.links], dtype=np.float64)


@lru_cache(maxsize=len(SHIPPED))
def shipped(name: str) -> Topology:
    """Return a topology that comes with the package.

    Args:
        name: one of :data:`SHIPPED`.

    Raises:
        InputError: for any other name.
    """
    if name not in SHIPPED:
        raise InputError(f"topology: expected one of {', '.join(SHIPPED)}, found {shown(name)}")
    folder = resources.files("edge_marl.graph_offloading") / "topologies"
    return Topology.model_validate_json((folder / f"{name}.json").read_bytes())


def read_topology(path: str | Path) -> Topology:
    """Read a topology from a JSON file with the fields of :class:`Topology`.

    Raises:
        InputError: if it cannot be read or fails validation, naming the first field or link at
            fault.
    """
    return read_model(path, Topology)


def write_topology(topology: Topology, path: str | Path) -> None:
    """Write a topology as JSON, a node or link a line; the file appears whole or not at all.

    Raises:
        InputError: if it cannot be written.
    """
    fields: dict[str, Any] = topology.model_dump(exclude_none=True)
    rows = [f" {json_text(name)}: {_lines(value)}" for name, value in fields.items()]
    write_aside(path, "{\n" + ",\n".join(rows) + "\n}\n")


def _lines(value: Any) -> str:
    """Return a value as JSON, each item of a list in a line of its own."""
    if isinstance(value, tuple):
        return "[\n  " + ",\n  ".join(json_text(item) for item in value) + "\n ]"
    return json_text(value)
