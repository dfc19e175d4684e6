"""Learners of single agents in Ray actors: none waits for another, and none is missed for long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.tune.registry import register_env

from edge_marl.algorithms import CTOConfig, MADDPGConfig
from edge_marl.algorithms.cto.exchange import RemoteExchange, SharedReplay, start_shared_replay
from edge_marl.algorithms.cto.pool import DecisionPool
from edge_marl.algorithms.replay.columns import DecisionTransition as Row
from edge_marl.algorithms.tensor_files import read_nested, write_nested
from edge_marl.errors import InputError
from tests.algorithms.matrix_games import CORNER, MatrixGame

pytestmark = pytest.mark.usefixtures("local_ray")

ENV, SMALL = "cooperative_offloading_v0", {"scenario": {"tasks": 60}}


@pytest.fixture(scope="module", autouse=True)
def _registered(local_ray: None) -> None:
    register_env("both_act", lambda config: MatrixGame(CORNER))


def build(config_class: type = CTOConfig, env: str = ENV, **options: Any) -> Any:
    config: Any = config_class()
    config.environment(env, env_config=SMALL if env == ENV else {}).debugging(seed=1)
    config.env_runners(num_envs_per_env_runner=8)
    return config.training(
        **{
            "train_batch_size_per_learner": 256, "num_steps_sampled_before_learning_starts": 256,
            "updates_per_batch": 6, "minibatch_size": 16, **options,
        }
    ).build_algo()  # fmt: skip


def learner_of(algorithm: Any) -> Any:
    return algorithm.learner_group._learner


def weights(algorithm: Any) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = learner_of(algorithm).module[DEFAULT_MODULE_ID].state_dict()
    return {name: part.clone() for name, part in found.items()}


def test_with_a_barrier_they_learn_what_one_process_learns() -> None:
    found = []
    for options in ({}, {"asynchronous": True, "barrier": True}):
        # Of the team's values, targets are those of others, which follow once a turn.
        algorithm = build(team_reward="own", **options)
        for _ in range(3):
            algorithm.train()
        found.append(weights(algorithm))
        algorithm.stop()
    one, other = found
    assert one.keys() == other.keys()
    for name, part in one.items():
        # Adam makes as much of a gradient that is nothing but rounding as of any other.
        difference = (part - other[name]).double().norm()
        assert difference <= 0.005 * part.double().norm() + 1e-6, name


@pytest.fixture(scope="module")
def paced(local_ray: None) -> Iterator[Any]:
    """Three learners at their own pace, of which one is slow, that share experience."""
    algorithm = build(
        asynchronous=True, stragglers=0.3, slowness=6, updates_per_batch=20, global_share=0.25,
        sync_interval=20,
    )  # fmt: skip
    yield algorithm
    algorithm.stop()


def test_nobody_waits_for_a_slow_learner(paced: Any) -> None:
    pool: DecisionPool = learner_of(paced).block
    (slow,) = np.flatnonzero(np.array(pool._design.slowness) > 1)
    while not min(pool.versions):  # processes start when they do
        paced.train()
    learner_of(paced).settle()
    before = len(paced.turns())
    for _ in range(20):
        paced.train()
    learner_of(paced).settle()
    found = paced.turns()[before:]
    counts = [sum(turn["agent"] == k for turn in found) for k in range(3)]
    assert min(counts[k] for k in range(3) if k != slow) > 2 * counts[slow]
    # While a turn of the slow one lasts, others begin and end theirs.
    longest = max(
        (turn for turn in found if turn["agent"] == slow),
        key=lambda turn: turn["ended_s"] - turn["began_s"],
    )
    within = [
        turn for turn in found
        if longest["began_s"] < turn["began_s"] and turn["ended_s"] < longest["ended_s"]
    ]  # fmt: skip
    assert len(within) >= 2
    # Whoever decides next is another, mostly: targets are told of all.
    assert all(len(turn["others"]) == 3 for turn in found)


def test_a_checkpoint_holds_all_that_learners_have_kept(paced: Any, tmp_path: Path) -> None:
    path = paced.save_to_path(tmp_path / "checkpoint")
    pool: DecisionPool = learner_of(paced).block
    before, weights_before = pool.get_state(), weights(paced)
    for _ in range(3):
        paced.train()
    learner_of(paced).settle()
    assert not _same(before["workers"], pool.get_state()["workers"])
    paced.restore_from_path(path)
    after = pool.get_state()
    assert _same(before["workers"], after["workers"])
    assert before["versions"] == after["versions"]
    assert _same(weights_before, weights(paced))


def test_a_learner_that_dies_goes_on_from_its_last_turn_and_the_others_do_not_notice(
    paced: Any,
) -> None:
    learner_of(paced).settle()
    pool: DecisionPool = learner_of(paced).block
    before, lost = [*pool.versions], pool._n_lost
    last = pool.weights["critic"][0].clone()
    ray.kill(pool._workers[0], no_restart=False)
    until = time.monotonic() + 90.0
    while time.monotonic() < until and (pool.versions[0] <= before[0] or pool._n_lost == lost):
        found = paced.train()
    learner_of(paced).settle()
    assert found["learners"][DEFAULT_MODULE_ID]["turns_lost"] > lost
    assert all(now > then for now, then in zip(pool.versions, before, strict=True))
    # It has not begun anew: a few updates do not lead far.
    now = pool.weights["critic"][0]
    assert torch.nn.functional.cosine_similarity(now, last, dim=0) > 0.9


def test_the_versions_that_targets_are_told_of_are_recorded_where_agents_act_together() -> None:
    algorithm = build(MADDPGConfig, "both_act", asynchronous=True)
    # Of an iteration in which no turn has ended, nothing is known.
    stale = [
        algorithm.train()["learners"][DEFAULT_MODULE_ID].get("staleness_max", np.nan)
        for _ in range(6)
    ]
    learner_of(algorithm).settle()
    recorded = algorithm.turns()
    algorithm.stop()
    assert {len(turn["others"]) for turn in recorded} == {2}
    assert max(max(turn["others"]) for turn in recorded) > 0
    assert np.nanmax(stale) >= 0


def _same(one: Any, other: Any) -> bool:
    """Return whether two nested states are the same to the bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(np.array_equal(np.asarray(one), np.asarray(other)))


def test_what_is_shared_is_lost_with_its_actor_and_nothing_waits_for_it() -> None:
    def rows(first: float) -> dict[str, torch.Tensor]:
        return {
            Row.NODE: torch.tensor([0, 1]), Row.REWARDS: torch.tensor([first, first + 1.0]),
            Row.ACTION_MASK: torch.ones(2, 1, dtype=torch.bool),
            Row.NEXT_ACTION_MASK: torch.ones(2, 1, dtype=torch.bool),
        }  # fmt: skip

    def waits_for(expected: set[float], exchange: RemoteExchange, given: Any = None) -> None:
        until, found = time.monotonic() + 60.0, None
        while time.monotonic() < until:
            found = exchange.swap(given, 50)
            if found is not None and set(found[Row.REWARDS].tolist()) == expected:
                return
            time.sleep(0.05)
        raise AssertionError(found)

    shared = start_shared_replay(100, 2, seed=0)
    one, other = RemoteExchange(shared), RemoteExchange(shared)
    assert one.swap(rows(1.0), 50) is None  # it is asked for now, and had the next time
    waits_for({1.0, 2.0}, other)
    ray.kill(shared, no_restart=False)
    # It may answer until it has died. What it is given while it is away is lost, too.
    waits_for({5.0, 6.0}, RemoteExchange(shared), rows(5.0))
    ray.kill(shared)


def test_what_is_taken_was_given() -> None:
    shared = SharedReplay(3, 2, seed=0)
    assert shared.take(5) is None
    shared.give({
        Row.NODE: torch.tensor([0, 1, 1, 0]), Row.REWARDS: torch.arange(4.0),
        Row.ACTION_MASK: torch.ones(4, 1, dtype=torch.bool),
        Row.NEXT_ACTION_MASK: torch.ones(4, 1, dtype=torch.bool),
    })  # fmt: skip
    found = shared.take(100)
    assert found is not None
    assert set(found[Row.REWARDS].tolist()) == {1.0, 2.0, 3.0}


def test_a_nested_state_comes_back_as_it_was(tmp_path: Path) -> None:
    state = {
        "numbers": {0: {"step": torch.tensor(3.0), "moment": torch.arange(6.0).view(2, 3)}},
        "list": [np.arange(4, dtype=np.uint8), None, 7, "text", True],
    }
    write_nested(tmp_path / "state.safetensors", state)
    found = read_nested(tmp_path / "state.safetensors")
    assert found["list"][1:] == [None, 7, "text", True]
    assert _same(state["numbers"], found["numbers"])
    assert _same(state["list"][0], found["list"][0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"asynchronous": True, "parameter_sharing": "shared"}, "parameter_sharing: expected"),
        ({"barrier": True}, "barrier: expected false without asynchronous"),
        ({"stragglers": 0.5}, "stragglers: expected 0 without asynchronous"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(**options)
