"""Observations and the global state of small graphs, computed by hand."""

from math import log

import numpy as np
import pytest

from edge_marl.graph_offloading.heuristics import heuristic
from edge_marl.graph_offloading.observing import STATE_PER_NODE, n_features
from edge_marl.graph_offloading.scenario import GraphScenario
from edge_marl.graph_offloading.simulator import GraphOffloadingSimulator
from tests.graph_offloading.by_hand import act, hub_with, star

TASKS = [(8.0, 4.0), (2.0, 2.0), (1.0, 1.0)]
"""Of these, the first has the most instructions and MB; the largest queue limit is 20."""

NO_TASK = [-1, -1, -1, -1]


def seen(simulator: GraphOffloadingSimulator, name: str) -> list[float]:
    return simulator.observation.features[0, simulator.agents.index(name)].tolist()


def test_an_agent_observes_its_queue_its_next_task_and_its_neighbours() -> None:
    simulator = hub_with(TASKS)
    act(simulator, n0=1)
    # Q and F, instructions at the node and to be executed, of 8 million; the task of 2 million and
    # 2 MB; then Q and F of both neighbours
    assert seen(simulator, "n0") == pytest.approx(
        [2 / 20, 1 - 2 / 10, 3 / 8, 0, 0, 2 / 8, 2 / 4, 2 / 4, 0, 1, 0, 1]
    )
    act(simulator)
    # the one that was kept has half of its instructions behind it, but counts whole
    assert seen(simulator, "n0") == pytest.approx(
        [2 / 20, 1 - 2 / 10, 3 / 8, 2 / 8, 0, 1 / 8, 1 / 4, 1 / 4, 0, 1, 0, 1]
    )


def test_what_is_missing_is_minus_one() -> None:
    simulator = hub_with(TASKS)
    act(simulator)
    # without a task; the other neighbour that node 0 has is missing too
    assert seen(simulator, "n1") == pytest.approx([0, 1, 0, 0, *NO_TASK, 3 / 20, 0.7, -1, -1])
    assert hub_with(TASKS, extended=True).observation.features[0, 2, -4:].tolist() == [-1] * 4


def test_instructions_are_at_most_those_of_the_largest_job() -> None:
    assert seen(hub_with(TASKS), "n0")[2] == 1, "11 of 8 million"


def test_the_extended_observation_adds_capacities_rates_and_age() -> None:
    simulator = hub_with(TASKS, extended=True)
    act(simulator, n0=1)
    # log(1 + 3) / log(1 + 8) and log(1 + 2) / log(1 + 8); 1 of at most 4 million per tick; 2 ticks
    # of the 1,000 and 5 that a task may wait; neighbours also have capacity and rate of the link
    own = [2 / 20, 1 - 2 / 10, log(4) / log(9), 0, 0, 0.5, 2 / 4, 2 / 4, 1 / 4, 2 / 1005]
    neighbours = [0, 1, 2 / 4, 1, 0, 1, 4 / 4, 1 / 2]
    assert seen(simulator, "n0") == pytest.approx([*own, *neighbours])
    assert seen(simulator, "n1")[8:12] == pytest.approx([2 / 4, -1, 2 / 20, 0.8])


def test_on_the_logarithmic_scale_jobs_of_six_decades_differ() -> None:
    simulator = hub_with([(1e6, 1), (1e4, 1), (1e2, 1), (1, 1)], extended=True)
    shares = [seen(simulator, "n0")[5]]
    for _ in range(3):
        act(simulator, n0=1)
        shares.append(seen(simulator, "n0")[5])
    assert shares == pytest.approx([1, 2 / 3, 1 / 3, log(2) / log(1e6)], abs=1e-3)
    plain = hub_with([(1e6, 1), (1e4, 1), (1e2, 1), (1, 1)])
    act(plain, n0=1)
    assert seen(plain, "n0")[5] == pytest.approx(0.01)


def test_rates_are_shares_of_the_fastest_link() -> None:
    for topology in (star(), "random_10"):
        scenario = GraphScenario(topology=topology)
        simulator = GraphOffloadingSimulator(scenario, 1, extended=True)
        rates = simulator.reset([0]).features[0, :, 13::4]
        assert rates.max() == 1


@pytest.mark.parametrize("extended", [False, True])
def test_all_observations_are_as_long_as_that_of_the_node_with_most_neighbours(
    extended: bool,
) -> None:
    assert n_features(2, extended) == (10 + 2 * 4 if extended else 8 + 2 * 2)
    simulator = hub_with(TASKS, extended=extended)
    assert simulator.observation.features.shape == (1, 3, n_features(2, extended))


def test_neighbours_are_seen_one_tick_later() -> None:
    simulator = hub_with([(9, 1)] * 3)
    assert seen(simulator, "n1")[8:10] == [0, 1], "they have just come"
    act(simulator)
    assert seen(simulator, "n1")[8:10] == pytest.approx([3 / 20, 1 - 3 / 10])
    act(simulator, n0=2)
    # which left at the beginning of the tick, at whose end this was told
    assert seen(simulator, "n1")[8:10] == pytest.approx([2 / 20, 1 - 2 / 10])


def test_neighbours_are_seen_as_they_were_at_the_last_broadcast() -> None:
    simulator = hub_with([(90, 1)] * 3, broadcast_ticks=4)
    told = []
    for action in (1, 1, 1, 0, 0, 0, 0):  # in ticks 1 to 7; nodes tell after ticks 3 and 7
        act(simulator, n0=action)
        told.append(round(20 * seen(simulator, "n0")[8]))
    # the first is at node 1 at tick 2, the second at tick 3, the last after the nodes have told
    assert told == [0, 0, 2, 2, 2, 2, 3]
    assert seen(simulator, "n1")[0] == pytest.approx(3 / 20), "of its own queue a node knows all"


def test_neighbours_are_masked_where_there_is_nothing_to_decide() -> None:
    simulator = hub_with([(9, 2)])
    mask = simulator.observation.action_mask[0].tolist()
    assert mask == [[True, True, True], [True, False, False], [True, False, False]]
    act(simulator, n0=1)
    assert simulator.observation.action_mask[0].tolist() == [[True, False, False]] * 3
    act(simulator)
    mask = simulator.observation.action_mask[0].tolist()
    assert mask == [[True, False, False], [True, True, False], [True, False, False]]


def test_the_state_has_the_queue_and_the_next_task_of_every_node() -> None:
    simulator = hub_with(TASKS)
    act(simulator, n0=1)  # 4 ticks on the way
    state = simulator.observation.state[0].reshape(3, STATE_PER_NODE)
    undecided = [0, 0, 2 / 8, 2 / 4, 2 / 4]
    np.testing.assert_allclose(state, [[2 / 20, *undecided], [0, -1, *NO_TASK], [0, -1, *NO_TASK]])
    act(simulator)
    act(simulator, n0=2)  # 3 ticks on the way
    act(simulator)
    act(simulator, n1=0)
    # node 0 has executed all, node 1 2 of 8 million, node 2 has a task to decide on
    executed = [1, 2 / 8, 8 / 8, 4 / 4, 4 / 4]
    np.testing.assert_allclose(state, [
        [0, -1, *NO_TASK], [1 / 20, *executed], [1 / 20, 0, 0, 1 / 8, 1 / 4, 1 / 4]
    ])  # fmt: skip


def test_the_state_shows_tasks_at_nodes_without_agents() -> None:
    simulator = hub_with(TASKS, topology=star(without_agent=(1,)))
    assert simulator.agents == ("n0", "n2")
    state = simulator.observation.state[0].reshape(3, STATE_PER_NODE)
    act(simulator, n0=1)
    act(simulator)
    act(simulator)
    assert state[1].tolist() == [0, -1, *NO_TASK], "4 ticks on the way"
    act(simulator)
    assert state[1].tolist() == [np.float32(0.05), 1, 0, 1, 1, 1], "it has just come"
    act(simulator)
    assert state[1].tolist() == [np.float32(0.05), 1, 0.25, 1, 1, 1]


def test_observations_stay_between_minus_one_and_one() -> None:
    for extended in (False, True):
        scenario = GraphScenario(topology="random_15", rate_per_s=2, ticks=300)
        simulator = GraphOffloadingSimulator(scenario, 2, extended=extended)
        simulator.reset([1, 2])
        while not simulator.done.all():
            simulator.step(heuristic("random").act(simulator))
            for values in (simulator.observation.features, simulator.observation.state):
                assert -1 <= values.min() <= values.max() <= 1
