"""What arrives: rates, demands, bursts, replays, and the profile of a trace."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_marl.cooperative_offloading import CooperativeOffloadingSimulator, CooperativeScenario
from edge_marl.cooperative_offloading.records import Workload
from edge_marl.cooperative_offloading.trace import QUANTILES, measure_profile, read_tasks
from edge_marl.errors import InputError
from edge_marl.google_traces import GoogleTasks, Requests

SEEDS = np.arange(64)


def arrivals(**options: Any) -> tuple[CooperativeScenario, Workload]:
    scenario = CooperativeScenario(**options)
    simulator = CooperativeOffloadingSimulator(scenario, len(SEEDS))
    simulator.reset(SEEDS)
    return scenario, simulator.workload


def counts(workload: Workload, M: int, span_s: float, until_s: float) -> NDArray[np.float64]:
    """How many tasks arrive at each home in spans of time, ``[M, spans]``, of all episodes."""
    edges = np.arange(0.0, until_s + span_s / 2, span_s)
    return np.array([
        np.concatenate([
            np.histogram(at[home == m], edges)[0]
            for at, home in zip(workload.arrival_s, workload.home, strict=True)
        ])
        for m in range(M)
    ])  # fmt: skip


@pytest.mark.parametrize("bursts", [{}, {"rate_per_s": 0.02, "correlation": 0.5}])
@pytest.mark.parametrize("load", [{"kind": "recorded"}, {"sigma": 1.0}])
def test_as_much_arrives_as_is_offered(load: dict[str, Any], bursts: dict[str, Any]) -> None:
    scenario, workload = arrivals(load=load, bursts=bursts, tasks=2000)
    until_s = float(workload.arrival_s[:, -1].min())
    rates = counts(workload, 3, until_s, until_s).mean(1) / until_s
    assert rates == pytest.approx(scenario.rates_per_s, rel=0.05)
    # 0.4 of 3 x 20 Gcycles/s, in tasks of 10.
    assert scenario.rates_per_s.sum() == pytest.approx(2.4)
    assert rates[0] == pytest.approx(4 * rates[1], rel=0.05)
    assert (np.diff(workload.arrival_s, axis=1) >= 0).all()
    for field, mean in (("gcycles", 10.0), ("memory_gb", 4.0), ("input_mb", 20.0)):
        assert getattr(workload, field).mean() == pytest.approx(mean, rel=0.05)
    np.testing.assert_allclose(workload.output_mb, 0.1 * workload.input_mb)


def test_without_bursts_arrivals_are_poisson() -> None:
    _, workload = arrivals(tasks=1000, home_weights=(1.0,))
    found = counts(workload, 3, 10.0, 300.0)
    assert found.var() / found.mean() == pytest.approx(1.0, abs=0.05)
    assert np.corrcoef(found)[np.triu_indices(3, 1)] == pytest.approx([0, 0, 0], abs=0.06)


def test_the_correlation_of_bursts_is_that_of_what_arrives_at_two_homes() -> None:
    found = {}
    for correlation in (0.0, 0.5, 1.0):
        _, workload = arrivals(
            tasks=3000, home_weights=(1.0,), mean_gcycles=2.0,
            bursts={"rate_per_s": 0.01, "duration_s": 5.0, "intensity": 20.0,
                    "correlation": correlation},
        )  # fmt: skip
        # Spans much longer than bursts: each is in one of them.
        some = counts(workload, 3, 50.0, 200.0)
        assert some.var() / some.mean() > 5.0
        found[correlation] = np.corrcoef(some)[np.triu_indices(3, 1)].mean()
    assert found[0.0] == pytest.approx(0.0, abs=0.1)
    assert found[0.5] == pytest.approx(0.5 * found[1.0], abs=0.1)
    assert found[1.0] > 0.8


def test_a_burst_may_be_under_way_at_the_beginning() -> None:
    _, workload = arrivals(
        tasks=300, bursts={"rate_per_s": 0.02, "duration_s": 20.0, "intensity": 8.0}
    )
    early = (workload.arrival_s < 5.0).sum() / len(SEEDS) / 5.0
    assert early == pytest.approx(2.4, rel=0.25)


# Traces --------------------------------------------------------------------------------------


def job(time_s: float, job_id: int, event: int) -> str:
    return f"{round(time_s * 1e6)},,{job_id},{event},user,0,name,logical"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Four jobs that arrive 1, 2 and 5 s after each other and run for 2, 4, 6 and 8 s."""
    rows = []
    for i, (begin_s, run_s) in enumerate([(10, 2), (11, 4), (13, 6), (18, 8)]):
        rows += [job(begin_s, i, 0), job(begin_s + 0.5, i, 1), job(begin_s + 0.5 + run_s, i, 4)]
    rows.sort(key=lambda row: int(row.split(",")[0]))
    path = tmp_path / "part-00000-of-00500.csv.gz"
    path.write_bytes(gzip.compress("\n".join(rows).encode()))
    return path


def test_a_replay_has_the_tasks_of_the_trace_at_their_times(trace: Path) -> None:
    load = {"format": "google2011", "path": trace, "arrivals": "recorded"}
    scenario, workload = arrivals(load=load, tasks=9)
    demands = scenario.mean_gcycles * np.array([2, 4, 6, 8]) / 5
    begins = set()
    for gcycles, arrival_s in zip(workload.gcycles, workload.arrival_s, strict=True):
        first = int(np.abs(demands - gcycles[0]).argmin())
        begins.add(first)
        order = (first + np.arange(9)) % 4
        np.testing.assert_allclose(gcycles, demands[order])
        # From the last to the first of the next round it is the mean of the others.
        gaps = np.array([1.0, 2.0, 5.0, 8 / 3])[order[:-1]]
        np.testing.assert_allclose(np.diff(arrival_s) / gaps, np.diff(arrival_s)[0] / gaps[0])
        assert arrival_s[0] == 0.0
    assert begins == {0, 1, 2, 3}
    # Four tasks in 8 + 8 / 3 s of the trace, at a rate of 2.4 per s.
    round_s = workload.arrival_s[:, 4] - workload.arrival_s[:, 0]
    np.testing.assert_allclose(round_s, 4 / 2.4)
    homes = np.bincount(workload.home.ravel(), minlength=3) / workload.home.size
    assert homes == pytest.approx([4 / 6, 1 / 6, 1 / 6], abs=0.06)


def test_tasks_of_a_trace_are_drawn_alike(trace: Path) -> None:
    _, workload = arrivals(load={"format": "google2011", "path": trace}, tasks=500)
    values, found = np.unique(workload.gcycles.round(9), return_counts=True)
    assert values == pytest.approx([4.0, 8.0, 12.0, 16.0])
    assert found / found.sum() == pytest.approx([0.25] * 4, abs=0.02)
    assert (workload.memory_gb == 4.0).all()  # jobs request none


def test_a_profile_has_the_distributions_that_it_was_measured_from(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    jobs = GoogleTasks(np.zeros(4000), rng.lognormal(0, 1, 4000), *np.full((2, 4000), np.nan))
    requests = Requests(cpu=np.array([0.1, 0.1, 0.4, 0.0]), memory=np.array([0.2, 0.2, 0.1, 0.3]))
    profile = measure_profile(jobs, requests, "a test")
    assert len(profile.duration_s) == QUANTILES
    assert profile.requests == ((0.1, 0.2, 2), (0.4, 0.1, 1))
    tasks = profile.tasks()
    assert tasks.gcycles.mean() == pytest.approx(1.0)
    assert tasks.memory.mean() == pytest.approx(1.0)
    values, found = np.unique(tasks.memory.round(9), return_counts=True)
    assert values[1] / values[0] == pytest.approx(2.0)
    assert found[1] / found.sum() == pytest.approx(2 / 3, abs=0.001)
    large = tasks.memory == tasks.memory.min()
    assert tasks.gcycles[large].mean() / tasks.gcycles[~large].mean() == pytest.approx(4, rel=0.02)
    of_one = np.log(tasks.gcycles[large] / 4), np.log(tasks.gcycles[~large])
    for quantile in (0.05, 0.5, 0.95):
        one, other = (np.quantile(part, quantile) for part in of_one)
        assert one == pytest.approx(other, abs=0.05)
    with pytest.raises(InputError, match="requests: expected tasks that request CPU and memory"):
        measure_profile(jobs, Requests(np.zeros(2), np.ones(2)), "nothing")


def test_the_shipped_profile_is_read_once() -> None:
    load = CooperativeScenario().load
    assert read_tasks(load) is read_tasks(CooperativeScenario().load)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("load", "message"),
    [
        ({"format": "google2011"}, "path: expected a file or folder of format google2011, found n"),
        ({"arrivals": "recorded"}, "arrivals: expected poisson with a profile"),
        ({"kind": "none"}, "kind"),
        ({"sigma": 9}, "sigma"),
    ],
)
def test_loads_that_do_not_fit_are_refused(load: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CooperativeScenario(load=load)
