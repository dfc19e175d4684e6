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
    network, scales = parameters.network, parameters.scales
    features, mask = observation.features, observation.action_mask
    for a in range(features.shape[1]):
        n = network.node[a]
        features[b, a] = -1.0
        mask[b, a] = False
        mask[b, a, 0] = True
        if scales.extended:
            features[b, a, _OWN] = network.capacity[n] / scales.capacity
            k = _OWN_EXTENDED
            for link in range(network.first[n], network.first[n + 1]):
                m = network.neighbour[link]
                features[b, a, k + 2] = network.capacity[m] / scales.capacity
                rate = 1.0 / network.ticks_per_mb[link]
                features[b, a, k + 3] = rate / scales.mb_per_tick
                k += _PER_NEIGHBOUR_EXTENDED


@compiled
def observe(
    b: Any, parameters: Any, episodes: Any, tasks: Any, nodes: Any, observation: Any
) -> None:
    """Write the changing parts: queues, next tasks, masks and the global state."""
    network, scales = parameters.network, parameters.scales
    features, mask, state = observation.features, observation.action_mask, observation.state
    start, step = _OWN, _PER_NEIGHBOUR
    if scales.extended:
        start, step = _OWN_EXTENDED, _PER_NEIGHBOUR_EXTENDED
    inverse = 1.0 / scales.queue_limit
    for a in range(features.shape[1]):
        n = network.node[a]
        own = features[b, a]
        length = nodes.length[b, n]
        own[0] = length * inverse
        own[1] = 1.0 - length / network.queue_limit[n]
        own[2] = share_of_instructions(nodes.instructions[b, n], scales)
        own[3] = share_of_instructions(nodes.local[b, n], scales)
        task = nodes.first_undecided[b, n]
        _see_task(b, task, own, 4, scales, tasks)
        if scales.extended:
            own[_OWN + 1] = -1.0
            if task != _NOBODY:
                age = episodes.tick[b] - tasks.created[b, task]
                own[_OWN + 1] = min(age / scales.age_ticks, 1.0)
        k, open_ = start, 1
        for link in range(network.first[n], network.first[n + 1]):
            m = network.neighbour[link]
            own[k] = nodes.shown[b, m] * inverse
            own[k + 1] = 1.0 - nodes.shown[b, m] / network.queue_limit[m]
            mask[b, a, open_] = task != _NOBODY
            k += step
            open_ += 1
    for n in range(len(network.capacity)):
        of_node = state[b, STATE_PER_NODE * n : STATE_PER_NODE * (n + 1)]
        of_node[0] = nodes.length[b, n] * inverse
        task = nodes.first_undecided[b, n]
        of_node[1] = 0.0
        if task == _NOBODY:
            task = nodes.running[b, n]
            if task == _NOBODY:
                task = next_decided(b, n, parameters, nodes)
            of_node[1] = 1.0 if task != _NOBODY else -1.0
        _see_task(b, task, of_node, 2, scales, tasks)


@compiled
def _see_task(b: Any, task: Any, features: Any, k: Any, scales: Any, tasks: Any) -> None:
    """Write progress, instructions and both sizes of a task from place k on; -1 without one."""
    if task == _NOBODY:
        features[k] = features[k + 1] = features[k + 2] = features[k + 3] = -1.0
        return
    instructions = tasks.instructions[b, task]
    features[k] = 1.0 - tasks.remaining[b, task] / instructions if instructions > 0.0 else 0.0
    features[k + 1] = share_of_instructions(instructions, scales)
    features[k + 2] = features[k + 3] = tasks.size_mb[b, task] / scales.size_mb


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
