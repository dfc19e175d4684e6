"""Define what episodes of peer offloading are drawn from (O2O-DRL paper, sections V-A and VI-C)."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from edge_marl.compiled import compiled
from edge_marl.options import NotNegative, Options, Positive, Seed, Share
from edge_marl.random_stream import uniform
from edge_marl.seeds import LINK_DRAWS, NETWORK_DRAWS

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

Range = tuple[float, float]
PositiveRange = tuple[Positive, Positive]
NodeCount = Annotated[int, Field(ge=2, le=1000)]
Cores = Annotated[int, Field(ge=1, le=10_000)]
Node = Annotated[int, Field(ge=0, lt=1000)]
Preset = Literal["simulation", "testbed"]

MOST_SLOTS = 30_000
"""Of an episode, and of the time that a task may take."""

CYCLES_PER_KB = 8000.0
"""Bits of a KB, which is 1,000 bytes: times the cycles per bit, its cycles."""

_NETWORK_DRAWS, _LINK_DRAWS = NETWORK_DRAWS.start, LINK_DRAWS.start

_TESTBED: dict[str, Any] = {
    "nodes": 10,
    "slots": 50,
    "slot_s": 0.1,
    "deadline_s": (1.0, 1.0),
    # From here on not given in the paper: the defaults of its authors' public testbed.
    "size_kb": (500.0, 2500.0),
    "cycles_per_bit": (400.0, 800.0),
    "cores": (4, 8, 12, 16, 20, 24, 28, 32),
    "failure_rate": (0.0, 0.4),
    "queue_limit_per_core": 0.75,
}


class EdgeNetworks(NamedTuple):
    """Describe edge networks, one per episode."""

    arrival_probability: FloatArray
    """``[B, N]``: ``lambda_i``, of a task in a slot."""
    failure_rate: FloatArray
    """``[B, N]``: ``alpha_i``, failures per second of execution."""
    capacity_hz: FloatArray
    """``[B, N]``: ``F_i``, cycles per second."""
    queue_limit: NDArray[np.int32]
    """``[B, N]``: tasks at a node from which on it takes none from others."""
    rate_mb_per_s: FloatArray
    """``[B, N, N]``: ``r_ij`` from i to j; 0 where there is no link, and from a node to itself."""
    link_failure_rate: FloatArray
    """``[B, N, N]``: ``beta_ij``, failures per second of transmission."""


class OffloadingScenario(Options):
    """Configure episodes as in section V-A or, with ``preset="testbed"``, as in section VI-C.

    Ranges are those of uniform distributions. A KB is 10^3 bytes, an MB 10^6.
    """

    preset: Preset = Field("simulation", description="whose settings hold for what is not given")
    nodes: NodeCount = Field(20, description="N")
    slots: int = Field(100, ge=1, le=MOST_SLOTS, description="T, of an episode")
    slot_s: Positive = Field(0.5, description="length of a slot")
    size_kb: PositiveRange = Field((1000.0, 8000.0), description="input of a task")
    cycles_per_bit: PositiveRange = Field((800.0, 2400.0), description="complexity of a task")
    deadline_s: PositiveRange = Field((4.0, 4.0), description="of a task, from its arrival on")
    arrival_probability: tuple[Share, Share] = Field(
        (0.0, 1.0), description="of a task, per node and slot"
    )
    cores: tuple[Cores, ...] = Field(
        (4, 8, 16, 20, 24, 28, 32), min_length=1, description="of a node, one of these"
    )
    core_hz: Positive = Field(3e9, description="cycles per second of a core")
    rate_mb_per_s: PositiveRange = Field((10.0, 40.0), description="of a link")
    failure_rate: tuple[NotNegative, NotNegative] = Field(
        (0.0, 0.1), description="failures per second of execution"
    )
    link_failure_rate: tuple[NotNegative, NotNegative] = Field(
        (0.0, 0.03), description="failures per second on a link"
    )
    # Not given in the paper. By the deadline a core finishes 0.21 tasks of mean size.
    queue_limit_per_core: float = Field(
        0.2,
        gt=0,
        le=10_000,
        description="tasks at a node, per core, from which on it takes no more",
    )
    network_seed: Seed | None = Field(
        None, description="the network of every episode; none: each episode draws its own"
    )
    links: tuple[tuple[Node, Node], ...] | None = Field(
        None, description="pairs of neighbours, both directions; none: all are neighbours"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, given: Any) -> Any:
        if isinstance(given, str):
            given = {"preset": given}
        if isinstance(given, dict) and given.get("preset") == "testbed":
            return {**_TESTBED, **given}
        return given

    @model_validator(mode="after")
    def _consistent(self) -> OffloadingScenario:
        for name in (
            "size_kb", "cycles_per_bit", "deadline_s", "rate_mb_per_s", "arrival_probability",
            "failure_rate", "link_failure_rate",
        ):  # fmt: skip
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(
                    f"{name}: expected a lower and an upper bound, found {low:g}, {high:g}"
                )
        if self.deadline_slots > MOST_SLOTS:
            raise ValueError(
                f"deadline_s: expected at most {MOST_SLOTS} slots of slot_s, {self.slot_s:g} s, "
                f"found {self.deadline_s[1]:g} s"
            )
        for i, j in self.links or ():
            if not (i < self.nodes and j < self.nodes) or i == j:
                raise ValueError(
                    f"links: expected pairs of different nodes from 0 to {self.nodes - 1}, "
                    f"found {i}, {j}"
                )
        return self

    @property
    def deadline_slots(self) -> int:
        """Return the number of slots after which every task of a slot is decided."""
        return math.ceil(self.deadline_s[1] / self.slot_s - 1e-9)

    @property
    def largest_queue_limit(self) -> int:
        """Return the queue limit of a node with the most cores."""
        return max(1, math.floor(self.queue_limit_per_core * max(self.cores) + 1e-9))

    @property
    def adjacency(self) -> BoolArray:
        """Return whether i may send to j, ``[N, N]``."""
        if self.links is None:
            return ~np.eye(self.nodes, dtype=np.bool_)
        adjacency = np.zeros((self.nodes, self.nodes), dtype=np.bool_)
        for i, j in self.links:
            adjacency[i, j] = adjacency[j, i] = True
        return adjacency

    def networks(self, seeds: ArrayLike) -> EdgeNetworks:
        """Draw the networks of the episodes of ``seeds [B]``."""
        seeds = np.asarray(seeds, dtype=np.int64)
        B, N = len(seeds), self.nodes
        drawn_from = seeds if self.network_seed is None else np.full(B, self.network_seed, np.int64)
        networks = EdgeNetworks(
            arrival_probability=np.zeros((B, N)),
            failure_rate=np.zeros((B, N)),
            capacity_hz=np.zeros((B, N)),
            queue_limit=np.zeros((B, N), dtype=np.int32),
            rate_mb_per_s=np.zeros((B, N, N)),
            link_failure_rate=np.zeros((B, N, N)),
        )
        _draw_networks(
            drawn_from, self.adjacency, self.arrival_probability, self.failure_rate,
            np.array(self.cores, dtype=np.float64), self.core_hz, self.queue_limit_per_core,
            self.rate_mb_per_s, self.link_failure_rate, networks,
        )  # fmt: skip
        return networks

    def offered_load(self, seeds: ArrayLike) -> FloatArray:
        """Return the mean work that arrives, divided by the work that the nodes can do, ``[B]``.

        From about 1 on, the network cannot execute all of its tasks, wherever they go.
        """
        networks = self.networks(seeds)
        cycles = sum(self.size_kb) / 2 * CYCLES_PER_KB * sum(self.cycles_per_bit) / 2
        arriving_hz = networks.arrival_probability.sum(axis=1) * cycles / self.slot_s
        return np.asarray(arriving_hz / networks.capacity_hz.sum(axis=1))


@compiled(entry=True)
def _draw_networks(
    seeds: Any, adjacency: Any, arrival_probability: Any, failure_rate: Any, cores: Any,
    core_hz: Any, queue_limit_per_core: Any, rate: Any, link_failure_rate: Any, networks: Any,
) -> None:  # fmt: skip
    """Draw the network of every episode from its seed alone."""
    N = adjacency.shape[0]
    for b in range(len(seeds)):
        for i in range(N):
            counter = _NETWORK_DRAWS + 4 * i
            networks.arrival_probability[b, i] = between(
                arrival_probability, uniform(seeds[b], counter)
            )
            networks.failure_rate[b, i] = between(failure_rate, uniform(seeds[b], counter + 1))
            own = cores[int(uniform(seeds[b], counter + 2) * len(cores))]
            networks.capacity_hz[b, i] = own * core_hz
            networks.queue_limit[b, i] = max(1, math.floor(queue_limit_per_core * own + 1e-9))
            for j in range(N):
                if not adjacency[i, j]:
                    continue
                counter = _LINK_DRAWS + 2 * (i * N + j)
                networks.rate_mb_per_s[b, i, j] = between(rate, uniform(seeds[b], counter))
                networks.link_failure_rate[b, i, j] = between(
                    link_failure_rate, uniform(seeds[b], counter + 1)
                )


@compiled(inline=True)
def between(bounds: Any, share: Any) -> Any:
    """Return the number ``share`` of the way from one bound to the other."""
    return bounds[0] + share * (bounds[1] - bounds[0])
