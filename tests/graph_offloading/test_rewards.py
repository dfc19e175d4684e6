"""Rewards: each equation against numbers computed by hand, and what shaping does to returns."""

from math import log10
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from edge_marl.graph_offloading.heuristics import heuristic
from edge_marl.graph_offloading.rewards import expected_queue, overload
from edge_marl.graph_offloading.scenario import GraphScenario
from edge_marl.graph_offloading.simulator import GraphOffloadingSimulator, RewardConfig
from tests.graph_offloading.by_hand import act, hub_with, star

OWN = RewardConfig(kind="own")
EVENTS = RewardConfig(kind="sparse", weight=0)
"""Only equation 23, without the potential."""


# Dense: equations 2 to 4 and 10 to 13 ---------------------------------------------------------


def decided(action: int, told: tuple[int, int] = (4, 2), **terms: Any) -> float:
    """Two tasks are at node 0, of 2 million instructions in the mean; the oldest has 3 and 2 MB."""
    simulator = hub_with([(3, 2), (1, 1)], rewards=RewardConfig(**terms))
    simulator.nodes.shown[0, 1:] = told
    return act(simulator, n0=action)[0]


def test_a_kept_task_costs_waiting_and_the_own_queue() -> None:
    # Q 2 x 2e6 / 1e6 per tick: 4 ticks. Q' = 2 - 1e6 / 2e6 + 1 = 2.5 of 10
    assert decided(0) == pytest.approx(100 - (0.6 * 0.4 + 60 * -log10(0.75) / 3))


def test_a_task_that_is_sent_costs_waiting_at_both_the_link_and_slower_execution() -> None:
    # 4 ticks and 4 x 2e6 / 2e6; 2 MB at 1 tick each; 3e6 / 2e6 - 3e6 / 1e6; Q' = 4 - 1 + 1 of 20
    assert decided(1) == pytest.approx(100 - (0.6 * 0.8 + 0.2 - 0.15 + 60 * -log10(0.8) / 3))
    # 4 ticks and 2 x 2e6 / 4e6; 2 MB at 2 ticks and 1 more; 0.75 - 3; Q' = 2 - 2 + 1 of 4
    assert decided(2) == pytest.approx(100 - (0.6 * 0.5 + 0.5 - 0.225 + 60 * -log10(0.75) / 3))


def test_each_weight_belongs_to_its_term() -> None:
    # s for waiting, communication and execution, and the overload, as above
    wait, communication, execution, full = 0.8, 0.2, -0.15, -log10(0.8) / 3
    for weights in ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (2, 3, 5, 7)):
        a, b, c, d = weights
        reward = decided(1, wait=a, communication=b, execution=c, overload=d, utility=11)
        by_hand = a * wait + b * communication + c * execution + d * full
        assert reward == pytest.approx(11 - by_hand)


def test_weights_as_caps_bound_terms_instead_of_multiplying_them() -> None:
    # 0.8 s of waiting, 0.2 s and -0.15 s, as above; U is 0.5, so that waiting counts 0.5 x 0.6
    by_hand = 0.3 + 0.2 - 0.15 + 60 * -log10(0.8) / 3
    assert decided(1, utility=0.5, capped=True) == pytest.approx(0.5 - by_hand)
    # below their caps, terms count as they are, whatever the weights
    assert decided(1, capped=True) == pytest.approx(100 - (by_hand + 0.5))


def test_a_queue_that_will_be_full_costs_all_of_the_overload() -> None:
    simulator = hub_with([(40, 0.5)])
    simulator.nodes.shown[0, 2] = 4  # of 4; Q' = 4 - 4 / 40 + 1 is bounded by 4
    wait, communication, execution = 4.0 + 4.0, 0.2, 1.0 - 4.0
    reward = act(simulator, n0=2)[0]
    assert reward == pytest.approx(100 - (0.6 * wait + communication + execution + 60))


def test_the_expected_queue_is_bounded_and_the_overload_goes_from_0_to_1() -> None:
    assert expected_queue(7, 3e6, 2e6, 10) == 6.5
    assert expected_queue(2, 8e6, 2e6, 10) == 0
    assert expected_queue(9, 1e6, 1e8, 9) == 9
    assert expected_queue(5, 1e6, 0.0, 10) == 0, "tasks without instructions take no time"
    assert overload(0.0, 10) == 0
    assert overload(9.0, 10) == pytest.approx(1 / 3)
    assert overload(9.9, 10) == pytest.approx(2 / 3)
    assert overload(10.0, 10) == pytest.approx(1), "-1/3 log10(0.001)"
    assert overload(9.9999, 10) == pytest.approx(1)


def test_a_step_without_a_task_pays_nothing() -> None:
    simulator = hub_with([(3, 2)])
    assert simulator.transition.reward.tolist() == [[0, 0, 0]], "the task was not there yet"
    assert np.flatnonzero(act(simulator, n0=1)).tolist() == [0]
    assert act(simulator).tolist() == [0, 0, 0], "on its way until tick 3"
    assert np.flatnonzero(act(simulator)).tolist() == [1]


# Sparse: equations 23 and 27 to 33 ------------------------------------------------------------


def test_every_task_that_a_node_executes_pays_it() -> None:
    simulator = hub_with([(2, 0), (0.25, 0), (0.5, 0)], rewards=EVENTS)
    # from tick 1 on: the first until tick 3, then both others within the tick
    assert [act(simulator)[0] for _ in range(4)] == [0, 100, 200, 0]
    sent = hub_with([(2, 1)], rewards=EVENTS)
    # there at tick 2 and executed in it
    assert [act(sent, n0=1).tolist(), act(sent).tolist()] == [[0, 0, 0], [0, 100, 0]]


def test_every_task_that_a_node_loses_costs_it() -> None:
    small = star(((2, 1, 1, 0), (4, 4, 2, 1)))
    simulator = hub_with([(9, 1), (9, 1)], topology=small, rewards=EVENTS)
    act(simulator, n0=1)
    # the other one finds the queue full when it is there
    assert act(simulator, n0=1).tolist() == [0, -100, 0]
    waiting = hub_with([(50, 1), (9, 1)], rewards=EVENTS, deadline_s=(2.0, 2.0), grace_ticks=5)
    # the first runs on; the second waits for 20 ticks and 5 more: until the end of tick 24
    rewards = [act(waiting)[0] for _ in range(1, 26)]
    assert rewards == [*[0] * 23, -100, 0]


def with_history(**options: Any) -> float:
    """Give node 0 a history between two steps: what does the second pay?

    It has executed 3 tasks after 20 ticks in the mean, refused 1, lost 1 at its deadline, and half
    of its queue is full.
    """
    terms = {"weight": 2, "response": 3, "processed": 5, "refused": 7, "occupancy": 11, **options}
    simulator = hub_with([(1, 1)], rewards=RewardConfig(kind="sparse", **terms), ticks=100)
    simulator.reset(simulator.seeds)
    nodes = simulator.nodes
    nodes.processed[0, 0], nodes.delay[0, 0] = 3, 60.0
    nodes.refused[0, 0], nodes.expired[0, 0], nodes.length[0, 0] = 1, 1, 4  # and 1 that comes
    return act(simulator)[0]


def test_the_potential_has_four_terms() -> None:
    # 3 / (1 + 2 s) + 5 x 3 / (1 + 2 + 3) - 7 x 1 - 11 x 5 / 10, and at the start 3 / (1 + 0)
    after, before = 2 * (1 + 2.5 - 7 - 5.5), 2 * 3
    assert with_history() == pytest.approx(after - before)
    for name, term in (
        ("response", 1 - 3), ("processed", 2.5), ("refused", -7), ("occupancy", -5.5)
    ):  # fmt: skip
        without = after - before - 2 * term
        assert with_history(**{name: 0}) == pytest.approx(without), name


def test_the_potential_after_a_step_is_discounted_by_gamma() -> None:
    assert with_history(gamma=0.5) == pytest.approx(0.5 * -18 - 6)


def returns(policy: str, discount: float, **terms: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the discounted sums of rewards ``[A]`` of an episode, and its last potentials."""
    rewards = RewardConfig(kind="sparse", utility=1, **terms)
    scenario = GraphScenario(topology="random_10", rate_per_s=2, ticks=300)
    simulator, chooser = GraphOffloadingSimulator(scenario, 1, rewards=rewards), heuristic(policy)
    simulator.reset([5])
    total, weight = np.zeros(len(simulator.agents)), 1.0
    while not simulator.done.all():
        total += weight * simulator.step(chooser.act(simulator)).reward[0]
        weight *= discount
    return total, simulator.nodes.potential[0, simulator.parameters.network.node].copy()


@pytest.mark.parametrize("discount", [0.9, 0.99, 1.0])
def test_the_discounted_potential_changes_returns_by_its_ends_alone(discount: float) -> None:
    for policy in ("random", "local"):
        bare, _ = returns(policy, discount, weight=0)
        shaped, last = returns(policy, discount, gamma=discount)
        first = 1.0  # w_r / (1 + 0): the same for every policy
        np.testing.assert_allclose(shaped - bare, discount**300 * last - first, atol=1e-4)


def test_as_printed_the_potential_favours_policies_under_discounting() -> None:
    added = [returns(policy, 0.9)[0] - returns(policy, 0.9, weight=0)[0]
             for policy in ("random", "local")]  # fmt: skip
    # the ends count 0.9^300 and 1; all else is what shaping adds to one policy and not the other
    assert np.abs(added[0] - added[1]).max() > 0.1


# Own outcomes ---------------------------------------------------------------------------------


def total(simulator: GraphOffloadingSimulator, ticks: int) -> list[float]:
    """Keep everything for so many ticks and return the sum of rewards of each agent."""
    return sum(act(simulator) for _ in range(ticks)).tolist()


@pytest.mark.parametrize(
    ("ends", "paid"), [("waiting", [0, 1, 0, 0]), ("everything", [0, 0, 1, 0])]
)
def test_who_kept_a_task_is_paid_when_it_is_certain_to_finish(ends: str, paid: list[float]) -> None:
    simulator = hub_with([(2, 1)], rewards=OWN, deadline_ends=ends)
    # executed in ticks 1 and 2; the client has the result one tick later
    assert [act(simulator)[0] for _ in range(4)] == paid


def test_all_who_decided_on_a_finished_task_are_paid_once() -> None:
    simulator = hub_with([(2, 1)], rewards=OWN)
    act(simulator, n0=1)  # at node 1 at tick 2
    act(simulator, n1=1)  # back at node 0 at tick 3
    act(simulator, n0=2)  # at node 2 at tick 3 + 2 + 1, where it is kept
    assert total(simulator, 20) == [1, 1, 1], "node 0 for the last of its two decisions"
    assert simulator.results.finished.tolist() == [1]


def test_all_who_decided_on_a_lost_task_pay_for_it() -> None:
    simulator = hub_with([(1, 1), (50, 1)], rewards=OWN, deadline_s=(2.0, 2.0), grace_ticks=0)
    act(simulator, n0=1)
    act(simulator, n1=1)  # the small one is back at node 0 at tick 3, which executes the large one
    assert total(simulator, 15) == [0, 0, 0]
    assert total(simulator, 10) == [-1, -1, 0], "it was kept there, and waited until tick 20"
    assert simulator.results.expired.tolist() == [1]


def test_who_sends_a_task_to_a_full_queue_pays_for_it() -> None:
    small = star(((2, 1, 1, 0), (4, 4, 2, 1)))
    simulator = hub_with([(9, 1), (9, 1)], topology=small, rewards=OWN)
    act(simulator, n0=1)
    assert act(simulator, n0=1).tolist() == [-1, 0, 0], "node 1 has not decided on it"
    assert simulator.results.refused.tolist() == [1]
    assert total(simulator, 20) == [1, 1, 0], "the other one was kept there"


def test_what_starts_by_itself_is_credited_to_nobody() -> None:
    simulator = hub_with([(2, 1)], rewards=OWN, start_undecided=1.0)
    assert total(simulator, 10) == [0, 0, 0]
    assert simulator.results.finished.tolist() == [1]


def test_a_node_pays_for_what_it_loses_before_anyone_has_decided_on_it() -> None:
    simulator = hub_with([(2, 1), (2, 1)], rewards=OWN, deadline_s=(0.2, 0.2), grace_ticks=0)
    assert act(simulator).tolist() == [-1, 0, 0], "one is executed, the other expires undecided"
    assert simulator.results.expired.tolist() == [1]


@pytest.mark.parametrize(
    ("delay", "paid"), [(1, [0, 0, 0, 0, 0]), (2, [0, 0, 0.5, 0, 0]), (4, [0, 0, 0, 0, 0.5])]
)
def test_with_a_delay_an_outcome_is_paid_so_long_after_its_decision(
    delay: int, paid: list[float]
) -> None:
    rewards = RewardConfig(kind="own", delay_ticks=delay, gamma=0.5)
    simulator = hub_with([(2, 1)], rewards=rewards)
    # decided on in tick 1, certain in tick 2, as above; after a delay of 1 it is too late
    assert [act(simulator)[0] for _ in range(5)] == paid


def test_other_rewards_know_no_delay() -> None:
    with pytest.raises(ValidationError, match="delay_ticks: expected 0 with kind=dense, found 5"):
        RewardConfig(delay_ticks=5)
