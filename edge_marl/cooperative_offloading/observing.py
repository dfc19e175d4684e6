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


def n_features(n_servers: int, *, extended: bool) -> int:
    """Return F, the columns of what a server observes."""
    own, other = (5, 7) if extended else (2, 2)
    return _N_OF_TASK + own + (n_servers - 1) * other


def n_of_state(n_servers: int) -> int:
    """Return S, the columns of the state."""
    return _N_OF_TASK + 5 * n_servers + n_servers * n_servers


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
    row = features[b, home]
    _see_task(b, task, parameters, workload, row)
    place = _N_OF_TASK
    place = _see_server(
        b, home, parameters, workload, parts, resources, homes, progress, row, place
    )
    for other in range(M):
        if other == home:
            continue
        row[place] = _left(b, M + M * home + other, parameters, resources)
        row[place + 1] = _left(b, M + M * other + home, parameters, resources)
        place += 2
        if parameters.extended:
            place = _see_server(
                b, other, parameters, workload, parts, resources, homes, progress, row, place
            )
    _see_task(b, task, parameters, workload, state[b])
    place = _N_OF_TASK
    for server in range(M):
        state[b, place] = server == home
        state[b, place + 1] = _compute_left(b, server, parameters, resources, homes, progress)
        state[b, place + 2] = homes.memory_left_gb[b, server] / parameters.memory_gb[server]
        state[b, place + 3] = _saturated(resources.n_waiting[b, server])
        state[b, place + 4] = _wait(
            b, server, parameters, workload, parts, resources, homes, progress
        )
        place += 5
    for r in range(M, M + M * M):
        state[b, place] = _left(b, r, parameters, resources)
        place += 1


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
def _wait(
    b: Any, server: Any, parameters: Any, workload: Any, parts: Any, resources: Any, homes: Any,
    progress: Any,
) -> Any:  # fmt: skip
    """Return how long who asks a server now will wait, over what a task takes alone, in [0, 1)."""
    turn_s, _ = turn(b, 0.0, server, parameters, workload, parts, resources, homes, progress)
    return _saturated((turn_s - progress.now_s[b]) / parameters.typical_latency_s)


@compiled
def _see_task(b: Any, task: Any, parameters: Any, workload: Any, row: Any) -> None:
    row[0] = _squashed(workload.gcycles[b, task] / parameters.typical_gcycles)
    row[1] = workload.memory_gb[b, task] / parameters.largest_gb
    row[2] = _squashed(workload.input_mb[b, task] / parameters.typical_mb)
    row[3] = _squashed(workload.output_mb[b, task] / parameters.typical_mb)


@compiled
def _see_server(
    b: Any, server: Any, parameters: Any, workload: Any, parts: Any, resources: Any, homes: Any,
    progress: Any, row: Any, place: Any,
) -> Any:  # fmt: skip
    """Write the columns of a server from ``place`` on; return the place behind them."""
    row[place] = _compute_left(b, server, parameters, resources, homes, progress)
    row[place + 1] = homes.memory_left_gb[b, server] / parameters.memory_gb[server]
    place += 2
    if parameters.extended:
        row[place] = _saturated(resources.n_waiting[b, server])
        row[place + 1] = _wait(b, server, parameters, workload, parts, resources, homes, progress)
        row[place + 2] = parameters.capacity[server] / parameters.largest_gcycles_per_s
        place += 3
    return place
