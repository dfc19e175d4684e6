"""The clairvoyant oracle against brute force, Johnson's rule, and the simulator."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_marl.errors import InputError
from edge_marl.oracle import Schedule, solve
from edge_marl.tandem.oracle.search import search
from edge_marl.tandem.simulator import TandemSimulator
from edge_marl.tandem.traces import TraceSet

Job = tuple[int, int, int, int]
FLOWSHOP = Path(__file__).parents[3] / "shared/data/flowshop/instances_30_2.json"


def brute_force(jobs: Sequence[Job], downlink: int, penalty: float) -> float:
    """Best objective over every pair of choices in every slot, idling and dropping included."""
    n = len(jobs)

    @cache
    def best(t: int, up: tuple[int, ...], comp: tuple[int, ...], last: int) -> float:
        value = last + penalty * sum(c > 0 for c in comp)  # give up on everything left
        senders = [j for j in range(n) if up[j] and jobs[j][0] <= t]
        workers = [j for j in range(n) if not up[j] and comp[j]]
        horizon = max(job[3] for job in jobs)
        if t >= horizon:
            return value
        for i in [*senders, -1]:
            for k in [*workers, -1]:
                next_up = tuple(u - (j == i) for j, u in enumerate(up))
                next_comp = tuple(c - (j == k) for j, c in enumerate(comp))
                end = last
                if k >= 0 and not next_comp[k]:
                    end = t + 1 + downlink
                    if end > jobs[k][3]:
                        continue
                value = min(value, best(t + 1, next_up, next_comp, end))
        return value

    return best(0, tuple(j[1] for j in jobs), tuple(j[2] for j in jobs), 0)


@st.composite
def tiny_traces(draw: st.DrawFn) -> tuple[list[Job], int, float]:
    jobs = []
    for _ in range(draw(st.integers(1, 3))):
        arrival, comm, comp = draw(st.tuples(*(st.integers(lo, 3) for lo in (0, 1, 1))))
        slack = draw(st.integers(-1, 6))
        jobs.append((arrival, comm, comp, max(arrival + 1, arrival + comm + comp + slack)))
    return sorted(jobs), draw(st.integers(0, 2)), draw(st.sampled_from([0.0, 1.5, 4.0, 100.0]))


def random_trace(rng: np.random.Generator, n: int = 6, tight: float = 3.5) -> TraceSet:
    """Uploads with long uplink times and videos with long compute times, 2 to 40 slots."""
    jobs = []
    for j in range(n):
        arrival = int(rng.integers(0, 40))
        short, long = int(rng.integers(2, 12)), int(rng.integers(10, 41))
        comm, comp = (long, short) if j % 2 else (short, long)
        deadline = arrival + int((comm + comp) * rng.uniform(1.1, tight)) + 3
        jobs.append((arrival, comm, comp, deadline))
    return TraceSet.from_jobs([jobs], downlink=2)


def replay(schedule: Schedule, traces: TraceSet, penalty: float) -> TandemSimulator:
    """Play a schedule slot by slot, idle where it idles."""
    simulator = TandemSimulator(traces, 1, max_queue=traces.max_jobs, drop_penalty=penalty)
    observation = simulator.reset([0])
    idle = traces.max_jobs
    t = 0
    while not simulator.done[0]:
        actions = np.full((1, 2), idle, dtype=np.int32)
        for stage, slots in enumerate((schedule.comm, schedule.comp)):
            if t < len(slots) and slots[t] >= 0:
                actions[0, stage] = list(observation.jobs[0, stage]).index(slots[t])
        observation = simulator.step(actions).observation
        t += 1
    return simulator


@settings(max_examples=150)
@given(tiny_traces())
def test_search_equals_brute_force_over_all_slots(trace: tuple[list[Job], int, float]) -> None:
    jobs, downlink, penalty = trace
    traces = TraceSet.from_jobs([jobs], downlink=downlink)
    schedule = solve(traces, drop_penalty=penalty, method="search")
    assert schedule.optimal
    assert schedule.objective == pytest.approx(brute_force(jobs, downlink, penalty))


@settings(max_examples=40)
@given(tiny_traces())
def test_integer_programme_equals_brute_force(trace: tuple[list[Job], int, float]) -> None:
    jobs, downlink, penalty = trace
    schedule = solve(
        TraceSet.from_jobs([jobs], downlink=downlink), drop_penalty=penalty, method="ilp"
    )
    assert schedule.optimal
    assert schedule.gap == 0
    assert schedule.objective == pytest.approx(brute_force(jobs, downlink, penalty))


@pytest.mark.parametrize("seed", range(40))
def test_integer_programme_equals_search_on_six_jobs(seed: int) -> None:
    traces = random_trace(np.random.default_rng(seed), tight=(2.0, 4.0)[seed % 2])
    by_search, by_ilp = (solve(traces, method=m) for m in ("search", "ilp"))
    assert by_search.optimal
    assert by_ilp.optimal
    assert by_search.objective == pytest.approx(by_ilp.objective)
    assert by_ilp.method == "ilp"


@settings(max_examples=80)
@given(st.integers(0, 2**32 - 1), st.sampled_from([5.0, 100.0]))
def test_replayed_schedule_gives_exactly_its_objective(seed: int, penalty: float) -> None:
    traces = random_trace(np.random.default_rng(seed))
    schedule = solve(traces, drop_penalty=penalty)
    results = replay(schedule, traces, penalty).results
    assert results.objective[0] == schedule.objective
    assert results.makespan[0] == schedule.makespan
    assert tuple(np.flatnonzero(results.completion[0] < 0)) == schedule.dropped


def test_hand_computed_pair() -> None:
    # Short uplink first (Johnson): uplink ends 1 and 4, computing ends 4 and 5; downlink 2.
    schedule = solve(TraceSet.from_jobs([[(0, 3, 1, 50), (0, 1, 3, 50)]], downlink=2))
    assert schedule.makespan == 7
    assert schedule.objective == 7
    assert schedule.order == (1, 0)
    assert schedule.comm.tolist() == [1, 0, 0, 0, -1]
    assert schedule.comp.tolist() == [-1, 1, 1, 1, 0]


def test_preemption_saves_a_late_urgent_job() -> None:
    # The urgent job of slot 2 interrupts the long upload and both meet their deadlines.
    schedule = solve(TraceSet.from_jobs([[(0, 6, 1, 20), (2, 1, 1, 4)]]))
    assert schedule.dropped == ()
    assert schedule.comm.tolist()[:3] == [0, 0, 1]


def test_all_dropped_costs_only_penalties() -> None:
    schedule = solve(TraceSet.from_jobs([[(0, 5, 5, 9)]]), drop_penalty=30)
    assert (schedule.objective, schedule.makespan, schedule.dropped) == (30, 0, (0,))
    assert len(schedule.comm) == 0


def johnson_makespan(jobs: Sequence[Sequence[int]]) -> int:
    first = sorted((j for j in jobs if j[0] < j[1]), key=lambda j: j[0])
    second = sorted((j for j in jobs if j[0] >= j[1]), key=lambda j: -j[1])
    up = end = 0
    for comm, comp in [*first, *second]:
        up += comm
        end = max(end, up) + comp
    return end


NEVER_DROP = 10.0**4  # flow shop jobs are longer than the usual penalty


def flow_shop(jobs: Sequence[Sequence[int]]) -> TraceSet:
    return TraceSet.from_jobs([[(0, a, b, 10**6) for a, b in jobs]])


def test_published_two_machine_instances() -> None:
    if not FLOWSHOP.exists():
        pytest.skip(f"published instances not found: {FLOWSHOP}")
    for instance in json.loads(FLOWSHOP.read_text()):
        # Some times are 0, ours are at least 1: with all times scaled by more than the number
        # of zeros, ones in their place add less than one unit.
        times = np.array(instance["instance"])
        scale = int((times == 0).sum()) + 1
        jobs = np.maximum(times * scale, 1).tolist()
        schedule = solve(flow_shop(jobs), drop_penalty=NEVER_DROP)
        assert schedule.optimal
        assert schedule.makespan // scale == instance["makespan"]


def test_integer_programme_proves_a_thirty_job_flow_shop() -> None:
    rng = np.random.default_rng(0)
    jobs = rng.integers(1, 100, size=(30, 2)).tolist()
    schedule = solve(flow_shop(jobs), drop_penalty=NEVER_DROP, method="ilp", time_limit=30)
    assert schedule.optimal
    assert schedule.makespan == johnson_makespan(jobs)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=12))
def test_johnson_is_optimal_without_deadlines_and_releases(jobs: list[tuple[int, int]]) -> None:
    schedule = solve(flow_shop(jobs), drop_penalty=NEVER_DROP)
    assert schedule.optimal
    assert schedule.makespan == johnson_makespan(jobs)


def crowded(n: int = 16) -> TraceSet:
    return random_trace(np.random.default_rng(5), n=n, tight=5.0)


def test_time_limit_is_told_honestly() -> None:
    schedule = solve(crowded(), method="ilp", time_limit=0.01)
    assert not schedule.optimal
    assert 0 < schedule.gap <= 1
    assert schedule.bound < schedule.objective
    assert schedule.gap == pytest.approx(1 - schedule.bound / schedule.objective)


def test_search_cut_short_still_bounds_the_optimum() -> None:
    for seed in range(30):
        traces = random_trace(np.random.default_rng(seed), tight=2.2)
        n = int(traces.n_jobs[0])
        best = solve(traces).objective
        for budget in (1, 3, 10, 30):
            found = search(
                traces.arrival[0, :n], traces.comm[0, :n], traces.comp[0, :n],
                traces.deadline[0, :n] - 2, drop_penalty=100.0, downlink=2, budget=budget,
            )  # fmt: skip
            assert found.bound <= best + 1e-9
            assert found.objective >= best - 1e-9
            assert not found.exact or found.objective == pytest.approx(best)


@settings(max_examples=60)
@given(tiny_traces(), st.data())
def test_search_from_a_state_with_received_jobs(
    trace: tuple[list[Job], int, float], data: st.DataObject
) -> None:
    # A job already in the compute queue is one whose uplink work takes no time.
    jobs, _, penalty = trace
    received = data.draw(st.lists(st.booleans(), min_size=len(jobs), max_size=len(jobs)))
    state = [(0, 0 if got else a, b, d) for (_, a, b, d), got in zip(jobs, received, strict=True)]
    r, a, b, d = (np.array(column) for column in zip(*state, strict=True))
    found = search(r, a, b, d, drop_penalty=penalty)
    assert found.exact
    assert found.objective == pytest.approx(brute_force(state, 0, penalty))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drop_penalty": -1}, "drop_penalty"),
        ({"drop_penalty": float("nan")}, "drop_penalty"),
        *(({"time_limit": seconds}, "time_limit") for seconds in (0, -1, math.nan, math.inf)),
        ({"method": "guess"}, "method"),
    ],
)
def test_bad_options_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        solve(TraceSet.from_jobs([[(0, 1, 1, 9)]]), **change)  # type: ignore[arg-type]


def test_only_one_trace_at_a_time() -> None:
    with pytest.raises(InputError, match="one trace, found 2"):
        solve(TraceSet.from_jobs([[(0, 1, 1, 9)]] * 2))
    with pytest.raises(InputError, match="found list"):
        solve([(0, 1, 1, 9)])  # type: ignore[arg-type]


def time_indexed(jobs: Sequence[Job], downlink: int, penalty: float) -> float:
    """Optimum of the model of section 2.2 as it stands: a binary per job, stage and slot."""
    import highspy

    model = highspy.Highs()
    model.setOptionValue("output_flag", False)
    model.setOptionValue("mip_rel_gap", 0.0)
    slots = range(max(job[3] for job in jobs) - downlink)
    span = model.addVariable(0)
    keep = [model.addBinary() for _ in jobs]
    up = [[model.addBinary() for _ in slots] for _ in jobs]
    comp = [[model.addBinary() for _ in slots] for _ in jobs]
    for j, (arrival, a, b, deadline) in enumerate(jobs):
        model.addConstr(model.qsum(up[j]) == a * keep[j])
        model.addConstr(model.qsum(comp[j]) == b * keep[j])
        for t in slots:
            model.addConstr(model.qsum(up[j][:t]) >= a * comp[j][t])
            model.addConstr(span >= (t + 1 + downlink) * comp[j][t])
            if t < arrival:
                model.addConstr(up[j][t] <= 0)
            if t >= deadline - downlink:
                model.addConstr(comp[j][t] <= 0)
    for t in slots:
        for stage in (up, comp):
            model.addConstr(model.qsum(row[t] for row in stage) <= 1)
    model.minimize(span + penalty * model.qsum(1 - kept for kept in keep))
    return float(model.getObjectiveValue())


@pytest.mark.parametrize("seed", range(6))
def test_same_optimum_as_the_time_indexed_model(seed: int) -> None:
    rng = np.random.default_rng(seed)
    jobs = []
    for _ in range(4):
        arrival, a, b = int(rng.integers(0, 6)), int(rng.integers(1, 5)), int(rng.integers(1, 5))
        jobs.append((arrival, a, b, arrival + a + b + 1 + int(rng.integers(0, 6))))
    schedule = solve(TraceSet.from_jobs([jobs], downlink=1), drop_penalty=20.0, method="ilp")
    assert schedule.objective == pytest.approx(time_indexed(sorted(jobs), 1, 20.0))
