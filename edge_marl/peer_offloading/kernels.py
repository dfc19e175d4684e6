"""Compiled physics of peer offloading: scalar loops over a batch of episodes.

Time is continuous; slots only say when tasks arrive and when decisions are made. What happens to a
task on a link or at a node depends on what has joined the queue before it, never on what joins
later. So its end there is computed once, when it joins, and no event queue is needed: only what
joins a node within one slot has to be put in order.

A task is number ``t * N + i`` of its episode, that of node i in slot t. Arrays that look ahead
have W places, one for each slot in which a task of now may still be decided, used in turn.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from edge_marl.compiled import kernel
from edge_marl.peer_offloading.scenario import CYCLES_PER_KB, between
from edge_marl.random_stream import uniform


class Status(IntEnum):
    """What has become of a task."""

    NONE = 0
    """No task arrived."""
    IN_FLIGHT = 1
    SUCCEEDED = 2
    DROPPED = 3
    """At its deadline, wherever it was."""
    TRANSMISSION_FAILED = 4
    EXECUTION_FAILED = 5


N_STATUS = len(Status)
_NONE, _IN_FLIGHT, _SUCCEEDED, _DROPPED, _TRANSMISSION_FAILED, _EXECUTION_FAILED = (
    int(status) for status in Status
)
_NOBODY = -1
_DRAWS = 8  # random numbers set apart for every node and slot
_EPSILON = 1e-9  # of a slot: times that differ by rounding only are the same


class TaskRecords(NamedTuple):
    """The tasks of all episodes, ``[B, T, N]``: that of node i in slot t, if there is one."""

    status: NDArray[np.int8]
    """A :class:`Status`."""
    destination: NDArray[np.int16]
    """Where it is executed; -1 before the decision."""
    size_kb: NDArray[np.float64]
    """``s_i(t)``."""
    cycles: NDArray[np.float64]
    """``c_i(t)``."""
    deadline_s: NDArray[np.float64]
    """``d_i(t)``, from its arrival on."""
    transmission_wait_s: NDArray[np.float64]
    """``T^tw``; the four times are those spent so, however it ended."""
    transmission_s: NDArray[np.float64]
    """``T^t``, equation 2."""
    execution_wait_s: NDArray[np.float64]
    """``T^cw``."""
    execution_s: NDArray[np.float64]
    """``T^c``, equation 1."""
    finished_s: NDArray[np.float64]
    """Moment at which its fate is known, from the start of the episode on; NaN before."""
    transmission_luck: NDArray[np.float64]
    """Uniform in [0, 1): its transmission fails if not below the reliability of equation 5."""
    execution_luck: NDArray[np.float64]
    """Uniform in [0, 1): its execution fails if not below the reliability of equation 4."""


class Queues(NamedTuple):
    """Queues of all episodes, and what is known of the slots ahead."""

    node_free_s: NDArray[np.float64]
    """``[B, N]``: moment at which all that has joined the node is done with."""
    link_free_s: NDArray[np.float64]
    """``[B, N, N]``: moment at which the link from i to j is done with all that was sent."""
    queue_length: NDArray[np.int32]
    """``[B, N]``: ``l_i``, tasks at the node, waiting or in execution."""
    incoming: NDArray[np.int16]
    """``[B, N, N]``: ``l^r_ij``, tasks on their way to node i (first) from j."""
    on_the_way: NDArray[np.int32]
    """``[B, N]``: all of them."""
    incoming_work_s: NDArray[np.float64]
    """``[B, N]``: execution time at the node of the tasks on their way to it."""
    busy_s: NDArray[np.float64]
    """``[B, N]``: time the node computes before the end of the episode."""
    head: NDArray[np.int32]
    """``[B, W, N]``: first of the tasks that leave their link to a node in a slot, or -1."""
    following: NDArray[np.int32]
    """``[B, (T + 1) * N]``: the task that leaves its link after this one, or -1."""
    moment_s: NDArray[np.float64]
    """``[B, (T + 1) * N]``: when a task leaves its link."""
    departures: NDArray[np.int32]
    """``[B, W, N]``: tasks that leave a node in a slot."""
    feedback: NDArray[np.int32]
    """``[B, W, N]``: feedback on the tasks of node i that becomes known in a slot."""
    decided: NDArray[np.int32]
    """``[B, W, 6]``: tasks whose status becomes final in a slot, by status."""
    totals: NDArray[np.int64]
    """``[B, 6]``: tasks by status so far; NONE is unused, IN_FLIGHT counts arrivals."""


@kernel  # type: ignore[untyped-decorator]
def reset_kernel(
    where: Any, seeds: Any, slot: Any, done: Any, law: Any, networks: Any, tasks: Any,
    queues: Any, features: Any, mask: Any, state: Any,
) -> None:  # fmt: skip
    """Empty the episodes ``where`` and draw their first tasks."""
    for b in range(len(where)):
        if not where[b]:
            continue
        slot[b], done[b] = 0, False
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
        _describe_network(b, law, networks, features, state)
        _arrive(b, 0, seeds[b], law, networks, tasks)
        _observe(b, 0, law, networks, tasks, queues, features, mask, state)


@kernel  # type: ignore[untyped-decorator]
def first_illegal(actions: Any, slot: Any, done: Any, networks: Any, tasks: Any) -> Any:
    """``b * N + i`` of the first action that is physically impossible, or -1."""
    B, N = actions.shape
    for b in range(B):
        if done[b]:
            continue
        for i in range(N):
            j = actions[b, i]
            if tasks.status[b, slot[b], i] == _NONE:
                possible = j == N
            else:
                possible = j == i or (0 <= j < N and networks.rate_mb_per_s[b, i, j] > 0)
            if not possible:
                return b * N + i
    return -1


@kernel  # type: ignore[untyped-decorator]
def step_kernel(
    actions: Any, seeds: Any, slot: Any, done: Any, law: Any, team: Any, networks: Any,
    tasks: Any, queues: Any, features: Any, mask: Any, state: Any, reward: Any, truncated: Any,
) -> None:  # fmt: skip
    """Play one slot of every episode under way."""
    B, N = actions.shape
    W = queues.head.shape[1]
    for b in range(B):
        truncated[b] = False
        if done[b]:
            reward[b] = 0.0
            continue
        t = slot[b]
        for i in range(N):
            if tasks.status[b, t, i] != _NONE:
                _send(b, t, i, actions[b, i], law, networks, tasks, queues, features)
        for j in range(N):
            _receive(b, t, j, law, networks, tasks, queues, features)
        now = t % W
        total = 0
        for i in range(N):
            queues.queue_length[b, i] -= queues.departures[b, now, i]
            reward[b, i] = queues.feedback[b, now, i]
            total += queues.feedback[b, now, i]
            queues.departures[b, now, i] = 0
            queues.feedback[b, now, i] = 0
        if team:
            reward[b] = total
        for kind in range(N_STATUS):
            queues.totals[b, kind] += queues.decided[b, now, kind]
            queues.decided[b, now, kind] = 0
        slot[b] = t + 1
        if t + 1 == law.slots:
            done[b] = truncated[b] = True
        _arrive(b, t + 1, seeds[b], law, networks, tasks)
        _observe(b, t + 1, law, networks, tasks, queues, features, mask, state)


@njit(cache=True, inline="always")
def _arrive(b: Any, t: Any, seed: Any, law: Any, networks: Any, tasks: Any) -> None:
    """Draw the tasks of slot t: Bernoulli arrivals (section III-A)."""
    N = tasks.status.shape[2]
    for i in range(N):
        counter = _DRAWS * (t * N + i)
        if uniform(seed, counter) >= networks.arrival_probability[b, i]:
            continue
        size_kb = between(law.size_kb, uniform(seed, counter + 1))
        cycles_per_bit = between(law.cycles_per_bit, uniform(seed, counter + 2))
        tasks.status[b, t, i] = _IN_FLIGHT
        tasks.size_kb[b, t, i] = size_kb
        tasks.cycles[b, t, i] = cycles_per_bit * CYCLES_PER_KB * size_kb
        tasks.deadline_s[b, t, i] = between(law.deadline_s, uniform(seed, counter + 3))
        tasks.transmission_luck[b, t, i] = uniform(seed, counter + 4)
        tasks.execution_luck[b, t, i] = uniform(seed, counter + 5)


@njit(cache=True, inline="always")
def _send(
    b: Any, t: Any, i: Any, j: Any, law: Any, networks: Any, tasks: Any, queues: Any, features: Any
) -> None:
    """Put the task of node i into its own execution queue, or onto the link to j."""
    N = tasks.status.shape[2]
    now_s = t * law.slot_s
    tasks.destination[b, t, i] = j
    queues.decided[b, t % queues.head.shape[1], _IN_FLIGHT] += 1
    if j == i:
        _line_up(b, t, i, j, t, now_s, queues, N)
        return
    _count_incoming(b, j, i, 1, law, queues, features)
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
            elif dropped_s - end_s <= _EPSILON * law.slot_s:
                status = _DROPPED  # received too late to start, and known now, not a slot later
        tasks.transmission_s[b, t, i] = end_s - start_s
        queues.link_free_s[b, i, j] = end_s
    if status == _IN_FLIGHT:
        queues.incoming_work_s[b, j] += tasks.cycles[b, t, i] / networks.capacity_hz[b, j]
        leaves = math.floor(end_s / law.slot_s + _EPSILON)
    else:
        leaves = _decide(b, t, t, i, status, end_s, law, tasks, queues)
    _line_up(b, t, i, j, leaves, end_s, queues, N)


@njit(cache=True, inline="always")
def _line_up(
    b: Any, t: Any, i: Any, j: Any, leaves: Any, moment_s: Any, queues: Any, N: Any
) -> None:
    """Note that the task of node i leaves its link to j in the slot ``leaves``, in order."""
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


@njit(cache=True, inline="always")
def _receive(
    b: Any, t: Any, j: Any, law: Any, networks: Any, tasks: Any, queues: Any, features: Any
) -> None:
    """Let node j take the tasks that reach it in slot t, in the order of their moments."""
    N = tasks.status.shape[2]
    place = t % queues.head.shape[1]
    task = queues.head[b, place, j]
    queues.head[b, place, j] = _NOBODY
    while task != _NOBODY:
        arrived, i = task // N, task % N
        if i != j:
            _count_incoming(b, j, i, -1, law, queues, features)
        if math.isnan(tasks.finished_s[b, arrived, i]):  # not lost on the way
            _execute(b, t, arrived, i, j, law, networks, tasks, queues)
        task = queues.following[b, task]


@njit(cache=True, inline="always")
def _count_incoming(
    b: Any, i: Any, j: Any, change: Any, law: Any, queues: Any, features: Any
) -> None:
    """Note that a task more or less is on its way to node i from j, which i observes."""
    queues.incoming[b, i, j] += change
    queues.on_the_way[b, i] += change
    # No link holds more than one task for every slot until their deadline.
    features[b, i, 4 + j - (j > i)] = min(queues.incoming[b, i, j] / law.deadline_slots, 1.0)


@njit(cache=True, inline="always")
def _execute(
    b: Any, t: Any, arrived: Any, i: Any, j: Any, law: Any, networks: Any, tasks: Any, queues: Any
) -> None:
    """Put a task into the execution queue of node j, and work out how it ends there."""
    N = tasks.status.shape[2]
    joined_s = queues.moment_s[b, arrived * N + i]
    dropped_s = arrived * law.slot_s + tasks.deadline_s[b, arrived, i]
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
        horizon_s = law.slots * law.slot_s
        queues.busy_s[b, j] += max(0.0, min(end_s, horizon_s) - start_s)
    known = _decide(b, t, arrived, i, status, end_s, law, tasks, queues)
    queues.queue_length[b, j] += 1
    queues.departures[b, known % queues.head.shape[1], j] += 1


@njit(cache=True, inline="always")
def _decide(
    b: Any, t: Any, arrived: Any, i: Any, status: Any, end_s: Any, law: Any, tasks: Any,
    queues: Any,
) -> Any:  # fmt: skip
    """Note the fate of a task; returns the slot in which it becomes known."""
    known = max(t, math.ceil(end_s / law.slot_s - _EPSILON) - 1)
    place = known % queues.head.shape[1]
    tasks.status[b, arrived, i] = status
    tasks.finished_s[b, arrived, i] = end_s
    queues.feedback[b, place, i] += 1 if status == _SUCCEEDED else -1  # section IV-B3
    queues.decided[b, place, status] += 1
    return known


@kernel  # type: ignore[untyped-decorator]
def _describe_network(b: Any, law: Any, networks: Any, features: Any, state: Any) -> None:
    """Write the parts of the observations that stay the same for the episode."""
    N = features.shape[1]
    for i in range(N):
        own = features[b, i]
        own[:] = 0.0
        own[0] = networks.arrival_probability[b, i] / law.largest_arrival_probability
        own[1] = networks.failure_rate[b, i] / law.largest_failure_rate
        own[2] = networks.capacity_hz[b, i] / law.largest_capacity_hz
        for k in range(3):
            state[b, 8 * i + k] = own[k]
        k = 4 + N - 1
        for j in range(N):
            if j != i:
                own[k] = networks.rate_mb_per_s[b, i, j] / law.largest_rate_mb_per_s
                k += 1
        own[k + 3 + i] = 1.0


@njit(cache=True, inline="always")
def _observe(
    b: Any, t: Any, law: Any, networks: Any, tasks: Any, queues: Any, features: Any, mask: Any,
    state: Any,
) -> None:  # fmt: skip
    """Write what changes: queues, tasks, masks (section IV-B)."""
    N = features.shape[1]
    per_queue = 1.0 / law.largest_queue_limit
    for i in range(N):
        own = features[b, i]
        own[3] = min(queues.queue_length[b, i] * per_queue, 1.0)
        k = 4 + 2 * (N - 1)
        own[k] = tasks.size_kb[b, t, i] / law.size_kb[1]
        own[k + 1] = tasks.cycles[b, t, i] / law.largest_cycles
        own[k + 2] = tasks.deadline_s[b, t, i] / law.deadline_s[1]
        state[b, 8 * i + 3] = own[3]
        state[b, 8 * i + 4] = min(queues.on_the_way[b, i] * per_queue, 1.0)
        for part in range(3):
            state[b, 8 * i + 5 + part] = own[k + part]
        idle = tasks.status[b, t, i] == _NONE
        for j in range(N):
            mask[b, i, j] = (
                not idle
                and law.adjacency[i, j]
                and queues.queue_length[b, j] < networks.queue_limit[b, j]
            )
        mask[b, i, i] = not idle
        mask[b, i, N] = idle
