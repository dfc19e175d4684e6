"""Offload on a graph by heuristics: each agent decides on its oldest undecided task.

- ``random``: the node itself or any neighbour.
- ``local``: the node itself.
- ``least_queues``: the fewest tasks relative to the queue limit (annex 11.2), at the node itself
  without the one to decide on; ties go to the first neighbour.
- ``shortest``: the shortest expected response, from what the neighbours have told.
- ``shortest_true``: the same from the true queues of all neighbours and the sizes of their tasks.
- ``triage``, ``triage_true``: as ``shortest``, but a giant, which would block a node for longer
  than it is worth, is not executed: it is passed on to any neighbour, until its deadline.
- ``least_queues_triage``: giants are passed on, short tasks stay at a node that is nearly idle, and
  all others go by ``least_queues``.

A neighbour's queue is as it was last told; a node's own is known. Rules other than the first three
also know the capacities of the neighbours and the links to them, which do not change. The time that
a task takes is its instructions over the capacity; of neighbours' waiting tasks, whose sizes are
not told, each counts as much as the typical job: the geometric mean. Ties of costs go to the node
itself, then to the first neighbour. Choices at random depend on the episode's seed, tick
and node alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from edge_marl.compiled import compiled
from edge_marl.errors import InputError
from edge_marl.graph_offloading.failures import is_open
from edge_marl.graph_offloading.records import NOBODY, IntArray
from edge_marl.graph_offloading.simulator import GraphOffloadingSimulator
from edge_marl.random_stream import uniform
from edge_marl.seeds import PROBE_DRAWS
from edge_marl.simulation import Policy
from edge_marl.validation import shown

_NOBODY = NOBODY
_DRAWS = PROBE_DRAWS.start
_RANDOM, _LOCAL, _LEAST_QUEUES, _SHORTEST = range(4)
_TIE = 1e-13  # less than any difference of two queues relative to their limits, of at most 1e6


class Rule(NamedTuple):
    """Say how agents decide."""

    base: int
    """For tasks that are neither giant nor short."""
    true_state: bool = False
    """Neighbours' queues and their tasks are known as they are."""
    giant_ticks: float = np.inf
    """At the fastest node in reach; longer tasks are passed on."""
    short_ticks: float = 0.0
    """At the node itself; shorter tasks are kept if it is nearly idle."""


class GraphHeuristic(Policy[GraphOffloadingSimulator]):
    """Decide by a rule, for all agents of a batch.

    Args:
        name: in tables.
        rule: how to decide.
    """

    def __init__(self, name: str, rule: Rule) -> None:
        self.name = name
        self.rule = rule

    def act(self, simulator: GraphOffloadingSimulator) -> IntArray:
        """Choose the actions ``[B, A]``."""
        actions = np.zeros((simulator.batch_size, len(simulator.agents)), dtype=np.int32)
        _decide_all(self.rule, simulator.packed, simulator.state, actions)
        return actions


HEURISTICS: dict[str, Callable[[], Policy[GraphOffloadingSimulator]]] = {
    name: partial(GraphHeuristic, name, rule)
    for name, rule in {
        "random": Rule(_RANDOM),
        "local": Rule(_LOCAL),
        "least_queues": Rule(_LEAST_QUEUES),
        "shortest": Rule(_SHORTEST),
        "shortest_true": Rule(_SHORTEST, true_state=True),
        "triage": Rule(_SHORTEST, giant_ticks=7.0),
        "triage_true": Rule(_SHORTEST, true_state=True, giant_ticks=7.0),
        "least_queues_triage": Rule(_LEAST_QUEUES, giant_ticks=10.0, short_ticks=20.0),
    }.items()
}
"""Makers of all heuristics, by name; their thresholds finished most tasks in the mean over the four
shipped topologies and rates of 0.5, 1 and 2 per second, on seeds for validation."""


def heuristic(name: str) -> Policy[GraphOffloadingSimulator]:
    """Return a heuristic by name.

    Raises:
        InputError: for an unknown name.
    """
    if name not in HEURISTICS:
        raise InputError(f"heuristic: expected one of {', '.join(HEURISTICS)}, found {shown(name)}")
    return HEURISTICS[name]()


@compiled(entry=True)
def _decide_all(rule: Any, parameters: Any, state: Any, actions: Any) -> None:
    for b in range(actions.shape[0]):
        if state.done[b]:
            continue
        nodes = state.nodes[b]
        for a in range(actions.shape[1]):
            n = parameters.node[a]
            task = nodes[n].first_undecided
            if task != _NOBODY:
                draw = uniform(state.seeds[b], _DRAWS + state.tick[b] * len(nodes) + n)
                this = state.tasks[b, task]
                parts = state.parts[b]
                actions[b, a] = _choose(n, this, draw, rule, parameters, nodes, parts)


@compiled
def _choose(
    n: Any, this: Any, draw: Any, rule: Any, parameters: Any, nodes: Any, parts: Any
) -> Any:
    """Return the action of node n for a task."""
    node = parameters.nodes[n]
    n_open = 0
    for link in range(node.first, node.end):
        n_open += is_open(link, parameters, parts)
    if n_open == 0 or rule.base == _LOCAL:
        return 0
    if rule.giant_ticks < np.inf:
        fastest = node.capacity
        for link in range(node.first, node.end):
            fastest = max(fastest, parameters.nodes[parameters.links[link].neighbour].capacity)
        if this.instructions / fastest > rule.giant_ticks:
            return _open_one(n, int(draw * n_open), parameters, parts)
    if rule.base == _RANDOM:
        return _open_one(n, int(draw * (n_open + 1)) - 1, parameters, parts)
    short = rule.short_ticks * node.capacity
    if nodes[n].local <= short and this.instructions <= short:
        return 0
    best, least = 0, _cost(n, this, _NOBODY, rule, parameters, nodes)
    for link in range(node.first, node.end):
        if is_open(link, parameters, parts):
            cost = _cost(n, this, link, rule, parameters, nodes)
            if cost < least:
                best, least = 1 + link - node.first, cost
    return best


@compiled
def _open_one(n: Any, k: Any, parameters: Any, parts: Any) -> Any:
    """Return the action that sends over the k-th of the links that are open; keep if k is -1."""
    node = parameters.nodes[n]
    for link in range(node.first, node.end):
        if k >= 0 and is_open(link, parameters, parts):
            if k == 0:
                return 1 + link - node.first
            k -= 1
    return 0


@compiled
def _cost(n: Any, this: Any, link: Any, rule: Any, parameters: Any, nodes: Any) -> Any:
    """Return what a rule minimises, for a task that is kept or sent over a link."""
    m = n if link == _NOBODY else parameters.links[link].neighbour
    node, there = parameters.nodes[m], nodes[m]
    told = there.length if m == n or rule.true_state else there.shown
    if rule.base == _LEAST_QUEUES:
        if m == n:
            return (told - 1) / node.queue_limit + _TIE
        return told / node.queue_limit
    if m == n:
        waiting = there.local
    elif rule.true_state:
        waiting = there.instructions
    else:
        waiting = told * parameters.typical
    cost = (waiting + this.instructions) / node.capacity
    if link != _NOBODY:
        over = parameters.links[link]
        cost += 2.0 * (this.size_mb * over.ticks_per_mb + over.latency_ticks)
    return cost
