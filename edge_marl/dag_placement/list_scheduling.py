"""Plan workflows on heterogeneous servers by list scheduling: HEFT and CPOP.

Both are from Topcuoglu, Hariri and Wu (2002), "Performance-effective and low-complexity task
scheduling for heterogeneous computing", IEEE TPDS 13(3). They rank primitives by their mean
execution times over the servers that have the memory (``w_i``) and by the time of each transfer
between two servers (``c_ij``):

- The upward rank is ``w_i`` plus the longest path from there to the end, the downward rank the
  longest path from the start to there, without ``w_i``.
- ``heft`` takes primitives by falling upward rank and puts each on the server that finishes it
  first.
- ``cpop`` takes them by falling sum of both ranks, as predecessors allow. It puts those of the
  critical path all on the server that is done with them first, the others as HEFT does. (In the
  paper that server has the least execution time for them, the same on an empty cluster.)

A primitive may go into a gap between two that are planned already. Ties go to the lower number.

In the paper a transfer begins when its primitive ends. In this project's simulator it begins when
the successor is placed, and the server is occupied from then on; ``occupies`` says which of the two
a plan follows.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_marl.compiled import compiled
from edge_marl.dag_placement.scenario import DagScenario
from edge_marl.dag_placement.workflows import Workflows
from edge_marl.errors import InputError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int32]
Rule = Literal["heft", "cpop"]

RULES: tuple[Rule, ...] = get_args(Rule)
_HEFT = RULES.index("heft")
_NOBODY = -1


class Plan(NamedTuple):
    """Say where and when the primitives of a workflow are to run, ``[n]`` each."""

    server: IntArray
    """-1: no server that is there has the memory, for it or for a predecessor."""
    start_s: FloatArray
    """From when on it occupies its server."""
    finish_s: FloatArray

    @property
    def makespan_s(self) -> float:
        """Return when the last primitive is done."""
        return float(self.finish_s.max())


class Dependencies(NamedTuple):
    """Hold the E edges of P primitives, which lead from lower to higher numbers."""

    first: IntArray
    """``[P]``: place of each primitive's first predecessor."""
    n_predecessors: IntArray
    """``[P]``: of each, which lie one behind the other."""
    predecessor: IntArray
    """``[E]``"""
    transfer_s: FloatArray
    """``[E]``: ``c_ij``, if the two are on different servers."""


class Scratch(NamedTuple):
    """Hold the working arrays for planning n primitives on N servers."""

    mean_s: FloatArray
    """``[n]``: ``w_i``; the three that follow likewise."""
    upward_s: FloatArray
    downward_s: FloatArray
    on_path: NDArray[np.bool_]
    """On the critical path."""
    ready_s: FloatArray
    """``[N]``: when a primitive could begin on a server that were free; all others likewise."""
    hold_s: FloatArray
    """How long it would occupy the server."""
    gap_s: FloatArray
    """When the server is free again after what was looked at."""
    start_s: FloatArray

    @staticmethod
    def of(primitives: int, servers: int) -> Scratch:
        """Allocate the arrays for this many primitives and servers."""
        n, N = primitives, servers
        return Scratch(
            *(np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n, dtype=np.bool_)),
            *(np.zeros(N), np.zeros(N), np.zeros(N), np.zeros(N)),
        )


def plan(rule: Rule, workflows: Workflows, k: int, scenario: DagScenario) -> Plan:
    """Plan workflow k alone on the scenario's cluster, all servers present and idle at 0.

    In the simulator a workflow that arrives alone runs exactly as planned.

    Raises:
        InputError: for a rule that is not known, or a primitive that fits no server.
    """
    workflow = workflows.one(k)
    memory_gb, output_gb = np.asarray(workflow.memory_gb), np.asarray(workflow.output_gb)
    execution_s = np.divide.outer(
        np.asarray(workflow.compute_gflop), scenario.of_servers("capacity_gflops")
    )
    execution_s[memory_gb[:, None] > scenario.of_servers("memory_gb")] = np.inf
    edges = np.asarray(workflow.edges)
    if scenario.communication == "physical":
        delays_s = output_gb[edges[:, 0]] / scenario.bandwidth_gb_per_s + scenario.latency_s
    else:
        delays_s = np.zeros(len(edges))
    return schedule(rule, execution_s, edges, delays_s, occupies=True)


def schedule(
    rule: Rule,
    execution_s: ArrayLike,
    edges: ArrayLike,
    transfer_s: ArrayLike,
    *,
    occupies: bool = False,
) -> Plan:
    """Plan n primitives on N idle servers.

    Args:
        rule: "heft" or "cpop".
        execution_s: ``[n, N]`` of each primitive on each server; infinite where it does not fit.
        edges: ``[e, 2]`` predecessor and successor, the lower number first.
        transfer_s: ``[e]`` of each edge, between different servers.
        occupies: whether transfers occupy the server of the successor, and begin when it is free
            and the last predecessor is done; otherwise each begins when its predecessor is done.

    Raises:
        InputError: for a rule that is not known, edges that lead to a lower number, or a primitive
            that fits no server.
    """
    if rule not in RULES:
        raise InputError(f"rule: expected one of {', '.join(RULES)}, found {rule!r}")
    execution_s = np.asarray(execution_s, dtype=float)
    edges = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
    n, N = execution_s.shape
    homeless = np.flatnonzero(~np.isfinite(execution_s).any(axis=1))
    if homeless.size:
        raise InputError(f"primitive {homeless[0]}: expected a server that it fits, found none")
    if (edges[:, 0] >= edges[:, 1]).any():
        raise InputError("edges: expected the lower number first")
    by_successor = np.argsort(edges[:, 1], kind="stable")
    count = np.bincount(edges[:, 1], minlength=n)
    dependencies = Dependencies(
        first=(np.cumsum(count) - count).astype(np.int32),
        n_predecessors=count.astype(np.int32),
        predecessor=edges[by_successor, 0].astype(np.int32),
        transfer_s=np.asarray(transfer_s, dtype=float)[by_successor],
    )
    made = Plan(np.full(n, _NOBODY, dtype=np.int32), np.zeros(n), np.zeros(n))
    add_kernel(
        RULES.index(rule), 0, n, dependencies, execution_s, occupies, np.zeros(N), made,
        np.zeros(n, dtype=np.int32), 0, Scratch.of(n, N),
    )  # fmt: skip
    return made


@compiled(entry=True)
def add_kernel(
    rule: Any, first: Any, last: Any, dependencies: Any, execution_s: Any, occupies: Any,
    free_s: Any, plan: Any, order: Any, n_planned: Any, scratch: Any,
) -> Any:  # fmt: skip
    """Add to a plan those of the primitives ``first`` to ``last - 1`` that have no server in it.

    Args:
        rule: place in :data:`RULES`.
        first: the first primitive of the workflow.
        last: the primitive behind its last one.
        dependencies: of all primitives, this workflow's at least.
        execution_s: ``[last - first, N]``, infinite where it cannot run.
        occupies: see :func:`schedule`.
        free_s: ``[N]`` when each server is done with what it executes.
        plan: of all primitives; those that have been placed have their server and finish.
        order: ``[P]`` the primitives that are planned and not placed, by start.
        n_planned: how many of them.
        scratch: for a workflow of this size.

    Returns:
        how many are planned now. Those without a possible server, and what follows them, are not.
    """
    _rank(first, last, dependencies, execution_s, scratch)
    favourite = _NOBODY
    if rule != _HEFT:
        _mark_critical_path(first, last, dependencies, scratch)
        favourite = _favourite(first, last, execution_s, free_s, plan, order, n_planned, scratch)
    for _ in range(last - first):
        chosen, highest = _NOBODY, -1.0
        for v in range(first, last):
            priority = scratch.upward_s[v - first]
            if rule != _HEFT:
                priority += scratch.downward_s[v - first]
            if plan.server[v] == _NOBODY and priority > highest and scratch.mean_s[v - first] > 0:
                edge = dependencies.first[v]
                placed = True
                for e in range(edge, edge + dependencies.n_predecessors[v]):
                    placed = placed and plan.server[dependencies.predecessor[e]] != _NOBODY
                if placed:
                    chosen, highest = v, priority
        if chosen == _NOBODY:
            break
        own = execution_s[chosen - first]
        only = favourite if rule != _HEFT and scratch.on_path[chosen - first] else _NOBODY
        _insert(chosen, only, dependencies, own, occupies, free_s, plan, order, n_planned, scratch)
        n_planned += 1
    return n_planned


@compiled
def _rank(first: Any, last: Any, dependencies: Any, execution_s: Any, scratch: Any) -> None:
    """Write the mean execution times (0: fits nowhere) and both ranks into ``scratch``."""
    mean_s, upward_s, downward_s = scratch.mean_s, scratch.upward_s, scratch.downward_s
    for v in range(first, last):
        sum_s, fitting = 0.0, 0
        for j in range(execution_s.shape[1]):
            if execution_s[v - first, j] < np.inf:
                sum_s += execution_s[v - first, j]
                fitting += 1
        mean_s[v - first] = sum_s / max(fitting, 1)
        upward_s[v - first] = 0.0
        downward_s[v - first] = 0.0
    for v in range(last - 1, first - 1, -1):
        upward_s[v - first] += mean_s[v - first]
        edge = dependencies.first[v]
        for e in range(edge, edge + dependencies.n_predecessors[v]):
            p = dependencies.predecessor[e] - first
            upward_s[p] = max(upward_s[p], dependencies.transfer_s[e] + upward_s[v - first])
    for v in range(first, last):
        edge = dependencies.first[v]
        for e in range(edge, edge + dependencies.n_predecessors[v]):
            p = dependencies.predecessor[e] - first
            way_s = downward_s[p] + mean_s[p] + dependencies.transfer_s[e]
            downward_s[v - first] = max(downward_s[v - first], way_s)


@compiled
def _mark_critical_path(first: Any, last: Any, dependencies: Any, scratch: Any) -> None:
    """Mark the critical path from its end back: equal sums of ranks may differ by rounding."""
    v, longest_s = first, 0.0
    for i in range(first, last):
        scratch.on_path[i - first] = False
        way_s = scratch.downward_s[i - first] + scratch.mean_s[i - first]
        if way_s > longest_s:
            v, longest_s = i, way_s
    while v != _NOBODY:
        scratch.on_path[v - first] = True
        edge = dependencies.first[v]
        v_before, longest_s = _NOBODY, -1.0
        for e in range(edge, edge + dependencies.n_predecessors[v]):
            p = dependencies.predecessor[e] - first
            way_s = scratch.downward_s[p] + scratch.mean_s[p] + dependencies.transfer_s[e]
            if way_s > longest_s:
                v_before, longest_s = dependencies.predecessor[e], way_s
        v = v_before


@compiled
def _favourite(
    first: Any, last: Any, execution_s: Any, free_s: Any, plan: Any, order: Any, n_planned: Any,
    scratch: Any,
) -> Any:  # fmt: skip
    """Return the server that finishes the critical path first, after all that is planned, or -1."""
    done_s = scratch.gap_s
    for j in range(len(free_s)):
        done_s[j] = free_s[j]
    for k in range(n_planned):
        j = plan.server[order[k]]
        done_s[j] = max(done_s[j], plan.finish_s[order[k]])
    best = _NOBODY
    for j in range(len(free_s)):
        for v in range(first, last):
            if scratch.on_path[v - first] and plan.server[v] == _NOBODY:
                done_s[j] += execution_s[v - first, j]
        if done_s[j] < (np.inf if best == _NOBODY else done_s[best]):
            best = j
    return best


@compiled
def _insert(
    v: Any, only: Any, dependencies: Any, own_s: Any, occupies: Any, free_s: Any, plan: Any,
    order: Any, n_planned: Any, scratch: Any,
) -> None:  # fmt: skip
    """Plan primitive v on the server that finishes it first, or on ``only`` unless that is -1."""
    ready_s, hold_s = scratch.ready_s, scratch.hold_s
    gap_s, start_s = scratch.gap_s, scratch.start_s
    edge = dependencies.first[v]
    N = len(free_s)
    for j in range(N):
        ready_s[j], hold_s[j], gap_s[j], start_s[j] = 0.0, 0.0, free_s[j], -1.0
        for e in range(edge, edge + dependencies.n_predecessors[v]):
            p = dependencies.predecessor[e]
            sent_s = dependencies.transfer_s[e] if plan.server[p] != j else 0.0
            if occupies:
                ready_s[j] = max(ready_s[j], plan.finish_s[p])
                hold_s[j] = max(hold_s[j], sent_s)
            else:
                ready_s[j] = max(ready_s[j], plan.finish_s[p] + sent_s)
        hold_s[j] += own_s[j]
    for k in range(n_planned):
        other = order[k]
        j = plan.server[other]
        if start_s[j] < 0:
            earliest_s = max(gap_s[j], ready_s[j])
            if earliest_s + hold_s[j] <= plan.start_s[other]:
                start_s[j] = earliest_s
            gap_s[j] = max(gap_s[j], plan.finish_s[other])
    best, best_s = _NOBODY, np.inf
    for j in range(N):
        if start_s[j] < 0:
            start_s[j] = max(gap_s[j], ready_s[j])
        finish_s = start_s[j] + hold_s[j]
        if finish_s < best_s and (only in (_NOBODY, j)):
            best, best_s = j, finish_s
    plan.server[v] = best
    plan.start_s[v] = start_s[best]
    plan.finish_s[v] = best_s
    k = n_planned
    while k > 0 and plan.start_s[order[k - 1]] > start_s[best]:
        order[k] = order[k - 1]
        k -= 1
    order[k] = v
