"""peer_offloading_v0: the conformance suite, the specification, and the batched environment."""

import pickle
from typing import Any

import numpy as np
import pytest

from edge_marl.envs.batched import ParallelEnvBatch
from edge_marl.envs.peer_offloading_v0 import batched_env, parallel_env
from edge_marl.errors import InputError
from edge_marl.peer_offloading import METRICS, OffloadingScenario, PeerOffloadingSimulator
from tests.envs.conformance import check_parallel_env, play, random_actions

SMALL = {"nodes": 4, "slots": 12}


def test_conforms_with_the_defaults_of_the_paper() -> None:
    check_parallel_env(lambda: parallel_env(scenario={"slots": 20}))


def test_conforms_on_a_path_with_rewards_of_their_own() -> None:
    path = {**SMALL, "links": [(0, 1), (1, 2), (2, 3)], "network_seed": 1, "failure_rate": (0, 1)}
    check_parallel_env(lambda: parallel_env(scenario=path, reward="own"))


def test_the_view_is_the_simulator() -> None:
    env = parallel_env(scenario=SMALL)
    simulator = PeerOffloadingSimulator(OffloadingScenario(**SMALL), 1)
    rng = np.random.default_rng(0)
    observations, infos = env.reset(seed=5)
    inner = simulator.reset(np.array([5]))
    assert all(info == {} for info in infos.values())
    steps = 0
    while env.agents:
        for i, agent in enumerate(env.agents):
            np.testing.assert_array_equal(observations[agent]["observation"], inner.features[0, i])
            np.testing.assert_array_equal(
                observations[agent]["action_mask"], inner.action_mask[0, i]
            )
        np.testing.assert_array_equal(env.state(), inner.state[0])
        actions = random_actions(env, observations, rng)
        observations, rewards, terminations, truncations, infos = env.step(actions)
        transition = simulator.step(np.array([list(actions.values())]))
        inner = transition.observation
        assert list(rewards.values()) == transition.reward[0].tolist()
        assert not any(terminations.values())
        assert set(truncations.values()) == {not env.agents}
        steps += 1
    assert steps == 12
    np.testing.assert_equal(
        infos["node_3"], {name: getattr(simulator.results, name)[0] for name in METRICS}
    )


def test_the_team_reward_is_the_sum_of_what_each_node_earns() -> None:
    team, own = (play(parallel_env(scenario=SMALL, reward=r), seed=3) for r in ("team", "own"))
    for (_, together, *_), (_, alone, *_) in zip(team[1:], own[1:], strict=True):
        assert set(together.values()) == {sum(alone.values())}


@pytest.mark.parametrize("reward", ["team", "own"])
def test_a_batch_plays_what_its_views_play(reward: str) -> None:
    config = {"scenario": SMALL, "reward": reward}
    fast = batched_env(3, **config)
    slow = ParallelEnvBatch([parallel_env(**config) for _ in range(3)])
    assert fast.agents == slow.agents
    assert fast.observation_shape == slow.observation_shape
    assert (fast.action_spec, fast.state_size) == (slow.action_spec, slow.state_size)
    rng = np.random.default_rng(0)
    seeds = np.arange(3)
    seen, expected = fast.reset(seeds), slow.reset(seeds)
    for _ in range(30):
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


def busy_env() -> Any:
    env = parallel_env(scenario={"nodes": 2, "slots": 3, "arrival_probability": (1, 1)})
    env.reset(seed=0)
    return env


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ({"node_0": 0, "node_1": 2}, r"action of node_1: .*legal actions \[0, 1\], found 2"),
        ({"node_0": -1, "node_1": 1}, r"action of node_0: .*legal actions \[0, 1\], found -1"),
        ({"node_0": 0}, "action of node_1: expected an integer, found 'none'"),
        ({"node_0": 0, "node_1": 1.5}, "action of node_1: expected an integer, found 1.5"),
    ],
)
def test_an_illegal_action_is_refused_and_changes_nothing(
    actions: dict[str, Any], message: str
) -> None:
    env = busy_env()
    before = env.state()
    with pytest.raises(InputError, match=message):
        env.step(actions)
    np.testing.assert_array_equal(env.state(), before)
    env.step({"node_0": 0, "node_1": 1})


def test_a_step_without_an_episode_is_refused() -> None:
    with pytest.raises(InputError, match=r"call reset\(\) first"):
        parallel_env(scenario=SMALL).step({})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"scenario": "lab"}, "peer_offloading_v0: scenario.*found 'lab'"),
        ({"scenario": {"nodes": 1}}, "peer_offloading_v0: scenario.nodes: "),
        ({"scenario": {"size_kb": (2, 1)}}, "peer_offloading_v0: scenario.*size_kb"),
        ({"reward": "mine"}, "peer_offloading_v0: reward: "),
        ({"speed": 3}, "peer_offloading_v0: speed: "),
    ],
)
def test_a_bad_option_is_named(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        parallel_env(**config)
    assert "\n" not in str(raised.value)


def test_a_preset_is_a_scenario() -> None:
    assert len(parallel_env(scenario="testbed").possible_agents) == 10


def test_action_spaces_draw_legal_actions_and_survive_pickling() -> None:
    space = busy_env().action_space("node_0")
    assert {int(space.sample()) for _ in range(50)} == {0, 1}
    assert pickle.loads(pickle.dumps(space)) == space
