"""dag_placement_v0: the conformance suite, the specification, and the batched environment."""

from typing import Any

import numpy as np
import pytest

from edge_marl.dag_placement import METRICS, DagPlacementSimulator, DagScenario
from edge_marl.envs.batched import ParallelEnvBatch
from edge_marl.envs.dag_placement_v0 import batched_env, parallel_env
from edge_marl.errors import InputError
from tests.envs.conformance import check_parallel_env, play, random_actions

WAIT = 5
SMALL = {"servers": WAIT, "horizon_s": 4.0, "arrival_rate_per_server_s": 0.25}
POWER = {"power_w": 1, "idle_power_w": 0}
# What is too small may be done sooner than what is large enough.
UNEVEN = {**SMALL, "tiers": [
    {"name": "fast", "share": 1, "capacity_gflops": 20, "memory_gb": 8, **POWER},
    {"name": "large", "share": 1, "capacity_gflops": 2, "memory_gb": 80, **POWER},
]}  # fmt: skip
CHANGING = {**SMALL, "mean_up_s": 4.0, "mean_away_s": 2.0}


@pytest.mark.parametrize(
    "config",
    [
        {"scenario": SMALL},
        {"scenario": {**UNEVEN, "time": "paper"}},
        {"scenario": CHANGING, "selector": "learned"},
        {"scenario": {**CHANGING, "time": "paper"}, "reward": "paper", "features": "paper"},
    ],
)
def test_conforms(config: dict[str, Any]) -> None:
    check_parallel_env(lambda: parallel_env(**config))


def test_the_view_is_the_simulator() -> None:
    env = parallel_env(scenario=SMALL)
    simulator = DagPlacementSimulator(DagScenario(**SMALL), 1)
    rng = np.random.default_rng(0)
    observations, infos = env.reset(seed=5)
    inner = simulator.reset(np.array([5]))
    assert infos == {"placer": {}}
    while env.agents:
        seen = observations["placer"]
        np.testing.assert_array_equal(seen["observation"], inner.features[0, 0])
        np.testing.assert_array_equal(seen["action_mask"], inner.action_mask[0, 0])
        np.testing.assert_array_equal(env.state(), inner.state[0])
        actions = random_actions(env, observations, rng)
        observations, rewards, terminations, truncations, infos = env.step(actions)
        transition = simulator.step(np.array([[actions["placer"]]]))
        inner = transition.observation
        assert rewards["placer"] == transition.reward[0, 0]
        assert terminations["placer"] == (not env.agents)
        assert not truncations["placer"]
    np.testing.assert_equal(
        infos["placer"], {name: getattr(simulator.results, name)[0] for name in METRICS}
    )


def test_placer_and_selector_take_turns() -> None:
    env = parallel_env(scenario=SMALL, selector="learned")
    turns = set()
    for observations, *_ in play(env, seed=2)[:-1]:
        masks = {agent: seen["action_mask"] for agent, seen in observations.items()}
        waiting = [WAIT]  # the one legal action of who is not to decide
        if np.flatnonzero(masks["selector"]).tolist() == waiting:
            turns.add("placer")
            assert not observations["selector"]["observation"].any()
            assert masks["placer"][:WAIT].any()
        else:
            turns.add("selector")
            assert not observations["placer"]["observation"].any()
            assert np.flatnonzero(masks["placer"]).tolist() == waiting
            choices = masks["selector"][:WAIT].sum()
            assert choices > 1
            rows = observations["selector"]["observation"][1:]
            assert rows.any(axis=1).tolist() == [k < choices for k in range(WAIT)]
    assert turns == {"placer", "selector"}


def test_both_agents_earn_the_same() -> None:
    for _, rewards, *_ in play(parallel_env(scenario=SMALL, selector="learned"), seed=3)[1:]:
        assert rewards["placer"] == rewards["selector"]


def test_the_time_of_the_paper_ends_with_its_decisions() -> None:
    scenario = {**SMALL, "time": "paper", "decisions": 7, "horizon_s": 60.0}
    returned = play(parallel_env(scenario=scenario), seed=0)
    assert len(returned) == 8
    assert returned[-1][3] == {"placer": True}


@pytest.mark.parametrize("selector", ["longest_path", "learned"])
def test_a_batch_plays_what_its_views_play(selector: str) -> None:
    config = {"scenario": CHANGING, "selector": selector}
    fast = batched_env(3, **config)
    slow = ParallelEnvBatch([parallel_env(**config) for _ in range(3)])
    assert fast.agents == slow.agents
    assert fast.observation_shape == slow.observation_shape
    assert (fast.action_spec, fast.state_size) == (slow.action_spec, slow.state_size)
    rng = np.random.default_rng(0)
    seeds = np.arange(3)
    seen, expected = fast.reset(seeds), slow.reset(seeds)
    for _ in range(60):
        for one, other in zip(seen, expected, strict=True):
            np.testing.assert_array_equal(one, other)
        actions = (rng.random(seen.action_mask.shape) * seen.action_mask).argmax(axis=2)
        ours, theirs = fast.step(actions), slow.step(actions)
        np.testing.assert_array_equal(ours.terminated, theirs.terminated)
        np.testing.assert_array_equal(ours.truncated, theirs.truncated)
        np.testing.assert_array_equal(ours.reward, theirs.reward)
        over = fast.done.copy()
        if over.any():
            np.testing.assert_equal(fast.metrics(over), slow.metrics(over))
            seeds = seeds + 3
            seen, expected = fast.reset(seeds, over), slow.reset(seeds, over)
        else:
            seen, expected = ours.observation, theirs.observation


def test_an_illegal_action_is_refused_and_changes_nothing() -> None:
    env = parallel_env(scenario=SMALL)
    env.reset(seed=0)
    before = env.state()
    with pytest.raises(InputError, match=r"action of placer: .*legal actions .*, found 5"):
        env.step({"placer": WAIT})  # nothing to wait for
    np.testing.assert_array_equal(env.state(), before)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"scenario": {"servers": 0}}, "dag_placement_v0: scenario.servers: "),
        ({"scenario": {"workflows": {"primitives": (3, 2)}}}, "dag_placement_v0: .*primitives"),
        ({"reward": "mine"}, "dag_placement_v0: reward: "),
        ({"features": "all"}, "dag_placement_v0: features: "),
        ({"terms": {"alpha": -1}}, "dag_placement_v0: terms.alpha: "),
        ({"speed": 3}, "dag_placement_v0: speed: "),
    ],
)
def test_a_bad_option_is_named(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        parallel_env(**config)
    assert "\n" not in str(raised.value)
