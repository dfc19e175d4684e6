"""What every parallel environment of the project has to keep to."""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv
from pettingzoo.test import parallel_api_test, parallel_seed_test

from edge_marl.envs.batched import BatchedEnv
from edge_marl.simulation import Actions, Hybrid

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
) -> dict[str, Any]:
    """One legal action per agent, each legal choice, and each vector, equally likely."""
    return {
        agent: random_action(env.action_space(agent), observations[agent]["action_mask"], rng)
        for agent in env.agents
    }


def random_action(space: spaces.Space[Any], mask: Any, rng: np.random.Generator) -> Any:
    legal = np.flatnonzero(mask)
    choice = int(rng.choice(legal)) if legal.size else 0
    return with_choice(space, choice, rng)


def with_choice(space: spaces.Space[Any], choice: Any, rng: np.random.Generator) -> Any:
    """An action with that choice."""
    if not isinstance(space, spaces.Dict):
        return choice
    return {
        name: rng.random(part.shape, np.float32) if isinstance(part, spaces.Box) else choice
        for name, part in space.spaces.items()
    }


def joint_actions(fast: BatchedEnv, mask: Any, rng: np.random.Generator) -> Actions:
    """Actions for all agents of a batch, by ``mask [B, N, A]``."""
    choices = (rng.random(mask.shape) * mask).argmax(axis=2)
    d = fast.action_spec.vector_size
    return Hybrid(choices, rng.random((*mask.shape[:2], d), np.float32)) if d else choices


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
            idle = isinstance(env.action_space(agent), spaces.Dict)  # may have nothing to decide
            assert idle or observation["action_mask"].any(), "an agent has no legal action"
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
