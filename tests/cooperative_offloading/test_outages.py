"""Servers that fail grant nothing, and their executions stand still until they are repaired."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_marl.cooperative_offloading import (
    HEURISTICS,
    CooperativeOffloadingSimulator,
    CooperativeScenario,
)
from edge_marl.random_stream import uniform
from edge_marl.seeds import FAILURE_DRAWS
from edge_marl.simulation import Hybrid
from tests.cooperative_offloading.by_hand import Task, by_hand, decide

MTTF_S, MTTR_S = 3.0, 2.0
FAILING = {"server_mttf_s": MTTF_S, "server_mttr_s": MTTR_S}
HELPED = 1


def outage(n: int = 0, server: int = 0, seed: int = 0) -> tuple[float, float]:
    """When the n-th outage of one of two servers begins and ends."""
    end_s = 0.0
    for k in range(n + 1):
        counter = FAILURE_DRAWS.start + 2 * (2 * k + server)
        begin_s = end_s - MTTF_S * math.log(1.0 - uniform(seed, counter))
        end_s = begin_s - MTTR_S * math.log(1.0 - uniform(seed, counter + 1))
    return begin_s, end_s


def alone_down() -> tuple[int, float, float]:
    """A seed with which the first server is down for a second or so, and nothing else for long."""
    for seed in range(1000):
        begin_s, end_s = outage(seed=seed)
        next_s = min(outage(1, seed=seed)[0], outage(server=1, seed=seed)[0])
        if end_s > begin_s + 1.0 and next_s > end_s + 6.0:
            return seed, begin_s, end_s
    raise AssertionError


def meanwhile(*tasks: Task, seed: int) -> CooperativeOffloadingSimulator:
    simulator = by_hand(tasks, **FAILING)
    simulator.reset([seed])
    return simulator


def test_executions_stand_still_and_take_no_more_energy() -> None:
    (first, repaired), (second, again) = outage(0), outage(1)
    work_s = first + (second - repaired) + 0.5  # two outages long
    simulator = by_hand([Task(gcycles=10 * work_s)], **FAILING)
    decide(simulator)
    stood_s = (repaired - first) + (again - second)
    assert simulator.tasks.latency_s[0, 0] == pytest.approx(work_s + stood_s)
    assert simulator.results.energy_j[0] == pytest.approx(10 * work_s * 0.1 * 10**2)


def test_who_asks_during_an_outage_waits_for_its_end_in_turn() -> None:
    seed, begin_s, end_s = alone_down()
    at_s = (begin_s + end_s) / 2
    simulator = meanwhile(Task(arrival_s=at_s), Task(arrival_s=at_s, gcycles=5.0), seed=seed)
    decide(simulator, compute=0.5)
    decide(simulator, compute=1.0)
    # Both begin when the server is repaired: at 5 of 10, and at what that leaves.
    assert simulator.results.waiting_s[0] == pytest.approx(end_s - at_s)
    assert simulator.tasks.latency_s[0].tolist() == pytest.approx(
        [end_s - at_s + 4.0, end_s - at_s + 1.0]
    )


def test_what_others_execute_is_sent_during_an_outage() -> None:
    seed, begin_s, _ = alone_down()
    simulator = meanwhile(Task(arrival_s=begin_s), seed=seed)
    decide(simulator, target=HELPED, offload=1.0)
    assert simulator.tasks.latency_s[0, 0] == pytest.approx(1.0 + 0.5 + 2.0 + 0.5 + 0.5)


def test_agents_and_rules_see_that_a_server_is_down() -> None:
    seed, begin_s, _ = alone_down()
    simulator = meanwhile(Task(arrival_s=begin_s), seed=seed)
    assert simulator.observation.features[0, 0, 4] == 0.0  # its compute left
    assert simulator.observation.state[0, [5, 10]].tolist() == [0.0, 1.0]  # that of both
    chosen = HEURISTICS["nearest_idle_full"]().act(simulator)
    assert isinstance(chosen, Hybrid)
    assert chosen.choices[0, 0] == HELPED


def test_servers_are_up_and_down_for_as_long_as_was_asked_for() -> None:
    scenario = CooperativeScenario(tasks=1, servers=4, **FAILING)
    simulator = CooperativeOffloadingSimulator(scenario, 1000)
    simulator.reset(np.arange(1000))
    homes = simulator.homes
    first = homes.n_outages == 1  # of the others, an outage was over before the first task
    fails_s, lasts_s = homes.fails_s, homes.repaired_s - homes.fails_s
    assert lasts_s.mean() == pytest.approx(MTTR_S, rel=0.1)
    assert fails_s[first].min() >= 0.0
    assert abs(np.corrcoef(fails_s[:, 0], fails_s[:, 1])[0, 1]) < 0.1


def test_nothing_fails_unless_asked_to() -> None:
    simulator = by_hand([Task(arrival_s=1e6)])
    assert np.isinf(simulator.homes.fails_s).all()
    with pytest.raises(ValueError, match="server_mttf_s"):
        CooperativeScenario(server_mttf_s=0)
