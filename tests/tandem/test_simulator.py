"""The physics, rewards and metrics of the tandem simulator, by hand and as invariants."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_marl.errors import InputError
from edge_marl.tandem import RewardConfig, TandemSimulator, TraceSet
from edge_marl.tandem.heuristics import PRIORITY_RULES, heuristic
from edge_marl.tandem.playing import TimelineRecorder, run_traces
from edge_marl.tandem.scenario import TandemWorkload

IDLE = 6


def traces_strategy(max_traces=4, max_jobs=6):
    job = st.tuples(
        st.integers(0, 10), st.integers(1, 8), st.integers(1, 8), st.integers(0, 30)
    ).map(lambda j: (j[0], j[1], j[2], j[0] + j[1] + j[3]))
    trace = st.lists(job, min_size=1, max_size=max_jobs)
    return st.lists(trace, min_size=1, max_size=max_traces).map(
        lambda rows: TraceSet.from_jobs(rows, downlink=2)
    )


def random_actions(simulator, rng):
    length = simulator.observation.action_mask[:, :, :-1].sum(axis=2)
    choice = (rng.random(length.shape) * length).astype(np.int32)
    return np.where(length > 0, choice, simulator.max_queue).astype(np.int32)


def test_one_job_passes_both_stages_and_completes_with_its_downlink():
    simulator = TandemSimulator(TraceSet.from_jobs([[(0, 2, 3, 20)]], downlink=4), 1)
    observation = simulator.reset([0])
    assert observation.features[0, 0, 0].tolist() == [20, 2, 3, 0, 0]
    assert observation.action_mask[0].tolist() == [
        [True, False, False, False, False, False, False],
        [False, False, False, False, False, False, True],
    ]
    for _ in range(2):
        simulator.step(np.array([[0, IDLE]]))
    assert simulator.observation.features[0, 1, 0].tolist() == [18, 0, 3, 0, 0]
    for _ in range(3):
        transition = simulator.step(np.array([[IDLE, 0]]))
    assert transition.terminated[0]
    assert not transition.truncated[0]
    results = simulator.results
    assert results.makespan[0] == 2 + 3 + 4
    assert results.objective[0] == 9
    assert results.slots[0] == 5
    assert results.starvation[0] == 2 / 5  # two slots of uplink with nothing to compute
    assert results.comm_utilisation[0] == 2 / 5
    assert results.comp_utilisation[0] == 3 / 5


def test_preempted_jobs_keep_their_progress_and_wait():
    simulator = TandemSimulator(TraceSet.from_jobs([[(0, 3, 1, 50), (0, 2, 1, 50)]]), 1)
    simulator.reset([0])
    simulator.step(np.array([[0, IDLE]]))
    simulator.step(np.array([[1, IDLE]]))
    first, second = simulator.observation.features[0, 0, :2]
    assert first.tolist() == [48, 2, 1, 1, 0]
    assert second.tolist() == [48, 1, 1, 1, 0]


def test_a_job_is_dropped_in_the_slot_in_which_it_can_no_longer_be_in_time():
    # Alone each job needs 2 + 2 + 1 slots; served second, the other one is late from slot 2 on.
    traces = TraceSet.from_jobs([[(0, 2, 2, 6), (0, 2, 2, 6)]], downlink=1)
    simulator = TandemSimulator(traces, 1, drop_penalty=100)
    simulator.reset([0])
    simulator.step(np.array([[0, IDLE]]))
    assert simulator.results.dropped[0] == 0
    simulator.step(np.array([[0, IDLE]]))
    assert simulator.results.dropped_at[0].tolist() == [-1, 2]
    while not simulator.done[0]:
        simulator.step(np.array([[IDLE, 0]]))
    assert simulator.results.objective[0] == (2 + 2 + 1) + 100


@pytest.mark.parametrize("decisions", ["slots", "events"])
def test_an_episode_whose_jobs_are_all_late_at_once_ends_with_its_first_step(decisions):
    rewards = RewardConfig(beta1=0.1, beta2=2.0)
    traces = TraceSet.from_jobs([[(0, 3, 3, 2)]])
    simulator = TandemSimulator(traces, 1, rewards=rewards, decisions=decisions)
    simulator.reset([0])
    assert simulator.results.dropped[0] == 1
    transition = simulator.step(np.array([[IDLE, IDLE]]))
    assert transition.terminated[0]
    assert transition.reward[0].tolist() == [-2.0, -2.0]
    assert simulator.results.objective[0] == simulator.drop_penalty


def test_jobs_longer_than_a_million_slots_follow_johnsons_rule():
    # All u_comm >= u_comp, so that the longest u_comp goes first.
    comp = (2**20, 2**20 + 2, 2**20 + 1)
    jobs = [(0, 2**21, u, 2**24) for u in comp]
    simulator = TandemSimulator(TraceSet.from_jobs([jobs]), 1)
    simulator.reset([0])
    chosen = heuristic("johnson").act(simulator)[0, 0]
    assert simulator.observation.jobs[0, 0, chosen] == 1


def test_rewards_are_those_of_section_3_3():
    # Job 0 is served; job 1 waits and turns late at t = 1: 1 + 2 + 2 > 4.
    traces = TraceSet.from_jobs([[(0, 1, 1, 9), (0, 2, 2, 4)]])
    rewards = RewardConfig(alpha1=0.5, alpha2=3.0, alpha3=7.0, beta1=0.1, beta2=2.0)
    simulator = TandemSimulator(traces, 1, rewards=rewards)
    simulator.reset([0])
    reward = simulator.step(np.array([[0, IDLE]])).reward[0]
    assert reward.tolist() == pytest.approx([-(0.5 * 1 + 3.0), 0.0])
    # Job 0 completes at 2, job 1 was dropped: R = -(0.1 * 2 + 2 * 1) for both agents.
    reward = simulator.step(np.array([[IDLE, 0]])).reward[0]
    assert reward.tolist() == pytest.approx([-2.2, -2.2])


def test_the_uplink_answers_for_late_jobs_at_the_compute_stage():
    # Both are received by t = 2; computing job 0 first makes job 1 late at t = 3.
    traces = TraceSet.from_jobs([[(0, 1, 3, 9), (0, 1, 2, 4)]])
    rewards = RewardConfig(alpha1=0.0, alpha2=3.0, alpha3=7.0, beta1=0.0, beta2=0.0)
    simulator = TandemSimulator(traces, 1, rewards=rewards)
    simulator.reset([0])
    simulator.step(np.array([[0, IDLE]]))
    simulator.step(np.array([[0, 0]]))
    reward = simulator.step(np.array([[IDLE, 0]])).reward[0]
    assert reward.tolist() == [-7.0, -3.0]


def test_a_horizon_truncates_without_the_episodic_reward():
    traces = TraceSet.from_jobs([[(0, 5, 5, 90)]])
    simulator = TandemSimulator(traces, 1, horizon=3)
    simulator.reset([0])
    for _ in range(3):
        transition = simulator.step(np.array([[0, IDLE]]))
    assert transition.truncated[0]
    assert not transition.terminated[0]
    assert transition.reward[0].tolist() == [0.0, 0.0]


def test_queues_longer_than_the_window_show_their_first_jobs():
    jobs = [(0, 1, 1, 100)] * 9
    simulator = TandemSimulator(TraceSet.from_jobs([jobs]), 1, max_queue=4)
    observation = simulator.reset([0])
    assert observation.jobs[0, 0].tolist() == [0, 1, 2, 3]
    while not simulator.done[0]:
        actions = np.where(observation.action_mask[:, :, 0], 0, 4)
        simulator.step(actions)
    assert simulator.results.makespan[0] == 10


@pytest.mark.parametrize("action", [1, 5, 7, -1])
def test_an_action_that_points_at_no_job_is_refused_by_name(action):
    simulator = TandemSimulator(TraceSet.from_jobs([[(0, 2, 2, 9)]]), 1)
    simulator.reset([0])
    with pytest.raises(InputError, match="agent comm in episode 0"):
        simulator.step(np.array([[action, IDLE]]))
    simulator.step(np.array([[0, IDLE]]))  # the refused step changed nothing
    assert simulator.observation.t[0] == 1


@given(traces_strategy(), st.integers(0, 2**31))
@settings(max_examples=60)
def test_every_job_is_exactly_one_of_completed_and_dropped(traces, seed):
    rng = np.random.default_rng(seed)
    K = len(traces)
    simulator = TandemSimulator(traces, K)
    simulator.reset(np.arange(K))
    while not simulator.done.all():
        simulator.step(random_actions(simulator, rng))
    results = simulator.results
    present = np.arange(traces.max_jobs) < traces.n_jobs[:, None]
    completed, dropped = results.completion >= 0, results.dropped_at >= 0
    assert np.array_equal(completed ^ dropped, present)
    assert not (completed & dropped).any()
    assert (results.completion <= traces.deadline)[completed].all()
    earliest = traces.arrival + traces.comm + traces.comp + traces.downlink
    assert (results.completion >= earliest)[completed].all()
    assert np.array_equal(results.dropped, dropped.sum(axis=1))


@given(traces_strategy(max_traces=5))
@settings(max_examples=30)
def test_an_episode_is_the_same_alone_and_in_a_batch(traces):
    policy = TimelineRecorder(heuristic("llf+srtf"))
    objective = run_traces(policy, traces).objective
    together = policy.timeline
    for k in range(len(traces)):
        assert run_traces(policy, traces[k]).objective[0] == objective[k]
        slots = policy.timeline.shape[1]
        assert np.array_equal(policy.timeline[0], together[k, :slots])


def test_one_episode_is_reset_while_the_others_go_on():
    traces = TraceSet.from_jobs([[(0, 1, 1, 9)], [(0, 4, 4, 90)]])
    simulator = TandemSimulator(traces, 2)
    simulator.reset([0, 1])
    simulator.step(np.array([[0, IDLE], [0, IDLE]]))
    simulator.step(np.array([[IDLE, 0], [0, IDLE]]))
    assert simulator.done.tolist() == [True, False]
    simulator.reset([0, 0], where=simulator.done.copy())
    assert simulator.observation.t.tolist() == [0, 2]
    assert simulator.observation.features[1, 0, 0, 1] == 2


def test_heuristics_follow_their_rules():
    # [d - t, u_comm, u_comp, w_comm, w_comp] of three jobs at the uplink.
    queue = np.array([[[30, 5, 4, 0, 0], [20, 2, 9, 0, 0], [25, 8, 16, 0, 0]]], dtype=np.float32)
    expected = {"edf": 1, "srtf": 1, "llf": 2, "johnson": 1}
    for name, job in expected.items():
        assert PRIORITY_RULES[name](queue, 0)[0].argmin() == job
    assert PRIORITY_RULES["srtf"](queue, 1)[0].argmin() == 0


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5))
@settings(max_examples=40)
def test_johnsons_rule_is_optimal_on_a_two_machine_flow_shop(times):
    from itertools import permutations

    def flow_shop(order):
        first = second = 0
        for comm, comp in order:
            first += comm
            second = max(first, second) + comp
        return second

    traces = TraceSet.from_jobs([[(0, comm, comp, 1000) for comm, comp in times]])
    makespan = run_traces(heuristic("johnson"), traces).makespan[0]
    assert makespan == min(flow_shop(order) for order in permutations(times))


def test_an_unknown_heuristic_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="expected one of fifo, edf, srtf, llf, johnson"):
        heuristic("edd")


@pytest.mark.parametrize("seed", range(12))
def test_decisions_at_events_play_the_same_physics(seed: int) -> None:
    """Who serves the same jobs slot by slot until the next event gets the same rewards."""
    traces = TandemWorkload().make(1, seed=seed)
    rewards = RewardConfig(alpha1=0.01, alpha2=0.3, alpha3=0.2)
    at_events = TandemSimulator(traces, 1, rewards=rewards, decisions="events")
    by_slot = TandemSimulator(traces, 1, rewards=rewards)
    events, slots = at_events.reset(np.zeros(1, int)), by_slot.reset(np.zeros(1, int))
    rng = np.random.default_rng(seed)
    decisions = 0
    while not at_events.done[0]:
        scores = np.where(events.action_mask, rng.random(events.action_mask.shape), -1.0)
        actions = scores.argmax(axis=2)
        chosen = [[*events.jobs[0, stage], -1][actions[0, stage]] for stage in range(2)]
        reward = at_events.step(actions).reward.copy()
        decisions += 1
        expected = np.zeros((1, 2))
        while not by_slot.done[0] and slots.t[0] < events.t[0]:
            queued = [[job for job in slots.jobs[0, stage] if job >= 0] for stage in range(2)]
            # The chosen job while it is there, else what is forced.
            position = [
                jobs.index(job) if job in jobs else (0 if jobs else 6)
                for job, jobs in zip(chosen, queued, strict=True)
            ]
            expected += by_slot.step(np.array([position])).reward
        np.testing.assert_allclose(reward, expected, atol=1e-5)
    assert at_events.results.objective == by_slot.results.objective
    assert at_events.results.starvation == by_slot.results.starvation
    assert decisions < by_slot.results.slots[0] / 2


def test_steps_between_events_tell_how_many_slots_they_took() -> None:
    traces = TraceSet.from_jobs([[(0, 2, 3, 20), (4, 1, 1, 20)], [(3, 1, 1, 9)]], downlink=2)
    simulator = TandemSimulator(traces, 2, decisions="events")
    simulator.reset([0, 1])
    slots = np.zeros(2)
    while not simulator.done.all():
        before = simulator.observation.t.copy()
        transition = simulator.step(random_actions(simulator, np.random.default_rng(0)))
        assert transition.elapsed.tolist() == (simulator.observation.t - before).tolist()
        slots += transition.elapsed
    assert slots.tolist() == simulator.results.slots.tolist()
    assert TandemSimulator(traces, 2).transition.elapsed is None
