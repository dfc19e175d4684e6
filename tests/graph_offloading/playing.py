"""What tests of the simulator share: small graphs, tasks that come when told, and a look inside."""

import random
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from edge_marl.graph_offloading.jobs import Jobs
from edge_marl.graph_offloading.scenario import GraphScenario
from edge_marl.graph_offloading.simulator import GraphOffloadingSimulator
from edge_marl.graph_offloading.topology import Link, Node, Topology
from edge_marl.random_stream import uniform

PLAIN = {
    "tick_s": 1.0, "arrivals": "recorded", "start_undecided": 0.0, "queue_order": "fifo",
    "grace_ticks": 0, "deadline_s": (1000.0, 1000.0), "link_model": "topology",
}  # fmt: skip
"""Every task is decided on, first in first out, and has time; links are the topology's."""


def graph(
    *pairs: tuple[int, int],
    agents: Sequence[int] | None = None,
    receives: Sequence[int] = (0,),
    queue_limit: int = 10,
    mbit_per_s: float | None = 8.0,
    latency_ms: float | None = 0.0,
) -> Topology:
    """Link nodes, 50 m apart, in both directions; neighbours are numbered in the order of pairs.

    A node executes 1,000 instructions per tick; a link carries 1 MB per second.
    """
    N = 1 + max(map(max, pairs))
    nodes = [
        Node(
            name=f"node {n}", kind="sbc", cpu_millis=1, memory_bytes=1, queue_limit=queue_limit,
            x_m=50.0 * n, y_m=0.0, has_agent=agents is None or n in agents,
            receives_tasks=n in receives,
        )
        for n in range(N)
    ]  # fmt: skip
    links = [
        Link(source=i, target=j, mbit_per_s=mbit_per_s, latency_ms=latency_ms)
        for pair in pairs
        for i, j in (pair, pair[::-1])
    ]
    return Topology(name="made", nodes=tuple(nodes), links=tuple(links))


def jobs(*rows: tuple[float, float, float]) -> Jobs:
    """Make jobs of instructions, MB and seconds of arrival."""
    return Jobs(*(np.array(column, dtype=float) for column in zip(*rows, strict=True)))


def coming(
    topology: Topology, tasks: Sequence[tuple[int, float, float]], ticks: int, **options: Any
) -> GraphScenario:
    """Let tasks come to PLAIN rules: the tick of each, its work in thousand instructions, its MB.

    The first comes in tick 0. A last job, which comes when the episode is over, keeps the record
    from beginning anew.
    """
    tick_s = options.get("tick_s", PLAIN["tick_s"])
    load = jobs(
        *((1000.0 * work, size_mb, tick * tick_s) for tick, work, size_mb in tasks),
        (0.0, 0.0, ticks * tick_s),
    )
    options = {**PLAIN, "topology": topology, "load": load, "ticks": ticks, **options}
    streams = len(GraphScenario(**options).streams(topology).target)
    as_recorded = len(load.size_mb) / (ticks * tick_s + 1.0) / streams
    return GraphScenario(**options, rate_per_s=as_recorded)


def beginning(scenario: GraphScenario, streams: Sequence[int] = ()) -> int:
    """Return a seed whose record begins at its first job, and whose tasks are of these streams."""
    load = scenario.streams(scenario.graph())
    for seed in count():
        if int(uniform(seed, 3) * len(load.size_mb)) == 0 and all(
            int(uniform(seed, 4 * k + 1) * len(load.target)) == stream
            for k, stream in enumerate(streams)
        ):
            return seed
    raise AssertionError


class Episode(NamedTuple):
    """An episode that has been played."""

    simulator: GraphOffloadingSimulator
    responses: dict[int, float]
    """Sum of the responses that were known at the end of a tick, by the next tick."""
    length: np.ndarray
    """``[N, T + 1]``: queue lengths at the beginning of each tick."""

    @property
    def fates(self) -> tuple[int, int, int, int]:
        """How many tasks were finished, refused, expired, in flight."""
        of = self.simulator.results
        return tuple(int(count[0]) for count in (of.finished, of.refused, of.expired, of.in_flight))


def play(
    scenario: GraphScenario,
    actions: Mapping[tuple[int, int], int] | None = None,
    streams: Sequence[int] = (),
) -> Episode:
    """Play all ticks; actions by tick and agent are 0, to keep, if not given."""
    simulator = GraphOffloadingSimulator(scenario, 1)
    simulator.reset([beginning(scenario, streams)])
    responses, length, known = {}, [simulator.nodes.length[0].tolist()], 0.0
    for t in range(scenario.ticks):
        row = [(actions or {}).get((t, a), 0) for a in range(len(simulator.agents))]
        simulator.step(np.array([row], dtype=np.int32))
        length.append(simulator.nodes.length[0].tolist())
        total = float(simulator.episodes.response_ticks[0])
        if total != known:
            responses[t + 1], known = total - known, total
    return Episode(simulator, responses, np.array(length).T)


def legal_actions(
    simulator: GraphOffloadingSimulator, chances: Sequence[random.Random]
) -> np.ndarray:
    """Choose any legal actions ``[B, A]``, for each episode by its own chance."""
    masks = simulator.observation.action_mask
    return np.array(
        [
            [chance.choice(np.flatnonzero(mask).tolist()) for mask in row]
            for chance, row in zip(chances, masks, strict=True)
        ],
        dtype=np.int32,
    )


def places_used(simulator: GraphOffloadingSimulator, b: int) -> list[int]:
    """Return the places of the pool of episode b that hold a task under way."""
    state = simulator.get_state()
    place = int(state["pools"]["free_task"][b])
    after = state["tasks"]["after"][b].tolist()
    free = set()
    while place >= 0:
        assert place not in free
        free.add(place)
        place = after[place]
    return [place for place in range(simulator.most_tasks) if place not in free]
