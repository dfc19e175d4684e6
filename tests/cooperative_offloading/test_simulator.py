"""The physics, rewards and observations of cooperative offloading, computed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_marl.cooperative_offloading import (
    HEURISTICS,
    CooperativeOffloadingSimulator,
    CooperativeScenario,
)
from edge_marl.cooperative_offloading.records import NOBODY
from edge_marl.errors import InputError
from edge_marl.simulation import Hybrid
from tests.cooperative_offloading.by_hand import Task, by_hand, decide

ALONE, HELPED = 0, 1


@pytest.mark.parametrize(
    ("decision", "latency_s", "energy_j"),
    [
        ({}, 2.0, 200.0),
        ({"compute": 0.5}, 4.0, 20 * 0.1 * 5**2),
        ({"compute": 0.0}, 20.0, 20 * 0.1 * 1**2),  # the smallest grant
        ({"target": ALONE, "offload": 1.0}, 2.0, 200.0),  # nobody to offload to
        ({"target": HELPED, "offload": 0.0}, 2.0, 200.0),
        # 5 MB there in 0.5 s, 0.5 s of latency, 1 s of execution, 2.5 MB back, 0.5 s.
        ({"target": HELPED, "offload": 0.5}, 2.75, 100 + 100 + 2 * 0.5 + 2 * 0.25),
        ({"target": HELPED, "offload": 1.0}, 1 + 0.5 + 2 + 0.5 + 0.5, 200 + 2 * 1.5),
        ({"target": HELPED, "offload": 1.0, "bandwidth": 0.5}, 2 + 0.5 + 2 + 1 + 0.5, 200 + 2 * 3),
    ],
)
def test_a_task_takes_its_slowest_part_and_the_energy_of_all(
    decision: dict[str, Any], latency_s: float, energy_j: float
) -> None:
    simulator = by_hand([Task()])
    assert decide(simulator, **decision).terminated[0]
    results = simulator.results
    assert results.latency_s[0] == pytest.approx(latency_s)
    assert results.energy_j[0] == pytest.approx(energy_j)
    assert results.cost[0] == pytest.approx(0.5 * latency_s / 2 + 0.5 * energy_j / 200)
    assert results.duration_s[0] == pytest.approx(latency_s)


def test_grants_are_multiplied_by_the_limiting_factor() -> None:
    simulator = by_hand([Task(), Task()], limiting_factor=0.8)
    decide(simulator)
    decide(simulator, compute=0.5)
    # 8 of 10, then half of 0.8 of the 2 that are left, but at least 1.
    assert simulator.tasks.latency_s[0].tolist() == pytest.approx([20 / 8, 20 / 1])


def test_what_does_not_fit_waits_its_turn() -> None:
    # The second finds nothing left; the third asks for little, but may not overtake.
    simulator = by_hand([Task(), Task(arrival_s=1.0), Task(arrival_s=1.5, gcycles=1.0)])
    decide(simulator)
    decide(simulator)
    decide(simulator, compute=0.0)
    assert simulator.tasks.latency_s[0].tolist() == pytest.approx([2.0, 3.0, 4.0 - 1.5 + 1.0])
    assert simulator.results.waiting_s[0] == pytest.approx((0.0 + 1.0 + 2.5) / 3)


def test_a_capacity_can_be_shared_to_the_last_bit() -> None:
    # Four quarters of 7.141229178590609: three of them, taken one by one, leave a little less.
    simulator = by_hand(
        [Task(gcycles=1.0, memory_gb=0.1)] * 4, servers=1, smallest_grant=0.25,
        capacity_gcycles_per_s=(7.141229178590609,),
    )  # fmt: skip
    for _ in range(4):
        decide(simulator, compute=0.0)
    assert simulator.tasks.latency_s[0] == pytest.approx(4 / 7.141229178590609)


def test_memory_is_held_while_computing() -> None:
    # Half of the compute is left, but 3 + 2 GB are more than 4.
    simulator = by_hand([Task(memory_gb=3.0), Task(memory_gb=2.0)])
    decide(simulator, compute=0.5)
    decide(simulator, compute=0.5)
    assert simulator.tasks.latency_s[0].tolist() == pytest.approx([4.0, 4.0 + 4.0])


def test_bandwidth_is_free_again_when_data_are_sent() -> None:
    # Both send 10 MB to the other server. The second may when the first has left the link, 0.5 s
    # before it is there.
    simulator = by_hand([Task(), Task()])
    decide(simulator, target=HELPED, offload=1.0)
    decide(simulator, target=HELPED, offload=1.0)
    # Executions from 1.5 to 3.5 and, after that, to 5.5; each way back takes 1 s.
    assert simulator.tasks.latency_s[0].tolist() == pytest.approx([4.5, 6.5])


def test_helpers_share_what_leaves() -> None:
    simulator = by_hand([Task(gcycles=30.0, home=1)], servers=3, latency_s=0.0)
    pair = simulator.scenario.subsets.index((0, 1))
    decide(simulator, target=pair, offload=2 / 3)
    # 10 Gcycles each; 10 / 3 MB there and 5 / 3 MB back at 10 MB/s.
    assert simulator.results.latency_s[0] == pytest.approx(1.0 + 1 / 3 + 1 / 6)
    assert simulator.results.offloaded[0] == pytest.approx(2 / 3)


def test_the_reward_of_a_step_is_minus_what_becomes_known_in_it() -> None:
    simulator = by_hand([Task(), Task(arrival_s=0.5), Task(arrival_s=2.25, home=1)])
    # E[L*] = 2 s and E[E*] = 200 J.
    first = decide(simulator)
    assert first.reward[0] == pytest.approx([-0.5 * 2 / 2 - 0.5 * 200 / 200, 0.0])
    assert first.elapsed is not None
    assert first.elapsed[0] == pytest.approx(0.5)
    # The second task would take 2 s, and waits for 1.5 s. When it begins, its energy is known, too.
    second = decide(simulator)
    assert second.reward[0] == pytest.approx([-0.5 * (2 + 1.5) / 2 - 0.5, 0.0])
    third = decide(simulator)
    assert third.reward[0] == pytest.approx([0.0, -1.0])
    assert third.elapsed[0] == pytest.approx(2.0)


def test_a_decision_is_charged_with_what_its_parts_need_at_least() -> None:
    # A part that is sent, executed and sent back takes 4.5 s if nobody is in its way, but the
    # other server is busy from 0.5 to 2.5 s, when the part has been there for a second.
    simulator = by_hand([Task(), Task(arrival_s=0.5, home=1), Task(arrival_s=1.25)])
    sent = -0.5 * 4.5 / 2 - 0.5 * (200 + 2 * 1.5) / 200
    assert decide(simulator, HELPED, offload=1.0).reward[0] == pytest.approx([sent, 0.0])
    assert decide(simulator).reward[0] == pytest.approx([0.0, -1.0])
    waited = -0.5 * 1.0 / 2
    assert decide(simulator).reward[0] == pytest.approx([waited - 1.0, 0.0])
    assert simulator.tasks.latency_s[0, 0] == pytest.approx(5.5)


def test_a_decision_is_charged_with_the_wait_that_is_before_it() -> None:
    arrivals = (0.0, 0.5, 0.75)
    simulator = by_hand([*(Task(at) for at in arrivals), Task(arrival_s=1.0, home=1)])
    # One after the other, for 2 s each.
    latencies = [2.0, 3.5, 5.25]
    for latency_s in latencies:
        reward = decide(simulator).reward[0]
        assert reward == pytest.approx([-0.5 * latency_s / 2 - 0.5, 0.0])
    decide(simulator)
    assert simulator.tasks.latency_s[0, :3] == pytest.approx(latencies)


@pytest.mark.parametrize("memory_gb", [64.0, 12.0])
def test_what_is_executed_at_home_is_charged_when_it_is_decided_on(memory_gb: float) -> None:
    """Whatever lies before it, whatever is left for it then, and whoever comes later."""
    scenario = CooperativeScenario(tasks=150, offered_load=0.9, memory_gb=(memory_gb,))
    simulator = CooperativeOffloadingSimulator(scenario, 4)
    simulator.reset(range(4))
    rng, earned = np.random.default_rng(0), []
    while not simulator.done.all():
        vectors = rng.random((4, 3, 3))
        earned.append(simulator.step(Hybrid(np.zeros((4, 3), int), vectors)).reward.sum(1))
    assert simulator.results.waiting_s.min() > 0.1
    tasks, of = simulator.tasks, simulator.parameters
    cost = 0.5 * tasks.latency_s / of.typical_latency_s + 0.5 * tasks.energy_j / of.typical_energy_j
    np.testing.assert_allclose(np.array(earned).T, -cost, rtol=1e-5, atol=1e-6)
    assert (simulator.resources.soonest == NOBODY).all()
    assert (simulator.resources.free == of.capacity).all()


def test_a_grant_is_charged_with_what_it_takes_more_or_less_than_one_of_an_idle_server() -> None:
    simulator = by_hand([Task(), Task(arrival_s=0.25)])
    assert decide(simulator, compute=0.75).reward[0, 0] == pytest.approx(
        -0.5 * 4 / 3 - 0.5 * 0.75**2
    )
    # Of 2.5 that are left, not of 10: four times as slow, with a sixteenth of the energy.
    assert decide(simulator).reward[0, 0] == pytest.approx(-0.5 * 4 - 0.5 / 16)


def test_a_saving_is_what_a_task_costs_alone_less_its_cost() -> None:
    alone = 0.3 * 1.0 + 0.7 * 1.0  # 2 s and 200 J, over their means
    simulator = by_hand([Task(), Task(arrival_s=5.0)], reward="saving", latency_weight=0.3)
    cost = 0.3 * 4 / 2 + 0.7 * 50 / 200  # half as fast, with a quarter of the energy
    assert decide(simulator, compute=0.5).reward[0] == pytest.approx([alone - cost, 0.0])
    assert decide(simulator).reward[0] == pytest.approx([0.0, 0.0])


def test_the_papers_reward_compares_with_execution_alone_at_home() -> None:
    simulator = by_hand([Task(), Task(arrival_s=5.0)], reward="ratio", latency_weight=0.3)
    assert decide(simulator, compute=0.5).reward[0] == pytest.approx([0.3 * 2 / 4 + 0.7 * 4, 0.0])
    assert decide(simulator).reward[0] == pytest.approx([1.0, 0.0])


def test_servers_see_their_resources_their_links_and_the_task() -> None:
    simulator = by_hand(
        [Task(), Task(arrival_s=0.25, home=1, gcycles=60.0, memory_gb=2.0)],
        features="paper", mean_input_mb=10.0,
    )  # fmt: skip
    seen = simulator.observation
    assert seen.action_mask[0].tolist() == [[True, True], [False, False]]
    one, half, three = (np.log1p(x) / (1 + np.log1p(x)) for x in (1.0, 0.5, 3.0))
    demands = [one, 0.25, one, half]  # 20 of typically 20, 1 of 4 GB, 10 of typically 10, 5
    assert seen.features[0, 0] == pytest.approx([*demands, 1.0, 1.0, 1.0, 1.0])
    assert not seen.features[0, 1].any()
    decide(simulator, target=HELPED, offload=0.5, compute=0.5, bandwidth=0.4)
    # The input is being sent at 4 MB/s, and half of the first server is taken.
    assert seen.action_mask[0].tolist() == [[False, False], [True, True]]
    assert not seen.features[0, 0].any()
    assert seen.features[0, 1] == pytest.approx([three, 0.5, one, half, 1.0, 1.0, 1.0, 0.6])
    servers = [0.0, 0.5, 1 - 0.5 / 4, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    links = [1.0, 0.6, 1.0, 1.0]
    assert seen.state[0] == pytest.approx([three, 0.5, one, half, *servers, *links])


def test_servers_see_how_long_they_would_wait() -> None:
    simulator = by_hand([Task(), Task(arrival_s=0.5), Task(arrival_s=1.0, home=1)])
    assert simulator.observation.features.shape == (1, 2, 4 + 5 + 7)
    decide(simulator)
    # The first task takes 2 s, as tasks do on average alone; the second will after it.
    busy, idle = (0.0, 3 / 4, 0.0, 1.5 / (1.5 + 2), 1.0), (1.0, 1.0, 0.0, 0.0, 1.0)
    assert simulator.observation.features[0, 0, 4:] == pytest.approx([*busy, 1.0, 1.0, *idle])
    decide(simulator)
    waits = (0.0, 3 / 4, 1 / 2, 3 / (3 + 2), 1.0)
    assert simulator.observation.features[0, 1, 4:] == pytest.approx([*idle, 1.0, 1.0, *waits])
    assert simulator.observation.state[0, 4:14] == pytest.approx([0.0, *waits[:4], 1.0, *idle[:4]])


def test_actions_of_others_are_ignored_and_impossible_ones_refused() -> None:
    simulator = by_hand([Task(), Task()])
    fine = np.full((1, 2, 3), 0.5)
    with pytest.raises(InputError, match="action of server_0 in episode 0: expected 0 to 1, fou"):
        simulator.step(Hybrid(np.array([[2, 0]]), fine))
    with pytest.raises(InputError, match=r"vectors of actions: expected .* \(1, 2, 3\), found non"):
        simulator.step(np.array([[0, 0]]))
    for wrong in (1.5, -0.1, np.nan):
        bad = fine.copy()
        bad[0, 1, 2] = wrong
        message = f"vector of server_1, episode 0: expected numbers from 0 to 1, found {wrong:g}"
        with pytest.raises(InputError, match=message):
            simulator.step(Hybrid(np.array([[0, 0]]), bad))
    simulator.step(Hybrid(np.array([[0, 99]]), fine))


def test_subsets_are_all_others_that_may_help_together() -> None:
    scenario = CooperativeScenario(servers=4)
    assert scenario.subsets == [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2)]
    assert CooperativeScenario(servers=2, max_targets=5).subsets == [(), (0,)]
    assert CooperativeScenario(max_targets=0).subsets == [()]
    with pytest.raises(ValueError, match="max_targets: expected at most 10000 subsets"):
        CooperativeScenario(servers=200, max_targets=8)


@pytest.mark.parametrize("heuristic", HEURISTICS)
def test_an_episode_is_the_same_alone_and_in_a_batch(heuristic: str) -> None:
    scenario = CooperativeScenario(servers=4, tasks=60)
    found = []
    for seeds in ([3], [9, 3, 4]):
        simulator = CooperativeOffloadingSimulator(scenario, len(seeds))
        policy = HEURISTICS[heuristic]()
        simulator.reset(seeds)
        while not simulator.done.all():
            simulator.step(policy.act(simulator))
        b = seeds.index(3)
        found.append((simulator.tasks.latency_s[b].tolist(), simulator.tasks.energy_j[b].tolist()))
    assert found[0] == found[1]
