"""Messages between agents and a manager share links with tasks, by hand."""

import numpy as np
import pytest

from edge_marl.envs.batched import make_batched
from edge_marl.errors import InputError
from edge_marl.graph_offloading.simulator import GraphOffloadingSimulator
from tests.graph_offloading.playing import beginning, coming, graph

MB = 1_000_000
LINE = graph((0, 1), (1, 2))
"""A link carries 1 MB per tick; node 1, in the middle, is the manager."""


def sharing(tasks=((0, 0, 0),), *, mb=1, every=20, **options):
    """Return a simulator at its beginning whose agents exchange messages with the manager."""
    scenario = coming(LINE, tasks, 100, contention=True, **options)
    simulator = GraphOffloadingSimulator(scenario, 1)
    simulator.travel(mb * MB, every)
    simulator.reset([beginning(scenario)])
    return simulator


def play(simulator, ticks, sends=()):
    """Play so many ticks; node 0 sends a task over its link in those that are given."""
    for t in range(ticks):
        simulator.step(np.array([[int(t in sends), 0, 0]], dtype=np.int32))


def measured(simulator, mb=1, every=20):
    """Return how long messages took to the manager, and from it."""
    found = simulator.travel(mb * MB, every)
    return found.to_manager.tolist(), found.from_manager.tolist()


def test_without_other_traffic_messages_take_as_long_as_on_their_own() -> None:
    simulator = sharing(mb=2)
    play(simulator, 10)
    assert measured(simulator, mb=2) == ([2, 0, 2], [2, 0, 2])
    assert simulator.results.traffic_mb[0] == 2 * 4  # there and back, of two agents


def test_a_message_waits_until_tasks_have_been_sent() -> None:
    # A task of 3 MB comes to node 0 in tick 18 and is sent from 19 to 22. It is executed by 23,
    # when the message comes, and its result goes before the answer, from 23 to 26.
    simulator = sharing([(0, 0, 0), (18, 1, 3)])
    play(simulator, 20, sends=[19])
    measured(simulator)  # what the messages of tick 0 took is not counted again
    play(simulator, 10)
    assert measured(simulator) == ([3, 0, 1], [4, 0, 1])


def test_a_task_waits_until_messages_have_been_sent() -> None:
    # It is sent in tick 1, behind a message that takes until 5, reaches node 1 at 6 and is executed
    # by 7. Its result waits for nothing: the answer is sent from 5 to 10, so it comes back at 11,
    # and to the client at 12.
    simulator = sharing([(0, 1, 1)], mb=5)
    play(simulator, 20, sends=[1])
    assert simulator.results.finished[0] == 1
    assert simulator.episodes.response_ticks[0] == 12


def test_an_agent_sends_no_message_before_the_last_one_is_answered() -> None:
    simulator = sharing(mb=5, every=2)
    play(simulator, 20)
    assert measured(simulator, mb=5, every=2) == ([5, 0, 5], [5, 0, 5])
    assert simulator.results.traffic_mb[0] == 2 * 2 * 10  # two messages of two agents, answered


def test_a_message_waits_until_a_link_is_repaired() -> None:
    simulator = sharing(link_mttf_s=1e6)
    of_link = simulator.state.parts[0, 3:4]
    of_link["is_up"], of_link["changes_at"] = False, 7
    play(simulator, 20)
    assert measured(simulator) == ([8, 0, 1], [1, 0, 1])


def test_an_episode_goes_on_from_where_its_state_was_taken() -> None:
    simulator, other = (sharing(mb=5, every=7) for _ in range(2))
    play(simulator, 3)
    other.set_state(simulator.get_state())
    for one in (simulator, other):
        play(one, 30)
    assert measured(simulator, 5, 7) == measured(other, 5, 7)
    np.testing.assert_equal(other.get_state(), simulator.get_state())


def test_messages_share_links_only_where_there_are_any_with_contention() -> None:
    simulator = GraphOffloadingSimulator(coming(LINE, [(0, 0, 0)], 10), 1)
    with pytest.raises(InputError, match="contention: expected true for messages that share"):
        simulator.travel(MB, 5)
    with pytest.raises(InputError, match="shares_links: expected false with an environment"):
        make_batched("tandem_v0", {}, 1).travel(MB, 5)
