"""tandem_v0: the specification in its docstring, on episodes computed by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from edge_marl.envs.tandem_timeline import draw_timeline
from edge_marl.envs.tandem_v0 import TandemEnv, parallel_env
from edge_marl.errors import InputError
from edge_marl.tandem.traces import TraceSet
from tests.envs.conformance import play

IDLE = 6
ONE_JOB = TraceSet.from_jobs([[(0, 2, 3, 20)]], downlink=1)
TWO_JOBS = TraceSet.from_jobs([[(0, 1, 2, 50), (0, 2, 1, 50)]])


def test_one_job_passes_the_stages_one_after_the_other() -> None:
    env = parallel_env(traces=ONE_JOB)
    observations, infos = env.reset()
    assert observations["comm"]["observation"][0].tolist() == [20, 2, 3, 0, 0]
    assert observations["comp"]["observation"].any() == np.False_
    assert observations["comm"]["action_mask"].tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert observations["comp"]["action_mask"].tolist() == [0, 0, 0, 0, 0, 0, 1]
    assert infos == {"comm": {}, "comp": {}}
    for action in ({"comm": 0, "comp": IDLE},) * 2 + ({"comm": IDLE, "comp": 0},) * 2:
        observations, _, terminations, _, infos = env.step(action)
        assert not any(terminations.values())
    assert observations["comp"]["observation"][0].tolist() == [16, 0, 1, 0, 0]
    _, _, terminations, truncations, infos = env.step({"comm": IDLE, "comp": 0})
    assert terminations == {"comm": True, "comp": True}
    assert truncations == {"comm": False, "comp": False}
    assert env.agents == []
    assert infos["comm"]["makespan"] == 6  # 2 slots sent, 3 computed, 1 on the way back
    assert infos["comm"]["objective"] == 6.0
    assert infos["comm"]["dropped"] == 0
    assert infos["comm"]["slots"] == 5
    assert infos["comm"]["starvation"] == pytest.approx(2 / 5)
    assert infos["comp"] == infos["comm"]


def test_a_dropped_job_costs_the_penalty() -> None:
    trace = TraceSet.from_jobs([[(0, 1, 1, 2), (0, 1, 1, 2)]])  # only one can be in time
    env = parallel_env(traces=trace, drop_penalty=7.0)
    env.reset()
    env.step({"comm": 0, "comp": IDLE})
    *_, infos = env.step({"comm": IDLE, "comp": 0})
    assert (infos["comm"]["dropped"], infos["comm"]["makespan"]) == (1, 2)
    assert infos["comm"]["objective"] == 2 + 7.0


def test_the_state_is_both_queues() -> None:
    env = parallel_env(traces=TWO_JOBS)
    observations, _ = env.reset()
    both = [observations[agent]["observation"].ravel() for agent in ("comm", "comp")]
    np.testing.assert_array_equal(env.state(), np.concatenate(both))


def test_the_horizon_truncates() -> None:
    env = parallel_env(traces=ONE_JOB, horizon=1)
    env.reset()
    _, _, terminations, truncations, _ = env.step({"comm": 0, "comp": IDLE})
    assert terminations == {"comm": False, "comp": False}
    assert truncations == {"comm": True, "comp": True}
    assert env.agents == []


def test_rewards_follow_the_configured_coefficients() -> None:
    only_the_end = {"alpha1": 0, "alpha2": 0, "alpha3": 0, "beta1": 0.5, "beta2": 3}
    returned = play(parallel_env(traces=ONE_JOB, rewards=only_the_end), seed=0)
    assert [step[1]["comm"] for step in returned[1:-1]] == [0.0] * 4
    assert returned[-1][1] == {"comm": -3.0, "comp": -3.0}  # 0.5 * makespan of 6


def test_a_seed_replays_that_trace_of_the_set() -> None:
    traces = TraceSet.from_jobs([[(0, 1, 1, 9)], [(0, 2, 2, 9)], [(0, 3, 3, 9)]])
    env = parallel_env(traces=traces)
    uplink_times = [env.reset(seed=seed)[0]["comm"]["observation"][0, 1] for seed in range(4)]
    assert uplink_times == [1, 2, 3, 1]


def test_resets_without_a_seed_go_on_to_other_episodes() -> None:
    env = parallel_env()
    first = [env.reset()[0]["comm"]["observation"][0].tolist() for _ in range(10)]
    assert len({tuple(row) for row in first}) > 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"max_queue": 0}, "tandem_v0: max_queue: expected at least 1, found 0"),
        ({"horizon": 0}, "tandem_v0: horizon: "),
        ({"drop_penalty": -1}, "tandem_v0: drop_penalty: "),
        ({"rewards": {"alpha9": 1}}, "tandem_v0: rewards.alpha9: "),
        ({"render_mode": "human"}, "tandem_v0: render_mode: "),
        ({"traces": ONE_JOB, "workload": {}}, "either traces or a workload, not both"),
    ],
)
def test_a_bad_option_is_named(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        parallel_env(**config)
    assert "\n" not in str(raised.value)


def test_a_missing_trace_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.parquet"):
        parallel_env(traces=tmp_path / "none.parquet")


def rendered(env: TandemEnv) -> np.ndarray:
    picture = env.render()
    assert picture is not None
    return picture


def test_render_draws_the_timeline_so_far() -> None:
    env = parallel_env(traces=TWO_JOBS, render_mode="rgb_array")
    env.reset()
    empty = rendered(env)
    env.step({"comm": 0, "comp": IDLE})
    busy = rendered(env)
    assert empty.dtype == np.uint8
    assert empty.ndim == 3
    assert empty.shape[2] == 3
    assert (empty != busy).any()


def test_render_without_a_mode_draws_nothing() -> None:
    env = parallel_env(traces=TWO_JOBS)
    env.reset()
    assert env.render() is None


def test_the_timeline_has_a_bar_per_run_and_a_cross_per_missed_deadline() -> None:
    trace = TraceSet.from_jobs([[(0, 3, 1, 9), (0, 1, 4, 5)]])
    ax = Figure().subplots()
    draw_timeline(ax, [0, 1, 0, 0, -1], [-1, -1, 1, 1, 0], trace)
    bars = [box for drawn in ax.collections for box in drawn.get_paths()]
    assert len(bars) == 5  # uplink 0, 1, 0; compute 1, 0
    crosses = [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines]
    assert crosses == [(5, 0.0)]  # job 1 was sent but not computed by its deadline of 5
