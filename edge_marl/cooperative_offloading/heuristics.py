"""Decide by heuristics who helps with a task, and what its parts are granted.

Who helps, and with how much of it:

- ``local``: nobody.
- ``random``: any of the choices, with any share.
- ``nearest_idle``: if the home is busy, the idle server with the shortest latency has all of it.
- ``least_latency``: the choice by which it would be done first, with the share by which home and
  the slowest helper end together, if nothing else arrived.
- ``least_energy``: the choice and share that would take the least energy.
- ``equal_split``: the nearest servers, as many as may help, and home, all with the same share.

All see what every server and link has left. Grants are *full*, all that is left, or
*proportional*, ``c / (c + mean)`` of it for a task of c cycles: half of it for one of mean size.
A server that parts wait for, or that has failed, is taken to grant the least that it may.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import numpy as np

from edge_marl.compiled import compiled
from edge_marl.cooperative_offloading.outages import is_down
from edge_marl.cooperative_offloading.records import ALLOCATION
from edge_marl.cooperative_offloading.sharing import (
    computing_j,
    equal_share,
    granted,
    helper,
    link,
    meeting_share,
    n_helpers,
    share_asked,
)
from edge_marl.cooperative_offloading.simulator import CooperativeOffloadingSimulator, FixedGrants
from edge_marl.random_stream import uniform
from edge_marl.seeds import PROBE_DRAWS
from edge_marl.simulation import Actions, Hybrid, Policy

_DRAWS = PROBE_DRAWS.start
RULES = ("local", "random", "nearest_idle", "least_latency", "least_energy", "equal_split")
GRANTS: tuple[FixedGrants, ...] = get_args(FixedGrants)
_LOCAL, _RANDOM, _NEAREST_IDLE, _LEAST_LATENCY, _LEAST_ENERGY, _EQUAL_SPLIT = range(6)


class CooperativeHeuristic(Policy[CooperativeOffloadingSimulator]):
    """Decide on one task after the other by a rule.

    Args:
        rule: one of :data:`RULES`.
        grants: one of :data:`GRANTS`.
    """

    def __init__(self, rule: str, grants: str) -> None:
        self.name = f"{rule}_{grants}"
        self._rule, self._full = RULES.index(rule), grants == "full"

    def act(self, simulator: CooperativeOffloadingSimulator) -> Actions:
        """Choose the actions ``[B, M]`` of the next step, and perhaps allocations ``[B, M, 3]``."""
        actions = np.zeros(simulator.vectors.shape[:2], dtype=np.int32)
        allocations = np.zeros((*actions.shape, len(ALLOCATION)))
        _decide_kernel(
            self._rule, self._full, simulator.done, simulator.seeds, simulator.parameters,
            simulator.workload, simulator.resources, simulator.homes, simulator.progress, actions,
            allocations,
        )  # fmt: skip
        return Hybrid(actions, allocations) if simulator.vector_size else actions


HEURISTICS: dict[str, Callable[[], CooperativeHeuristic]] = {
    f"{rule}_{grants}": partial(CooperativeHeuristic, rule, grants)
    for rule in RULES
    for grants in GRANTS
}


@compiled(entry=True)
def _decide_kernel(
    rule: Any, full: Any, done: Any, seeds: Any, parameters: Any, workload: Any, resources: Any,
    homes: Any, progress: Any, actions: Any, allocations: Any,
) -> None:  # fmt: skip
    for b in range(len(done)):
        if done[b]:
            continue
        task = progress.task[b]
        home = workload.home[b, task]
        gcycles = workload.gcycles[b, task]
        share = share_asked(full, gcycles, parameters)
        choice, leaves = 0, 0.0
        if rule == _RANDOM:
            choice = int(uniform(seeds[b], _DRAWS + 2 * task) * len(parameters.subsets))
            leaves = uniform(seeds[b], _DRAWS + 2 * task + 1)
        elif rule == _NEAREST_IDLE:
            if not _is_idle(b, home, parameters, resources, homes, progress):
                choice = _nearest_idle(b, home, parameters, resources, homes, progress)
                leaves = 1.0 if choice > 0 else 0.0
        elif rule == _EQUAL_SPLIT:
            choice = _nearest(home, parameters)
            leaves = equal_share(n_helpers(choice, parameters))
        elif rule != _LOCAL:
            choice, leaves = _greedy(
                b, task, rule == _LEAST_LATENCY, share, parameters, workload, resources, homes,
                progress,
            )  # fmt: skip
        actions[b, home] = choice
        allocations[b, home, 0] = leaves
        allocations[b, home, 1] = allocations[b, home, 2] = share


@compiled
def _is_idle(
    b: Any, server: Any, parameters: Any, resources: Any, homes: Any, progress: Any
) -> Any:
    return (
        resources.n_holders[b, server] == 0
        and resources.n_waiting[b, server] == 0
        and not is_down(b, server, parameters, homes, progress)
    )


@compiled
def _nearest_idle(
    b: Any, home: Any, parameters: Any, resources: Any, homes: Any, progress: Any
) -> Any:
    """Return the choice of the idle server with the shortest latency, 0 without any."""
    found, latency_s = 0, np.inf
    for choice in range(len(parameters.subsets)):
        if n_helpers(choice, parameters) != 1:
            continue
        server = helper(choice, 0, home, parameters)
        away_s = parameters.latency_s[home, server]
        if away_s < latency_s and _is_idle(b, server, parameters, resources, homes, progress):
            found, latency_s = choice, away_s
    return found


@compiled
def _nearest(home: Any, parameters: Any) -> Any:
    """Return the largest choice with the least sum of latencies."""
    found, size, sum_s = 0, 0, 0.0
    for choice in range(len(parameters.subsets)):
        n, latency_s = n_helpers(choice, parameters), 0.0
        for k in range(n):
            latency_s += parameters.latency_s[home, helper(choice, k, home, parameters)]
        if n > size or (n == size and latency_s < sum_s):
            found, size, sum_s = choice, n, latency_s
    return found


@compiled
def _granted(
    b: Any, r: Any, asked: Any, parameters: Any, resources: Any, homes: Any, progress: Any
) -> Any:
    """Return what a part would be granted of a resource now, the least where it has to wait."""
    left, least = resources.left[b, r], parameters.smallest[r]
    if resources.n_waiting[b, r] > 0 or left < least:
        return least
    if r < homes.earned.shape[1] and is_down(b, r, parameters, homes, progress):
        return least
    return granted(asked, left, r, parameters)


@compiled
def _greedy(
    b: Any, task: Any, by_latency: Any, asked: Any, parameters: Any, workload: Any, resources: Any,
    homes: Any, progress: Any,
) -> Any:  # fmt: skip
    """Return the choice and the share that leaves with the least latency, or energy."""
    home, gcycles = workload.home[b, task], workload.gcycles[b, task]
    at_home = _granted(b, home, asked, parameters, resources, homes, progress)
    home_s, home_j = gcycles / at_home, computing_j(gcycles, at_home, parameters)
    found, share, least = 0, 0.0, home_s if by_latency else home_j
    for choice in range(1, len(parameters.subsets)):
        n = n_helpers(choice, parameters)
        leaves, energy_j = 1.0, 0.0
        for k in range(n):
            server = helper(choice, k, home, parameters)
            speed = _granted(b, server, asked, parameters, resources, homes, progress)
            there = _granted(
                b, link(home, server, parameters), asked, parameters, resources, homes, progress
            )
            back = _granted(
                b, link(server, home, parameters), asked, parameters, resources, homes, progress
            )
            sent_s = workload.input_mb[b, task] / there
            returned_s = workload.output_mb[b, task] / back
            each_s = (sent_s + gcycles / speed + returned_s) / n
            fixed_s = parameters.latency_s[home, server] + parameters.latency_s[server, home]
            leaves = min(leaves, meeting_share(home_s, each_s, fixed_s))
            energy_j += (
                computing_j(gcycles, speed, parameters)
                + parameters.power_w[home, server] * sent_s
                + parameters.power_w[server, home] * returned_s
            ) / n
        if by_latency:
            if leaves > 0.0 and (1.0 - leaves) * home_s < least:
                found, share, least = choice, leaves, (1.0 - leaves) * home_s
        elif energy_j < least:
            found, share, least = choice, 1.0, energy_j
    return found, share
