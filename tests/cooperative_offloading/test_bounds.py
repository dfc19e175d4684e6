"""Bounds and optima against what brute force finds, and against every heuristic."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from edge_marl.cooperative_offloading import (
    HEURISTICS,
    CooperativeOffloadingSimulator,
    CooperativeScenario,
    EpisodeResults,
)
from edge_marl.cooperative_offloading.bound import clairvoyant_bound, workload_bound
from edge_marl.cooperative_offloading.optimum import least_makespan
from edge_marl.errors import InputError
from edge_marl.simulation import run
from tests.cooperative_offloading.by_hand import Task, by_hand, decide

METRICS = ("cost", "latency_s", "energy_j")


def tasks_of(rng: np.random.Generator, n: int, M: int) -> list[Task]:
    arrivals = np.sort(rng.uniform(0, 2, n))
    return [
        Task(float(at), int(rng.integers(M)), *rng.uniform([2, 0.1, 0, 0], [30, 2, 10, 5]).tolist())
        for at in arrivals
    ]


def played(tasks: list[Task], plans: Any, **options: Any) -> EpisodeResults:
    """The results of all ``plans``: for every task target, offload, compute and bandwidth."""
    plans = np.array(list(plans))
    simulator = by_hand(tasks, len(plans), **options)
    for i in range(len(tasks)):
        decide(simulator, *plans[:, i].T)
    return simulator.results


def ways(M: int, shares: int, grants: int) -> list[tuple[float, float, float, float]]:
    """Ways to decide on a task, at equal distances."""
    return [
        (float(target), share, compute, 1.0)
        for target in range(1 + (M - 1) * M // 2)
        for share in np.linspace(0, 1, shares).tolist()
        for compute in np.linspace(0, 1, grants).tolist()
    ]


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.5, 1.0]))
def test_the_best_of_all_ways_to_do_a_task_alone_is_the_bound(seed: int, weight: float) -> None:
    rng = np.random.default_rng(seed)
    options: dict[str, Any] = {
        "servers": 3, "limiting_factor": rng.uniform(0.3, 1), "smallest_grant": 0.2,
        "capacity_gcycles_per_s": tuple(rng.uniform(4, 20, 3)), "latency_weight": weight,
        "latency_s": float(rng.choice([0.0, 0.1])), "transmission_power_w": 20.0,
    }  # fmt: skip
    tasks = tasks_of(rng, 1, 3)
    simulator = by_hand(tasks, **options)
    bound = workload_bound(simulator.parameters, simulator.workload)
    results = played(tasks, ([way] for way in ways(3, 41, 5)), **options)
    least = {name: getattr(results, name).min() for name in METRICS}
    for name in METRICS:
        assert least[name] >= getattr(bound, name)[0] * (1 - 1e-9)
    assert least["energy_j"] == pytest.approx(bound.energy_j[0])
    # The best share lies between two that were tried.
    assert least["latency_s"] <= bound.latency_s[0] * 1.06
    # Half of the cost may be traded for the other half, which the bound overestimates.
    assert least["cost"] <= bound.cost[0] * (1.06 if weight in (0.0, 1.0) else 4.0)


@settings(max_examples=8)
@given(st.integers(0, 2**32))
def test_no_way_to_do_several_tasks_falls_below_the_bounds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    options: dict[str, Any] = {"limiting_factor": rng.uniform(0.5, 1), "latency_s": 0.0,
               "bandwidth_mb_per_s": 100.0}  # fmt: skip
    tasks = tasks_of(rng, 3, 2)
    simulator = by_hand(tasks, **options)
    bound = workload_bound(simulator.parameters, simulator.workload)
    results = played(tasks, itertools.product(ways(2, 3, 3), repeat=3), **options)
    for name in METRICS:
        assert getattr(results, name).min() >= getattr(bound, name)[0] * (1 - 1e-9)


def test_the_pooled_bound_is_shortest_remaining_time_first() -> None:
    # One server: of 4 and 1 s, the second arrives at 1 and is done at 2, the first at 5.
    tasks = [Task(gcycles=40.0), Task(arrival_s=1.0, gcycles=10.0)]
    simulator = by_hand(tasks, servers=1, latency_weight=1.0)
    bound = workload_bound(simulator.parameters, simulator.workload)
    assert bound.latency_s[0] == pytest.approx((5.0 + 1.0) / 2)
    assert bound.cost[0] == pytest.approx(6.0 / 5.0)


@pytest.mark.parametrize("bursts", [{}, {"rate_per_s": 0.02, "correlation": 1.0}])
@pytest.mark.parametrize("servers", [1, 3, 10])
def test_no_heuristic_falls_below_the_bounds(servers: int, bursts: dict[str, Any]) -> None:
    scenario = CooperativeScenario(servers=servers, tasks=80, bursts=bursts)
    seeds = np.arange(10)
    bound = clairvoyant_bound(scenario, seeds)
    for make in HEURISTICS.values():
        results = run(make(), lambda n: CooperativeOffloadingSimulator(scenario, n), seeds)
        for name in METRICS:
            assert (getattr(results, name) >= getattr(bound, name) * (1 - 1e-9)).all()


# The fluid optimum ---------------------------------------------------------------------------

STILL: dict[str, Any] = {"latency_s": 0.0, "smallest_grant": 0.001}


def brute_force(tasks: list[Task], M: int, subsets: list[tuple[int, ...]], speed: float) -> float:
    """The least makespan over all helper sets: the shares are a linear programme for each."""
    best = np.inf
    for chosen in itertools.product(subsets, repeat=len(tasks)):
        # Shares that leave, then the makespan: work of each server, and of each home's part.
        rows, limits = [], []
        for m in range(M):
            row, constant = np.zeros(len(tasks) + 1), 0.0
            row[-1] = -speed
            for i, (task, helpers) in enumerate(zip(tasks, chosen, strict=True)):
                servers = [h + (h >= task.home) for h in helpers]
                if m == task.home:
                    constant += task.gcycles
                    row[i] -= task.gcycles
                row[i] += sum(s == m for s in servers) * task.gcycles / max(1, len(servers))
            rows.append(row)
            limits.append(-constant)
        bounds = [(0.0, float(len(helpers) > 0)) for helpers in chosen]
        found = linprog([0.0] * len(tasks) + [1.0], rows, limits, bounds=[*bounds, (0, None)])
        best = min(best, found.fun)
    return float(best)


@pytest.mark.parametrize("seed", range(4))
def test_without_data_the_optimum_is_that_of_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tasks = [task._replace(arrival_s=0.0, input_mb=0.0, output_mb=0.0, home=int(rng.integers(2)))
             for task in tasks_of(rng, 3, 3)]  # fmt: skip
    simulator = by_hand(tasks, servers=3, max_targets=1 + seed % 2, **STILL)
    found = least_makespan(simulator.parameters, simulator.workload)
    expected = brute_force(tasks, 3, simulator.scenario.subsets, 10.0)
    assert found.makespan_s == pytest.approx(expected, rel=1e-6)
    assert found.bound_s == pytest.approx(expected, rel=1e-6)


def test_the_plan_of_one_task_is_carried_out_by_the_simulator() -> None:
    tasks = [Task(gcycles=30.0, input_mb=0.0, output_mb=0.0)]
    simulator = by_hand(tasks, servers=3, **STILL)
    found = least_makespan(simulator.parameters, simulator.workload)
    assert found.makespan_s == pytest.approx(1.0)
    decide(simulator, int(found.choices[0]), float(found.offload[0]))
    assert simulator.results.latency_s[0] == pytest.approx(1.0)


def test_with_data_the_optimum_bounds_what_the_simulator_can_do() -> None:
    rng = np.random.default_rng(5)
    tasks = [task._replace(arrival_s=0.0) for task in tasks_of(rng, 2, 2)]
    options: dict[str, Any] = {"latency_s": 0.05, "bandwidth_mb_per_s": 20.0}
    simulator = by_hand(tasks, **options)
    found = least_makespan(simulator.parameters, simulator.workload)
    results = played(tasks, itertools.product(ways(2, 11, 5), repeat=2), **options)
    best = results.duration_s.min()
    assert found.makespan_s <= best * (1 + 1e-9)
    assert best <= 1.5 * found.makespan_s


def test_an_instance_that_is_too_large_is_refused() -> None:
    scenario = CooperativeScenario(servers=30, tasks=300)
    simulator = CooperativeOffloadingSimulator(scenario, 1)
    simulator.reset([0])
    with pytest.raises(InputError, match="tasks: expected at most 20000 pairs of a task and a "):
        least_makespan(simulator.parameters, simulator.workload)
