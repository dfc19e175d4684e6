"""SCOF: clients learn action values from their own decisions, and average their networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from edge_marl.algorithms import SCOFConfig
from edge_marl.algorithms.networks.agents import Actor
from edge_marl.algorithms.networks.config import NetworkConfig
from edge_marl.algorithms.networks.spec import ActorSpec
from edge_marl.algorithms.replay.columns import AgentTransition
from edge_marl.algorithms.replay.decisions import DecisionReplay, until_next_decision
from edge_marl.algorithms.sampling.columns import Fragment, who_decides
from edge_marl.algorithms.scof.block import VALUES, ValueBlock, ValueLesson
from edge_marl.algorithms.scof.options import SCOFOptions
from edge_marl.errors import InputError

GAMMA = 0.9
N_AGENTS = 3


def fragments(B: int, T: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random fragments of three agents, whose only feature numbers the observation."""
    rng = np.random.default_rng(seed)
    shape = (B, T, N_AGENTS)
    ends = rng.random((2, B, T, 1)) < 0.1
    mask = np.ones((B, T + 1, N_AGENTS, 2), bool)
    mask[..., 1] = rng.random((B, T + 1, N_AGENTS)) < 0.4  # the others have no choice
    numbers = np.arange(B * (T + 1) * N_AGENTS, dtype=np.float32)
    columns = {
        Fragment.FEATURES: numbers.reshape(B, T + 1, N_AGENTS, 1),
        Fragment.ACTION_MASK: mask,
        Fragment.ACTIVE: rng.random((B, T + 1, N_AGENTS)) < 0.95,
        Fragment.ACTIONS: rng.integers(2, size=shape),
        Fragment.REWARDS: rng.normal(size=shape).astype(np.float32),
        Fragment.TERMINATED: np.broadcast_to(ends[0], shape).copy(),
        Fragment.TRUNCATED: np.broadcast_to(ends[1] & ~ends[0], shape).copy(),
        Fragment.VALID: rng.random((B, T)) < 0.95,
        Fragment.ELAPSED: rng.integers(1, 4, size=(B, T)).astype(np.float32),
    }
    return {name: torch.from_numpy(column) for name, column in columns.items()}


def followed(
    columns: dict[str, Any], b: int, t: int, agent: int
) -> tuple[float, float, int] | None:
    """What is earned until the next decision, its discount, and when it is; step by step."""
    active = columns[Fragment.ACTIVE]
    earned, discount = 0.0, 1.0
    for step in range(t, columns[Fragment.REWARDS].shape[1]):
        earned += discount * float(columns[Fragment.REWARDS][b, step, agent])
        discount *= GAMMA ** float(columns[Fragment.ELAPSED][b, step])
        if columns[Fragment.TERMINATED][b, step, agent]:
            return earned, 0.0, -1
        if not active[b, step + 1, agent]:
            return None
        if columns[Fragment.ACTION_MASK][b, step + 1, agent].all():
            return earned, discount, step + 1
        if columns[Fragment.TRUNCATED][b, step, agent]:
            return None
    return None


def decisions(columns: dict[str, Any], agent: int) -> list[tuple[int, int]]:
    """Where an agent decides and what it does is played, in the order of rows and steps."""
    B, T = columns[Fragment.VALID].shape
    return [
        (b, t)
        for b in range(B)
        for t in range(T)
        if columns[Fragment.ACTION_MASK][b, t, agent].all()
        and columns[Fragment.ACTIVE][b, t, agent]
        and columns[Fragment.VALID][b, t]
    ]


def test_what_comes_of_a_decision_is_what_is_earned_until_the_next() -> None:
    columns = fragments(6, 30)
    decides = who_decides(columns) & columns[Fragment.ACTIVE]
    found = until_next_decision(columns, decides, GAMMA)
    n_known = 0
    for agent in range(N_AGENTS):
        for b, t in decisions(columns, agent):
            expected = followed(columns, b, t, agent)
            assert bool(found.is_known[b, t, agent]) == (expected is not None)
            if expected is not None:
                n_known += 1
                here = (b, t, agent)
                assert float(found.rewards[here]) == pytest.approx(expected[0], abs=1e-5)
                assert float(found.discounts[here]) == pytest.approx(expected[1])
    assert n_known > 50


def test_what_is_drawn_is_a_decision_with_the_agents_next_one() -> None:
    replay, kept = DecisionReplay(10_000, N_AGENTS), [fragments(4, 20, seed) for seed in range(3)]
    for k, columns in enumerate(kept):
        columns[Fragment.FEATURES] += 1000 * k
        replay.add(columns, GAMMA)
    for agent in range(N_AGENTS):
        expected = {}
        for columns in kept:
            for b, t in decisions(columns, agent):
                found = followed(columns, b, t, agent)
                if found is not None:
                    seen = columns[Fragment.FEATURES][b, :, agent, 0]
                    expected[float(seen[t])] = float(seen[found[2]]) if found[2] > 0 else None
        drawn = replay.draw(1000, agent, torch.Generator().manual_seed(0))
        rows = replay.rows(drawn[:, None].expand(-1, N_AGENTS))
        now = rows[AgentTransition.FEATURES][:, agent, 0].tolist()
        then = rows[AgentTransition.NEXT_FEATURES][:, agent, 0].tolist()
        assert set(now) == set(expected)
        for here, there in zip(now, then, strict=True):
            assert expected[here] in (None, there)


def test_new_decisions_replace_the_oldest() -> None:
    replay = DecisionReplay(15, N_AGENTS)
    for k in range(4):
        columns = fragments(1, 20, k)
        columns[Fragment.FEATURES] += 1000 * k
        replay.add(columns, GAMMA)
    newest: list[float] = []
    columns_of = [fragments(1, 20, k) for k in range(4)]
    for k, columns in enumerate(columns_of):
        decides = columns[Fragment.ACTION_MASK].all(-1) & columns[Fragment.ACTIVE]
        newest += (columns[Fragment.FEATURES][..., 0] + 1000 * k)[0, :, 0][
            decides[0, :, 0]
        ].tolist()
    drawn = replay.rows(replay.draw(500, 0, torch.Generator())[:, None].expand(-1, N_AGENTS))
    assert set(drawn[AgentTransition.FEATURES][:, 0, 0].tolist()) <= set(newest[-15:])


def test_values_converge_to_those_of_a_known_process() -> None:
    """A decision in every second step: the second action earns 1, the first nothing."""
    spec = ActorSpec(
        agents=("a", "b"), observation_shape=(1,), n_actions=2, groups=(0, 1),
        network=NetworkConfig(hidden_sizes=(8,), dueling=True),
    )  # fmt: skip
    block = ValueBlock(Actor(spec), [1, 2], 200)
    B, T = 4, 40
    mask = torch.ones(B, T + 1, 2, 2, dtype=torch.bool)
    mask[:, 1::2, :, 1] = False
    actions = torch.randint(2, (B, T, 2), generator=torch.Generator().manual_seed(0))
    rewards = actions.float()
    rewards[:, 1::2] = 0.0
    none = torch.zeros(B, T, 2, dtype=torch.bool)
    block.keep(
        {
            Fragment.FEATURES: torch.ones(B, T + 1, 2, 1), Fragment.ACTION_MASK: mask,
            Fragment.ACTIVE: torch.ones(B, T + 1, 2, dtype=torch.bool),
            Fragment.ACTIONS: actions, Fragment.REWARDS: rewards, Fragment.TERMINATED: none,
            Fragment.TRUNCATED: none, Fragment.VALID: torch.ones(B, T, dtype=torch.bool),
        },
        GAMMA,
    )  # fmt: skip
    before = block.weights[VALUES][1].clone()
    lesson = ValueLesson(
        lr=0.02, grad_clip=10.0, n_updates=800, minibatch_size=32, tau=0.1, double_q=True,
        proximal=0.0,
    )  # fmt: skip
    block.learn(np.array([True, False]), lesson)
    best = 1 / (1 - GAMMA**2)
    values = block.actor(torch.ones(1, 2, 1), torch.ones(1, 2, 2, dtype=torch.bool))[0][0, 0]
    assert values.tolist() == pytest.approx([best - 1, best], rel=0.02)
    assert torch.equal(block.weights[VALUES][1], before)  # who does not train stays as it is


def training(**options: Any) -> Any:
    env_config = {"scenario": {"topology": "random_10", "ticks": 200, "rate_per_s": 2.0},
                  "rewards": {"kind": "own"}}  # fmt: skip
    return (
        SCOFConfig()
        .environment("graph_offloading_v0", env_config=env_config)
        .env_runners(num_envs_per_env_runner=2)
        .debugging(seed=1)
        .training(
            **{
                "train_batch_size_per_learner": 80, "minibatch_size": 4, "updates_per_batch": 3,
                "network": {"hidden_sizes": [8]}, **options,
            }
        )
    )  # fmt: skip


@pytest.mark.usefixtures("local_ray")
def test_a_version_is_the_mean_of_what_all_clients_have_learned() -> None:
    algorithm = training().build_algo()
    learner = algorithm.learner_group._learner
    manager = learner.federation.manager
    begin = learner.block.weights[VALUES].clone()
    assert torch.equal(begin, begin[:1].expand_as(begin))
    for version in range(3):
        algorithm.train()
        learned = learner.block.weights[VALUES].clone()
        assert not torch.equal(learned, learned[:1].expand_as(learned))
        learner.federation._network.advance(learner.federation.tick + 2)
        assert manager.version == version + 1
        torch.testing.assert_close(manager.weights, learned.mean(0), rtol=1e-5, atol=1e-6)
        assert learner.federation.report()["silent_clients"] == 0
    algorithm.stop()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"network": NetworkConfig(gru=8, dueling=True)}, "network: expected a kind whose outputs"),
     ({"network": NetworkConfig(kind="pointer")}, "network: expected a kind whose outputs"),
     ({"participants": 0.5}, "participants: expected 1 with synchronous"),
     ({"team_reward": "sum"}, "team_reward")],
)  # fmt: skip
def test_what_does_not_fit_is_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        SCOFOptions(**wrong)


def test_several_learners_are_refused() -> None:
    with pytest.raises(InputError, match="num_learners: expected at most 1 for agents that learn"):
        training().learners(num_learners=2).validate()
