"""The physics of offloading on graphs: episodes by hand, and what holds in all of them."""

import random
from collections import Counter

import numpy as np
import pytest

from edge_marl.errors import InputError
from edge_marl.graph_offloading.records import Status
from edge_marl.graph_offloading.scenario import GraphScenario
from edge_marl.graph_offloading.simulator import GraphOffloadingSimulator
from tests.graph_offloading.playing import (
    beginning,
    coming,
    graph,
    legal_actions,
    places_used,
    play,
)

PAIR = graph((0, 1))
SEND = {(1, 0): 1}  # what has arrived at moment 1, the first agent sends to its first neighbour

# By hand: 1,000 instructions take a tick, and so does 1 MB on a link -----------------------------


def test_a_task_that_is_kept_is_executed_and_its_result_is_back_a_tick_later() -> None:
    # Created at 0, at the node at 1, executed until 3.5.
    episode = play(coming(PAIR, [(0, 2.5, 1.0)], ticks=6))
    assert episode.responses == {5: 4.5}
    assert episode.length[0].tolist() == [0, 1, 1, 1, 0, 0, 0]
    results = episode.simulator.results
    assert results.response_ticks[0] == 4.5
    assert results.node_utilisation[0].tolist() == [2.5 / 6, 0]
    assert results.node_occupancy[0] == pytest.approx([3 / 10 / 6, 0])
    assert results.traffic_mb[0] == results.offloaded[0] == 0
    assert results.offered_load[0] == 2500 / (6 * 2000)


def test_a_task_is_forwarded_twice_and_its_result_takes_the_way_back() -> None:
    # Sent at 1 and 2, executed from 3 to 3.5 at node 2, back at node 1 at 4.5 and at node 0 at 5.5.
    scenario = coming(graph((0, 1), (1, 2)), [(0, 0.5, 1.0)], ticks=8)
    episode = play(scenario, {(1, 0): 1, (2, 1): 2})
    assert episode.responses == {7: 6.5}
    assert episode.simulator.results.traffic_mb[0] == 4
    assert episode.simulator.results.offloaded[0] == 2 / 3
    assert episode.simulator.results.node_processed[0].tolist() == [0, 0, 1]
    assert [row.tolist() for row in episode.length[:, :5]] == [
        [0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0]
    ]  # fmt: skip


def test_a_result_makes_no_detour() -> None:
    # From 0 to 1, back to 0, on to 2, where it is executed from 4 to 4.5; from there straight to 0.
    scenario = coming(graph((0, 1), (0, 2)), [(0, 0.5, 1.0)], ticks=8)
    episode = play(scenario, {(1, 0): 1, (2, 1): 1, (3, 0): 2})
    assert episode.responses == {7: 6.5}
    assert episode.simulator.results.traffic_mb[0] == 4


def test_a_task_that_came_back_is_executed_as_if_it_had_never_gone() -> None:
    episode = play(coming(PAIR, [(0, 0.5, 1.0)], ticks=6), {(1, 0): 1, (2, 1): 1})
    assert episode.responses == {5: 4.5}  # there and back from 1 to 3, executed until 3.5


def test_a_client_feeds_a_neighbour_over_the_link_and_gets_the_result_over_it() -> None:
    # Streams: from the client at 0 for 0 and for 1, from the client at 1 for 1 and for 0.
    both = graph((0, 1), receives=(0, 1))
    scenario = coming(both, [(0, 0.5, 1.0)], ticks=6, clients="own_and_neighbours")
    episode = play(scenario, streams=[1])
    assert episode.responses == {3: 2.5}  # at node 1 at 1, executed until 1.5, back at 2.5
    assert episode.simulator.results.traffic_mb[0] == 2
    # Node 1 sends it to node 0, from 1 to 2, where the client is, which costs a tick.
    episode = play(scenario, {(1, 1): 1}, streams=[1])
    assert episode.responses == {4: 3.5}
    assert episode.simulator.results.traffic_mb[0] == 2


def test_a_result_that_comes_by_its_client_stays_there() -> None:
    # For 1, from the client at 0; sent to 0 and on to 2, from where it comes back to node 0.
    three = graph((0, 1), (0, 2), receives=(0, 1))
    scenario = coming(three, [(0, 0.5, 1.0)], ticks=8, clients="own_and_neighbours")
    episode = play(scenario, {(1, 1): 1, (2, 0): 2}, streams=[1])
    assert episode.responses == {6: 5.5}  # at 2 from 3 to 3.5, at node 0 at 4.5, and one tick
    assert episode.simulator.results.traffic_mb[0] == 4


def test_moments_within_a_tick_are_exact_and_decide_who_is_first() -> None:
    # Both leave at 1; node 0's task is at node 2 at 1.5, node 1's at 1.75: executed until 3 and 4.
    to_2 = graph((0, 2), (1, 2), agents=(0, 1), receives=(0, 1))
    scenario = coming(to_2, [(0, 1.0, 0.75), (0, 1.0, 0.5)], ticks=7)
    episode = play(scenario, {(1, 0): 1, (1, 1): 1}, streams=[1, 0])
    assert episode.responses == {5: 3 + 0.5 + 1, 6: 4 + 0.75 + 1}


def test_links_take_their_latency_too() -> None:
    scenario = coming(graph((0, 1), latency_ms=250.0), [(0, 1.0, 0.5)], ticks=7)
    episode = play(scenario, SEND)
    # At node 1 at 1.75, which looks at 2; executed until 3; back at 3.75.
    assert episode.responses == {5: 4.75}


def test_several_short_tasks_are_executed_in_one_tick() -> None:
    # Node 1 has no agent: it executes them from 1 to 1.25, 1.5 and 1.75.
    short = coming(graph((0, 1), agents=[0], receives=[1]), [(0, 0.25, 1.0)] * 3, ticks=4)
    episode = play(short)
    assert episode.responses == {3: 2.25 + 2.5 + 2.75}
    assert episode.length[1].tolist() == [0, 3, 0, 0, 0]
    assert episode.simulator.results.node_utilisation[0].tolist() == [0, 0.75 / 4]


def test_jobs_without_instructions_take_no_time() -> None:
    some = coming(
        graph((0, 1), agents=[0], receives=[1]), [(0, 0, 1.0), (0, 0.5, 1.0), (0, 0, 1)], ticks=4
    )
    assert play(some).responses == {2: 2.0, 3: 2.5 + 2.5}


def test_a_full_queue_loses_what_arrives_and_the_running_task_counts() -> None:
    # The third arrives at 4, while the first runs until 6 and the second waits.
    scenario = coming(graph((0, 1), queue_limit=2), [(0, 5, 0), (0, 5, 0), (3, 1, 0)], ticks=14)
    episode = play(scenario)
    assert episode.fates == (2, 1, 0, 0)
    assert episode.length[0, 1:6].tolist() == [2, 2, 2, 2, 2]
    results = episode.simulator.results
    assert (results.node_received[0, 0], results.node_refused[0, 0]) == (3, 1)
    assert results.finished_ratio[0] == results.finished_known[0] == 2 / 3


def test_a_waiting_task_is_lost_once_its_deadline_and_grace_have_passed() -> None:
    # Both have until 3, and 2 ticks of grace. The first runs from 1 to 11: it is not stopped.
    scenario = coming(PAIR, [(0, 10, 0), (0, 1, 0)], 14, deadline_s=(3, 3), grace_ticks=2)
    episode = play(scenario)
    assert episode.length[0, :7].tolist() == [0, 2, 2, 2, 2, 1, 1]
    assert episode.responses == {12: 12.0}
    assert episode.fates == (1, 0, 1, 0)


def test_a_task_that_is_created_too_late_for_its_deadline_is_lost() -> None:
    # It reaches the node at 1, but has only until 0.5.
    scenario = coming(PAIR, [(0, 1, 0)], 3, deadline_s=(0.5, 0.5), deadline_ends="everything")
    assert play(scenario).fates == (0, 0, 1, 0)


def test_a_result_may_be_back_just_at_its_deadline_and_a_task_may_not_arrive_then() -> None:
    def fate(deadline_s: float, sent: bool) -> tuple[int, ...]:
        until = {"deadline_s": (deadline_s, deadline_s), "deadline_ends": "everything"}
        return play(coming(PAIR, [(0, 2, 1)], 9, **until), SEND if sent else {}).fates

    assert fate(4.0, sent=False) == (1, 0, 0, 0)  # executed from 1 to 3, and a tick
    assert fate(3.75, sent=False) == (0, 0, 1, 0)
    assert fate(6.0, sent=True) == (1, 0, 0, 0)  # at 2, executed until 4, back at 5, and a tick
    assert fate(5.0, sent=True) == (0, 0, 1, 0)
    assert fate(2.0, sent=True) == (0, 0, 1, 0)


@pytest.mark.parametrize(("contention", "second"), [(False, 9.0), (True, 11.0)])
def test_with_contention_a_link_sends_one_thing_at_a_time(contention: bool, second: float) -> None:
    # Sent at 1 and 2, for 3 ticks each: at node 1 at 4 and, alone, at 5, else at 7. Executed until
    # 5 and 6 or 8; the results take until 8 and 9, or 11. The second was created at 1.
    scenario = coming(PAIR, [(0, 1, 3), (1, 1, 3)], ticks=13, contention=contention)
    episode = play(scenario, {(1, 0): 1, (2, 0): 1})
    assert sorted(episode.responses.items()) == [(9, 9.0), (int(second) + 1, second)]


def test_what_takes_longer_than_an_episode_does_not_arrive() -> None:
    far = {"link_model": "shannon", "power_dbm": -1000.0}
    assert play(coming(PAIR, [(0, 1, 1)], ticks=50, **far), SEND).fates == (0, 0, 0, 1)


def test_the_calendar_goes_on_after_its_last_bucket() -> None:
    # Sent at 1, at node 1 at 1101, executed until 1101.5, back at 2201.5. The second runs from 2
    # on, and the third, which came at 2, waits until its deadline.
    tasks = [(0, 0.5, 1100), (1, 3000, 0), (2, 1, 0)]
    episode = play(coming(PAIR, tasks, ticks=2300, deadline_s=(1500, 1500)), SEND)
    assert episode.responses == {2203: 2202.5}
    assert episode.length[0, [3, 1501, 1502, 2300]].tolist() == [2, 2, 1, 1]
    assert episode.fates == (1, 0, 1, 1)


def test_neighbours_see_lengths_as_last_told_before_arrivals_are_handed_out() -> None:
    scenario = coming(PAIR, [(0, 9, 0), (1, 9, 0), (2, 9, 0)], ticks=6, broadcast_ticks=2)
    simulator = GraphOffloadingSimulator(scenario, 1)
    simulator.reset([beginning(scenario)])
    seen = []
    for _ in range(6):
        simulator.step(np.zeros((1, 2), dtype=np.int32))
        seen.append((int(simulator.nodes.length[0, 0]), int(simulator.nodes.shown[0, 0])))
    assert seen == [(1, 0), (2, 1), (3, 1), (3, 3), (3, 3), (3, 3)]


# What is refused ---------------------------------------------------------------------------------


def test_an_impossible_action_is_refused_by_name() -> None:
    scenario = coming(PAIR, [(0, 1, 0)], ticks=4)
    simulator = GraphOffloadingSimulator(scenario, 2)
    simulator.reset([beginning(scenario)] * 2)
    actions = np.zeros((2, 2), dtype=np.int32)
    simulator.step(actions)
    nothing = "expected 0, for there is nothing to decide, found 1"
    for b, a, action, line in [
        (1, 0, 2, "action of node 0 in episode 1: expected 0 to 1, found 2"),
        (0, 0, -1, "action of node 0 in episode 0: expected 0 to 1, found -1"),
        (0, 1, 1, f"action of node 1 in episode 0: {nothing}"),
    ]:
        actions[:] = 0
        actions[b, a] = action
        before = simulator.get_state()
        with pytest.raises(InputError) as caught:
            simulator.step(actions)
        assert str(caught.value) == line
        np.testing.assert_equal(simulator.get_state(), before)


def test_a_full_pool_of_tasks_is_an_error_with_its_number() -> None:
    scenario = coming(PAIR, [(0, 1, 0)] * 3, ticks=4, most_tasks=2)
    with pytest.raises(InputError) as caught:
        play(scenario)
    assert str(caught.value) == (
        "episode 0, tick 1: 2 tasks are under way at once, and there is no place for more: "
        "expected a larger most_tasks than 2"
    )
    assert play(coming(PAIR, [(0, 1, 0)] * 3, ticks=6, most_tasks=3)).fates == (3, 0, 0, 0)


def test_a_full_pool_of_decisions_is_an_error_with_its_number() -> None:
    scenario = coming(PAIR, [(0, 1, 1)], ticks=9, most_tasks=1)
    to_and_fro = {(t, 1 - t % 2): 1 for t in range(1, 9)}
    with pytest.raises(InputError) as caught:
        play(scenario, to_and_fro)
    assert str(caught.value).startswith(
        "episode 0, tick 6: 4 decisions on tasks are under way at once"
    )


def test_a_batch_without_episodes_is_refused() -> None:
    with pytest.raises(InputError, match="batch_size: expected at least 1, found 0"):
        GraphOffloadingSimulator(GraphScenario(), 0)


# In every episode --------------------------------------------------------------------------------

CROWDED = {"ticks": 120, "deadline_s": (2.0, 4.0)}
SCENARIOS = {
    "published": GraphScenario(**CROWDED),
    "text": GraphScenario(preset="text", rate_per_s=4.0, broadcast_ticks=3, **CROWDED),
    "random": GraphScenario(topology="random_10", rate_per_s=2.0, **CROWDED),
    "recorded": GraphScenario(topology="random_10", arrivals="recorded", **CROWDED),
    "regions": GraphScenario(topology="random_15", load="regions", **CROWDED),
}
scenarios = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())


def chances(*seeds: int) -> list[random.Random]:
    return [random.Random(seed) for seed in seeds]


@scenarios
def test_every_task_is_in_one_place_or_has_one_fate(scenario: GraphScenario) -> None:
    simulator = GraphOffloadingSimulator(scenario, 2)
    simulator.reset([3, 4])
    chance = chances(3, 4)
    while not simulator.done.all():
        simulator.step(legal_actions(simulator, chance))
        results = simulator.results
        lost = results.refused + results.expired
        np.testing.assert_array_equal(results.created, results.finished + lost + results.in_flight)
        for b in range(2):
            used = places_used(simulator, b)
            assert len(used) == results.in_flight[b]
            assert len(set(simulator.tasks.number[b, used].tolist())) == len(used)
            where = Counter(Status(s) for s in simulator.tasks.status[b, used].tolist())
            under_way = (
                Status.MOVING, Status.UNDECIDED, Status.DECIDED, Status.RUNNING, Status.RETURNING,
                Status.DOOMED,
            )  # fmt: skip
            assert sum(where[status] for status in under_way) == len(used)
            at_nodes = where[Status.UNDECIDED] + where[Status.DECIDED] + where[Status.RUNNING]
            assert simulator.nodes.length[b].sum() == at_nodes
            assert (simulator.nodes.running[b] >= 0).sum() == where[Status.RUNNING]
        np.testing.assert_array_equal(results.node_refused.sum(axis=1), results.refused)
        np.testing.assert_array_equal(results.node_expired.sum(axis=1), results.expired)
        limits = simulator.parameters.network.queue_limit
        assert (simulator.nodes.length <= limits).all()
    assert (results.finished > 0).all()


def test_no_task_is_executed_twice_and_no_work_is_lost() -> None:
    scenario = GraphScenario(load="constant", rate_per_s=3.0, **CROWDED)
    simulator = GraphOffloadingSimulator(scenario, 2)
    simulator.reset([3, 4])
    chance = chances(3, 4)
    tasks, nodes = simulator.tasks, simulator.nodes
    while not simulator.done.all():
        simulator.step(legal_actions(simulator, chance))
        for b in range(2):
            used = places_used(simulator, b)
            returning = (tasks.status[b, used] == Status.RETURNING).sum()
            assert nodes.processed[b].sum() == simulator.results.finished[b] + returning
            busy = nodes.running[b] >= 0
            running = tasks.instructions[b, nodes.running[b, busy]]
            begun = (running - nodes.remaining[b, busy]).sum()
            done = nodes.processed[b].sum() * scenario.instructions + begun
            work = (nodes.busy[b] * simulator.parameters.network.capacity).sum()
            assert work == pytest.approx(done)
    assert (nodes.processed.sum(axis=1) > 50).all()


def test_a_task_lies_in_one_cache_line_and_a_node_in_two() -> None:
    state = GraphOffloadingSimulator(GraphScenario(), 2).state
    assert state.tasks.itemsize == 64
    assert state.nodes.itemsize == 128
    assert state.tasks.ctypes.data % 64 == state.nodes.ctypes.data % 64 == 0


@scenarios
@pytest.mark.parametrize("extended", [False, True], ids=["plain", "extended"])
def test_what_is_not_written_again_is_as_it_was(scenario: GraphScenario, extended: bool) -> None:
    some, all_ = (GraphOffloadingSimulator(scenario, 2, extended=extended) for _ in range(2))
    some.reset([3, 4])
    all_.reset([3, 4])
    chance = chances(3, 4)
    while not some.done.all():
        actions = legal_actions(some, chance)
        all_.nodes.changed[:], all_.nodes.told[:] = True, True
        some.step(actions)
        all_.step(actions)
        for found, expected in zip(some.observation, all_.observation, strict=True):
            np.testing.assert_array_equal(found, expected)


@scenarios
def test_an_episode_in_a_batch_is_the_same_alone(scenario: GraphScenario) -> None:
    def steps(simulator: GraphOffloadingSimulator, *seeds: int) -> list[np.ndarray]:
        simulator.reset(seeds)
        chance, seen = chances(*seeds), []
        while not simulator.done.all():
            simulator.step(legal_actions(simulator, chance))
            seen.append(np.concatenate([simulator.transition.reward, simulator.observation.state,
                                        simulator.nodes.busy], axis=1))  # fmt: skip
        return seen + list(vars(simulator.results).values())

    together = steps(GraphOffloadingSimulator(scenario, 3), 5, 6, 7)
    single = GraphOffloadingSimulator(scenario, 1)
    for b, seed in enumerate([5, 6, 7]):
        for one, all_of_them in zip(steps(single, seed), together, strict=True):
            np.testing.assert_equal(one[0], all_of_them[b])


def assert_same_episode(
    one: GraphOffloadingSimulator, b: int, other: GraphOffloadingSimulator, c: int
) -> None:
    found, expected = one.get_state(), other.get_state()
    for name, fields in expected.items():
        for field, values in fields.items():
            np.testing.assert_array_equal(found[name][field][b], values[c], f"{name}.{field}")


@pytest.mark.parametrize("name", ["random", "recorded"])
def test_an_episode_is_reset_while_others_go_on(name: str) -> None:
    simulator = GraphOffloadingSimulator(SCENARIOS[name], 3)
    simulator.reset([5, 6, 7])
    chance = chances(5, 6, 7)
    for _ in range(40):
        simulator.step(legal_actions(simulator, chance))
    simulator.reset([0, 8, 0], where=np.array([False, True, False]))
    chance[1] = random.Random(8)
    for _ in range(60):
        simulator.step(legal_actions(simulator, chance))
    for b, (seed, ticks) in enumerate([(5, 100), (8, 60), (7, 100)]):
        single = GraphOffloadingSimulator(SCENARIOS[name], 1)
        single.reset([seed])
        (own,) = chances(seed)
        for _ in range(ticks):
            single.step(legal_actions(single, [own]))
        assert single.tick[0] == simulator.tick[b] == ticks
        # Where tasks lie, and what lies in places that are free, depends on what was there before.
        np.testing.assert_array_equal(simulator.observation.state[b], single.observation.state[0])
        for field, values in vars(single.results).items():
            np.testing.assert_equal(getattr(simulator.results, field)[b], values[0], field)
        if seed != 8:
            assert_same_episode(simulator, b, single, 0)


@scenarios
def test_a_saved_state_is_continued_by_another_simulator(scenario: GraphScenario) -> None:
    first, second = (GraphOffloadingSimulator(scenario, 2) for _ in range(2))
    first.reset([5, 6])
    second.reset([7, 8])
    chance = chances(5, 6)
    for _ in range(50):
        first.step(legal_actions(first, chance))
    second.set_state(first.get_state())
    while not first.done.all():
        actions = legal_actions(first, chance)
        np.testing.assert_array_equal(first.step(actions).reward, second.step(actions).reward)
    for b in range(2):
        assert_same_episode(first, b, second, b)


@pytest.mark.parametrize("name", ["published", "random", "recorded"])
def test_tasks_are_the_same_under_every_policy(name: str) -> None:
    def tasks(send: bool) -> dict[int, tuple[float, ...]]:
        simulator = GraphOffloadingSimulator(SCENARIOS[name], 1)
        simulator.reset([9])
        found: dict[int, tuple[float, ...]] = {}
        of = simulator.tasks
        while not simulator.done[0]:
            last = simulator.observation.action_mask.sum(axis=2) - 1
            simulator.step((last * send).astype(np.int32))
            for p in places_used(simulator, 0):
                found[int(of.number[0, p])] = tuple(
                    float(getattr(of, field)[0, p])
                    for field in ("created", "instructions", "size_mb", "deadline")
                )
        return found

    kept, sent = tasks(send=False), tasks(send=True)
    both = kept.keys() & sent.keys()  # some are gone within the tick in which they come
    assert len(both) > 50
    assert {k: kept[k] for k in both} == {k: sent[k] for k in both}


def test_an_episode_that_is_over_stays_as_it_is() -> None:
    simulator = GraphOffloadingSimulator(GraphScenario(ticks=20), 2)
    simulator.reset([1, 2])
    for t in range(20):
        assert not simulator.done.any()
        transition = simulator.step(np.zeros((2, len(simulator.agents)), dtype=np.int32))
        assert transition.truncated.tolist() == [t == 19] * 2
    before = simulator.get_state()
    transition = simulator.step(np.full((2, len(simulator.agents)), 99, dtype=np.int32))
    assert not transition.truncated.any()
    assert not transition.terminated.any()
    assert not transition.reward.any()
    np.testing.assert_equal(simulator.get_state(), before)
