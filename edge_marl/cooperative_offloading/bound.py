"""Bound what any policy can reach in an episode, knowing all of its tasks in advance.

Three bounds hold for the tasks of an episode together:

- *alone*: a task takes at least as long, and as much energy, as the best choice would on servers
  and links that are idle. Both are exact for one task, though by different choices.
- *pooled*: the sum of all latencies is at least that of preemptive shortest remaining processing
  time first on one server with the capacity of all (Schrage, 1968): whatever is split, sent and
  granted, no more cycles are executed in any span of time.
- *traded*: a task that is done after L has at most ``k = max_targets + 1`` servers, each of which
  executes at a constant speed for at most L. As energy is convex in speed, cycles c take at least
  ``kappa_e c^3 / (k L)^2``, and the weighted cost of the task at least the minimum over L.
"""

from __future__ import annotations

import heapq
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_marl.compiled import compiled
from edge_marl.cooperative_offloading.records import NOBODY, Parameters, Workload
from edge_marl.cooperative_offloading.scenario import CooperativeScenario
from edge_marl.cooperative_offloading.sharing import (
    computing_j,
    granted,
    helper,
    link,
    meeting_share,
    n_helpers,
)
from edge_marl.cooperative_offloading.simulator import CooperativeOffloadingSimulator

FloatArray = NDArray[np.float64]


class EpisodeBounds(NamedTuple):
    """Hold what no policy falls below, ``[B]`` each, under the names of the results."""

    cost: FloatArray
    latency_s: FloatArray
    energy_j: FloatArray


def clairvoyant_bound(scenario: CooperativeScenario, seeds: ArrayLike) -> EpisodeBounds:
    """Bound the metrics of the episodes of ``seeds [B]``."""
    seeds = np.asarray(seeds)
    simulator = CooperativeOffloadingSimulator(scenario, len(seeds))
    simulator.reset(seeds)
    return workload_bound(simulator.parameters, simulator.workload)


def workload_bound(parameters: Parameters, workload: Workload) -> EpisodeBounds:
    """Bound the metrics of episodes with given tasks."""
    shape = workload.home.shape
    latency_s, energy_j = np.zeros(shape), np.zeros(shape)
    _alone_kernel(parameters, workload, latency_s, energy_j)
    total = float(parameters.capacity[: len(parameters.memory_gb)].sum())
    pooled_s = np.array([
        _shortest_first(arrival_s, gcycles / total)
        for arrival_s, gcycles in zip(workload.arrival_s, workload.gcycles, strict=True)
    ])  # fmt: skip
    speed = parameters.capacity[workload.home]
    weight = parameters.latency_weight
    per_s = weight / (workload.gcycles / speed).sum(1)
    per_j = (1.0 - weight) / (parameters.joule * speed**2 * workload.gcycles).sum(1)
    k = np.count_nonzero(parameters.subsets != NOBODY, axis=1).max() + 1
    convex = parameters.joule * workload.gcycles**3 / k**2
    traded = _traded(per_s[:, None], per_j[:, None], latency_s, energy_j, convex).sum(1)
    of_all = per_s * np.maximum(pooled_s, latency_s.sum(1)) + per_j * energy_j.sum(1)
    K = shape[1]
    return EpisodeBounds(
        cost=np.maximum(traded, of_all),
        latency_s=np.maximum(pooled_s, latency_s.sum(1)) / K,
        energy_j=energy_j.sum(1) / K,
    )


def _traded(
    per_s: FloatArray,
    per_j: FloatArray,
    least_s: FloatArray,
    least_j: FloatArray,
    convex: FloatArray,
) -> FloatArray:
    """Return the least ``per_s L + per_j max(least_j, convex / L^2)`` for L from ``least_s`` on."""
    with np.errstate(divide="ignore"):
        # Where the sum no longer falls, or more time would save nothing.
        best_s = np.minimum(np.cbrt(2.0 * per_j * convex / per_s), np.sqrt(convex / least_j))
    latency_s = np.maximum(best_s, least_s)
    cost: FloatArray = per_s * latency_s + per_j * np.maximum(least_j, convex / latency_s**2)
    return cost


def _shortest_first(arrival_s: FloatArray, work_s: FloatArray) -> float:
    """Return the sum of latencies on one server, shortest remaining time first.

    Args:
        arrival_s: ``[K]`` in ascending order.
        work_s: ``[K]`` time that each task takes by itself.
    """
    left_s: list[float] = []
    now_s = total_s = 0.0
    for begin_s, work in zip([*arrival_s.tolist(), np.inf], [*work_s.tolist(), 0.0], strict=True):
        while left_s and now_s + left_s[0] <= begin_s:
            now_s += heapq.heappop(left_s)
            total_s += now_s
        if left_s:
            heapq.heapreplace(left_s, left_s[0] - (begin_s - now_s))
        now_s = begin_s
        heapq.heappush(left_s, work)
    return total_s - float(arrival_s.sum())


@compiled(entry=True)
def _alone_kernel(parameters: Any, workload: Any, latency_s: Any, energy_j: Any) -> None:
    """Find the least latency and the least energy ``[B, K]`` of each task on idle resources."""
    for b in range(latency_s.shape[0]):
        for i in range(latency_s.shape[1]):
            latency_s[b, i], energy_j[b, i] = _alone(b, i, parameters, workload)


@compiled
def _alone(b: Any, i: Any, parameters: Any, workload: Any) -> Any:
    home, gcycles = workload.home[b, i], workload.gcycles[b, i]
    home_s = gcycles / _most(home, parameters)
    least_s, least_j = home_s, computing_j(gcycles, parameters.smallest[home], parameters)
    for choice in range(1, len(parameters.subsets)):
        n = n_helpers(choice, parameters)
        share, sum_j = 1.0, 0.0
        for k in range(n):
            server = helper(choice, k, home, parameters)
            sent_s = workload.input_mb[b, i] / _most(link(home, server, parameters), parameters)
            returned_s = workload.output_mb[b, i] / _most(
                link(server, home, parameters), parameters
            )
            each_s = (sent_s + gcycles / _most(server, parameters) + returned_s) / n
            fixed_s = parameters.latency_s[home, server] + parameters.latency_s[server, home]
            share = min(share, meeting_share(home_s, each_s, fixed_s))
            sum_j += (
                computing_j(gcycles, parameters.smallest[server], parameters)
                + parameters.power_w[home, server] * sent_s
                + parameters.power_w[server, home] * returned_s
            )
        # With the least of the shares home ends with the slowest helper: with more, that is later.
        if share > 0.0:
            least_s = min(least_s, (1.0 - share) * home_s)
        least_j = min(least_j, sum_j / n)
    return least_s, least_j


@compiled
def _most(r: Any, parameters: Any) -> Any:
    """Return the largest grant of a resource."""
    return granted(1.0, parameters.capacity[r], r, parameters)
