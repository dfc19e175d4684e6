"""Episodes of workflows that a test chooses, instead of drawn ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_marl.dag_placement import (
    DagPlacementSimulator,
    DagScenario,
    RandomWorkflows,
    Workflow,
    Workload,
    pack,
)


def by_hand(
    scenario: DagScenario,
    episodes: Sequence[Sequence[Workflow]],
    **options: Any,
) -> DagPlacementSimulator:
    """A simulator whose episodes have these workflows, at their first decisions.

    Args:
        scenario: the cluster and the rules; its own workflows are ignored.
        episodes: workflows of each, ascending by ``arrival_s``, primitives in topological order
            (as :func:`pack` leaves them).
        options: of the simulator.
    """
    largest = max(len(np.asarray(w.compute_gflop)) for some in episodes for w in some)
    room = RandomWorkflows(primitives=(1, largest))
    simulator = DagPlacementSimulator(
        scenario.model_copy(update={"workflows": room}), len(episodes), **options
    )

    def draw(where: np.ndarray, seeds: np.ndarray, load: Workload) -> None:
        for b, workflows in enumerate(episodes):
            _write(b, workflows, scenario, load)

    simulator._generator.draw = draw  # type: ignore[method-assign]
    simulator.reset(np.arange(len(episodes)))
    return simulator


def _write(b: int, workflows: Sequence[Workflow], scenario: DagScenario, load: Workload) -> None:
    load.n_workflows[b] = len(workflows)
    n_edges = 0
    for w, workflow in enumerate(workflows):
        packed = pack([workflow])
        edges = np.asarray(packed.one(0).edges).reshape(-1, 2)
        first, n = int(load.first[b, w]), packed.largest
        own = slice(first, first + n)
        load.first[b, w + 1] = first + n
        load.arrival_s[b, w] = workflow.arrival_s
        load.workflow[b, own] = w
        for name in ("compute_gflop", "memory_gb", "output_gb"):
            getattr(load, name)[b, own] = getattr(packed, name)
        hops = [0] * n
        for before, after in edges[::-1].tolist():  # sorted: by falling predecessor
            hops[before] = max(hops[before], 1 + hops[after])
        load.hops[b, own] = hops
        for column, ends in (("predecessor", edges[:, ::-1]), ("successor", edges)):
            counts = np.bincount(ends[:, 0], minlength=n)
            getattr(load, f"n_{column}s")[b, own] = counts
            getattr(load, f"first_{column}")[b, own] = n_edges + np.cumsum(counts) - counts
            order = np.argsort(ends[:, 0], kind="stable")
            getattr(load, column)[b, n_edges : n_edges + len(edges)] = first + ends[order, 1]
        n_edges += len(edges)
        load.fastest_s[b, own] = fastest_s(workflow, scenario)
        load.bound_s[b, w] = bound_s(workflow, scenario)


def fastest_s(workflow: Workflow, scenario: DagScenario) -> list[float]:
    """Of each primitive, the time on the fastest server that has the memory for it."""
    capacity, memory = (scenario.of_servers(name) for name in ("capacity_gflops", "memory_gb"))
    needs = zip(np.asarray(workflow.compute_gflop), np.asarray(workflow.memory_gb), strict=True)
    return [float(compute / capacity[memory >= needed].max()) for compute, needed in needs]


def bound_s(workflow: Workflow, scenario: DagScenario) -> float:
    """The longest path, each primitive on the fastest server that has the memory for it."""
    edges = np.asarray(workflow.edges).reshape(-1, 2).tolist()
    end_s: list[float] = []
    for i, own_s in enumerate(fastest_s(workflow, scenario)):
        start_s = max((end_s[before] for before, after in edges if after == i), default=0.0)
        end_s.append(start_s + own_s)
    return max(end_s)
