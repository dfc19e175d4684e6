"""Draw what arrives in an episode from its seed alone, whatever is decided later.

The primitives of all workflows of an episode lie one behind the other, workflows in the order of
their arrivals, each in topological order.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_marl.compiled import compiled
from edge_marl.dag_placement.scenario import DagScenario, RandomWorkflows, RecordedWorkflows
from edge_marl.dag_placement.workflows import Workflows
from edge_marl.errors import InputError
from edge_marl.memory import check_memory
from edge_marl.random_stream import normal_quantile, uniform
from edge_marl.seeds import WORKFLOW_ARRIVAL_DRAWS

_ARRIVAL_DRAWS = WORKFLOW_ARRIVAL_DRAWS.start

_MANY = "arrival_rate_per_server_s, servers, horizon_s"
"""Options that decide how much arrives."""


class Status(IntEnum):
    """Tell what has become of a primitive."""

    TO_COME = 0
    """Its workflow has not arrived."""
    BLOCKED = 1
    """It waits for predecessors."""
    READY = 2
    SET_ASIDE = 3
    """Ready, but it waits for another server, or for the end of another primitive."""
    PLACED = 4
    """On its server, its inputs on their way to it, or in execution."""
    DONE = 5


class Workload(NamedTuple):
    """Hold the workflows of B episodes; each has room for W of them, P primitives and E edges."""

    n_workflows: NDArray[np.int32]
    """``[B]``"""
    arrival_s: NDArray[np.float64]
    """``[B, W]``: ``a_k``."""
    first: NDArray[np.int32]
    """``[B, W + 1]``: number of each workflow's first primitive."""
    bound_s: NDArray[np.float64]
    """``[B, W]``: no schedule finishes a workflow sooner after its arrival: its critical path, each
    primitive on the fastest server that has the memory for it, nothing to be sent."""
    compute_gflop: NDArray[np.float64]
    """``[B, P]``: ``c_i``; so all that follow but the last two."""
    memory_gb: NDArray[np.float64]
    output_gb: NDArray[np.float64]
    fastest_s: NDArray[np.float64]
    """Its execution time on the fastest server that has the memory for it."""
    workflow: NDArray[np.int32]
    """Number of its workflow."""
    hops: NDArray[np.int32]
    """Edges on the longest path to the end of its workflow."""
    n_predecessors: NDArray[np.int32]
    n_successors: NDArray[np.int32]
    first_predecessor: NDArray[np.int32]
    """Place of the first of them in ``predecessor``."""
    first_successor: NDArray[np.int32]
    predecessor: NDArray[np.int32]
    """``[B, E]``"""
    successor: NDArray[np.int32]
    """``[B, E]``"""


_TASK = np.dtype(
    [(name, np.float64) for name in ("compute_gflop", "memory_gb", "output_gb", "fastest_s")]
    + [
        (name, np.int32)
        for name in (
            "workflow", "hops", "n_predecessors", "n_successors", "first_predecessor",
            "first_successor",
        )
    ],
    align=True,
)  # fmt: skip


class _Random(NamedTuple):
    """Hand :class:`RandomWorkflows` to the kernels."""

    fewest: int
    most: int
    shape: int
    edge_probability: float
    compute_gflop: tuple[float, float, float, float]
    memory_gb: tuple[float, float, float, float]
    output_gb: tuple[float, float, float, float]


class _Recorded(NamedTuple):
    """Hand :class:`Workflows` to the kernels, one empty workflow where none are recorded."""

    in_order: bool
    speed: float
    period_s: float
    first: NDArray[np.int32]
    compute_gflop: NDArray[np.float64]
    memory_gb: NDArray[np.float64]
    output_gb: NDArray[np.float64]
    first_successor: NDArray[np.int32]
    successor: NDArray[np.int32]
    arrival_s: NDArray[np.float64]


class Generator:
    """Draw what arrives in episodes.

    Args:
        scenario: what episodes are drawn from.
        recorded: the workflows that the scenario's file holds, if it has one.

    Raises:
        InputError: for recorded workflows that no server has the memory for.
    """

    def __init__(self, scenario: DagScenario, recorded: Workflows | None = None) -> None:
        source = scenario.workflows
        self._rate = scenario.arrival_rate_per_server_s * scenario.servers
        self._horizon_s = scenario.horizon_s
        mean = self._rate * self._horizon_s
        check_memory(20.0 * mean, f"{mean:.3g} workflows of an episode ({_MANY})")
        # More than six standard deviations above the mean: the rest would come once in a billion.
        self._capacity = max(1, math.ceil(mean + 6 * math.sqrt(mean) + 10))
        has_some = np.array(scenario.tier_sizes) > 0
        self._tier_gflops = np.array([tier.capacity_gflops for tier in scenario.tiers])[has_some]
        self._tier_gb = np.array([tier.memory_gb for tier in scenario.tiers])[has_some]
        self._recorded = _none_recorded()
        self._random = _random(RandomWorkflows())
        self._is_random = isinstance(source, RandomWorkflows)
        if isinstance(source, RandomWorkflows):
            self._random = _random(source)
            self.largest = source.primitives[1]
            n = self.largest
            self._edges = n * (n - 1) // 2 if source.shape == "random" else 2 * n
            self.largest_output_gb = min(
                source.output_gb[0] + 3 * source.output_gb[1], source.output_gb[3]
            )
            self.mean_compute_gflop = source.compute_gflop[0]
        else:
            assert recorded is not None
            needed_gb = recorded.memory_gb.max()
            if needed_gb > self._tier_gb.max():
                raise InputError(
                    f"{source.path}: memory: expected at most {self._tier_gb.max():g} GB, what the "
                    f"largest server has, found {needed_gb:g} GB"
                )
            self._recorded = _recorded(source, recorded, self._rate)
            if self._recorded.in_order:
                self._capacity = _most_arrivals(self._recorded, self._horizon_s)
            self.largest = recorded.largest
            self._edges = max(1, recorded.most_edges)
            self.largest_output_gb = float(recorded.output_gb.max())
            self.mean_compute_gflop = float(recorded.compute_gflop.mean())

    def empty(self, batch_size: int) -> Workload:
        """Allocate room for what arrives in B episodes."""
        B, W = batch_size, self._capacity
        numbered = W * max(self.largest, self._edges)
        if numbered > np.iinfo(np.int32).max:
            raise InputError(
                f"workflows: expected fewer than 2^31 edges and primitives in an episode, found "
                f"room for {numbered:.3g} ({_MANY}, workflows.primitives)"
            )
        check_memory(
            float(B) * W * (self.largest * _TASK.itemsize + self._edges * 8 + 20),
            f"{B} episodes of up to {W} workflows ({_MANY}, workflows.primitives)",
        )
        task = np.zeros((B, W * self.largest), dtype=_TASK)
        names = _TASK.names
        assert names is not None
        return Workload(
            n_workflows=np.zeros(B, dtype=np.int32),
            arrival_s=np.zeros((B, W)),
            first=np.zeros((B, W + 1), dtype=np.int32),
            bound_s=np.zeros((B, W)),
            predecessor=np.zeros((B, W * self._edges), dtype=np.int32),
            successor=np.zeros((B, W * self._edges), dtype=np.int32),
            **{name: task[name] for name in names},
        )

    def draw(self, where: NDArray[np.bool_], seeds: NDArray[np.int64], workload: Workload) -> None:
        """Draw what arrives in the episodes ``where [B]`` from their ``seeds [B]``."""
        scratch = np.zeros(2 * self.largest)
        _draw_kernel(
            where, seeds, self._rate, self._horizon_s, self._is_random, self._random,
            self._recorded, self._tier_gflops, self._tier_gb, scratch, workload,
        )  # fmt: skip


def _random(source: RandomWorkflows) -> _Random:
    return _Random(
        *source.primitives,
        ("random", "chain", "fan_out").index(source.shape),
        source.edge_probability,
        source.compute_gflop,
        source.memory_gb,
        source.output_gb,
    )


def _recorded(source: RecordedWorkflows, workflows: Workflows, rate: float) -> _Recorded:
    in_order = source.arrivals == "recorded"
    arrival_s = workflows.arrival_s
    if arrival_s is None:
        arrival_s = np.zeros(len(workflows))
    # Behind the last comes the first again, a mean gap later.
    period_s = float(arrival_s[-1]) * len(workflows) / max(1, len(workflows) - 1)
    if period_s == 0.0:  # all at one moment
        period_s = len(workflows) / rate
    speed = rate * period_s / len(workflows)
    return _Recorded(
        in_order, speed, period_s, workflows.first, workflows.compute_gflop, workflows.memory_gb,
        workflows.output_gb, workflows.first_successor, workflows.successor, arrival_s,
    )  # fmt: skip


def _most_arrivals(recorded: _Recorded, horizon_s: float) -> int:
    """Bound the arrivals in any window of a trace, which is far from a Poisson process."""
    arrival_s, length_s = recorded.arrival_s, horizon_s * recorded.speed
    laps = math.ceil(length_s / recorded.period_s) + 1
    everything = (arrival_s + recorded.period_s * np.arange(laps)[:, None]).ravel()
    after = np.searchsorted(everything, arrival_s + length_s)
    return int((after - np.arange(len(arrival_s))).max()) + 1  # rounding aside


def _none_recorded() -> _Recorded:
    some, none = np.zeros(1), np.zeros(2, dtype=np.int32)
    return _Recorded(False, 1.0, 1.0, none, some, some, some, none, none[:1], some)


@compiled(entry=True)
def _draw_kernel(
    where: Any, seeds: Any, rate: Any, horizon_s: Any, is_random: Any, random: Any, recorded: Any,
    tier_gflops: Any, tier_gb: Any, scratch: Any, load: Any,
) -> None:  # fmt: skip
    for b in range(len(where)):
        if not where[b]:
            continue
        seed = seeds[b]
        now_s, w = 0.0, 0
        load.first[b, 0] = 0
        n_edges = 0
        n_recorded = len(recorded.arrival_s)
        at = int(uniform(seed, _ARRIVAL_DRAWS) * n_recorded)
        begin_s = recorded.arrival_s[at]
        while w < load.arrival_s.shape[1]:
            k = at
            if recorded.in_order:
                k = (at + w) % n_recorded
                lap = (at + w) // n_recorded
                recorded_s = recorded.arrival_s[k] + lap * recorded.period_s - begin_s
                now_s = recorded_s / recorded.speed
            else:
                counter = _ARRIVAL_DRAWS + 2 * w
                if w > 0:
                    now_s -= math.log(1.0 - uniform(seed, counter + 1)) / rate
                k = int(uniform(seed, counter + 2) * n_recorded)
            if now_s >= horizon_s:
                break
            load.arrival_s[b, w] = now_s
            if is_random:
                n_edges = _draw_one(b, w, seed, random, n_edges, load)
            else:
                n_edges = _copy_one(b, w, k, recorded, n_edges, load)
            _index_successors(b, w, load)
            load.bound_s[b, w] = _critical_path_s(b, w, tier_gflops, tier_gb, scratch, load)
            w += 1
        load.n_workflows[b] = w


@compiled
def _clipped_normal(bounded: Any, u: Any) -> Any:
    mean, deviation, least, most = bounded
    return min(max(mean + deviation * normal_quantile(u), least), most)


@compiled
def _draw_one(b: Any, w: Any, seed: Any, random: Any, n_edges: Any, load: Any) -> Any:
    """Draw workflow w behind the ones before it; return the number of edges so far."""
    most = random.most
    counter = w * (1 + 4 * most + most * most)
    first = load.first[b, w]
    n = random.fewest + int(uniform(seed, counter) * (most - random.fewest + 1))
    load.first[b, w + 1] = first + n
    for i in range(n):
        task, draw = first + i, counter + 1 + 4 * i
        load.workflow[b, task] = w
        load.compute_gflop[b, task] = _clipped_normal(random.compute_gflop, uniform(seed, draw))
        load.memory_gb[b, task] = _clipped_normal(random.memory_gb, uniform(seed, draw + 1))
        load.output_gb[b, task] = _clipped_normal(random.output_gb, uniform(seed, draw + 2))
        load.first_predecessor[b, task] = n_edges
        parent = int(uniform(seed, draw + 3) * i)
        for j in range(i):
            if random.shape == 1:
                follows = j == i - 1
            elif random.shape == 2:
                follows = j == 0 if i < n - 1 or n == 2 else j > 0
            else:
                luck = uniform(seed, counter + 1 + 4 * most + i * most + j)
                follows = j == parent or luck < random.edge_probability
            if follows:
                load.predecessor[b, n_edges] = first + j
                n_edges += 1
        load.n_predecessors[b, task] = n_edges - load.first_predecessor[b, task]
    return n_edges


@compiled
def _copy_one(b: Any, w: Any, k: Any, recorded: Any, n_edges: Any, load: Any) -> Any:
    """Copy the recorded workflow k behind the ones before w; return as :func:`_draw_one` does."""
    first, recorded_first = load.first[b, w], recorded.first[k]
    n = recorded.first[k + 1] - recorded_first
    load.first[b, w + 1] = first + n
    for i in range(n):
        task, source = first + i, recorded_first + i
        load.workflow[b, task] = w
        load.compute_gflop[b, task] = recorded.compute_gflop[source]
        load.memory_gb[b, task] = recorded.memory_gb[source]
        load.output_gb[b, task] = recorded.output_gb[source]
        load.n_predecessors[b, task] = 0
        load.first_predecessor[b, task] = 0
    edges = range(recorded.first_successor[recorded_first],
                  recorded.first_successor[recorded_first + n])  # fmt: skip
    for e in edges:
        load.n_predecessors[b, first + recorded.successor[e] - recorded_first] += 1
    for i in range(n):
        load.first_predecessor[b, first + i] = n_edges
        n_edges += load.n_predecessors[b, first + i]
        load.n_predecessors[b, first + i] = 0
    for i in range(n):
        source = recorded_first + i
        for e in range(recorded.first_successor[source], recorded.first_successor[source + 1]):
            after = first + recorded.successor[e] - recorded_first
            place = load.first_predecessor[b, after] + load.n_predecessors[b, after]
            load.predecessor[b, place] = first + i
            load.n_predecessors[b, after] += 1
    return n_edges


@compiled
def _index_successors(b: Any, w: Any, load: Any) -> None:
    """Derive successors and hop counts of workflow w from its predecessors."""
    first, last = load.first[b, w], load.first[b, w + 1]
    for task in range(first, last):
        load.n_successors[b, task] = 0
        load.hops[b, task] = 0
    for task in range(first, last):
        edge = load.first_predecessor[b, task]
        for e in range(edge, edge + load.n_predecessors[b, task]):
            load.n_successors[b, load.predecessor[b, e]] += 1
    edge = load.first_predecessor[b, first]
    for task in range(first, last):
        load.first_successor[b, task] = edge
        edge += load.n_successors[b, task]
        load.n_successors[b, task] = 0
    for task in range(first, last):
        edge = load.first_predecessor[b, task]
        for e in range(edge, edge + load.n_predecessors[b, task]):
            before = load.predecessor[b, e]
            place = load.first_successor[b, before] + load.n_successors[b, before]
            load.successor[b, place] = task
            load.n_successors[b, before] += 1
    for task in range(last - 1, first - 1, -1):
        edge = load.first_predecessor[b, task]
        for e in range(edge, edge + load.n_predecessors[b, task]):
            before = load.predecessor[b, e]
            load.hops[b, before] = max(load.hops[b, before], load.hops[b, task] + 1)


@compiled
def _critical_path_s(
    b: Any, w: Any, tier_gflops: Any, tier_gb: Any, finish_s: Any, load: Any
) -> Any:
    """Write ``fastest_s`` of workflow w and return ``bound_s``, see :class:`Workload`."""
    first, longest_s = load.first[b, w], 0.0
    for task in range(first, load.first[b, w + 1]):
        fastest = 0.0
        for k in range(len(tier_gb)):
            if tier_gb[k] >= load.memory_gb[b, task]:
                fastest = max(fastest, tier_gflops[k])
        start_s = 0.0
        edge = load.first_predecessor[b, task]
        for e in range(edge, edge + load.n_predecessors[b, task]):
            start_s = max(start_s, finish_s[load.predecessor[b, e] - first])
        load.fastest_s[b, task] = load.compute_gflop[b, task] / fastest
        finish_s[task - first] = start_s + load.fastest_s[b, task]
        longest_s = max(longest_s, finish_s[task - first])
    return longest_s
