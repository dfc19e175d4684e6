"""Define what episodes on a graph are drawn from (FAuNO paper, section 2 and annex 12).

Two presets hold for what is not given. ``published`` is what the paper's tables were made with: the
rules and values of the authors' public simulator and of its configurations. ``text`` is the paper
as written: Table 30, capacities per second, a decision on every task before it may start, and
deadlines that end whatever they meet. Every difference is a field of its own.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, InstanceOf, model_validator

from edge_marl.errors import InputError
from edge_marl.graph_offloading.jobs import (
    Jobs,
    constant,
    read_alibaba,
    read_jobs,
    shipped_jobs,
    three_regions,
)
from edge_marl.graph_offloading.records import FloatArray, Load, Network, Rules
from edge_marl.graph_offloading.topology import (
    SHIPPED,
    Shipped,
    Topology,
    read_topology,
    shipped,
)
from edge_marl.limits import LARGEST
from edge_marl.options import Count, Options, Positive, Share

Preset = Literal["published", "text"]

INSTRUCTIONS_PER_MILLI = 1000.0
"""A thousandth of a CPU executes so many: per tick in the authors' simulator (annex 12.1)."""

MOST_TICKS = 10_000_000
_GAIN_DB = 147.55  # 20 log10(c / 4 pi): free-space gain is this - 20 log10(distance) - 20 log10(f)
_CARRIER_HZ = 2.4e9
_THERMAL_DBM_PER_HZ = -174.0
_BITS_PER_MB = 8e6
_LEAST_DISTANCE_M = 1.0

Decibels = Annotated[float, Field(ge=-1000, le=1000)]
Ticks = Annotated[int, Field(ge=1, le=MOST_TICKS)]

_TEXT: dict[str, Any] = {
    "capacity_per": "second",
    "start_undecided": 0.0,
    "queue_order": "fifo",
    "grace_ticks": 0,
    "deadline_ends": "everything",
    "deadline_s": (100.0, 100.0),
    "bandwidth_hz": 4e6,
    "power_dbm": 40.0,
    "noise_dbm": None,
    "clients": "own",
}
_RANDOM_GRAPHS: dict[str, Any] = {
    # Inferred: with these values the heuristic Least Queues gives the paper's tables.
    "clients": "own_and_neighbours",
    "deadline_s": (100.0, 200.0),
}


class GraphScenario(Options):
    """Configure episodes; a preset holds for what is not given.

    The defaults are those of the preset ``published`` on the Ether graphs. On the graphs
    ``random_10`` and ``random_15`` that preset has ``clients="own_and_neighbours"`` and
    ``deadline_s=(100, 200)``.
    """

    preset: Preset = Field("published", description="whose settings hold for what is not given")
    topology: Shipped | Path | InstanceOf[Topology] = Field(
        "ether_2", description=f"{', '.join(SHIPPED)}, or a JSON file"
    )
    ticks: Ticks = Field(10_000, description="T, of an episode")
    tick_s: Positive = Field(0.1, description="length of a tick")
    load: Literal["alibaba", "constant", "regions"] | Path | InstanceOf[Jobs] = Field(
        "alibaba", description="jobs of an hour of Alibaba's cluster, one kind of task, the three "
        "regions of annex 6.1, or a file: a profile (.parquet), or a trace of Alibaba's (csv)",
    )  # fmt: skip
    arrivals: Literal["poisson", "recorded"] = Field(
        "poisson", description="drawn, or at the recorded times sped up to the same mean rate"
    )
    rate_per_s: Positive = Field(1.0, description="lambda, of each stream of tasks")
    instructions: Positive = Field(8e7, description="of a task, with load=constant")
    size_mb: Positive = Field(38.0, description="of a task and of its result, with load=constant")
    clients: Literal["own", "own_and_neighbours"] = Field(
        "own", description="whom a client feeds: its node, or the receiving neighbours as well"
    )
    deadline_s: tuple[Positive, Positive] = Field(
        (30.0, 60.0), description="delta, of a task from its creation on, uniform"
    )
    deadline_ends: Literal["waiting", "everything"] = Field(
        "waiting", description="which tasks are lost at their deadline"
    )
    grace_ticks: Annotated[int, Field(ge=0, le=MOST_TICKS)] = Field(
        5, description="ticks that a waiting task has beyond its deadline"
    )
    capacity_per: Literal["tick", "second"] = Field(
        "tick", description="what a node's thousand instructions per CPU millis are for"
    )
    start_undecided: Share = Field(
        0.5, description="probability that an idle node starts a task before its agent decides"
    )
    queue_order: Literal["fifo", "lifo"] = Field(
        "lifo", description="which of the tasks that wait to be executed goes first"
    )
    broadcast_ticks: Ticks = Field(1, description="between two broadcasts of a queue's length")
    link_model: Literal["shannon", "topology"] = Field(
        "shannon", description="equation 1, or the links' own bandwidth and latency"
    )
    bandwidth_hz: Positive = Field(2e6, description="B of equation 1")
    power_dbm: Decibels = Field(20.0, description="P of equation 1")
    noise_dbm: Decibels | None = Field(
        -89.2, description="omega of equation 1; none: thermal noise of the bandwidth"
    )
    contention: bool = Field(
        False, description="a link sends one thing at a time, as it is given them (topology)"
    )
    most_tasks: Count | None = Field(
        None, description="tasks under way at once in an episode; none: ample for the load"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        if given.get("preset") == "text":
            return {**_TEXT, **given}
        if str(given.get("topology")) in ("random_10", "random_15"):
            return {**_RANDOM_GRAPHS, **given}
        return given

    @model_validator(mode="after")
    def _consistent(self) -> GraphScenario:
        low, high = self.deadline_s
        if low > high:
            raise ValueError(
                f"deadline_s: expected a lower and an upper bound, found {low:g}, {high:g}"
            )
        if high / self.tick_s > MOST_TICKS:
            raise ValueError(
                f"deadline_s: expected at most {MOST_TICKS} ticks of tick_s, {self.tick_s:g} s, "
                f"found {high:g} s"
            )
        if self.contention and self.link_model == "shannon":
            raise ValueError("contention: expected false with link_model=shannon, found true")
        if self.arrivals == "recorded" and self.load in ("constant", "regions"):
            raise ValueError(
                f"arrivals: expected poisson with load={self.load}, which was never recorded, "
                "found recorded"
            )
        return self

    def graph(self) -> Topology:
        """Return the graph.

        Raises:
            InputError: for a file that is none.
        """
        if isinstance(self.topology, Topology):
            return self.topology
        if isinstance(self.topology, Path):
            return read_topology(self.topology)
        return shipped(self.topology)

    def jobs(self) -> Jobs:
        """Return the jobs that tasks are drawn from, but for the three regions.

        Raises:
            InputError: for a file that is none.
        """
        if isinstance(self.load, Jobs):
            return self.load
        if isinstance(self.load, Path):
            own = self.load.suffix == ".parquet"
            return read_jobs(self.load) if own else read_alibaba(self.load)
        return constant(self.instructions, self.size_mb) if self.load == "constant" else (
            shipped_jobs()
        )  # fmt: skip

    def network(self, graph: Topology) -> Network:
        """Return nodes and links as the kernels take them.

        Raises:
            InputError: for a link without bandwidth or latency where they are asked for.
        """
        ends = graph.adjacency
        per_tick = INSTRUCTIONS_PER_MILLI * (self.tick_s if self.capacity_per == "second" else 1.0)
        node = np.flatnonzero([one.has_agent for one in graph.nodes]).astype(np.int32)
        agent = np.full(len(graph.nodes), -1, dtype=np.int32)
        agent[node] = np.arange(len(node))
        rate_mbit_per_s, latency_s = self._links(graph)
        return Network(
            capacity=np.array([one.cpu_millis * per_tick for one in graph.nodes]),
            queue_limit=np.array([one.queue_limit for one in graph.nodes], dtype=np.int32),
            agent=agent,
            node=node,
            first=ends.first,
            neighbour=ends.neighbour,
            back=ends.back,
            ticks_per_mb=_BITS_PER_MB / 1e6 / rate_mbit_per_s / self.tick_s,
            latency_ticks=latency_s / self.tick_s,
        )

    def _links(self, graph: Topology) -> tuple[FloatArray, FloatArray]:
        """Return rate in Mbit/s and latency in s of each link, ``[L]`` each."""
        if self.link_model == "topology":
            for name in ("mbit_per_s", "latency_ms"):
                missing = np.flatnonzero(np.isnan(getattr(graph, name)))
                if len(missing):
                    ends = graph.adjacency
                    raise InputError(
                        f"{graph.name}: link {ends.source[missing[0]]} to "
                        f"{ends.neighbour[missing[0]]}: {name}: expected a number for "
                        "link_model=topology, found none"
                    )
            return graph.mbit_per_s, graph.latency_ms / 1000.0
        rate = shannon_rate_bit_per_s(
            np.maximum(graph.distance_m, _LEAST_DISTANCE_M),
            bandwidth_hz=self.bandwidth_hz,
            power_dbm=self.power_dbm,
            noise_dbm=self.noise_dbm,
        )
        return rate / 1e6, np.zeros(len(rate))

    def streams(self, graph: Topology) -> Load:
        """Return who creates which tasks, as the kernels take it.

        A client at every receiving node feeds this node, and with
        ``clients="own_and_neighbours"`` its receiving neighbours as well.

        Raises:
            InputError: for a graph whose nodes do not fit the three regions.
        """
        ends = graph.adjacency
        receives = [one.receives_tasks for one in graph.nodes]
        target, link, client = [], [], []
        for n in np.flatnonzero(receives).tolist():
            target.append(n)
            link.append(-1)
            client.append(n)
            if self.clients == "own_and_neighbours":
                for at in range(ends.first[n], ends.first[n + 1]):
                    if receives[ends.neighbour[at]]:
                        target.append(int(ends.neighbour[at]))
                        link.append(at)
                        client.append(n)
        J = len(target)
        first = np.zeros(J, dtype=np.int32)
        count = np.ones(J, dtype=np.int32)
        rate = np.full(J, self.rate_per_s)
        if self.load == "regions":
            regions = three_regions(graph)
            jobs = Jobs(regions.instructions, regions.size_mb, np.zeros(len(regions.size_mb)))
            first[:] = regions.region[client]
            rate = regions.rate_per_s[regions.region[client]]
        else:
            jobs = self.jobs()
            count[:] = len(jobs.instructions)
        recorded = self.arrivals == "recorded"
        return Load(
            target=np.array(target, dtype=np.int32),
            link=np.array(link, dtype=np.int32),
            gap_ticks=1.0 / (rate * self.tick_s),
            first_job=first,
            n_jobs=count,
            instructions=np.ascontiguousarray(jobs.instructions, dtype=np.float64),
            size_mb=np.ascontiguousarray(jobs.size_mb, dtype=np.float64),
            typical=_geometric_mean(jobs.instructions),
            arrival_ticks=self._recorded(jobs, float(rate.sum())) if recorded else np.zeros(0),
        )

    def _recorded(self, jobs: Jobs, rate_per_s: float) -> FloatArray:
        """Return when jobs arrive, sped up so that their mean rate is that of all streams."""
        span_s = jobs.arrival_s[-1] - jobs.arrival_s[0] + 1.0  # recorded in whole seconds
        speed = rate_per_s / (len(jobs.arrival_s) / span_s)
        ticks = (jobs.arrival_s - jobs.arrival_s[0]) / speed / self.tick_s
        return np.append(ticks, span_s / speed / self.tick_s)

    def rules(self) -> Rules:
        """Return the rules, as the kernels take them."""
        return Rules(
            ticks=self.ticks,
            start_undecided=self.start_undecided,
            deadline_ticks=(self.deadline_s[0] / self.tick_s, self.deadline_s[1] / self.tick_s),
            grace_ticks=float(self.grace_ticks),
            deadline_ends_all=self.deadline_ends == "everything",
            last_first=self.queue_order == "lifo",
            contention=self.contention,
            broadcast_ticks=self.broadcast_ticks,
        )

    @property
    def longest_wait_ticks(self) -> float:
        """Return the longest time from creation on after which a waiting task is lost."""
        return self.deadline_s[1] / self.tick_s + self.grace_ticks

    def offered_load(self) -> float:
        """Return the mean work that is created, over the work that all nodes can do.

        From about 1 on, the nodes cannot execute all of their tasks, wherever they go.
        """
        graph = self.graph()
        load, capacity = self.streams(graph), self.network(graph).capacity
        mean = [
            load.instructions[first : first + n].mean()
            for first, n in zip(load.first_job.tolist(), load.n_jobs.tolist(), strict=True)
        ]
        recorded = len(load.arrival_ticks) > 0
        gaps = load.gap_ticks if recorded else mean_gap_ticks(load.gap_ticks)
        return float((np.array(mean) / gaps).sum() / capacity.sum())


def shannon_rate_bit_per_s(
    distance_m: FloatArray, *, bandwidth_hz: float, power_dbm: float, noise_dbm: float | None
) -> FloatArray:
    """Return the rates ``[L]`` of links by the theorem of Shannon and Hartley (equation 1).

    The gain is that of free space at 2.4 GHz. Powers are in dBm; with a ``noise_dbm`` of None the
    noise is thermal, -174 dBm for each hertz of the bandwidth.
    """
    # not given in the paper: the gain; its "W" and "dB/Hz" cannot be meant inside the exponent
    gain_db = _GAIN_DB - 20 * np.log10(distance_m) - 20 * math.log10(_CARRIER_HZ)
    if noise_dbm is None:
        noise_dbm = _THERMAL_DBM_PER_HZ + 10 * math.log10(bandwidth_hz)
    snr = 10 ** ((power_dbm + gain_db - noise_dbm) / 10)
    rate = bandwidth_hz * np.log1p(snr) / math.log(2)
    return np.clip(rate, 1.0 / LARGEST, LARGEST)


def _geometric_mean(instructions: FloatArray) -> float:
    """Average the jobs that have any instructions."""
    some = instructions[instructions > 0]
    return float(np.exp(np.log(some).mean())) if len(some) else 0.0


def mean_gap_ticks(gap_ticks: FloatArray) -> FloatArray:
    """Return the mean of ``max(1, round(E))`` for exponential E of the given means.

    The gap between two tasks of a stream is such a number of ticks, as in the authors' simulator.
    """
    half = np.exp(-0.5 / gap_ticks)
    return half / -np.expm1(-1.0 / gap_ticks) + (1.0 - half)
