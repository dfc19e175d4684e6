"""Drawn episodes of peer offloading: invariants, frequencies, and what is refused."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_marl.errors import InputError
from edge_marl.peer_offloading import OffloadingScenario, PeerOffloadingSimulator, Status


def random_legal(simulator: PeerOffloadingSimulator, rng: np.random.Generator) -> np.ndarray:
    mask = simulator.observation.action_mask
    return (rng.random(mask.shape) * mask).argmax(axis=2).astype(np.int32)


def play_random(simulator: PeerOffloadingSimulator, seeds, action_seed: int = 0) -> np.ndarray:
    """Rewards ``[T, B, N]`` of random legal actions, the same for equal seeds."""
    simulator.reset(seeds)
    rngs = [np.random.default_rng([action_seed, seed]) for seed in seeds]
    rewards = []
    while not simulator.done.all():
        mask = simulator.observation.action_mask
        draws = np.stack([rng.random(mask.shape[1:]) for rng in rngs])
        rewards.append(simulator.step((draws * mask).argmax(axis=2)).reward.copy())
    return np.array(rewards)


@st.composite
def scenarios(draw) -> OffloadingScenario:
    nodes = draw(st.integers(2, 6))
    ring = tuple((i, (i + 1) % nodes) for i in range(nodes)) if nodes > 2 else ((0, 1),)
    deadline = draw(st.floats(0.2, 4))
    return OffloadingScenario(
        nodes=nodes, slots=draw(st.integers(1, 20)), slot_s=draw(st.sampled_from([0.1, 0.5, 1])),
        deadline_s=(deadline, deadline + draw(st.sampled_from([0, 1.3]))),
        failure_rate=(0, 0.5), link_failure_rate=(0, 0.5),
        links=draw(st.sampled_from([None, ring])), network_seed=draw(st.sampled_from([None, 3])),
    )  # fmt: skip


@settings(max_examples=100)
@given(scenario=scenarios(), seed=st.integers(0, 2**40))
def test_every_task_that_arrived_is_in_one_place(scenario: OffloadingScenario, seed: int) -> None:
    simulator = PeerOffloadingSimulator(scenario, 2)
    rewards = play_random(simulator, [seed, seed + 1])
    results, status = simulator.results, simulator.records().status
    decided = (
        results.succeeded + results.dropped + results.transmission_failed + results.execution_failed
    )
    np.testing.assert_array_equal(results.arrived, decided + results.in_flight)
    for kind, counted in (
        (Status.IN_FLIGHT, results.in_flight),
        (Status.SUCCEEDED, results.succeeded),
        (Status.DROPPED, results.dropped),
        (Status.TRANSMISSION_FAILED, results.transmission_failed),
        (Status.EXECUTION_FAILED, results.execution_failed),
    ):
        np.testing.assert_array_equal((status == kind).sum(axis=(1, 2)), counted)
    np.testing.assert_array_equal((status != Status.NONE).sum(axis=(1, 2)), results.arrived)
    team = 2 * results.succeeded - decided
    np.testing.assert_array_equal(rewards.sum(axis=0)[:, 0], team)
    assert np.all((results.utilisation >= 0) & (results.utilisation <= 1 + 1e-9))


@settings(max_examples=30)
@given(scenario=scenarios(), seed=st.integers(0, 2**40))
def test_an_episode_alone_is_that_in_any_batch(scenario: OffloadingScenario, seed: int) -> None:
    alone, batch = PeerOffloadingSimulator(scenario, 1), PeerOffloadingSimulator(scenario, 3)
    of_alone = play_random(alone, [seed])
    of_batch = play_random(batch, [seed + 1, seed, seed + 2])
    np.testing.assert_array_equal(of_batch[:, 1], of_alone[:, 0])
    for one, other in zip(alone.records(), batch.records(), strict=True):
        np.testing.assert_array_equal(one[0], other[1])
    for one, other in zip(alone.observation, batch.observation, strict=True):
        np.testing.assert_array_equal(one[0], other[1])


def test_resetting_some_leaves_the_others_alone() -> None:
    scenario = OffloadingScenario(nodes=4, slots=10)
    simulator, alone = (PeerOffloadingSimulator(scenario, B) for B in (2, 1))
    simulator.reset([1, 2])
    for t in range(10):
        if t == 4:
            simulator.reset([9, 9], where=np.array([True, False]))
        rng = np.random.default_rng(t)
        simulator.step(random_legal(simulator, rng))
    assert simulator.slot.tolist() == [6, 10]
    assert simulator.done.tolist() == [False, True]
    assert simulator.seeds.tolist() == [9, 2]
    alone.reset([9])
    for t in range(4, 10):
        rng = np.random.default_rng(t)
        shape = simulator.observation.action_mask.shape
        alone.step((rng.random(shape)[:1] * alone.observation.action_mask).argmax(axis=2))
    for column, same in zip(simulator.records(), alone.records(), strict=True):
        np.testing.assert_array_equal(column[0], same[0])


def test_a_saved_state_goes_on_as_before() -> None:
    scenario = OffloadingScenario(nodes=5, slots=20)
    one, other = PeerOffloadingSimulator(scenario, 3), PeerOffloadingSimulator(scenario, 3)
    one.reset([1, 2, 3])
    for t in range(8):
        one.step(random_legal(one, np.random.default_rng(t)))
    saved = one.get_state()
    other.reset([7, 8, 9])
    other.set_state(saved)
    for t in range(8, 20):
        for own, same in zip(one.observation, other.observation, strict=True):
            np.testing.assert_array_equal(own, same)
        actions = random_legal(one, np.random.default_rng(t))
        np.testing.assert_array_equal(one.step(actions).reward, other.step(actions).reward)
    for own, same in zip(one.records(), other.records(), strict=True):
        np.testing.assert_array_equal(own, same)
    with pytest.raises(InputError, match="state"):
        PeerOffloadingSimulator(scenario, 2).set_state(saved)


def test_tasks_and_their_luck_do_not_depend_on_decisions() -> None:
    scenario = OffloadingScenario(nodes=4, slots=20)
    one, other = PeerOffloadingSimulator(scenario, 1), PeerOffloadingSimulator(scenario, 1)
    play_random(one, [5], action_seed=0)
    play_random(other, [5], action_seed=1)
    a, b = one.records(), other.records()
    assert (a.destination != b.destination).any()
    for name in ("size_kb", "cycles", "deadline_s", "transmission_luck", "execution_luck"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    np.testing.assert_array_equal(a.status == Status.NONE, b.status == Status.NONE)


def within_chance(count: int, probabilities: np.ndarray) -> bool:
    """Whether a number of events is within 4.5 standard deviations of what is expected."""
    spread = math.sqrt(float((probabilities * (1 - probabilities)).sum()))
    return abs(count - float(probabilities.sum())) < 4.5 * spread


def test_failures_are_as_frequent_as_equations_4_and_5_say() -> None:
    # Deadlines do not interfere.
    scenario = OffloadingScenario(
        nodes=8, slots=25, slot_s=4.0, deadline_s=(100, 100), failure_rate=(0.1, 0.6),
        link_failure_rate=(0.5, 2.0), arrival_probability=(0.5, 0.5),
    )  # fmt: skip
    simulator = PeerOffloadingSimulator(scenario, 20)
    play_random(simulator, np.arange(20))
    records, networks = simulator.records(), simulator.networks
    sent = (records.transmission_s > 0) & (records.status > Status.IN_FLIGHT)
    b, _, i = np.nonzero(sent)
    of_link = np.exp(
        -records.transmission_s[sent] * networks.link_failure_rate[b, i, records.destination[sent]]
    )
    lost = int((records.status[sent] == Status.TRANSMISSION_FAILED).sum())
    assert within_chance(lost, 1 - of_link)
    executed = np.isin(records.status, (Status.SUCCEEDED, Status.EXECUTION_FAILED))
    b, *_ = np.nonzero(executed)
    of_node = np.exp(
        -records.execution_s[executed] * networks.failure_rate[b, records.destination[executed]]
    )
    failed = int((records.status[executed] == Status.EXECUTION_FAILED).sum())
    assert within_chance(failed, 1 - of_node)
    assert min(lost, failed) > 200


def test_draws_are_those_of_section_v_a() -> None:
    scenario = OffloadingScenario()
    simulator = PeerOffloadingSimulator(scenario, 40)
    play_random(simulator, np.arange(40))
    records, networks = simulator.records(), simulator.networks
    arrived = records.status != Status.NONE
    assert within_chance(int(arrived.sum()), np.repeat(networks.arrival_probability, 100))
    size, cycles = records.size_kb[arrived], records.cycles[arrived]
    per_bit = cycles / size / 8000
    for values, low, high in (
        (size, 1000, 8000),
        (per_bit, 800, 2400),
        (networks.failure_rate, 0, 0.1),
        (networks.arrival_probability, 0, 1),
        (networks.rate_mb_per_s[networks.rate_mb_per_s > 0], 10, 40),
    ):
        assert low <= values.min()
        assert values.max() <= high
        spread = (high - low) / math.sqrt(12 * values.size)
        assert abs(values.mean() - (low + high) / 2) < 5 * spread
    assert set(np.unique(networks.capacity_hz / 3e9)) == {4, 8, 16, 20, 24, 28, 32}
    assert (records.deadline_s[arrived] == 4).all()


def test_a_network_is_of_the_episode_or_held_fixed() -> None:
    drawn = OffloadingScenario(nodes=5).networks([1, 2, 1])
    assert (drawn.failure_rate[0] == drawn.failure_rate[2]).all()
    assert (drawn.failure_rate[0] != drawn.failure_rate[1]).any()
    fixed = OffloadingScenario(nodes=5, network_seed=1).networks([7, 8])
    np.testing.assert_array_equal(fixed.rate_mb_per_s[0], fixed.rate_mb_per_s[1])
    np.testing.assert_array_equal(fixed.rate_mb_per_s[0], drawn.rate_mb_per_s[0])


def test_offered_load_is_the_work_that_arrives_over_the_work_that_can_be_done() -> None:
    scenario = OffloadingScenario(
        nodes=2, slot_s=1, arrival_probability=(0.5, 0.5), size_kb=(1000, 3000),
        cycles_per_bit=(100, 100), cores=(1,), core_hz=3.2e9,
    )  # fmt: skip
    # A task of 2,000 KB is 1.6e9 cycles; one a second arrives at nodes of 6.4e9 together.
    assert scenario.offered_load([0, 1]) == pytest.approx([0.25, 0.25])


def test_the_testbed_is_that_of_section_vi_c() -> None:
    testbed = OffloadingScenario(preset="testbed")
    assert (testbed.nodes, testbed.slots, testbed.slot_s) == (10, 50, 0.1)
    assert testbed.deadline_s == (1.0, 1.0)
    assert OffloadingScenario(preset="testbed", nodes=4).nodes == 4


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([[0, 1, 3]], "node 2 in episode 0: expected itself or a neighbour, found 3"),
        ([[0, 1, -1]], "node 2 in episode 0: expected itself or a neighbour, found -1"),
        ([[0, 1]], r"actions: expected integers of shape \(1, 3\)"),
        ([[0.0, 1.0, 2.0]], r"actions: expected integers of shape \(1, 3\)"),
    ],
)
def test_a_bad_action_is_refused_and_changes_nothing(actions: list, message: str) -> None:
    simulator = PeerOffloadingSimulator(OffloadingScenario(nodes=3, arrival_probability=(1, 1)), 1)
    simulator.reset([0])
    before = simulator.get_state()
    with pytest.raises(InputError, match=message):
        simulator.step(np.array(actions))
    np.testing.assert_equal(simulator.get_state(), before)


def test_a_node_without_a_task_cannot_send_one() -> None:
    simulator = PeerOffloadingSimulator(OffloadingScenario(nodes=2, arrival_probability=(0, 0)), 1)
    simulator.reset([0])
    with pytest.raises(InputError, match="expected 2, for there is no task, found 0"):
        simulator.step(np.array([[2, 0]]) * 0)


@pytest.mark.parametrize("seeds", [[0], [0, -1], [0.0, 1.0], [[0, 1]]])
def test_bad_seeds_are_refused(seeds: list) -> None:
    simulator = PeerOffloadingSimulator(OffloadingScenario(nodes=2), 2)
    with pytest.raises(InputError, match="seeds: expected 2 integers of at least 0"):
        simulator.reset(seeds)


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="batch_size: expected at least 1, found 0"):
        PeerOffloadingSimulator(OffloadingScenario(), 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nodes": 1}, "nodes"),
        ({"size_kb": (5, 1)}, "size_kb: expected a lower and an upper bound"),
        ({"arrival_probability": (0, 1.5)}, "arrival_probability.1\n.*less than or equal to 1"),
        ({"deadline_s": (1e9, 1e9)}, "deadline_s: expected at most 30000 slots"),
        ({"cores": ()}, "cores"),
        ({"links": ((0, 20),)}, "links: expected pairs of different nodes from 0 to 19"),
        ({"deadline_s": (0, 4)}, "deadline_s"),
        ({"preset": "none"}, "preset"),
        ({"colour": 1}, "colour"),
    ],
)
def test_an_impossible_scenario_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        OffloadingScenario(**options)
