"""The physics of peer offloading: by hand, and against the plain reference."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_marl.errors import InputError
from edge_marl.peer_offloading import OffloadingScenario, PeerOffloadingSimulator, Status
from tests.peer_offloading.reference import Task, play_plan, play_reference

# In these scenarios 1,000 KB take a second on every link and 8e9 cycles a second on every node.
SECONDS = {
    "slot_s": 1.0, "deadline_s": (1, 5), "cores": (1,), "core_hz": 8e9, "rate_mb_per_s": (1, 1),
    "failure_rate": (0, 0), "link_failure_rate": (0, 0), "queue_limit_per_core": 2,
}  # fmt: skip


def seconds(nodes: int = 3, slots: int = 8) -> OffloadingScenario:
    return OffloadingScenario(nodes=nodes, slots=slots, **SECONDS)


def work(seconds: float) -> float:
    return seconds * 8e9


def fates(simulator: PeerOffloadingSimulator, tasks: list[Task]) -> list[tuple[str, float]]:
    """Status and moment of the end of each task of a plan."""
    records = simulator.records()
    return [
        (Status(records.status[0, k.slot, k.source]).name, records.finished_s[0, k.slot, k.source])
        for k in tasks
    ]


def times(simulator: PeerOffloadingSimulator, task: Task) -> list[float]:
    """Transmission wait and transmission, execution wait and execution."""
    return [float(column[0, task.slot, task.source]) for column in simulator.records()[5:9]]


def test_a_task_waits_for_the_one_before_it() -> None:
    tasks = [Task(0, 0, 0, cycles=work(2.5)), Task(1, 0, 0, cycles=work(0.25))]
    simulator, rewards, queue_length = play_plan(seconds(), tasks)
    assert fates(simulator, tasks) == [("SUCCEEDED", 2.5), ("SUCCEEDED", 2.75)]
    assert times(simulator, tasks[1]) == [0, 0, 1.5, 0.25]
    assert rewards[:, 0].tolist() == [0, 0, 2, 0, 0, 0, 0, 0]
    assert queue_length[:, 0].tolist() == [0, 1, 2, 0, 0, 0, 0, 0, 0]


def test_a_task_is_sent_over_slots_and_then_executed() -> None:
    tasks = [Task(0, 0, 1, size_kb=1500, cycles=work(0.25))]
    simulator, rewards, queue_length = play_plan(seconds(), tasks)
    assert fates(simulator, tasks) == [("SUCCEEDED", 1.75)]
    assert times(simulator, tasks[0]) == [0, 1.5, 0, 0.25]
    assert rewards.sum(axis=0).tolist() == [1, 0, 0]  # the source has the feedback
    assert rewards[1, 0] == 1
    assert queue_length.max() == 0  # it came and went within a slot


def test_links_are_first_in_first_out_and_do_not_share() -> None:
    tasks = [
        Task(0, 0, 1, size_kb=2500, cycles=work(0.25)),
        Task(1, 0, 1, size_kb=500, cycles=work(0.25)),
        Task(2, 0, 2, size_kb=500, cycles=work(0.25)),
    ]
    simulator, *_ = play_plan(seconds(), tasks)
    assert times(simulator, tasks[1]) == [1.5, 0.5, 0, 0.25]
    assert times(simulator, tasks[2]) == [0, 0.5, 0, 0.25]


def test_tasks_from_several_senders_are_executed_in_the_order_in_which_they_arrive() -> None:
    # Node 2's task reaches node 0 first, then node 1's; both within slot 0.
    tasks = [Task(0, 1, 0, size_kb=750, cycles=work(1)), Task(0, 2, 0, size_kb=500, cycles=work(1))]
    simulator, *_ = play_plan(seconds(), tasks)
    assert fates(simulator, tasks) == [("SUCCEEDED", 2.5), ("SUCCEEDED", 1.5)]
    assert times(simulator, tasks[0]) == [0, 0.75, 0.75, 1]


@pytest.mark.parametrize("own", [0, 1, 2])
def test_of_those_that_arrive_together_the_lower_source_goes_first(own: int) -> None:
    # Two tasks are through at 1 s, when the third arrives at node ``own`` itself.
    others = [i for i in range(3) if i != own]
    tasks = [Task(0, i, own, size_kb=1000, cycles=work(0.25)) for i in others]
    tasks.append(Task(1, own, own, cycles=work(0.25)))
    simulator, *_ = play_plan(seconds(), tasks)
    ends = {k.source: end for k, (_, end) in zip(tasks, fates(simulator, tasks), strict=True)}
    assert ends == {0: 1.25, 1: 1.5, 2: 1.75}


def test_a_deadline_in_the_sending_queue_drops_without_occupying_the_link() -> None:
    tasks = [
        Task(0, 0, 1, size_kb=4000, deadline_s=5, cycles=work(0.25)),
        Task(1, 0, 1, size_kb=1000, deadline_s=2),
        Task(2, 0, 1, size_kb=500, deadline_s=5, cycles=work(0.25)),
    ]
    simulator, rewards, _ = play_plan(seconds(), tasks)
    assert fates(simulator, tasks) == [("SUCCEEDED", 4.25), ("DROPPED", 3), ("SUCCEEDED", 4.75)]
    assert times(simulator, tasks[1]) == [2, 0, 0, 0]
    assert times(simulator, tasks[2]) == [2, 0.5, 0, 0.25]
    assert rewards[:, 0].tolist() == [0, 0, -1, 0, 2, 0, 0, 0]  # 3 s is the end of slot 2


def test_a_deadline_during_transmission_frees_the_link() -> None:
    tasks = [
        Task(0, 0, 1, size_kb=4000, deadline_s=1.5),
        Task(1, 0, 1, size_kb=500, cycles=work(0.25)),
    ]
    simulator, *_ = play_plan(seconds(), tasks)
    assert fates(simulator, tasks) == [("DROPPED", 1.5), ("SUCCEEDED", 2.25)]
    assert times(simulator, tasks[0]) == [0, 1.5, 0, 0]


def test_a_deadline_in_the_execution_queue_drops_without_occupying_the_node() -> None:
    tasks = [
        Task(0, 0, 0, cycles=work(3.5)),
        Task(1, 0, 0, cycles=work(1), deadline_s=1.5),
        Task(2, 0, 0, cycles=work(0.25)),
    ]
    simulator, _, queue_length = play_plan(seconds(), tasks)
    assert fates(simulator, tasks) == [("SUCCEEDED", 3.5), ("DROPPED", 2.5), ("SUCCEEDED", 3.75)]
    assert times(simulator, tasks[1]) == [0, 0, 1.5, 0]
    assert queue_length[:, 0].tolist() == [0, 1, 2, 2, 0, 0, 0, 0, 0]


def test_a_deadline_during_execution_frees_the_node() -> None:
    tasks = [Task(0, 0, 0, cycles=work(4), deadline_s=1.5), Task(1, 0, 0, cycles=work(0.25))]
    simulator, *_ = play_plan(seconds(), tasks)
    assert fates(simulator, tasks) == [("DROPPED", 1.5), ("SUCCEEDED", 1.75)]
    assert times(simulator, tasks[0]) == [0, 0, 0, 1.5]
    assert simulator.results.utilisation[0] == pytest.approx(1.75 / 8 / 3)


def test_done_at_the_deadline_is_in_time() -> None:
    tasks = [Task(0, 0, 0, cycles=work(2), deadline_s=2), Task(1, 0, 0, deadline_s=1)]
    simulator, rewards, _ = play_plan(seconds(), tasks)
    # The second could start at its deadline of 2 s at the earliest.
    assert fates(simulator, tasks) == [("SUCCEEDED", 2), ("DROPPED", 2)]
    assert times(simulator, tasks[1]) == [0, 0, 1, 0]
    assert rewards[:, 0].tolist() == [0, 0, 0, 0, 0, 0, 0, 0]
    assert simulator.results.dropped[0] == 1


def test_received_at_the_deadline_is_dropped_in_the_slot_that_ends_then() -> None:
    tasks = [Task(0, 0, 1, size_kb=2000, deadline_s=2)]
    simulator, rewards, _ = play_plan(seconds(), tasks)
    assert fates(simulator, tasks) == [("DROPPED", 2)]
    assert rewards[:, 0].tolist() == [0, -1, 0, 0, 0, 0, 0, 0]
    ends_then, *_ = play_plan(seconds(slots=2), tasks)
    assert fates(ends_then, tasks) == [("DROPPED", 2)]
    assert (ends_then.results.dropped[0], ends_then.results.in_flight[0]) == (1, 0)


def test_a_failed_transmission_is_found_out_at_its_end() -> None:
    tasks = [
        Task(0, 0, 1, size_kb=1500, transmission_luck=0.9),
        Task(1, 0, 1, size_kb=500, cycles=work(0.25)),
    ]
    rate = np.full((3, 3), 0.5)  # reliability exp(-0.75) = 0.47 of the first
    simulator, rewards, _ = play_plan(seconds(), tasks, link_failure_rate=rate)
    assert fates(simulator, tasks) == [("TRANSMISSION_FAILED", 1.5), ("SUCCEEDED", 2.25)]
    assert times(simulator, tasks[0]) == [0, 1.5, 0, 0]
    assert rewards[:, 0].tolist() == [0, -1, 1, 0, 0, 0, 0, 0]


def test_a_failed_execution_is_found_out_at_its_end_and_delays_like_any_other() -> None:
    tasks = [Task(0, 0, 0, cycles=work(1.5), execution_luck=0.9), Task(1, 0, 0, cycles=work(1))]
    simulator, rewards, _ = play_plan(seconds(), tasks, failure_rate=np.full(3, 0.5))
    assert fates(simulator, tasks) == [("EXECUTION_FAILED", 1.5), ("SUCCEEDED", 2.5)]
    assert rewards[:, 0].tolist() == [0, -1, 1, 0, 0, 0, 0, 0]
    results = simulator.results
    assert (results.success_rate[0], results.execution_failed[0]) == (0.5, 1)


@pytest.mark.parametrize(("luck", "fate"), [(0.36, "SUCCEEDED"), (0.37, "EXECUTION_FAILED")])
def test_reliability_is_that_of_equation_4(luck: float, fate: str) -> None:
    tasks = [Task(0, 0, 0, cycles=work(2), execution_luck=luck)]
    simulator, *_ = play_plan(seconds(), tasks, failure_rate=np.full(3, 0.5))  # exp(-1) = 0.368
    assert fates(simulator, tasks) == [(fate, 2)]


def test_what_is_not_decided_by_the_end_is_in_flight_and_in_no_rate() -> None:
    tasks = [Task(0, 0, 0, cycles=work(1)), Task(1, 0, 0, cycles=work(4)), Task(1, 1, 0)]
    simulator, *_ = play_plan(seconds(slots=2), tasks)
    assert fates(simulator, tasks)[0] == ("SUCCEEDED", 1)
    assert simulator.records().status[0, 1, :2].tolist() == [Status.IN_FLIGHT] * 2
    assert np.isnan(simulator.records().finished_s[0, 1, :2]).all()
    results = simulator.results
    assert (results.success_rate[0], results.in_flight[0], results.arrived[0]) == (1.0, 2, 3)
    assert results.offloaded[0] == 1 / 3
    assert results.utilisation[0] == pytest.approx(2 / 2 / 3)


def test_delay_percentiles_are_of_successes_from_arrival_on() -> None:
    tasks = [Task(0, 0, 0, cycles=work(1)), Task(1, 0, 0, cycles=work(3))]
    simulator, *_ = play_plan(seconds(), tasks)
    assert simulator.results.delay_p50_s[0] == 2.0
    assert simulator.results.delay_p99_s[0] == pytest.approx(1 + 0.99 * 2)


def test_full_nodes_close_to_others_and_stay_open_to_themselves() -> None:
    # Every node executes its own tasks; node 0 takes long, and two are its limit.
    tasks = [Task(t, i, i, cycles=work(5 if i == 0 else 0.25)) for t in range(2) for i in range(3)]
    simulator, _, queue_length = play_plan(seconds(slots=2), tasks, arrival_probability=np.ones(3))
    assert simulator.networks.queue_limit[0].tolist() == [2, 2, 2]
    assert queue_length[-1].tolist() == [2, 0, 0]
    assert simulator.observation.action_mask[0].tolist() == [
        [True, True, True, False],
        [False, True, True, False],
        [False, True, True, False],
    ]


def test_without_a_task_there_is_one_action() -> None:
    simulator = PeerOffloadingSimulator(OffloadingScenario(nodes=3, arrival_probability=(0, 0)), 2)
    mask = simulator.reset([0, 1]).action_mask
    assert mask[..., 3].all()
    assert not mask[..., :3].any()


def test_only_neighbours_can_be_sent_to() -> None:
    scenario = OffloadingScenario(nodes=3, links=((0, 1),), arrival_probability=(1, 1))
    simulator = PeerOffloadingSimulator(scenario, 1)
    assert simulator.reset([0]).action_mask[0, :, :3].tolist() == [
        [True, True, False],
        [True, True, False],
        [False, False, True],
    ]
    with pytest.raises(InputError, match="node 0 in episode 0: expected itself or a neighbour, f"):
        simulator.step(np.array([[2, 1, 2]]))


def test_the_observation_is_that_of_section_iv_b() -> None:
    # At the end of the slot node 1's task is on its way to node 0, node 2's in execution; what
    # comes next is the drawn task of node 2 alone, whose size is at least 2,000 KB.
    tasks = [Task(0, 1, 0, size_kb=4000), Task(0, 2, 2, cycles=work(4))]
    scenario = OffloadingScenario(**{
        **SECONDS, "nodes": 3, "slots": 1, "size_kb": (2000, 4000), "cycles_per_bit": (500, 2000),
        "rate_mb_per_s": (1, 4), "failure_rate": (0, 0.2), "arrival_probability": (0, 1),
    })  # fmt: skip
    simulator, *_ = play_plan(scenario, tasks, arrival_probability=np.array([0, 0, 1]))
    network = simulator.networks
    drawn = {name: getattr(simulator.tasks, name)[0, 1, 2] for name in ("size_kb", "cycles")}
    expected = [  # lambda is written when the episode starts
        network.failure_rate[0, 2] / 0.2, 1,  # alpha, F
        1 / 2,  # one of the two tasks that the largest queue may hold
        0, 0,  # on their way from 0 and 1
        network.rate_mb_per_s[0, 2, 0] / 4, network.rate_mb_per_s[0, 2, 1] / 4,
        drawn["size_kb"] / 4000, drawn["cycles"] / (4000 * 8000 * 2000),
        simulator.tasks.deadline_s[0, 1, 2] / 5,
        0, 0, 1,  # which node
    ]  # fmt: skip
    features = simulator.observation.features[0]
    assert features[2, 1:].tolist() == pytest.approx(expected)
    assert features[0, 4:6].tolist() == pytest.approx([1 / 5, 0])  # of the five slots to a deadline
    state = simulator.observation.state[0].reshape(3, 8)
    assert state[:, 3].tolist() == [0, 0, 0.5]
    assert state[:, 4].tolist() == [0.5, 0, 0]
    np.testing.assert_array_equal(state[:, 5:], features[:, 8:11])


# Against the plain reference.

QUARTERS = st.integers(1, 12).map(lambda n: n / 4)  # exact in binary, so that moments do coincide
UNEVEN = st.integers(250, 2900).map(lambda n: n / 999.7)  # no two sums are the same


@st.composite
def plans(draw):
    """A network, and tasks for it with their destinations and luck."""
    N, T = draw(st.integers(2, 4)), draw(st.integers(1, 8))
    duration = draw(st.sampled_from([QUARTERS, UNEVEN]))
    slot_s = draw(st.sampled_from([0.5, 1.0]))
    luck = st.sampled_from([0.0, 0.5, 0.999])
    tasks = [
        Task(
            t, i, draw(st.integers(0, N - 1)), 1000 * draw(duration), 8e9 * draw(duration),
            draw(duration), draw(luck), draw(luck),
        )
        for t in range(T) for i in range(N) if draw(st.integers(0, 3)) > 0
    ]  # fmt: skip
    speed = st.sampled_from([0.5, 1.0, 2.0])
    network = {
        "rate_mb_per_s": np.array([[draw(speed) for _ in range(N)] for _ in range(N)]),
        "capacity_hz": 8e9 * np.array([draw(speed) for _ in range(N)]),
        "failure_rate": np.array([draw(st.sampled_from([0.0, 0.5])) for _ in range(N)]),
        "link_failure_rate": np.full((N, N), draw(st.sampled_from([0.0, 0.5]))),
    }
    np.fill_diagonal(network["rate_mb_per_s"], 0.0)
    return N, T, slot_s, tasks, network


@settings(max_examples=200)
@given(plan=plans())
def test_the_simulator_is_the_reference(plan) -> None:
    N, T, slot_s, tasks, network = plan
    scenario = OffloadingScenario(**{
        **SECONDS, "nodes": N, "slots": T, "slot_s": slot_s, "deadline_s": (0.25, 3.0),
    })  # fmt: skip
    simulator, rewards, queue_length = play_plan(scenario, tasks, **network)
    reference = play_reference(tasks, T, slot_s, **network)

    np.testing.assert_array_equal(rewards, reference.rewards)
    # Whoever joins at the very end of a slot is counted from the next one on.
    np.testing.assert_array_equal(queue_length, reference.queue_length)
    utilisation = reference.busy_s.mean() / (T * slot_s)
    assert simulator.results.utilisation[0] == pytest.approx(utilisation)
    records = simulator.records()
    for task in tasks:
        at = (0, task.slot, task.source)
        in_flight = task.finished_s > T * slot_s
        expected = Status.IN_FLIGHT if in_flight else task.status
        assert records.status[at] == expected
        if in_flight:
            continue
        assert records.finished_s[at] == pytest.approx(task.finished_s)
        link_wait, sent, wait, executed = (column[at] for column in records[5:9])
        arrival_s = task.slot * slot_s
        if task.source == task.destination:
            assert (link_wait, sent) == (0, 0)
        elif math.isnan(task.link_start_s):
            assert link_wait == pytest.approx(task.finished_s - arrival_s)
        else:
            assert link_wait == pytest.approx(task.link_start_s - arrival_s)
        if not math.isnan(task.node_start_s):
            assert wait == pytest.approx(task.node_start_s - task.joined_node_s)
            assert executed == pytest.approx(task.finished_s - task.node_start_s)
        spent = link_wait + sent + wait + executed
        assert arrival_s + spent == pytest.approx(task.finished_s)  # equation 7
