"""Compute what agents observe (annex 10.2) and the global state (annex 6.7).

An agent knows its own queue and next task, and of its neighbours the queue lengths that they last
told it, their limits, capacities and the links to them.
"""

from __future__ import annotations

import math
from typing import Any

from edge_marl.compiled import compiled
from edge_marl.graph_offloading.failures import is_open
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
def observe(b: Any, t: Any, n: Any, parameters: Any, episode: Any, observation: Any) -> None:
    """Write what has changed at node n: its queue, next task, mask and part of the global state.

    Most of a large graph is as it was a tick ago, and does not fit into the processor's cache: what
    is written again would first have to be fetched from memory, with its tasks.
    """
    here, a, scales = episode.nodes[n], parameters.nodes[n].agent, parameters.scales
    features, state = observation.features[b], observation.state[b]
    if here.told:
        here.told = False
        _show_to_neighbours(n, here.shown, parameters, features)
    if here.changed:
        here.changed = False
        if a != _NOBODY:
            _see_own(n, parameters, episode, features[a], observation.action_mask[b, a])
        _write_state(n, parameters, episode, state)
    task = here.first_undecided
    if task == _NOBODY:
        if here.running != _NOBODY and here.started > 0.0:
            state[STATE_PER_NODE * n + 2] = 1.0 - here.remaining / here.started
    elif scales.extended and a != _NOBODY:
        age = t - episode.tasks[task].created
        features[a, _OWN + 1] = min(age / scales.age_ticks, 1.0)


@compiled
def _show_to_neighbours(n: Any, shown: Any, parameters: Any, features: Any) -> None:
    """Write the queue that node n has told into the observations of its neighbours."""
    nodes, links, scales = parameters.nodes, parameters.links, parameters.scales
    start, step = _OWN, _PER_NEIGHBOUR
    if scales.extended:
        start, step = _OWN_EXTENDED, _PER_NEIGHBOUR_EXTENDED
    node = nodes[n]
    share, free = shown / scales.queue_limit, 1.0 - shown / node.queue_limit
    for link in range(node.first, node.end):
        other = nodes[links[link].neighbour]
        if other.agent != _NOBODY:
            k = start + step * (links[link].back - other.first)
            features[other.agent, k] = share
            features[other.agent, k + 1] = free


@compiled
def _see_own(n: Any, parameters: Any, episode: Any, own: Any, mask: Any) -> None:
    """Write what the agent of node n observes of the node, and what it may do."""
    node, here, scales = parameters.nodes[n], episode.nodes[n], parameters.scales
    task = here.first_undecided
    own[0] = here.length / scales.queue_limit
    own[1] = 1.0 - here.length / node.queue_limit
    own[2] = share_of_instructions(here.instructions, scales)
    own[3] = share_of_instructions(here.local, scales)
    _see_task(task, own, 4, scales, episode.tasks)
    if scales.extended and task == _NOBODY:
        own[_OWN + 1] = -1.0
    for k in range(node.end - node.first):
        mask[k + 1] = task != _NOBODY and is_open(node.first + k, parameters, episode.parts)


@compiled
def _write_state(n: Any, parameters: Any, episode: Any, state: Any) -> None:
    """Write the part of the global state that is of node n, with a progress of 0."""
    here, scales = episode.nodes[n], parameters.scales
    of_node = state[STATE_PER_NODE * n : STATE_PER_NODE * (n + 1)]
    of_node[0] = here.length / scales.queue_limit
    of_node[1] = 0.0
    task = here.first_undecided
    if task == _NOBODY:
        task = here.running
        if task == _NOBODY:
            task = next_decided(here, parameters.rules)
        of_node[1] = 1.0 if task != _NOBODY else -1.0
    _see_task(task, of_node, 2, scales, episode.tasks)


@compiled
def _see_task(task: Any, features: Any, k: Any, scales: Any, tasks: Any) -> None:
    """Write no progress, instructions and both sizes of a task from place k on; -1 without one."""
    if task == _NOBODY:
        features[k] = features[k + 1] = features[k + 2] = features[k + 3] = -1.0
        return
    this = tasks[task]
    features[k] = 0.0
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
