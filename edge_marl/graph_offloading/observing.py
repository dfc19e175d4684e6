"""Compute what agents observe (annex 10.2) and the global state (annex 6.7).

An agent knows its own queue and next task, and of its neighbours the queue lengths that they last
told it, their limits, capacities and the links to them.
"""

from __future__ import annotations

import math
from typing import Any

from edge_marl.compiled import compiled
from edge_marl.graph_offloading.pool import next_decided
from edge_marl.graph_offloading.records import NOBODY

_NOBODY = NOBODY
_OWN, _OWN_EXTENDED = 8, 10
_PER_NEIGHBOUR, _PER_NEIGHBOUR_EXTENDED = 2, 4
_UNIT = 1e6
"""Instructions below this differ little on the logarithmic scale."""

STATE_PER_NODE = 6
"""``Q`` of a node, and of its next task whether the node will execute it, progress, instructions,
input and output size; the next task is the one to decide on, or else the one that is executed now
or next."""


def n_features(neighbours: int, extended: bool) -> int:
    """Return the length of an observation for at most so many neighbours.

    It consists of ``Q`` and ``F`` of the node (equation 36), the instructions of all its tasks and
    of those that it will execute (equations 37 and 38), and progress, instructions, input and
    output size of the task to decide on, whose arbitrary number is left out; then ``Q`` and ``F``
    of each neighbour. The extended observation adds the node's capacity and the age of the task,
    and each neighbour's capacity and the rate of the link to it, and has instructions on a
    logarithmic scale. All are shares: of the largest queue limit, job, capacity and rate, and of
    the longest time for which a task may wait. What is missing is -1.
    """
    if extended:
        return _OWN_EXTENDED + _PER_NEIGHBOUR_EXTENDED * neighbours
    return _OWN + _PER_NEIGHBOUR * neighbours


@compiled
def describe(b: Any, parameters: Any, observation: Any) -> None:
    """Write those parts of an episode's observations that stay the same."""
    nodes, links, scales = parameters.nodes, parameters.links, parameters.scales
    features, mask = observation.features, observation.action_mask
    for a in range(features.shape[1]):
        node = nodes[parameters.node[a]]
        features[b, a] = -1.0
        mask[b, a] = False
        mask[b, a, 0] = True
        if scales.extended:
            features[b, a, _OWN] = node.capacity / scales.capacity
            k = _OWN_EXTENDED
            for link in range(node.first, node.end):
                capacity = nodes[links[link].neighbour].capacity
                features[b, a, k + 2] = capacity / scales.capacity
                rate = 1.0 / links[link].ticks_per_mb
                features[b, a, k + 3] = rate / scales.mb_per_tick
                k += _PER_NEIGHBOUR_EXTENDED


@compiled
def observe(b: Any, t: Any, parameters: Any, episode: Any, observation: Any) -> None:
    """Write the changing parts: queues, next tasks, masks and the global state."""
    scales, tasks, nodes = parameters.scales, episode.tasks, episode.nodes
    features, mask, state = observation.features, observation.action_mask, observation.state
    start, step = _OWN, _PER_NEIGHBOUR
    if scales.extended:
        start, step = _OWN_EXTENDED, _PER_NEIGHBOUR_EXTENDED
    inverse = 1.0 / scales.queue_limit
    for a in range(features.shape[1]):
        n = parameters.node[a]
        node, here = parameters.nodes[n], nodes[n]
        own = features[b, a]
        own[0] = here.length * inverse
        own[1] = 1.0 - here.length / node.queue_limit
        own[2] = share_of_instructions(here.instructions, scales)
        own[3] = share_of_instructions(here.local, scales)
        task = here.first_undecided
        _see_task(task, 0.0, own, 4, scales, tasks)
        if scales.extended:
            own[_OWN + 1] = -1.0
            if task != _NOBODY:
                age = t - tasks[task].created
                own[_OWN + 1] = min(age / scales.age_ticks, 1.0)
        k, open_ = start, 1
        for link in range(node.first, node.end):
            m = parameters.links[link].neighbour
            own[k] = nodes[m].shown * inverse
            own[k + 1] = 1.0 - nodes[m].shown / parameters.nodes[m].queue_limit
            mask[b, a, open_] = task != _NOBODY
            k += step
            open_ += 1
    for n in range(len(nodes)):
        here = nodes[n]
        of_node = state[b, STATE_PER_NODE * n : STATE_PER_NODE * (n + 1)]
        of_node[0] = here.length * inverse
        task = here.first_undecided
        of_node[1] = progress = 0.0
        if task == _NOBODY:
            task = here.running
            if task != _NOBODY:
                instructions = tasks[task].instructions
                progress = 1.0 - here.remaining / instructions if instructions > 0.0 else 0.0
            else:
                task = next_decided(here, parameters.rules)
            of_node[1] = 1.0 if task != _NOBODY else -1.0
        _see_task(task, progress, of_node, 2, scales, tasks)


@compiled
def _see_task(task: Any, progress: Any, features: Any, k: Any, scales: Any, tasks: Any) -> None:
    """Write progress, instructions and both sizes of a task from place k on; -1 without one."""
    if task == _NOBODY:
        features[k] = features[k + 1] = features[k + 2] = features[k + 3] = -1.0
        return
    this = tasks[task]
    features[k] = progress
    features[k + 1] = share_of_instructions(this.instructions, scales)
    features[k + 2] = features[k + 3] = this.size_mb / scales.size_mb


@compiled(entry=True)
def share_of_instructions(instructions: Any, scales: Any) -> Any:
    """Return a number of instructions as a share of the largest job's, at most 1.

    The extended observation has a logarithmic scale, for sizes of jobs span six decades.
    """
    if scales.extended:
        share = math.log1p(instructions / _UNIT) / math.log1p(scales.instructions / _UNIT)
    else:
        share = instructions / scales.instructions
    return min(share, 1.0)
