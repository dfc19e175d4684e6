"""What the agents see of an episode (section 4.1.1); columns are described in simulator.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edge_marl.compiled import kernel
from edge_marl.dag_placement.records import HERE, NOBODY

_COUNT = 5.0  # what counts are divided by, or at which they are half of their largest value


@kernel  # type: ignore[untyped-decorator]
def _saturated(count: Any, half: Any) -> Any:
    """In [0, 1): what is larger than anything seen in training must not look far away from it."""
    return count / (count + half)


@kernel  # type: ignore[untyped-decorator]
def takes(b: Any, j: Any, task: Any, law: Any, load: Any, servers: Any) -> Any:
    """Whether a server is there, idle and large enough (equations 1d, 1e)."""
    return (
        servers.state[b, j] == HERE
        and servers.running[b, j] == NOBODY
        and load.memory_gb[b, task] <= law.memory_gb[j]
    )


@kernel  # type: ignore[untyped-decorator]
def delay_s(b: Any, before: Any, j: Any, law: Any, load: Any, tasks: Any) -> Any:
    """``delta`` from a predecessor to server j (section 3.2)."""
    if tasks.server[b, before] == j:
        return 0.0
    return load.output_gb[b, before] / law.bandwidth_gb_per_s + law.latency_s


@kernel  # type: ignore[untyped-decorator]
def inputs_s(b: Any, task: Any, j: Any, law: Any, load: Any, tasks: Any) -> Any:
    """How long server j waits for the inputs of a primitive."""
    longest_s = 0.0
    if law.physical:
        edge = load.first_predecessor[b, task]
        for e in range(edge, edge + load.n_predecessors[b, task]):
            before = load.predecessor[b, e]
            longest_s = max(longest_s, delay_s(b, before, j, law, load, tasks))
    return longest_s


@kernel  # type: ignore[untyped-decorator]
def next_event_s(b: Any, law: Any, load: Any, servers: Any, at: Any) -> Any:
    """When something happens next; inf: nothing does."""
    next_s = np.inf
    if at.n_arrived[b] < load.n_workflows[b]:
        next_s = load.arrival_s[b, at.n_arrived[b]]
    if at.n_running[b] > 0:
        for j in range(servers.state.shape[1]):
            if servers.running[b, j] != NOBODY:
                next_s = min(next_s, servers.free_s[b, j])
    if law.mean_up_s < np.inf:
        for j in range(servers.state.shape[1]):
            next_s = min(next_s, servers.change_s[b, j])
    return next_s


@kernel  # type: ignore[untyped-decorator]
def observe(
    b: Any, law: Any, load: Any, tasks: Any, servers: Any, at: Any, lists: Any, features: Any,
    mask: Any,
) -> None:  # fmt: skip
    """Write features and masks of an episode."""
    N = servers.state.shape[1]
    n_here, n_idle = 0, 0
    for j in range(N):
        if servers.state[b, j] == HERE:
            n_here += 1
            n_idle += servers.running[b, j] == NOBODY
    per_server = 1.0 / max(n_here, 1)
    ready, unplaced = at.n_ready[b] * per_server, at.n_unplaced[b] * per_server
    task = at.task[b]
    mask[b, 0] = False
    if task == NOBODY:
        features[b, 0] = 0.0
        mask[b, 0, N] = True
    else:
        _describe(b, task, ready, unplaced, law, load, at, lists, features[b, 0, 0])
        _see_servers(b, task, law, load, tasks, servers, at, features, mask)
        mask[b, 0, N] = law.event and (at.n_running[b] > 0 or n_here < N)
    if law.selects:
        n = at.n_selected[b]
        features[b, 1] = 0.0
        mask[b, 1] = False
        mask[b, 1, N] = n == 0
        if n > 0:
            features[b, 1, 0, 0] = ready
            features[b, 1, 0, 1] = n_idle * per_server
            features[b, 1, 0, 2] = at.n_running[b] * per_server
            for k in range(n):
                other = lists.offered[b, k]
                _describe(b, other, ready, unplaced, law, load, at, lists, features[b, 1, 1 + k])
                mask[b, 1, k] = True


@kernel  # type: ignore[untyped-decorator]
def _describe(
    b: Any, task: Any, ready: Any, unplaced: Any, law: Any, load: Any, at: Any, lists: Any,
    row: Any,
) -> None:  # fmt: skip
    """Features of a primitive: ``phi`` of section 4.1.1, then the others."""
    w = load.workflow[b, task]
    n = load.first[b, w + 1] - load.first[b, w]
    row[0] = load.compute_gflop[b, task] / law.largest_gflops
    row[1] = load.memory_gb[b, task] / law.largest_gb
    row[2] = load.n_successors[b, task] / _COUNT
    row[3] = 1.0 - lists.left[b, w] / n
    row[4] = load.output_gb[b, task]
    if law.extended:
        row[0] = math.log1p(row[0])
        row[2] = _saturated(load.n_successors[b, task], _COUNT)
        row[5] = _saturated(load.hops[b, task], _COUNT)
        row[6] = _saturated(lists.left[b, w], _COUNT)
        row[7] = 0.0
        row[8] = _saturated(ready, 1.0)
        row[9] = _saturated(unplaced, 1.0)


@kernel  # type: ignore[untyped-decorator]
def _see_servers(
    b: Any, task: Any, law: Any, load: Any, tasks: Any, servers: Any, at: Any, features: Any,
    mask: Any,
) -> None:  # fmt: skip
    """Features of the servers, ``psi`` of section 4.1.1 and the others, and who may be chosen."""
    source = tasks.source[b, task]
    compute_gflop, memory_gb = load.compute_gflop[b, task], load.memory_gb[b, task]
    # Inputs take as long to reach any server but those that made them.
    sent_s = inputs_s(b, task, NOBODY, law, load, tasks)
    source_s = 0.0 if source == NOBODY else delay_s(b, source, NOBODY, law, load, tasks)
    for j in range(servers.state.shape[1]):
        row = features[b, 0, 1 + j]
        if servers.state[b, j] != HERE:
            row[:] = 0.0
            continue
        runs = servers.running[b, j] != NOBODY
        rest_s = servers.free_s[b, j] - at.now_s[b] if runs else 0.0
        mask[b, 0, j] = not law.event or (not runs and memory_gb <= law.memory_gb[j])
        row[0] = law.capacity_gflops[j] / law.largest_gflops
        row[1] = law.memory_gb[j] / law.largest_gb
        row[2] = rest_s
        row[3] = (law.power_w[j] if runs else law.idle_power_w[j]) / law.largest_power_w
        row[4] = source_s
        if law.extended:
            occupied_s = sent_s + compute_gflop / law.capacity_gflops[j]
            row[2] = math.log1p(rest_s)
            row[5] = 0.0 if runs else 1.0
            row[6] = 1.0 if memory_gb <= law.memory_gb[j] else 0.0
            row[7] = occupied_s
            row[8] = rest_s + occupied_s
    edge = load.first_predecessor[b, task]
    for e in range(edge, edge + load.n_predecessors[b, task]):
        j = tasks.server[b, load.predecessor[b, e]]
        if servers.state[b, j] != HERE:
            continue
        row = features[b, 0, 1 + j]
        if source_s > 0.0 and tasks.server[b, source] == j:
            row[4] = 0.0
        if law.extended:
            # Over, not from, what was there: a server may have made several inputs.
            occupied_s = (
                inputs_s(b, task, j, law, load, tasks) + compute_gflop / law.capacity_gflops[j]
            )
            row[8] += occupied_s - row[7]
            row[7] = occupied_s
    if law.extended:
        _see_finishes(b, features)


@kernel  # type: ignore[untyped-decorator]
def _see_finishes(b: Any, features: Any) -> None:
    """Times as logarithms, and how much longer than the best server each, and the idle, take."""
    rows = features[b, 0]
    soonest_s = idle_s = np.inf
    for j in range(1, len(rows)):
        if rows[j, 6] > 0.0:
            soonest_s = min(soonest_s, rows[j, 8])
            if rows[j, 5] > 0.0:
                idle_s = min(idle_s, rows[j, 8])
    rows[0, 7] = math.log(idle_s / soonest_s) if idle_s < np.inf else 0.0
    for j in range(1, len(rows)):
        if rows[j, 0] > 0.0:
            rows[j, 9] = math.log(rows[j, 8] / soonest_s) if soonest_s < np.inf else 0.0
            rows[j, 7] = math.log1p(rows[j, 7])
            rows[j, 8] = math.log1p(rows[j, 8])
