"""Compute what the agents observe, in columns that records.py describes."""

from __future__ import annotations

import math
from typing import Any

from edge_marl.compiled import compiled
from edge_marl.cooperative_offloading.outages import is_down
from edge_marl.cooperative_offloading.records import NOBODY
from edge_marl.cooperative_offloading.turns import turn

_NOBODY = NOBODY
_N_OF_TASK = 4
"""Columns of a task's demands."""
_N_OF_SERVER = 5
"""Columns of a server in the state."""


def n_features(n_servers: int, *, extended: bool) -> int:
    """Return F, the columns of what a server observes."""
    own, other = (5, 7) if extended else (2, 2)
    return _N_OF_TASK + own + (n_servers - 1) * other


def n_of_state(n_servers: int) -> int:
    """Return S, the columns of the state."""
    return _N_OF_TASK + _N_OF_SERVER * n_servers + n_servers * n_servers


@compiled(inline=True)
def _saturated(count: Any) -> Any:
    """Map a count to [0, 1), one to a half."""
    return count / (count + 1.0)


@compiled(inline=True)
def _squashed(ratio: Any) -> Any:
    """Map a demand over its mean to [0, 1), by its logarithm: some are a hundred times the mean."""
    logarithm = math.log1p(ratio)
    return logarithm / (logarithm + 1.0)


@compiled
def observe(
    b: Any, before: Any, parameters: Any, workload: Any, parts: Any, resources: Any, homes: Any,
    progress: Any, observation: Any,
) -> None:  # fmt: skip
    """Write what is seen by the home of the task that has arrived, and nothing for the others.

    Args:
        before: the home that saw something until now, or nobody.
    """
    features, mask, state = observation.features, observation.action_mask, observation.state
    if before != _NOBODY:
        features[b, before] = 0.0
        mask[b, before] = False
    task, M = progress.task[b], homes.earned.shape[1]
    if task == workload.home.shape[1]:
        state[b] = 0.0
        return
    home = workload.home[b, task]
    mask[b, home] = True
    _see_task(b, task, parameters, workload, state[b])
    place = _N_OF_TASK
    for server in range(M):
        state[b, place] = server == home
        state[b, place + 1] = _compute_left(b, server, parameters, resources, homes, progress)
        state[b, place + 2] = homes.memory_left_gb[b, server] / parameters.memory_gb[server]
        state[b, place + 3] = _saturated(resources.n_waiting[b, server])
        turn_s, _ = turn(b, 0.0, server, parameters, workload, parts, resources, homes, progress)
        wait_s = turn_s - progress.now_s[b]
        state[b, place + 4] = _saturated(wait_s / parameters.typical_latency_s)
        place += _N_OF_SERVER
    for r in range(M, M + M * M):
        state[b, place] = _left(b, r, parameters, resources)
        place += 1
    row = features[b, home]
    for column in range(_N_OF_TASK):
        row[column] = state[b, column]
    place = _see_server(home, parameters, state[b], row, _N_OF_TASK)
    for other in range(M):
        if other == home:
            continue
        row[place] = _left(b, M + M * home + other, parameters, resources)
        row[place + 1] = _left(b, M + M * other + home, parameters, resources)
        place += 2
        if parameters.extended:
            place = _see_server(other, parameters, state[b], row, place)


@compiled
def _left(b: Any, r: Any, parameters: Any, resources: Any) -> Any:
    """Return the share of a resource that nobody holds."""
    return resources.left[b, r] / parameters.capacity[r]


@compiled
def _compute_left(
    b: Any, server: Any, parameters: Any, resources: Any, homes: Any, progress: Any
) -> Any:
    """Return the share of a server's compute that it can grant."""
    if is_down(b, server, parameters, homes, progress):
        return 0.0
    return _left(b, server, parameters, resources)


@compiled
def _see_task(b: Any, task: Any, parameters: Any, workload: Any, row: Any) -> None:
    row[0] = _squashed(workload.gcycles[b, task] / parameters.typical_gcycles)
    row[1] = workload.memory_gb[b, task] / parameters.largest_gb
    row[2] = _squashed(workload.input_mb[b, task] / parameters.typical_mb)
    row[3] = _squashed(workload.output_mb[b, task] / parameters.typical_mb)


@compiled
def _see_server(server: Any, parameters: Any, state: Any, row: Any, place: Any) -> Any:
    """Write what the state has of a server from ``place`` on; return the place behind it."""
    first = _N_OF_TASK + _N_OF_SERVER * server + 1
    for column in range(4 if parameters.extended else 2):
        row[place] = state[first + column]
        place += 1
    if parameters.extended:
        row[place] = parameters.capacity[server] / parameters.largest_gcycles_per_s
        place += 1
    return place
