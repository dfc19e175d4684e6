"""What every parallel environment of the project has to keep to."""

from collections.abc import Callable
from typing import Any

import numpy as np
from pettingzoo import ParallelEnv
from pettingzoo.test import parallel_api_test, parallel_seed_test

AnyEnv = ParallelEnv[str, Any, Any]
MakeEnv = Callable[[], AnyEnv]
MAX_STEPS = 10_000


def check_parallel_env(make: MakeEnv) -> None:
    """Run the whole suite on fresh environments from ``make``."""
    parallel_api_test(make(), num_cycles=200)
    parallel_seed_test(make, num_cycles=200)
    check_spaces_hold_what_is_returned(make())
    check_a_seed_fixes_the_episode(make)
    check_fresh_environments_agree(make)
    check_returned_arrays_are_not_touched_later(make())


def random_actions(
    env: AnyEnv, observations: dict[str, Any], rng: np.random.Generator
) -> dict[str, int]:
    """One legal action per agent, each legal action equally likely."""
    return {
        agent: int(rng.choice(np.flatnonzero(observations[agent]["action_mask"])))
        for agent in env.agents
    }


def play(env: AnyEnv, seed: int | None, action_seed: int = 0) -> list[tuple[Any, ...]]:
    """Everything one episode of random legal actions returned, step by step."""
    rng = np.random.default_rng(action_seed)
    observations, infos = env.reset(seed=seed)
    returned: list[tuple[Any, ...]] = [(observations, infos)]
    while env.agents:
        assert len(returned) < MAX_STEPS, "the episode does not end"
        returned.append(env.step(random_actions(env, observations, rng)))
        observations = returned[-1][0]
    return returned


def check_spaces_hold_what_is_returned(env: AnyEnv) -> None:
    for returned in play(env, seed=3):
        for agent, observation in returned[0].items():
            assert env.observation_space(agent).contains(observation)
            assert observation["action_mask"].any(), "an agent has no legal action"
    env.reset(seed=3)
    state = env.state()
    assert state.shape == env.state_space.shape  # type: ignore[attr-defined]


def check_a_seed_fixes_the_episode(make: MakeEnv) -> None:
    env = make()
    first = play(env, seed=7)
    play(env, seed=8)
    assert_same(first, play(env, seed=7))
    assert_same(first, play(make(), seed=7))


def check_fresh_environments_agree(make: MakeEnv) -> None:
    one, other = make(), make()
    for _ in range(3):
        assert_same(play(one, seed=None), play(other, seed=None))


def check_returned_arrays_are_not_touched_later(env: AnyEnv) -> None:
    rng = np.random.default_rng(0)
    kept, _ = env.reset(seed=1)
    before = {agent: part["observation"].copy() for agent, part in kept.items()}
    observations = kept
    while env.agents:
        observations, *_ = env.step(random_actions(env, observations, rng))
    assert_same(before, {agent: part["observation"] for agent, part in kept.items()})


def assert_same(one: Any, other: Any) -> None:
    """Equal down to every array of nested containers."""
    np.testing.assert_equal(one, other)
