"""A star whose hub receives tasks that a test gives: what follows can be worked out by hand."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from edge_marl.graph_offloading.jobs import Jobs
from edge_marl.graph_offloading.scenario import GraphScenario
from edge_marl.graph_offloading.simulator import GraphOffloadingSimulator, RewardConfig
from edge_marl.graph_offloading.topology import Topology
from tests.graph_offloading.playing import beginning

Leaf = tuple[float, int, float, float]
"""Million instructions per tick, queue limit, and of the link ticks per MB and latency in ticks."""

LEAVES: tuple[Leaf, ...] = ((2, 20, 1, 0), (4, 4, 2, 1))
TICK_S = 0.1


def star(leaves: tuple[Leaf, ...] = LEAVES, *, without_agent: tuple[int, ...] = ()) -> Topology:
    """Node 0 executes a million instructions per tick and has room for 10 tasks."""
    nodes = [(1.0, 10), *(leaf[:2] for leaf in leaves)]
    links = []
    for n, (_, _, ticks_per_mb, latency_ticks) in enumerate(leaves, start=1):
        speed = {"mbit_per_s": 8 / (ticks_per_mb * TICK_S), "latency_ms": latency_ticks * 100}
        links += [{"source": 0, "target": n, **speed}, {"source": n, "target": 0, **speed}]
    return Topology.model_validate({
        "name": "star",
        "nodes": [
            {
                "name": f"n{n}", "kind": "sbc", "cpu_millis": int(million * 1000),
                "memory_bytes": 1, "queue_limit": limit, "x_m": 0.0, "y_m": 0.0,
                "has_agent": n not in without_agent, "receives_tasks": n == 0,
            }
            for n, (million, limit) in enumerate(nodes)
        ],
        "links": links,
    })  # fmt: skip


def hub_with(
    tasks: list[tuple[float, float]],
    *,
    topology: Topology | None = None,
    rewards: RewardConfig | None = None,
    extended: bool = False,
    seeds: ArrayLike | None = None,
    **rules: Any,
) -> GraphOffloadingSimulator:
    """Return episodes at tick 1, when all tasks, created at tick 0, have just reached node 0.

    Each has million instructions and MB. Nobody has decided on them; the first is the oldest. None
    comes later, nodes start nothing undecided, and deadlines are at 1,000 ticks, if not in rules.
    """
    million, size_mb = np.array(tasks, dtype=np.float64, order="F").T
    scenario = GraphScenario(**{
        "topology": topology or star(),
        "load": Jobs(million * 1e6, size_mb, np.zeros(len(tasks))),
        "arrivals": "recorded",
        "rate_per_s": 1e-6,  # after which time they would come again
        "start_undecided": 0.0,
        "queue_order": "fifo",
        "deadline_s": (100.0, 100.0),
        "link_model": "topology",
        "tick_s": TICK_S,
        **rules,
    })  # fmt: skip
    if seeds is None:  # of an episode that begins with the first of the recorded jobs
        seeds = [beginning(scenario)]
    simulator = GraphOffloadingSimulator(
        scenario, len(np.asarray(seeds)), rewards=rewards, extended=extended
    )
    simulator.reset(seeds)
    act(simulator)
    return simulator


def act(simulator: GraphOffloadingSimulator, **actions: int) -> np.ndarray:
    """Play a tick with actions by name of the agent, 0 for the others; return rewards ``[A]``."""
    row = [actions.get(name, 0) for name in simulator.agents]
    transition = simulator.step(np.array([row] * simulator.batch_size, dtype=np.int32))
    return transition.reward[0].copy()
