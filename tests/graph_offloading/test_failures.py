"""Nodes and links fail and are repaired; what the reference says of it is tested elsewhere."""

from itertools import count

import numpy as np
import pytest

from edge_marl.errors import InputError
from edge_marl.graph_offloading.heuristics import HEURISTICS, heuristic
from edge_marl.graph_offloading.scenario import GraphScenario
from edge_marl.graph_offloading.simulator import GraphOffloadingSimulator
from edge_marl.random_stream import exponential_ticks, uniform
from edge_marl.seeds import FAILURE_DRAWS
from tests.graph_offloading.playing import coming, graph

NODE_1, LINK_0_TO_1 = 1, 2
"""Parts of two nodes that are linked."""


def parts_up(scenario, seed):
    """Play an episode without sending anything; return what was up in each tick, ``[T, parts]``."""
    simulator = GraphOffloadingSimulator(scenario, 1)
    simulator.reset([seed])
    up = [simulator.state.parts["is_up"][0].copy()]
    while not simulator.done[0]:
        simulator.step(np.zeros((1, len(simulator.agents)), dtype=np.int32))
        up.append(simulator.state.parts["is_up"][0].copy())
    return np.array(up)


def with_outage(tasks, part, *, begin, end, ticks=40):
    """Return a simulator at its beginning, of two nodes of which one part fails as told."""
    kind = "node" if part == NODE_1 else "link"
    mttf, mttr = 8.0, float(end - begin)
    scenario = coming(
        graph((0, 1), receives=(1,)), tasks, ticks,
        **{f"{kind}_mttf_s": mttf, f"{kind}_mttr_s": mttr},
    )  # fmt: skip
    simulator = GraphOffloadingSimulator(scenario, 1)
    n_parts = simulator.state.parts.shape[1]
    for seed in count():
        times = [
            exponential_ticks(uniform(seed, FAILURE_DRAWS.start + k * n_parts + part), mean)
            for k, mean in enumerate((mttf, mttr, mttf))
        ]
        as_told = times[:2] == [begin, end - begin] and times[2] > ticks - end
        if as_told and int(uniform(seed, 3) * (len(tasks) + 1)) == 0:  # the first task comes first
            simulator.reset([seed])
            return simulator
    raise AssertionError


def play_until(simulator, tick, *actions):
    """Play until a tick begins; all actions after those given are to keep."""
    for action in actions:
        simulator.step(np.array([action], dtype=np.int32))
    while simulator.tick[0] < tick:
        simulator.step(np.zeros((1, len(simulator.agents)), dtype=np.int32))


def test_what_fails_is_up_as_often_as_its_mean_times_say():
    scenario = coming(
        graph((0, 1), (1, 2)), [(0, 0, 0)], 8_000,
        node_mttf_s=60.0, node_mttr_s=20.0, link_mttf_s=30.0, link_mttr_s=30.0,
    )  # fmt: skip
    up = parts_up(scenario, 5)[:, [0, 1, 2, 3, 5]]  # 4 and 6 are the links in the other direction
    # Some 100 outages of each part: a share has a standard deviation of about 0.03.
    assert up.mean(axis=0) == pytest.approx([0.75, 0.75, 0.75, 0.5, 0.5], abs=0.12)
    assert len({column.tobytes() for column in up.T}) == 5  # each for itself


def test_nothing_fails_unless_asked():
    plain = coming(graph((0, 1)), [(0, 0, 0)], 50)
    assert parts_up(plain, 1).shape == (51, 0)
    nodes_only = coming(graph((0, 1)), [(0, 0, 0)], 200, node_mttf_s=5.0)
    up = parts_up(nodes_only, 1)
    assert not up[:, :2].all(axis=0).any()
    assert up[:, 2:].all()


def test_a_node_that_fails_loses_its_tasks_and_its_neighbour_notices():
    simulator = with_outage([(0, 100, 0), (1, 100, 0), (2, 100, 0)], NODE_1, begin=6, end=9)
    play_until(simulator, 5)
    assert simulator.nodes.length[0, 1] == 3
    play_until(simulator, 6)
    assert simulator.results.failed[0] == 3
    assert simulator.results.in_flight[0] == 0
    assert simulator.nodes.length[0, 1] == 0
    assert simulator.nodes.shown[0, 1] == simulator.parameters.network.queue_limit[1]
    play_until(simulator, 9)
    assert simulator.nodes.shown[0, 1] == 0


def test_tasks_of_a_node_that_is_down_wait_until_it_is_repaired():
    simulator = with_outage([(0, 0, 0), (7, 1, 0)], NODE_1, begin=6, end=11)
    play_until(simulator, 40)
    results = simulator.results
    assert results.failed[0] == 0
    assert results.finished[0] == 2
    # The first task, without work: to its node, a decision, back: 2 ticks. The second is created in
    # tick 7, received when a tick of the node that is up is over, at 12, decided on in tick 12 and
    # executed by 13; its result is there at 14.
    assert simulator.episodes.response_ticks[0] == 2 + (14 - 7)


def test_a_link_that_has_failed_cannot_be_chosen_and_results_wait_for_it():
    simulator = with_outage([(0, 1, 1), (3, 1, 1)], LINK_0_TO_1, begin=2, end=20)
    # Node 1 sends the first task away in tick 1, just in time; it reaches node 0 at 2, is decided
    # on in tick 2 and executed by 3, and its result comes over the link from 20 to 21, then to the
    # client at 22.
    play_until(simulator, 4, [0, 0], [0, 1])
    assert simulator.observation.action_mask[0, 1].tolist() == [True, False]
    with pytest.raises(InputError, match="node 1 in episode 0: expected 0 to 0, found 1"):
        simulator.step(np.array([[0, 1]], dtype=np.int32))
    play_until(simulator, 40)
    assert simulator.results.finished[0] == 2
    second = 3.0  # to the node, a tick of work, back
    assert simulator.episodes.response_ticks[0] == 22 + second


@pytest.mark.parametrize("name", HEURISTICS)
def test_a_heuristic_sends_only_where_it_can(name):
    scenario = GraphScenario(
        topology="random_10", rate_per_s=2, ticks=600, node_mttf_s=20, node_mttr_s=10,
        link_mttf_s=20, link_mttr_s=10,
    )  # fmt: skip
    simulator = GraphOffloadingSimulator(scenario, 4)
    simulator.reset([1, 2, 3, 4])
    while not simulator.done.all():
        simulator.step(heuristic(name).act(simulator))  # which refuses what is impossible
    assert (simulator.results.failed > 0).all()


def test_times_until_something_fails_are_checked():
    with pytest.raises(ValueError, match="node_mttf_s"):
        GraphScenario(node_mttf_s=0)
    with pytest.raises(ValueError, match="link_mttr_s"):
        GraphScenario(link_mttr_s=float("nan"))
