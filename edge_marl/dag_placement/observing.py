"""Compute what the agents observe (section 4.1.1), in columns that records.py describes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edge_marl.compiled import compiled
from edge_marl.dag_placement.records import HERE, NOBODY

_COUNT = 5.0  # what counts are divided by, or at which they are half of their largest value


@compiled
def _saturated(count: Any, half: Any) -> Any:
    """Map a count to [0, 1), so that one beyond those seen in training does not look far away."""
    return count / (count + half)


@compiled
def takes(b: Any, j: Any, task: Any, parameters: Any, workload: Any, servers: Any) -> Any:
    """Return whether a server is there, idle and large enough (equations 1d, 1e)."""
    return (
        servers.state[b, j] == HERE
        and servers.running[b, j] == NOBODY
        and workload.memory_gb[b, task] <= parameters.memory_gb[j]
    )


@compiled(entry=True)
def delay_s(b: Any, before: Any, j: Any, parameters: Any, workload: Any, tasks: Any) -> Any:
    """Return ``delta``, the delay in seconds from a predecessor to server j (section 3.2)."""
    if tasks.server[b, before] == j:
        return 0.0
    return workload.output_gb[b, before] / parameters.bandwidth_gb_per_s + parameters.latency_s


@compiled
def inputs_s(b: Any, task: Any, j: Any, parameters: Any, workload: Any, tasks: Any) -> Any:
    """Return how long server j waits for the inputs of a primitive, in seconds."""
    longest_s = 0.0
    if parameters.physical:
        edge = workload.first_predecessor[b, task]
        for e in range(edge, edge + workload.n_predecessors[b, task]):
            before = workload.predecessor[b, e]
            longest_s = max(longest_s, delay_s(b, before, j, parameters, workload, tasks))
    return longest_s


@compiled
def next_event_s(b: Any, parameters: Any, workload: Any, servers: Any, progress: Any) -> Any:
    """Return when something happens next, or inf if nothing does."""
    next_s = np.inf
    if progress.n_arrived[b] < workload.n_workflows[b]:
        next_s = workload.arrival_s[b, progress.n_arrived[b]]
    if progress.n_running[b] > 0:
        for j in range(servers.state.shape[1]):
            if servers.running[b, j] != NOBODY:
                next_s = min(next_s, servers.free_s[b, j])
    if parameters.mean_up_s < np.inf:
        for j in range(servers.state.shape[1]):
            next_s = min(next_s, servers.change_s[b, j])
    return next_s


@compiled
def observe(
    b: Any, parameters: Any, workload: Any, tasks: Any, servers: Any, progress: Any, queues: Any,
    observation: Any,
) -> None:  # fmt: skip
    """Write the features and action masks of an episode."""
    features, mask = observation.features, observation.action_mask
    N = servers.state.shape[1]
    n_here, n_idle = 0, 0
    for j in range(N):
        if servers.state[b, j] == HERE:
            n_here += 1
            n_idle += servers.running[b, j] == NOBODY
    per_server = 1.0 / max(n_here, 1)
    ready, unplaced = progress.n_ready[b] * per_server, progress.n_unplaced[b] * per_server
    task = progress.task[b]
    mask[b, 0] = False
    if task == NOBODY:
        features[b, 0] = 0.0
        mask[b, 0, N] = True
    else:
        _describe(
            b, task, ready, unplaced, parameters, workload, progress, queues, features[b, 0, 0]
        )
        _see_servers(b, task, parameters, workload, tasks, servers, progress, features, mask)
        mask[b, 0, N] = parameters.event and (progress.n_running[b] > 0 or n_here < N)
    if parameters.selects:
        n = progress.n_selected[b]
        features[b, 1] = 0.0
        mask[b, 1] = False
        mask[b, 1, N] = n == 0
        if n > 0:
            features[b, 1, 0, 0] = ready
            features[b, 1, 0, 1] = n_idle * per_server
            features[b, 1, 0, 2] = progress.n_running[b] * per_server
            for k in range(n):
                other = queues.offered[b, k]
                _describe(
                    b,
                    other,
                    ready,
                    unplaced,
                    parameters,
                    workload,
                    progress,
                    queues,
                    features[b, 1, 1 + k],
                )
                mask[b, 1, k] = True


@compiled
def _describe(
    b: Any, task: Any, ready: Any, unplaced: Any, parameters: Any, workload: Any, progress: Any,
    queues: Any, row: Any,
) -> None:  # fmt: skip
    """Write the features of a primitive: ``phi`` of section 4.1.1, then the extended ones."""
    w = workload.workflow[b, task]
    n = workload.first[b, w + 1] - workload.first[b, w]
    row[0] = workload.compute_gflop[b, task] / parameters.largest_gflops
    row[1] = workload.memory_gb[b, task] / parameters.largest_gb
    row[2] = workload.n_successors[b, task] / _COUNT
    row[3] = 1.0 - queues.left[b, w] / n
    row[4] = workload.output_gb[b, task]
    if parameters.extended:
        row[0] = math.log1p(row[0])
        row[2] = _saturated(workload.n_successors[b, task], _COUNT)
        row[5] = _saturated(workload.hops[b, task], _COUNT)
        row[6] = _saturated(queues.left[b, w], _COUNT)
        row[7] = 0.0
        row[8] = _saturated(ready, 1.0)
        row[9] = _saturated(unplaced, 1.0)


@compiled
def _see_servers(
    b: Any, task: Any, parameters: Any, workload: Any, tasks: Any, servers: Any, progress: Any,
    features: Any, mask: Any,
) -> None:  # fmt: skip
    """Write the servers' features, ``psi`` (section 4.1.1) and extended ones, and their mask."""
    source = tasks.source[b, task]
    compute_gflop, memory_gb = workload.compute_gflop[b, task], workload.memory_gb[b, task]
    # Inputs take as long to reach any server but those that made them.
    sent_s = inputs_s(b, task, NOBODY, parameters, workload, tasks)
    source_s = 0.0 if source == NOBODY else delay_s(b, source, NOBODY, parameters, workload, tasks)
    for j in range(servers.state.shape[1]):
        row = features[b, 0, 1 + j]
        if servers.state[b, j] != HERE:
            row[:] = 0.0
            continue
        runs = servers.running[b, j] != NOBODY
        rest_s = servers.free_s[b, j] - progress.now_s[b] if runs else 0.0
        mask[b, 0, j] = not parameters.event or (not runs and memory_gb <= parameters.memory_gb[j])
        row[0] = parameters.capacity_gflops[j] / parameters.largest_gflops
        row[1] = parameters.memory_gb[j] / parameters.largest_gb
        row[2] = rest_s
        row[3] = (
            parameters.power_w[j] if runs else parameters.idle_power_w[j]
        ) / parameters.largest_power_w
        row[4] = source_s
        if parameters.extended:
            occupied_s = sent_s + compute_gflop / parameters.capacity_gflops[j]
            row[2] = math.log1p(rest_s)
            row[5] = 0.0 if runs else 1.0
            row[6] = 1.0 if memory_gb <= parameters.memory_gb[j] else 0.0
            row[7] = occupied_s
            row[8] = rest_s + occupied_s
    edge = workload.first_predecessor[b, task]
    for e in range(edge, edge + workload.n_predecessors[b, task]):
        j = tasks.server[b, workload.predecessor[b, e]]
        if servers.state[b, j] != HERE:
            continue
        row = features[b, 0, 1 + j]
        if source_s > 0.0 and tasks.server[b, source] == j:
            row[4] = 0.0
        if parameters.extended:
            # By the difference to what is there: a server may have made several inputs.
            occupied_s = (
                inputs_s(b, task, j, parameters, workload, tasks)
                + compute_gflop / parameters.capacity_gflops[j]
            )
            row[8] += occupied_s - row[7]
            row[7] = occupied_s
    if parameters.extended:
        _see_finishes(b, features)


@compiled
def _see_finishes(b: Any, features: Any) -> None:
    """Write times as logarithms, and how much longer each server takes than the best one.

    The primitive's row gets how much longer the best idle server takes.
    """
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
