"""What the environments of all systems have in common: their two views of one simulator."""

from __future__ import annotations

import pickle
import re
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from edge_marl.envs.batched import ParallelEnvBatch
from edge_marl.errors import InputError
from edge_marl.experiments.systems import systems
from edge_marl.simulation import Hybrid
from edge_marl.tandem.traces import TraceSet
from tests.envs.conformance import (
    check_parallel_env,
    joint_actions,
    play,
    random_actions,
    with_choice,
)

NODES = {"nodes": 4, "slots": 12}
SERVERS = {"servers": 5, "horizon_s": 4.0, "arrival_rate_per_server_s": 0.25}
CHANGING = {**SERVERS, "mean_up_s": 4.0, "mean_away_s": 2.0}
_POWER = {"power_w": 1, "idle_power_w": 0}
# What is too small may be done sooner than what is large enough.
UNEVEN = {**SERVERS, "tiers": [
    {"name": "fast", "share": 1, "capacity_gflops": 20, "memory_gb": 8, **_POWER},
    {"name": "large", "share": 1, "capacity_gflops": 2, "memory_gb": 80, **_POWER},
]}  # fmt: skip

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "tandem": ("tandem_v0", {}),
    "tandem, cut off": ("tandem_v0", {"horizon": 60}),
    "tandem, events": ("tandem_v0", {"decisions": "events"}),
    "tandem, recorded": (
        "tandem_v0",
        {
            "traces": TraceSet.from_jobs([[(0, 1, 2, 50), (0, 2, 1, 50)]]),
            "max_queue": 3,
            "horizon": 4,
        },
    ),
    "peer offloading": ("peer_offloading_v0", {"scenario": {"slots": 20}}),
    "peer offloading on a path, rewards of their own": (
        "peer_offloading_v0",
        {
            "scenario": {
                **NODES,
                "links": [(0, 1), (1, 2), (2, 3)],
                "network_seed": 1,
                "failure_rate": (0, 1),
            },
            "reward": "own",
        },
    ),
    "DAG placement": ("dag_placement_v0", {"scenario": SERVERS}),
    "DAG placement, the paper's time": (
        "dag_placement_v0",
        {"scenario": {**UNEVEN, "time": "paper"}},
    ),
    "DAG placement with a selector and failures": (
        "dag_placement_v0",
        {"scenario": CHANGING, "selector": "learned"},
    ),
    "DAG placement as in the paper, with failures": (
        "dag_placement_v0",
        {"scenario": {**CHANGING, "time": "paper"}, "reward": "paper", "features": "paper"},
    ),
    "graph offloading": ("graph_offloading_v0", {"scenario": {"ticks": 25}}),
    "graph offloading on a random graph, own outcomes": (
        "graph_offloading_v0",
        {
            "scenario": {"topology": "random_10", "ticks": 25, "rate_per_s": 20},
            "rewards": {"kind": "own"},
            "extended": True,
        },
    ),
    "cooperative offloading": ("cooperative_offloading_v0", {"scenario": {"tasks": 25}}),
    "cooperative offloading in bursts, as in the paper": (
        "cooperative_offloading_v0",
        {
            "scenario": {
                "servers": 5,
                "tasks": 40,
                "max_targets": 3,
                "load": {"sigma": 0.5},
                "bursts": {"rate_per_s": 0.1, "correlation": 0.5},
            },
            "reward": "ratio",
            "features": "paper",
        },
    ),
}
each_case = pytest.mark.parametrize(("name", "config"), CASES.values(), ids=CASES)


def made(name: str, config: dict[str, Any]) -> Any:
    module = systems()[name].module
    assert module is not None
    return import_module(module).parallel_env(**config)


def test_every_system_is_here() -> None:
    assert {name for name, _ in CASES.values()} == set(systems())


@each_case
def test_conforms(name: str, config: dict[str, Any]) -> None:
    check_parallel_env(lambda: made(name, config))


@each_case
def test_the_view_is_the_simulator(name: str, config: dict[str, Any]) -> None:
    env = made(name, config)
    simulator = env.simulator(env.config, 1)
    for seed in range(25):
        rng = np.random.default_rng(seed)
        observations, infos = env.reset(seed=seed)
        inner = simulator.reset(np.array([seed]))
        assert infos == {agent: {} for agent in env.possible_agents}
        while env.agents:
            for i, agent in enumerate(env.agents):
                seen = observations[agent]
                np.testing.assert_array_equal(seen["observation"], inner.features[0, i])
                np.testing.assert_array_equal(seen["action_mask"], inner.action_mask[0, i])
            np.testing.assert_array_equal(env.state(), inner.state[0])
            actions = random_actions(env, observations, rng)
            observations, rewards, terminations, truncations, infos = env.step(actions)
            transition = simulator.step(as_arrays(env, actions))
            inner = transition.observation
            assert list(rewards.values()) == transition.reward[0].tolist()
            assert set(terminations.values()) == {bool(transition.terminated[0])}
            assert set(truncations.values()) == {bool(transition.truncated[0])}
        results = {metric: getattr(simulator.results, metric)[0] for metric in env.metrics}
        for agent in env.possible_agents:
            np.testing.assert_equal(infos[agent], results)


@each_case
def test_a_batch_plays_what_its_views_play(name: str, config: dict[str, Any]) -> None:
    views = [made(name, config) for _ in range(3)]
    fast, slow = type(views[0]).make_batch(3, **config), ParallelEnvBatch(views)
    assert fast.agents == slow.agents
    assert fast.observation_shape == slow.observation_shape
    assert (fast.action_spec, fast.state_size) == (slow.action_spec, slow.state_size)
    rng = np.random.default_rng(0)
    seeds = np.arange(3)
    seen, expected = fast.reset(seeds), slow.reset(seeds)
    for _ in range(150):
        for one, other in zip(seen, expected, strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(fast.done, slow.done)
        actions = joint_actions(fast, seen.action_mask, rng)
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


@each_case
def test_an_illegal_action_is_refused_and_changes_nothing(
    name: str, config: dict[str, Any]
) -> None:
    env, rng = made(name, config), np.random.default_rng(0)
    observations, _ = env.reset(seed=0)
    for _ in range(3):  # until something has happened
        legal = random_actions(env, observations, rng)
        before = env.state()
        for agent, seen in observations.items():
            mask, space = seen["action_mask"], env.action_space(agent)
            what = "target" if isinstance(space, spaces.Dict) else "action"
            forbidden = [-1, len(mask), *np.flatnonzero(mask == 0)[:2].tolist()]
            allowed = f"expected one of the legal actions {np.flatnonzero(mask).tolist()}, found "
            for choice in forbidden if mask.any() else ():
                line = f"{name}: {what} of {agent}: {allowed}{choice}"
                with pytest.raises(InputError, match=f"^{re.escape(line)}$"):
                    env.step({**legal, agent: with_choice(space, choice, rng)})
            for choice in (0.5, "none", None) if mask.any() else ():
                with pytest.raises(InputError, match=f"{what} of {agent}: expected an integer"):
                    env.step({**legal, agent: with_choice(space, choice, rng)})
            with pytest.raises(InputError, match=f"{agent}: expected .*, found .?none"):
                env.step({other: legal[other] for other in legal if other != agent})
        np.testing.assert_array_equal(env.state(), before)
        observations, *_ = env.step(legal)


@each_case
def test_a_step_without_an_episode_is_refused(name: str, config: dict[str, Any]) -> None:
    env = made(name, config)
    with pytest.raises(InputError, match=r"call reset\(\) first"):
        env.step({})
    play(env, seed=0)
    with pytest.raises(InputError, match=r"call reset\(\) first"):
        env.step({})


@each_case
def test_action_spaces_draw_legal_actions_and_survive_pickling(
    name: str, config: dict[str, Any]
) -> None:
    env = made(name, config)
    observations, _ = env.reset(seed=0)
    for agent, seen in observations.items():
        space, legal = env.action_space(agent), np.flatnonzero(seen["action_mask"])
        drawn = [space.sample() for _ in range(30 * len(legal))]
        assert all(map(space.contains, drawn))
        assert set(map(choice_of, drawn)) == set(legal.tolist())
        assert pickle.loads(pickle.dumps(space)) == space


def choice_of(action: Any) -> int:
    return int(action["target"] if isinstance(action, dict) else action)


def as_arrays(env: Any, actions: dict[str, Any]) -> Any:
    """The actions of all agents as a simulator takes them."""
    choices = np.array([[choice_of(action) for action in actions.values()]])
    if not isinstance(env.action_space(env.possible_agents[0]), spaces.Dict):
        return choices
    return Hybrid(choices, np.array([[action["allocation"] for action in actions.values()]]))


@pytest.mark.parametrize("name", systems())
def test_an_unknown_option_is_named(name: str) -> None:
    with pytest.raises(InputError, match=f"^{name}: speed: unknown option") as raised:
        made(name, {"speed": 3})
    assert "\n" not in str(raised.value)
