"""The online oracle: what it decides, what it may know, when it plans."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_marl.errors import InputError
from edge_marl.oracle import solve
from edge_marl.tandem.heuristics import heuristic
from edge_marl.tandem.oracle.online import OnlineOracle
from edge_marl.tandem.playing import TimelineRecorder, run_traces
from edge_marl.tandem.simulator import TandemSimulator
from edge_marl.tandem.traces import TraceSet
from tests.tandem.oracle.test_solve import random_trace


def many(count: int, n: int = 6, tight: float = 3.0) -> TraceSet:
    traces = [random_trace(np.random.default_rng(k), n, tight) for k in range(count)]
    columns = zip(*((t.arrival, t.comm, t.comp, t.deadline) for t in traces), strict=True)
    stacked = [np.concatenate(column) for column in columns]
    jobs = np.stack(stacked, axis=2)
    return TraceSet.from_jobs([[tuple(job) for job in trace] for trace in jobs], downlink=2)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_with_nothing_left_to_arrive_the_global_view_is_optimal(seed: int) -> None:
    traces = random_trace(np.random.default_rng(seed), tight=5.0)
    traces.deadline[:] -= traces.arrival
    traces.arrival[:] = 0
    result = run_traces(OnlineOracle("global", downlink=2), traces)
    assert result.objective[0] == solve(traces).objective


def test_never_better_than_the_clairvoyant_oracle_and_mostly_better_than_edf() -> None:
    traces = many(100)
    clairvoyant = np.array([solve(traces[k]).objective for k in range(len(traces))])
    edf = run_traces(heuristic("edf"), traces).objective
    for view in ("global", "local"):
        online = run_traces(OnlineOracle(view, downlink=2), traces).objective
        assert (online >= clairvoyant).all()
        assert (online - clairvoyant).mean() < 0.5 * (edf - clairvoyant).mean()


def test_plans_once_per_arrival_and_follows_the_plan_between() -> None:
    traces = many(20, tight=8.0)
    policy = OnlineOracle("global", downlink=2)
    run_traces(policy, traces)
    arrivals = [len(set(traces.arrival[k].tolist())) for k in range(len(traces))]
    assert (policy.solved <= arrivals).all()
    assert policy.solved.sum() > len(traces)


def test_batch_equals_single_episodes() -> None:
    traces = many(12)
    for view in ("global", "local"):
        policy = TimelineRecorder(OnlineOracle(view, downlink=2))
        run_traces(policy, traces)
        together = policy.timeline
        for k in range(len(traces)):
            run_traces(policy, traces[k])
            slots = policy.timeline.shape[1]
            assert (together[k, :slots] == policy.timeline[0]).all()


def test_local_view_does_not_look_across() -> None:
    # The uplink's choice stays the same whatever the compute queue holds.
    traces = many(8)
    simulator, hiding = (TandemSimulator(traces, len(traces)) for _ in range(2))
    seeing, blind = (OnlineOracle("local", downlink=2) for _ in range(2))
    for policy, one in ((seeing, simulator), (blind, hiding)):
        one.reset(np.arange(len(traces)))
        policy.reset(one)
    for _ in range(60):
        hiding.observation = simulator.observation.copy()
        hiding.observation.features[:, 1] = 0
        hiding.observation.jobs[:, 1] = -1
        actions = seeing.act(simulator)
        assert (actions[:, 0] == blind.act(hiding)[:, 0]).all()
        simulator.step(actions)


def test_actions_are_always_allowed_and_plans_restart_with_an_episode() -> None:
    traces = many(6)
    simulator = TandemSimulator(traces, len(traces), max_queue=3)
    policy = OnlineOracle("global", downlink=2)
    simulator.reset(np.arange(len(traces)))
    policy.reset(simulator)
    expected = policy.act(simulator).copy()
    for _ in range(80):
        actions = policy.act(simulator)
        mask = simulator.observation.action_mask
        picked = np.take_along_axis(mask, actions[..., None], axis=2)
        assert picked[~simulator.done].all()
        simulator.step(actions)
    simulator.reset(np.arange(len(traces)))
    assert (policy.act(simulator) == expected).all()


def test_bad_options_are_refused() -> None:
    with pytest.raises(InputError, match="view"):
        OnlineOracle("both", downlink=0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="downlink"):
        OnlineOracle(downlink=-1)
