"""What MADQN, MADDPG and CTO learn from transitions, against numbers computed one by one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edge_marl.algorithms.core.learner import DivergenceError
from edge_marl.algorithms.cto.block import ALLOCATOR, CHOICE, CRITICS, DecisionBlock, Lesson
from edge_marl.algorithms.cto.critics import CriticSpec, JointActions, JointCritic
from edge_marl.algorithms.networks.agents import Actor, AgentRows
from edge_marl.algorithms.networks.allocation import AllocatorSpec
from edge_marl.algorithms.networks.config import NetworkConfig
from edge_marl.algorithms.networks.normalisation import RunningMoments
from edge_marl.algorithms.networks.spec import ActorSpec
from edge_marl.algorithms.replay.columns import DecisionTransition as Row

N, F, A, D, S, K = 3, 4, 3, 2, 5, 8
LESSON = Lesson(
    lr={CHOICE: 1e-2, ALLOCATOR: 1e-2, **dict.fromkeys(CRITICS, 1e-2)},
    grad_clip=None, n_updates=1, minibatch_size=K, tau=0.1, double_q=True, huber=False,
    policy_delay=1,
)  # fmt: skip


def block(
    *, values: bool = True, critics: int = 1, d: int = D, groups: tuple[int, ...] = (0, 1, 2),
    told: int = N, of_team: bool = False,
) -> DecisionBlock:  # fmt: skip
    """Make a block of three agents."""
    torch.manual_seed(0)
    allocator = AllocatorSpec(hidden_sizes=(6,), activation="relu", embedding=2) if d else None
    shared = len(set(groups)) < N
    actor = Actor(ActorSpec(
        agents=("a", "b", "c"), observation_shape=(F,), n_actions=A,
        boxes=(((0.0, 1.0),) * d,) * N if d else (), groups=groups,
        network=NetworkConfig(hidden_sizes=(7,), dueling=values), normalise=True,
        n_ids=N if shared else 0, allocator=allocator,
    ))  # fmt: skip
    G = actor.n_groups
    judges = nn.ModuleList(
        JointCritic(G, CriticSpec(S, N, A, d, told, (9,), "relu", embedding=2))
        for _ in range(critics)
    )
    return DecisionBlock(
        actor, judges, RunningMoments((G, S)), [*range(G)], capacity=100, values=values,
        of_team=of_team,
    )  # fmt: skip


def lesson_of(own: DecisionBlock, **changes: Any) -> Lesson:
    lr = {name: rate for name, rate in LESSON.lr.items() if name in own.weights}
    return LESSON._replace(lr=lr, **changes)


def transitions(n: int, *, d: int = D, told: int = N, seed: int = 0) -> dict[str, torch.Tensor]:
    """Draw transitions of all agents in turn."""
    rng = np.random.default_rng(seed)
    others = told - 1
    columns: dict[str, Any] = {
        Row.NODE: np.arange(n) % N,
        Row.NEXT_NODE: np.arange(n) % N,
        Row.FEATURES: rng.normal(size=(n, F)),
        Row.NEXT_FEATURES: rng.normal(size=(n, F)),
        Row.ACTION_MASK: np.ones((n, A), bool),
        Row.NEXT_ACTION_MASK: rng.random((n, A)) < 0.7,
        Row.STATE: rng.normal(size=(n, S)),
        Row.NEXT_STATE: rng.normal(size=(n, S)),
        Row.ACTIONS: rng.integers(A, size=n),
        Row.REWARDS: rng.normal(size=n),
        Row.IMMEDIATE: rng.normal(size=n),
        Row.DISCOUNTS: rng.random(n),
        Row.OTHER_ACTIONS: rng.integers(A, size=(n, others)),
        Row.OTHERS_DECIDE: rng.random((n, others)) < 0.5,
        Row.NEXT_OTHER_FEATURES: rng.normal(size=(n, others, F)),
        Row.NEXT_OTHER_MASKS: np.ones((n, others, A), bool) & (rng.random((n, others, 1)) < 0.5),
    }
    columns[Row.NEXT_ACTION_MASK][:, 0] = True
    if d:
        columns |= {
            Row.VECTORS: rng.random((n, d)), Row.OTHER_VECTORS: rng.random((n, others, d)),
        }  # fmt: skip
    return {
        name: torch.from_numpy(column.astype(np.float32) if column.dtype == float else column)
        for name, column in columns.items()
    }


def drawn(own: DecisionBlock) -> dict[str, torch.Tensor]:
    """Return the rows ``[K, G, ...]`` that the block's next update is made from."""
    states = [generator.get_state() for generator in own.generators]
    rows = own.replay.draw(K, own.generators)
    for generator, state in zip(own.generators, states, strict=True):
        generator.set_state(state)
    return rows


@pytest.mark.parametrize("double_q", [True, False])
def test_values_learn_what_is_earned_until_the_next_decision_and_its_best_value(
    double_q: bool,
) -> None:
    own = block(critics=0, d=0, told=1)
    own.keep(transitions(60, d=0, told=1))
    rows = drawn(own)
    with torch.no_grad():  # targets and networks differ
        own.weights[CHOICE].add_(0.1 * torch.randn(own.weights[CHOICE].shape))
    found = own._value_errors(rows, double_q=double_q)
    for k in range(K):
        for g in range(N):
            at = (k, g)
            legal = rows[Row.NEXT_ACTION_MASK][at]
            dueling = _values(own.actor, g, rows[Row.FEATURES][at], rows[Row.ACTION_MASK][at])
            then = _values(own._target_actor, g, rows[Row.NEXT_FEATURES][at], legal)
            judged = _values(own.actor, g, rows[Row.NEXT_FEATURES][at], legal)
            best = (judged if double_q else then).masked_fill(~legal, -1e9).argmax()
            target = rows[Row.REWARDS][at] + rows[Row.DISCOUNTS][at] * then[best]
            expected = (dueling[rows[Row.ACTIONS][at]] - target).item()
            assert found[at].item() == pytest.approx(expected, abs=1e-5)


def _values(actor: Actor, agent: int, features: torch.Tensor, legal: torch.Tensor) -> torch.Tensor:
    """Return the values of one observation, from the networks of one agent by themselves."""
    alone = actor.single(agent)
    found: torch.Tensor = alone(features[None, None], legal[None, None])[0][0, 0]
    return found


@pytest.mark.parametrize("values", [True, False])
@pytest.mark.parametrize("critics", [1, 2])
def test_critics_learn_what_all_do_next_by_their_target_networks(
    critics: int, values: bool
) -> None:
    own = block(critics=critics, values=values)
    own.keep(transitions(90))
    rows = drawn(own)
    state = own.state_moments.normalise(rows[Row.STATE])
    errors = own._critic_errors(rows, state)
    then = own.state_moments.normalise(rows[Row.NEXT_STATE])
    for k in range(K):
        for g in range(N):
            at = (k, g)
            following = [
                _decided(own, g, rows[Row.NEXT_FEATURES][at], rows[Row.NEXT_ACTION_MASK][at])
            ]
            done = [(int(rows[Row.ACTIONS][at]), rows[Row.VECTORS][at])]
            for o in range(N - 1):
                mask = rows[Row.NEXT_OTHER_MASKS][k, g, o]
                other = (g + 1 + o) % N
                following.append(
                    _decided(own, other, rows[Row.NEXT_OTHER_FEATURES][k, g, o], mask)
                    if mask.any() else None
                )  # fmt: skip
                done.append(
                    (int(rows[Row.OTHER_ACTIONS][k, g, o]), rows[Row.OTHER_VECTORS][k, g, o])
                    if rows[Row.OTHERS_DECIDE][k, g, o] else None
                )  # fmt: skip
            best = min(_valued(critic, g, then[at], following) for critic in own._target_critics)
            target = float(rows[Row.REWARDS][at]) + float(rows[Row.DISCOUNTS][at]) * best
            at_once = float(rows[Row.IMMEDIATE][at])
            later = target - at_once
            for critic, found in zip(own.critics, errors, strict=True):
                reward, effect, base, (i, l_, n) = _parts(critic, g, state[at], done)
                error = i * effect + l_ * base - later
                squares = [
                    at_once**2 / i**2,
                    (at_once**2 + later**2) / l_**2,
                    ((0.3 * at_once) ** 2 + error**2) / n**2,
                ]
                expected = (
                    reward - at_once / i,
                    error / n,
                    0.5 * sum(squares) + math.log(i * l_ * n),
                )
                assert [part[at].item() for part in found] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("critics", [1, 2])
def test_critics_of_a_team_learn_what_those_of_whoever_decides_next_say(critics: int) -> None:
    own = block(critics=critics, told=1, of_team=True)
    kept = transitions(90, told=1)
    kept[Row.NEXT_NODE] = torch.from_numpy(np.random.default_rng(1).integers(N, size=90))
    own.keep(kept)
    rows = drawn(own)
    found = own._next_values(rows)
    for k, g in np.ndindex(K, N):
        agent = int(rows[Row.NEXT_NODE][k, g])
        following = _decided(
            own, agent, rows[Row.NEXT_FEATURES][k, g], rows[Row.NEXT_ACTION_MASK][k, g]
        )
        state = rows[Row.NEXT_STATE][k, g]
        moments = own.state_moments
        state = (state - moments.mean[agent]) / (moments.var[agent] + 1e-8).sqrt()
        values = [_valued(critic, agent, state, [following]) for critic in own._target_critics]
        assert found[k, g].item() == pytest.approx(min(values), abs=1e-5)


def test_taught_values_differ_as_critics_say_of_choices_with_their_allocations_now() -> None:
    own = block(critics=2)
    own.keep(transitions(90))
    rows = drawn(own)
    state = own.state_moments.normalise(rows[Row.STATE])
    others = torch.from_numpy(np.random.default_rng(0).integers(A, size=(K, N)))
    errors = own._taught_errors(rows, state, others)
    for k, g in np.ndindex(K, N):
        features, mask = rows[Row.FEATURES][k, g], rows[Row.ACTION_MASK][k, g]
        together = [
            (int(rows[Row.OTHER_ACTIONS][k, g, o]), rows[Row.OTHER_VECTORS][k, g, o])
            if rows[Row.OTHERS_DECIDE][k, g, o] else None
            for o in range(N - 1)
        ]  # fmt: skip
        values, told = _values(own.actor, g, features, mask), []
        both = int(rows[Row.ACTIONS][k, g]), int(others[k, g])
        for choice in both:
            vector = _target_of(own, g).allocations(features[None, None], torch.tensor([[choice]]))
            done = [(choice, vector[0, 0]), *together]
            found = [_parts(critic, g, state[k, g], done) for critic in own._target_critics]
            told.append(min(reward + effect for reward, effect, *_ in found))
        expected = (values[both[0]] - values[both[1]]).item() - (told[0] - told[1])
        assert errors[k, g].item() == pytest.approx(expected, abs=1e-5)


def test_scales_are_root_mean_squares_of_what_a_state_leads_to() -> None:
    torch.manual_seed(0)
    critic = JointCritic(1, CriticSpec(1, 1, 1, 0, 1, (8,), "relu", embedding=1))
    optimiser = torch.optim.Adam(critic.parameters(), lr=0.01)
    state = torch.tensor([0.0, 1.0]).repeat(256)[:, None, None]
    agents = torch.zeros(512, 1, dtype=torch.int64)
    nothing = JointActions(agents[..., None], state.new_zeros(512, 1, 1, 0), agents[..., None] == 0)
    for _ in range(600):
        immediate, later = torch.randn(2, 512, 1) * (0.02 + 20.0 * state[..., 0])
        reward, follows, scale_losses = critic.errors(
            state, agents, nothing, immediate, 3.0 * later
        )
        optimiser.zero_grad()
        (0.5 * (reward.square() + follows.square()) + scale_losses).mean().backward()
        optimiser.step()
    found = critic.scales(state[:2], agents[:2])
    assert found.immediate[:, 0].tolist() == pytest.approx([0.02, 20.02], rel=0.1)
    both = math.sqrt(10.0)
    assert found.later[:, 0].tolist() == pytest.approx([0.02 * both, 20.02 * both], rel=0.1)
    unknown = math.hypot(0.3, 3.0)
    assert found.noise[:, 0].tolist() == pytest.approx([0.02 * unknown, 20.02 * unknown], rel=0.1)


def test_small_differences_are_learned_although_what_follows_varies_much_more() -> None:
    """An action of 0.7 earns most at once; what follows has a thousand times its spread."""
    torch.manual_seed(0)
    critic = JointCritic(1, CriticSpec(1, 1, 1, 1, 1, (32, 32), "relu", embedding=1))
    optimiser = torch.optim.Adam(critic.parameters(), lr=0.003)
    state, agents = torch.ones(256, 1, 1), torch.zeros(256, 1, dtype=torch.int64)
    told = torch.ones(256, 1, 1, dtype=torch.bool)
    for _ in range(1500):
        x = torch.rand(256, 1, 1, 1)
        immediate = -(x[..., 0, 0] - 0.7).square() - 0.1
        errors = critic.errors(
            state, agents, JointActions(agents[..., None], x, told), immediate,
            100.0 * torch.randn(256, 1),
        )  # fmt: skip
        optimiser.zero_grad()
        sum(part.mean() for part in (errors[0].square(), errors[1].square(), errors[2])).backward()
        optimiser.step()
    x = torch.linspace(0.0, 1.0, 256)[:, None, None, None]
    found = critic.effects(state, agents, JointActions(agents[..., None], x, told))
    assert x[found.argmax()].item() == pytest.approx(0.7, abs=0.1)


def test_effects_are_learned_as_fast_as_rewards_where_what_follows_is_certain() -> None:
    """An action of 0.7 is best for what follows, ten times what is earned at once."""
    torch.manual_seed(0)
    critic = JointCritic(1, CriticSpec(1, 1, 1, 1, 1, (32, 32), "relu", embedding=1))
    optimiser = torch.optim.Adam(critic.parameters(), lr=0.003)
    state, agents = torch.ones(256, 1, 1), torch.zeros(256, 1, dtype=torch.int64)
    told = torch.ones(256, 1, 1, dtype=torch.bool)
    for _ in range(1000):
        x = torch.rand(256, 1, 1, 1)
        actions = JointActions(agents[..., None], x, told)
        follows = 10.0 - 20.0 * (x[..., 0, 0] - 0.7).square()
        errors = critic.errors(state, agents, actions, 1.0 - 0.1 * x[..., 0, 0], follows)
        optimiser.zero_grad()
        sum(part.mean() for part in (errors[0].square(), errors[1].square(), errors[2])).backward()
        optimiser.step()
    x = torch.linspace(0.0, 1.0, 256)[:, None, None, None]
    found = critic.effects(state, agents, JointActions(agents[..., None], x, told))
    assert x[found.argmax()].item() == pytest.approx(0.7, abs=0.1)


def _decided(
    own: DecisionBlock, agent: int, features: torch.Tensor, mask: torch.Tensor
) -> tuple[int, torch.Tensor]:
    """Decide for one agent by its target networks."""
    alone = _target_of(own, agent)
    scores = alone(features[None, None], mask[None, None])[0][0, 0]
    choice = int(scores.masked_fill(~mask, -1e9).argmax())
    return choice, alone.allocations(features[None, None], torch.tensor([[choice]]))[0, 0]


def _target_of(own: DecisionBlock, agent: int) -> Actor:
    alone = own._target_actor.single(agent)
    alone.normaliser.mean.copy_(own.actor.normaliser.mean[agent : agent + 1])
    return alone


def _through(network: Any, agent: int, seen: torch.Tensor) -> list[float]:
    """Evaluate the two layers of one agent."""
    first, last = network.layers
    hidden = (first.weight[agent] @ seen + first.bias[agent]).relu()
    found: list[float] = (last.weight[agent] @ hidden + last.bias[agent]).tolist()
    return found


def _parts(
    critic: JointCritic, agent: int, state: torch.Tensor, actions: list[Any]
) -> tuple[float, float, float, list[float]]:
    """Return immediate reward, effect, what follows anyhow and the scales, layer by layer."""
    parts = [state, torch.eye(N)[agent]]
    seen = torch.cat(parts)
    for action in actions:
        if action is None:
            parts.append(torch.zeros(2 + D))
        else:
            choice, vector = action
            parts += [vector, critic.embedding.numbers.weight[agent, :, choice]]
    reward, effect = _through(critic.of_actions, agent, torch.cat(parts))
    (base,) = _through(critic.of_states, agent, seen)
    return reward, effect, base, [*map(math.exp, _through(critic.log_scales, agent, seen))]


def _valued(critic: JointCritic, agent: int, state: torch.Tensor, actions: list[Any]) -> float:
    """Evaluate the critic of one agent."""
    reward, effect, base, (i, later, _) = _parts(critic, agent, state, actions)
    return i * (reward + effect) + later * base


def test_allocators_ascend_their_own_critic_and_nothing_else_moves() -> None:
    own = block()
    own.keep(transitions(90))
    before = {name: weights.clone() for name, weights in own.weights.items()}
    rows = drawn(own)
    state = own.state_moments.normalise(rows[Row.STATE])
    present = torch.tensor([True, False, True])
    losses = [own._policy_step(rows, state, present, lesson_of(own), None) for _ in range(20)]
    assert losses[-1] < losses[0]
    for name, weights in own.weights.items():
        moved = (weights != before[name]).any(1)
        assert moved.tolist() == ([True, False, True] if name == ALLOCATOR else [False] * N)


def test_where_values_are_taught_allocations_learn_for_what_was_not_chosen() -> None:
    own = block()
    own.keep(transitions(90) | {Row.ACTIONS: torch.zeros(90, dtype=torch.int64)})
    before = own.actor.allocator.embedding.numbers.weight.detach().clone()
    own.learn(None, lesson_of(own))
    moved = (own.actor.allocator.embedding.numbers.weight != before).any(1)
    assert moved.tolist() == [[True, False, False]] * N
    own.learn(None, lesson_of(own, taught=True, n_updates=3))
    moved = (own.actor.allocator.embedding.numbers.weight != before).any(1)
    assert moved.all()


def test_target_networks_follow_by_tau_and_actors_wait_for_their_turn() -> None:
    own = block(critics=2)
    own.keep(transitions(90))
    targets = {name: weights.clone() for name, weights in own._targets.items()}
    own.learn(None, lesson_of(own, policy_delay=2))
    for name, weights in own._targets.items():
        if name == CHOICE:  # values have no actor to wait for
            expected = targets[name].lerp(own.weights[name], 0.1)
            torch.testing.assert_close(weights, expected)
        else:
            assert torch.equal(weights, targets[name])
    own.learn(None, lesson_of(own, policy_delay=2))
    for name, weights in own._targets.items():
        if name != CHOICE:
            torch.testing.assert_close(weights, targets[name].lerp(own.weights[name], 0.1))


def test_who_has_too_few_transitions_does_not_learn() -> None:
    own = block()
    kept = transitions(90)
    few = {name: column[kept[Row.NODE] != 1] for name, column in kept.items()}
    own.keep(few)
    before = {name: weights.clone() for name, weights in own.weights.items()}
    assert len(own.learn(None, lesson_of(own, n_updates=3))) == 3
    for name, weights in own.weights.items():
        assert (weights != before[name]).any(1).tolist() == [True, False, True]


def test_agents_that_share_parameters_learn_from_the_transitions_of_all() -> None:
    own = block(groups=(0, 0, 1))
    own.keep(transitions(90))
    assert own.replay.sizes == [60, 30]
    rows = drawn(own)
    assert set(rows[Row.NODE][:, 0].tolist()) == {0, 1}
    own.learn(None, lesson_of(own, n_updates=2))
    seen = AgentRows(rows[Row.FEATURES], rows[Row.ACTION_MASK], rows[Row.NODE])
    together = own.actor.of_sets(seen)
    for k in range(K):
        agent = int(rows[Row.NODE][k, 0])
        alone = _values(own.actor, agent, rows[Row.FEATURES][k, 0], rows[Row.ACTION_MASK][k, 0])
        torch.testing.assert_close(together[k, 0], alone, rtol=1e-4, atol=1e-5)


def test_a_block_goes_on_to_the_bit_from_its_state() -> None:
    one, other = block(critics=2), block(critics=2)
    for own in (one, other):
        own.keep(transitions(90))
    one.learn(None, lesson_of(one, n_updates=3))
    for name, weights in other.weights.items():
        weights.copy_(one.weights[name])
    other.set_state(one.get_state())
    for own in (one, other):
        own.learn(None, lesson_of(own, n_updates=3))
    for name, weights in one.weights.items():
        assert torch.equal(weights, other.weights[name])


@pytest.mark.parametrize("column", [Row.REWARDS, Row.FEATURES, Row.STATE])
def test_what_is_not_finite_is_refused_before_it_is_kept(column: str) -> None:
    own, wrong = block(), transitions(30)
    wrong[column][3] = float("nan")
    with pytest.raises(DivergenceError, match=f"{column} are not finite"):
        own.keep(wrong)
    assert own.replay.sizes == [0, 0, 0]
