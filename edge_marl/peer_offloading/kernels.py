"""Compute the physics of peer offloading in compiled scalar loops over a batch of episodes.

Time is continuous; slots only say when tasks arrive and when decisions are made. What happens to a
task on a link or at a node depends on what has joined the queue before it, never on what joins
later. So its end there is computed once, when it joins, and no event queue is needed: only what
joins a node within one slot has to be put in order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edge_marl.compiled import compiled
from edge_marl.peer_offloading.observing import describe, observe, observe_incoming
from edge_marl.peer_offloading.records import N_STATUS, Status
from edge_marl.peer_offloading.scenario import CYCLES_PER_KB, between
from edge_marl.random_stream import uniform

_NONE, _IN_FLIGHT, _SUCCEEDED, _DROPPED, _TRANSMISSION_FAILED, _EXECUTION_FAILED = (
    int(status) for status in Status
)
_NOBODY = -1
_DRAWS = 8  # random numbers set apart for every node and slot
_EPSILON = 1e-9  # of a slot: times that differ by rounding only are the same


@compiled(entry=True)
def reset_kernel(
    where: Any, parameters: Any, episodes: Any, networks: Any, tasks: Any, queues: Any,
    observation: Any,
) -> None:  # fmt: skip
    """Empty the episodes ``where`` and draw their first tasks."""
    for b in range(len(where)):
        if not where[b]:
            continue
        episodes.slot[b], episodes.done[b] = 0, False
        tasks.status[b] = _NONE
        tasks.destination[b] = _NOBODY
        tasks.size_kb[b], tasks.cycles[b], tasks.deadline_s[b] = 0.0, 0.0, 0.0
        tasks.transmission_wait_s[b], tasks.transmission_s[b] = 0.0, 0.0
        tasks.execution_wait_s[b], tasks.execution_s[b] = 0.0, 0.0
        tasks.finished_s[b] = np.nan
        tasks.transmission_luck[b], tasks.execution_luck[b] = 0.0, 0.0
        queues.node_free_s[b], queues.link_free_s[b] = 0.0, 0.0
        queues.queue_length[b], queues.incoming[b], queues.on_the_way[b] = 0, 0, 0
        queues.incoming_work_s[b], queues.busy_s[b] = 0.0, 0.0
        queues.head[b] = _NOBODY
        queues.departures[b], queues.feedback[b], queues.decided[b] = 0, 0, 0
        queues.totals[b] = 0
        describe(b, parameters, networks, observation)
        _arrive(b, 0, episodes.seeds[b], parameters, networks, tasks)
        observe(b, 0, parameters, networks, tasks, queues, observation)


@compiled(entry=True)
def first_illegal(actions: Any, episodes: Any, networks: Any, tasks: Any) -> Any:
    """Return ``b * N + i`` of the first action that is physically impossible, or -1."""
    B, N = actions.shape
    for b in range(B):
        if episodes.done[b]:
            continue
        for i in range(N):
            j = actions[b, i]
            if tasks.status[b, episodes.slot[b], i] == _NONE:
                possible = j == N
            else:
                possible = j == i or (0 <= j < N and networks.rate_mb_per_s[b, i, j] > 0)
            if not possible:
                return b * N + i
    return -1


@compiled(entry=True)
def step_kernel(
    actions: Any, parameters: Any, episodes: Any, networks: Any, tasks: Any, queues: Any,
    transition: Any,
) -> None:  # fmt: skip
    """Play one slot of every episode under way."""
    B, N = actions.shape
    W = queues.head.shape[1]
    reward, observation = transition.reward, transition.observation
    for b in range(B):
        transition.truncated[b] = False
        if episodes.done[b]:
            reward[b] = 0.0
            continue
        t = episodes.slot[b]
        for i in range(N):
            if tasks.status[b, t, i] != _NONE:
                _send(b, t, i, actions[b, i], parameters, networks, tasks, queues, observation)
        for j in range(N):
            _receive(b, t, j, parameters, networks, tasks, queues, observation)
        now = t % W
        total = 0
        for i in range(N):
            queues.queue_length[b, i] -= queues.departures[b, now, i]
            reward[b, i] = queues.feedback[b, now, i]
            total += queues.feedback[b, now, i]
            queues.departures[b, now, i] = 0
            queues.feedback[b, now, i] = 0
        if parameters.team_reward:
            reward[b] = total
        for kind in range(N_STATUS):
            queues.totals[b, kind] += queues.decided[b, now, kind]
            queues.decided[b, now, kind] = 0
        episodes.slot[b] = t + 1
        if t + 1 == parameters.slots:
            episodes.done[b] = transition.truncated[b] = True
        _arrive(b, t + 1, episodes.seeds[b], parameters, networks, tasks)
        observe(b, t + 1, parameters, networks, tasks, queues, observation)


@compiled(inline=True)
def _arrive(b: Any, t: Any, seed: Any, parameters: Any, networks: Any, tasks: Any) -> None:
    """Draw the tasks of slot t: Bernoulli arrivals (section III-A)."""
    N = tasks.status.shape[2]
    for i in range(N):
        counter = _DRAWS * (t * N + i)
        if uniform(seed, counter) >= networks.arrival_probability[b, i]:
            continue
        size_kb = between(parameters.size_kb, uniform(seed, counter + 1))
        cycles_per_bit = between(parameters.cycles_per_bit, uniform(seed, counter + 2))
        tasks.status[b, t, i] = _IN_FLIGHT
        tasks.size_kb[b, t, i] = size_kb
        tasks.cycles[b, t, i] = cycles_per_bit * CYCLES_PER_KB * size_kb
        tasks.deadline_s[b, t, i] = between(parameters.deadline_s, uniform(seed, counter + 3))
        tasks.transmission_luck[b, t, i] = uniform(seed, counter + 4)
        tasks.execution_luck[b, t, i] = uniform(seed, counter + 5)


@compiled(inline=True)
def _send(
    b: Any, t: Any, i: Any, j: Any, parameters: Any, networks: Any, tasks: Any, queues: Any,
    observation: Any,
) -> None:  # fmt: skip
    """Put the task of node i into its own execution queue, or onto the link to j."""
    N = tasks.status.shape[2]
    now_s = t * parameters.slot_s
    tasks.destination[b, t, i] = j
    queues.decided[b, t % queues.head.shape[1], _IN_FLIGHT] += 1
    if j == i:
        _line_up(b, t, i, j, t, now_s, queues, N)
        return
    _count_incoming(b, j, i, 1, parameters, queues, observation)
    dropped_s = now_s + tasks.deadline_s[b, t, i]
    start_s = max(now_s, queues.link_free_s[b, i, j])
    duration_s = tasks.size_kb[b, t, i] / 1000.0 / networks.rate_mb_per_s[b, i, j]  # equation 2
    if start_s >= dropped_s:
        end_s, status = dropped_s, _DROPPED
        tasks.transmission_wait_s[b, t, i] = dropped_s - now_s
    else:
        tasks.transmission_wait_s[b, t, i] = start_s - now_s
        if start_s + duration_s > dropped_s:
            end_s, status = dropped_s, _DROPPED
        else:
            end_s, status = start_s + duration_s, _IN_FLIGHT
            reliability = math.exp(-duration_s * networks.link_failure_rate[b, i, j])  # equation 5
            if tasks.transmission_luck[b, t, i] >= reliability:
                status = _TRANSMISSION_FAILED
            elif dropped_s - end_s <= _EPSILON * parameters.slot_s:
                status = _DROPPED  # received too late to start, and known now, not a slot later
        tasks.transmission_s[b, t, i] = end_s - start_s
        queues.link_free_s[b, i, j] = end_s
    if status == _IN_FLIGHT:
        queues.incoming_work_s[b, j] += tasks.cycles[b, t, i] / networks.capacity_hz[b, j]
        leaves = math.floor(end_s / parameters.slot_s + _EPSILON)
    else:
        leaves = _decide(b, t, t, i, status, end_s, parameters, tasks, queues)
    _line_up(b, t, i, j, leaves, end_s, queues, N)


@compiled(inline=True)
def _line_up(
    b: Any, t: Any, i: Any, j: Any, leaves: Any, moment_s: Any, queues: Any, N: Any
) -> None:
    """Insert the task of node i among those that leave links to j in slot ``leaves``, by time."""
    place = leaves % queues.head.shape[1]
    task = t * N + i
    queues.moment_s[b, task] = moment_s
    before, after = _NOBODY, queues.head[b, place, j]
    while after != _NOBODY:
        other_s = queues.moment_s[b, after]
        if other_s > moment_s or (other_s == moment_s and after % N > i):
            break
        before, after = after, queues.following[b, after]
    queues.following[b, task] = after
    if before == _NOBODY:
        queues.head[b, place, j] = task
    else:
        queues.following[b, before] = task


@compiled(inline=True)
def _receive(
    b: Any, t: Any, j: Any, parameters: Any, networks: Any, tasks: Any, queues: Any,
    observation: Any,
) -> None:  # fmt: skip
    """Let node j take the tasks that reach it in slot t, in the order of their arrival."""
    N = tasks.status.shape[2]
    place = t % queues.head.shape[1]
    task = queues.head[b, place, j]
    queues.head[b, place, j] = _NOBODY
    while task != _NOBODY:
        arrived, i = task // N, task % N
        if i != j:
            _count_incoming(b, j, i, -1, parameters, queues, observation)
        if math.isnan(tasks.finished_s[b, arrived, i]):  # not lost on the way
            _execute(b, t, arrived, i, j, parameters, networks, tasks, queues)
        task = queues.following[b, task]


@compiled(inline=True)
def _count_incoming(
    b: Any, i: Any, j: Any, change: Any, parameters: Any, queues: Any, observation: Any
) -> None:
    """Add ``change`` to the tasks on their way to node i from j, which i observes."""
    queues.incoming[b, i, j] += change
    queues.on_the_way[b, i] += change
    observe_incoming(i, j, queues.incoming[b, i, j], parameters.scales, observation.features[b, i])


@compiled(inline=True)
def _execute(
    b: Any, t: Any, arrived: Any, i: Any, j: Any, parameters: Any, networks: Any, tasks: Any,
    queues: Any,
) -> None:  # fmt: skip
    """Put a task into the execution queue of node j, and work out how it ends there."""
    N = tasks.status.shape[2]
    joined_s = queues.moment_s[b, arrived * N + i]
    dropped_s = arrived * parameters.slot_s + tasks.deadline_s[b, arrived, i]
    duration_s = tasks.cycles[b, arrived, i] / networks.capacity_hz[b, j]  # equation 1
    if i != j:
        queues.incoming_work_s[b, j] -= duration_s
    start_s = max(joined_s, queues.node_free_s[b, j])
    if start_s >= dropped_s:
        end_s, status = dropped_s, _DROPPED
        tasks.execution_wait_s[b, arrived, i] = dropped_s - joined_s
    else:
        tasks.execution_wait_s[b, arrived, i] = start_s - joined_s
        if start_s + duration_s > dropped_s:
            end_s, status = dropped_s, _DROPPED
        else:
            end_s, status = start_s + duration_s, _SUCCEEDED
            reliability = math.exp(-duration_s * networks.failure_rate[b, j])  # equation 4
            if tasks.execution_luck[b, arrived, i] >= reliability:
                status = _EXECUTION_FAILED
        tasks.execution_s[b, arrived, i] = end_s - start_s
        queues.node_free_s[b, j] = end_s
        horizon_s = parameters.slots * parameters.slot_s
        queues.busy_s[b, j] += max(0.0, min(end_s, horizon_s) - start_s)
    known = _decide(b, t, arrived, i, status, end_s, parameters, tasks, queues)
    queues.queue_length[b, j] += 1
    queues.departures[b, known % queues.head.shape[1], j] += 1


@compiled(inline=True)
def _decide(
    b: Any, t: Any, arrived: Any, i: Any, status: Any, end_s: Any, parameters: Any, tasks: Any,
    queues: Any,
) -> Any:  # fmt: skip
    """Record the fate of a task and return the slot in which it becomes known."""
    known = max(t, math.ceil(end_s / parameters.slot_s - _EPSILON) - 1)
    place = known % queues.head.shape[1]
    tasks.status[b, arrived, i] = status
    tasks.finished_s[b, arrived, i] = end_s
    queues.feedback[b, place, i] += 1 if status == _SUCCEEDED else -1  # section IV-B3
    queues.decided[b, place, status] += 1
    return known
