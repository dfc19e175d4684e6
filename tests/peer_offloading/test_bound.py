"""The bound on the success rate of peer offloading: never below what a policy reaches."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_marl.errors import InputError
from edge_marl.peer_offloading import OffloadingScenario, PeerOffloadingSimulator, Status
from edge_marl.peer_offloading.bound import success_bound
from edge_marl.peer_offloading.heuristics import HEURISTICS, heuristic
from edge_marl.simulation import run

# A task of 1,000 KB at 1,000 cycles per bit takes a core of 8 GHz one second, a link of 10 MB/s
# a tenth of one.
ONE_SECOND = {
    "size_kb": (1000, 1000), "cycles_per_bit": (1000, 1000), "cores": (1,), "core_hz": 8e9,
    "rate_mb_per_s": (10, 10), "failure_rate": (0, 0), "link_failure_rate": (0, 0),
    "arrival_probability": (1, 1),
}  # fmt: skip


def best_of_all_assignments(scenario: OffloadingScenario, seed: int) -> tuple[float, int]:
    """Highest success rate and most successes over every way to place the tasks."""
    N, T = scenario.nodes, scenario.slots
    probe = PeerOffloadingSimulator(scenario, 1)
    probe.reset([seed])
    while not probe.done[0]:
        has_task = probe.tasks.status[0, probe.slot[0]] != Status.NONE
        probe.step(np.where(has_task, np.arange(N), N)[None])
    tasks = np.argwhere(probe.records().status[0] != Status.NONE)
    neighbours = [[i, *np.flatnonzero(scenario.adjacency[i])] for i in range(N)]
    choices = list(itertools.product(*(neighbours[i] for _, i in tasks)))
    plans = np.full((len(choices), T, N), N)
    for k, (t, i) in enumerate(tasks):
        plans[:, t, i] = [choice[k] for choice in choices]
    simulator = PeerOffloadingSimulator(scenario, len(plans))
    simulator.reset(np.full(len(plans), seed))
    for t in range(T):
        simulator.step(plans[:, t])
    results = simulator.results
    rates = results.success_rate[~np.isnan(results.success_rate)]
    return (float(rates.max()) if len(rates) else np.nan), int(results.succeeded.max())


@st.composite
def small_scenarios(draw) -> OffloadingScenario:
    nodes, slots = draw(st.sampled_from([(2, 1), (2, 3), (2, 4), (3, 2)]))
    low = draw(st.floats(0.2, 2.0))
    return OffloadingScenario(
        nodes=nodes,
        slots=slots,
        slot_s=0.5,
        arrival_probability=(0.3, 1),
        size_kb=(500, 3000),
        cycles_per_bit=(500, 1500),
        deadline_s=(low, low + draw(st.floats(0, 1))),
        cores=(1, 2, 4),
        core_hz=8e9,
        rate_mb_per_s=(2, 20),
        failure_rate=(0, draw(st.sampled_from([0.0, 0.5]))),
        link_failure_rate=(0, draw(st.sampled_from([0.0, 1.0]))),
    )


@settings(max_examples=60)
@given(scenario=small_scenarios(), seed=st.integers(0, 2**40))
def test_no_assignment_exceeds_the_bound(scenario: OffloadingScenario, seed: int) -> None:
    rate, succeeded = best_of_all_assignments(scenario, seed)
    bound = success_bound(scenario, seed)
    assert succeeded <= bound.succeeded
    assert np.isnan(rate) or rate <= bound.success_rate


@pytest.mark.parametrize("preset", ["simulation", "testbed"])
def test_no_heuristic_exceeds_the_bound_of_a_full_episode(preset: str) -> None:
    scenario = OffloadingScenario(preset=preset)
    bounds = [success_bound(scenario, seed) for seed in range(3)]
    for name in HEURISTICS:
        results = run(heuristic(name), partial(PeerOffloadingSimulator, scenario), np.arange(3))
        assert np.all(results.success_rate <= [bound.success_rate for bound in bounds])
        assert np.all(results.succeeded <= [bound.succeeded for bound in bounds])


def test_small_episodes_often_reach_their_bound() -> None:
    scenario = OffloadingScenario(**{
        **ONE_SECOND, "nodes": 2, "slots": 5, "deadline_s": (2, 2), "size_kb": (500, 2000),
        "arrival_probability": (0.5, 1),
    })  # fmt: skip
    reached = [
        best_of_all_assignments(scenario, seed)[0] == success_bound(scenario, seed).success_rate
        for seed in range(20)
    ]
    assert sum(reached) >= 10


def test_without_contention_everything_succeeds() -> None:
    # One second of execution; due a second after arrival; a task every second at each node.
    scenario = OffloadingScenario(
        **ONE_SECOND, nodes=2, slots=4, slot_s=1.0, deadline_s=(1, 1), links=()
    )
    bound = success_bound(scenario, 0)
    assert bound[:3] == (1.0, 8, True)
    assert best_of_all_assignments(scenario, 0) == (1.0, 8)


def test_tasks_that_overlap_exclude_each_other() -> None:
    # At each node one-second tasks at 0, 0.5, ..., 3.5 s, due after a second: of neighbours in
    # time one succeeds. 7 of the 8 are due by 4 s, those of 0, 1, 2 and 3 s fit.
    scenario = OffloadingScenario(
        **ONE_SECOND, nodes=2, slots=8, slot_s=0.5, deadline_s=(1, 1), links=()
    )
    bound = success_bound(scenario, 0)
    assert bound.success_rate == 8 / 14
    assert bound.succeeded == 8
    assert bound.optimal


def test_tasks_due_after_the_end_count_only_if_they_succeed() -> None:
    # Tasks at 0, 1, 2, 3 s take one second, due after 2: those of 3 s are due after the end at 4.
    scenario = OffloadingScenario(
        **ONE_SECOND, nodes=2, slots=4, slot_s=1.0, deadline_s=(2, 2), links=()
    )
    assert success_bound(scenario, 0)[:2] == (1.0, 8)
    # With two seconds each, those of 3 s stay in flight; of 3 at each node, those of 0 and 2 s fit.
    twice = scenario.model_copy(update={"size_kb": (2000.0, 2000.0)})
    assert success_bound(twice, 0)[:2] == (4 / 6, 4)
    assert best_of_all_assignments(twice, 0)[1] <= 4


def test_a_certain_failure_is_no_success() -> None:
    scenario = OffloadingScenario(**{
        **ONE_SECOND, "failure_rate": (1e6, 1e6), "nodes": 2, "slots": 4, "deadline_s": (1, 1),
    })  # fmt: skip
    assert success_bound(scenario, 0)[:2] == (0.0, 0)


def test_a_task_is_helped_by_a_reachable_node_only() -> None:
    # Node 0 or 1 may be too slow for the deadline; the other is reached in 0.1 s.
    slow_or_fast = {**ONE_SECOND, "cores": (1, 4), "deadline_s": (0.5, 0.5)}
    shared = OffloadingScenario(**slow_or_fast, nodes=2, slots=4, slot_s=0.5)
    alone = shared.model_copy(update={"links": ()})
    seed = next(
        s for s in range(100) if len(set(shared.networks([s]).capacity_hz[0].tolist())) == 2
    )
    assert success_bound(alone, seed).success_rate == 0.5
    assert success_bound(shared, seed).success_rate == 1.0  # 0.1 + 0.25 s, and 0.25 s locally


def test_an_episode_without_tasks_has_no_rate() -> None:
    scenario = OffloadingScenario(nodes=2, slots=3, arrival_probability=(0, 0))
    bound = success_bound(scenario, 0)
    assert np.isnan(bound.success_rate)
    assert bound.succeeded == 0


def test_a_bound_cut_short_is_a_bound() -> None:
    scenario = OffloadingScenario(nodes=10, slots=30, network_seed=3)
    full, cut = (success_bound(scenario, 5, time_limit=s) for s in (60, 1e-9))
    assert full.success_rate <= cut.success_rate <= 1.0
    assert full.succeeded <= cut.succeeded
    assert not cut.optimal


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf])
def test_a_time_limit_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(InputError, match="bound: time_limit: expected a number of seconds above 0"):
        success_bound(OffloadingScenario(), 0, time_limit=seconds)
