"""Draw what arrives in an episode from its seed alone, whatever is decided later."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_marl.compiled import compiled
from edge_marl.cooperative_offloading.records import Workload
from edge_marl.cooperative_offloading.scenario import (
    CooperativeScenario,
    DrawnTasks,
    RecordedTasks,
)
from edge_marl.cooperative_offloading.trace import TraceTasks, read_tasks
from edge_marl.random_stream import normal_quantile, uniform
from edge_marl.record_arrays import one_by_one
from edge_marl.seeds import BURST_DRAWS, TASK_DRAWS

FloatArray = NDArray[np.float64]

_TASK_DRAWS, _BURST_DRAWS = TASK_DRAWS.start, BURST_DRAWS.start
_DRAWS_PER_HOME = 2**36
_DRAWS_PER_TASK = 8


class _Load(NamedTuple):
    """Hand what a scenario says about arrivals to the kernel."""

    rates_per_s: FloatArray
    """``[M]``: outside of bursts."""
    mean_gcycles: float
    mean_memory_gb: float
    most_memory_gb: float
    mean_input_mb: float
    output_share: float
    sigma: float
    in_order: bool
    speed: float
    """Of a replay."""
    period_s: float
    """From one round of a trace to the next."""
    burst_rate_per_s: float
    burst_s: float
    intensity: float
    correlation: float


class _Homes(NamedTuple):
    """Track the arrivals at each home while an episode is drawn, ``[M]`` each."""

    next_s: FloatArray
    """Of the next task."""
    n: NDArray[np.int64]
    """Tasks so far."""
    until_s: FloatArray
    """End of the burst, if there is one."""
    own_s: FloatArray
    """Next burst of its own."""
    n_own: NDArray[np.int64]
    common_s: FloatArray
    """Next burst of all homes."""
    n_common: NDArray[np.int64]


class Generator:
    """Draw what arrives in episodes.

    Args:
        scenario: what episodes are drawn from.

    Raises:
        InputError: for a trace that cannot be read.
    """

    def __init__(self, scenario: CooperativeScenario) -> None:
        load, bursts, M = scenario.load, scenario.bursts, scenario.servers
        rates = scenario.rates_per_s
        in_burst = -math.expm1(-bursts.rate_per_s * bursts.duration_s)
        rates_outside = rates / (1.0 + (bursts.intensity - 1.0) * in_burst)
        in_order = isinstance(load, RecordedTasks) and load.arrivals == "recorded"
        drawn = TraceTasks(*(np.zeros(0) for _ in TraceTasks._fields))
        self._trace = read_tasks(load) if isinstance(load, RecordedTasks) else drawn
        n = len(self._trace.arrival_s)
        period_s = float(self._trace.arrival_s[-1]) * n / max(1, n - 1) if n else 1.0
        if period_s == 0.0:
            period_s = n / float(rates.sum())
        self._load = _Load(
            rates_per_s=rates if in_order else rates_outside,
            mean_gcycles=scenario.mean_gcycles,
            mean_memory_gb=scenario.mean_memory_gb,
            most_memory_gb=float(scenario.of_servers("memory_gb").min()),
            mean_input_mb=scenario.mean_input_mb,
            output_share=scenario.output_share,
            sigma=load.sigma if isinstance(load, DrawnTasks) else -1.0,
            in_order=in_order,
            speed=float(rates.sum()) * period_s / max(1, n),
            period_s=period_s,
            burst_rate_per_s=bursts.rate_per_s,
            burst_s=bursts.duration_s,
            intensity=bursts.intensity,
            correlation=bursts.correlation,
        )
        self._homes: _Homes = one_by_one(_Homes, M)

    def draw(self, where: NDArray[np.bool_], seeds: NDArray[np.int64], workload: Workload) -> None:
        """Draw what arrives in the episodes ``where [B]`` from their ``seeds [B]``."""
        _draw_kernel(where, seeds, self._load, self._trace, self._homes, workload)


@compiled(entry=True)
def _draw_kernel(where: Any, seeds: Any, load: Any, trace: Any, homes: Any, workload: Any) -> None:
    K, M = workload.home.shape[1], len(load.rates_per_s)
    for b in range(len(where)):
        if not where[b]:
            continue
        seed = seeds[b]
        if load.in_order:
            _replay(b, seed, load, trace, workload)
            continue
        for h in range(M):
            _begin(h, seed, load, homes)
        for k in range(K):
            home = 0
            for h in range(1, M):
                if homes.next_s[h] < homes.next_s[home]:
                    home = h
            workload.arrival_s[b, k], workload.home[b, k] = homes.next_s[home], home
            counter = _counter(home, homes.n[home])
            _draw_demands(b, k, seed, counter, load, trace, workload)
            homes.n[home] += 1
            _await(home, homes.next_s[home], seed, load, homes)


@compiled
def _counter(home: Any, n: Any) -> Any:
    """Return the first random number of a home's n-th task."""
    return _TASK_DRAWS + home * _DRAWS_PER_HOME + n * _DRAWS_PER_TASK


@compiled
def _exponential(u: Any, rate: Any) -> Any:
    return -math.log(1.0 - u) / rate if rate > 0.0 else math.inf


@compiled
def _replay(b: Any, seed: Any, load: Any, trace: Any, workload: Any) -> None:
    """Let the tasks of a trace arrive in their order, from a random one on, round after round."""
    n, M = len(trace.arrival_s), len(load.rates_per_s)
    first = int(uniform(seed, _TASK_DRAWS) * n)
    total = load.rates_per_s.sum()
    for k in range(workload.home.shape[1]):
        lap, i = divmod(first + k, n)
        recorded_s = trace.arrival_s[i] + lap * load.period_s - trace.arrival_s[first]
        workload.arrival_s[b, k] = recorded_s / load.speed
        luck, home = uniform(seed, _TASK_DRAWS + 1 + k) * total, 0
        while home < M - 1 and luck >= load.rates_per_s[home]:
            luck -= load.rates_per_s[home]
            home += 1
        workload.home[b, k] = home
        _demand(b, k, trace.gcycles[i], trace.memory[i], trace.memory[i], load, workload)


@compiled
def _draw_demands(
    b: Any, k: Any, seed: Any, counter: Any, load: Any, trace: Any, workload: Any
) -> None:
    """Draw a task's demands: of a task of the trace, or each from a log-normal distribution."""
    if load.sigma < 0.0:
        i = int(uniform(seed, counter + 1) * len(trace.gcycles))
        _demand(b, k, trace.gcycles[i], trace.memory[i], trace.memory[i], load, workload)
    else:
        _demand(
            b, k, _log_normal(uniform(seed, counter + 1), load.sigma),
            _log_normal(uniform(seed, counter + 2), load.sigma),
            _log_normal(uniform(seed, counter + 3), load.sigma), load, workload,
        )  # fmt: skip


@compiled
def _log_normal(u: Any, sigma: Any) -> Any:
    """Return a draw with mean 1."""
    return math.exp(sigma * normal_quantile(u) - sigma * sigma / 2.0)


@compiled
def _demand(b: Any, k: Any, gcycles: Any, memory: Any, data: Any, load: Any, workload: Any) -> None:
    """Write a task's demands, given those relative to their means."""
    workload.gcycles[b, k] = load.mean_gcycles * gcycles
    workload.memory_gb[b, k] = min(load.mean_memory_gb * memory, load.most_memory_gb)
    workload.input_mb[b, k] = load.mean_input_mb * data
    workload.output_mb[b, k] = load.output_share * workload.input_mb[b, k]


@compiled
def _begin(h: Any, seed: Any, load: Any, homes: Any) -> None:
    """Begin a home's arrivals, with the bursts that are under way at the beginning."""
    homes.n[h] = homes.n_own[h] = homes.n_common[h] = 0
    homes.until_s[h] = 0.0
    homes.own_s[h] = homes.common_s[h] = -load.burst_s
    _plan_own(h, seed, load, homes)
    _plan_common(h, seed, load, homes)
    while min(homes.own_s[h], homes.common_s[h]) <= 0.0:
        _burst(h, seed, load, homes)
    _await(h, 0.0, seed, load, homes)


@compiled
def _plan_own(h: Any, seed: Any, load: Any, homes: Any) -> None:
    counter = _BURST_DRAWS + (h + 1) * _DRAWS_PER_HOME + homes.n_own[h]
    rate = (1.0 - load.correlation) * load.burst_rate_per_s
    homes.own_s[h] += _exponential(uniform(seed, counter), rate)
    homes.n_own[h] += 1


@compiled
def _plan_common(h: Any, seed: Any, load: Any, homes: Any) -> None:
    """Plan the next burst of all homes, which each home draws for itself from the same numbers."""
    counter = _BURST_DRAWS + homes.n_common[h]
    rate = load.correlation * load.burst_rate_per_s
    homes.common_s[h] += _exponential(uniform(seed, counter), rate)
    homes.n_common[h] += 1


@compiled
def _burst(h: Any, seed: Any, load: Any, homes: Any) -> None:
    """Begin the next burst of a home and plan the one after it."""
    if homes.own_s[h] <= homes.common_s[h]:
        homes.until_s[h] = homes.own_s[h] + load.burst_s
        _plan_own(h, seed, load, homes)
    else:
        homes.until_s[h] = homes.common_s[h] + load.burst_s
        _plan_common(h, seed, load, homes)


@compiled
def _await(h: Any, now_s: Any, seed: Any, load: Any, homes: Any) -> None:
    """Set when the next task of a home arrives after ``now_s``.

    What is drawn is how many tasks would be expected until then; bursts change how fast they come.
    """
    expected = _exponential(uniform(seed, _counter(h, homes.n[h])), 1.0)
    while True:
        bursts = now_s < homes.until_s[h]
        rate = load.rates_per_s[h] * (load.intensity if bursts else 1.0)
        change_s = min(homes.own_s[h], homes.common_s[h])
        if bursts:
            change_s = min(change_s, homes.until_s[h])
        if rate * (change_s - now_s) >= expected:
            homes.next_s[h] = now_s + expected / rate
            return
        expected -= rate * (change_s - now_s)
        now_s = change_s
        if now_s == min(homes.own_s[h], homes.common_s[h]):
            _burst(h, seed, load, homes)
