"""Agents that learn alone, many at once: each learns what it would by itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from ray.rllib.core.columns import Columns
from torch import Tensor, nn

from edge_marl.algorithms.core.learner import DivergenceError
from edge_marl.algorithms.mappo.blocks import ACTOR, CRITIC, AgentBlock, Decisions, Lesson, part_of
from edge_marl.algorithms.mappo.critics import LocalCritic
from edge_marl.algorithms.mappo.losses import Coefficients
from edge_marl.algorithms.mappo.options import MAPPOOptions
from edge_marl.algorithms.networks.agents import Actor
from edge_marl.algorithms.networks.config import NetworkConfig
from edge_marl.algorithms.networks.normalisation import RunningMoments
from edge_marl.algorithms.networks.spec import ActorSpec
from edge_marl.algorithms.o2o.options import O2OOptions
from edge_marl.algorithms.sampling.columns import Fragment
from edge_marl.algorithms.scale.options import SCALEOptions

B, T, N, F, A = 4, 40, 8, 5, 3


def fragments(seed: int = 0) -> dict[str, Tensor]:
    """Fragments in which agent n has a choice in a share (n + 1) / N of the steps."""
    torch.manual_seed(seed)
    mask = torch.rand(B, T + 1, N, A) < 0.7
    mask[..., 0] = True
    mask[..., 1:] &= (torch.rand(B, T + 1, N) < torch.arange(1, N + 1) / N)[..., None]
    actions = (torch.rand(B, T, N, A) * mask[:, :-1]).argmax(-1)
    return {
        Fragment.FEATURES: torch.randn(B, T + 1, N, F),
        Fragment.ACTION_MASK: mask,
        Fragment.ACTIVE: torch.ones(B, T + 1, N, dtype=torch.bool),
        Fragment.ACTIONS: actions,
        Fragment.REWARDS: torch.randn(B, T, N),
        Fragment.TERMINATED: torch.zeros(B, T, N, dtype=torch.bool),
        Fragment.TRUNCATED: torch.zeros(B, T, N, dtype=torch.bool),
        Fragment.VALID: torch.ones(B, T, dtype=torch.bool),
        Fragment.ACTION_LOGP: torch.full((B, T, N), -0.7),
    }


def lesson(columns: dict[str, Tensor], **how: Any) -> Lesson:
    return Lesson(**{
        "coefficients": Coefficients(0.2, 10.0, 0.5, 0.01),
        "lr": {ACTOR: 1e-2, CRITIC: 3e-2},
        "gamma": 0.9, "lambda_": 0.95, "grad_clip": 0.5, "n_epochs": 3, "n_parts": 4,
    } | how)  # fmt: skip


def block(begin: int = 0, end: int = N) -> AgentBlock:
    """A block of some of N agents, with the networks that they have in the block of all."""
    torch.manual_seed(1)
    network = NetworkConfig(hidden_sizes=[16, 8], activation="tanh")

    def actor(agents: int) -> Actor:
        return Actor(ActorSpec(
            agents=tuple(map(str, range(agents))), observation_shape=(F,), n_actions=A,
            groups=tuple(range(agents)), network=network, normalise=True, n_ids=0,
        ))  # fmt: skip

    whole = actor(N)
    whole_critic = LocalCritic(whole)
    some = actor(end - begin)
    critic = LocalCritic(some)
    with torch.no_grad():
        for own, all_ in ((some, whole), (critic, whole_critic)):
            for weights, of_all in zip(own.parameters(), all_.parameters(), strict=True):
                weights.copy_(of_all[begin:end])
    moments = RunningMoments((end - begin, 1))
    return AgentBlock(some, critic, moments, [100 + agent for agent in range(begin, end)])


def learned(own: AgentBlock) -> dict[str, Tensor]:
    """All that an agent has learned, by name, ``[G, ...]``."""
    assert own.actor.normaliser is not None
    assert own.value_moments is not None
    return {
        **own.weights,
        "seen": own.actor.normaliser.mean, "spread": own.actor.normaliser.var,
        "returns": own.value_moments.mean, "their spread": own.value_moments.var,
    }  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_the_size_of_a_block_changes_no_bit(size: int) -> None:
    rounds = [fragments(seed) for seed in range(3)]
    whole = block()
    for columns in rounds:
        whole.learn(part_of(columns, 0, N), lesson(columns))
    for begin in range(0, N, size):
        end = min(begin + size, N)
        some = block(begin, end)
        for columns in rounds:
            some.learn(part_of(columns, begin, end), lesson(columns))
        for name, found in learned(some).items():
            expected = learned(whole)[name][begin:end]
            assert torch.equal(found, expected), f"{name} of agents {begin} to {end - 1}"


def plain(network: Any, agent: int) -> nn.Sequential:
    """The network of one agent in plain layers."""
    linear = []
    for layer in (*network.network.layers, network.head):
        own = nn.Linear(layer.weight.shape[2], layer.weight.shape[1])
        own.weight.data, own.bias.data = (
            layer.weight.data[agent].clone(),
            layer.bias.data[agent].clone(),
        )
        linear.append(own)
    return nn.Sequential(linear[0], nn.Tanh(), linear[1], nn.Tanh(), linear[2])


def test_each_agent_learns_as_by_itself_with_plain_autograd() -> None:
    columns = fragments()
    how = lesson(columns)
    whole, start = block(), block()
    whole.learn(part_of(columns, 0, N), how)
    decisions = Decisions.of(part_of(columns, 0, N), start.actor)
    targets = start._targets(part_of(columns, 0, N), decisions, how)
    for agent in range(N):
        actor, critic = plain(start.actor, agent), plain(start.critic.values, agent)
        optimisers = [
            torch.optim.Adam(network.parameters(), lr=how.lr[name])
            for name, network in ((ACTOR, actor), (CRITIC, critic))
        ]
        generator = torch.Generator().manual_seed(100 + agent)
        b, t = targets[Columns.LOSS_MASK][..., agent].nonzero(as_tuple=True)
        advantages = targets["advantages"][b, t, agent]
        assert advantages.mean().abs() < 1e-5
        assert advantages.std(correction=0) == pytest.approx(1.0, abs=1e-4)
        for _ in range(how.n_epochs):
            for part in torch.randperm(len(b), generator=generator).tensor_split(how.n_parts):
                k, s = b[part], t[part]
                seen, legal = (columns[name][k, s, agent]
                               for name in (Fragment.FEATURES, Fragment.ACTION_MASK))  # fmt: skip
                policy = torch.distributions.Categorical(
                    logits=actor(seen).masked_fill(~legal, -1e9)
                )
                ratio = (policy.log_prob(columns[Fragment.ACTIONS][k, s, agent]) + 0.7).exp()
                worth = advantages[part]
                surrogate = torch.min(ratio * worth, ratio.clamp(0.8, 1.2) * worth)
                errors = critic(seen)[:, 0] - targets["value_targets"][k, s, agent]
                squares = errors.square().clamp(max=10.0)
                loss = (-surrogate - 0.01 * policy.entropy() + 0.5 * squares).mean()
                for optimiser in optimisers:
                    optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_([*actor.parameters(), *critic.parameters()], 0.5)
                for optimiser in optimisers:
                    optimiser.step()
        for name, network in ((ACTOR, actor), (CRITIC, critic)):
            own = torch.cat([p.detach().flatten() for p in network.parameters()])
            torch.testing.assert_close(whole.weights[name][agent], own, rtol=1e-4, atol=1e-5)


def test_an_agent_without_a_choice_stays_as_it_is() -> None:
    columns = fragments()
    columns[Fragment.ACTION_MASK][:, :, 2, 1:] = False
    own = block()
    before = {name: weights.clone() for name, weights in own.weights.items()}
    own.learn(part_of(columns, 0, N), lesson(columns))
    for name, weights in own.weights.items():
        changed = (weights != before[name]).any(1)
        assert changed.tolist() == [agent != 2 for agent in range(N)]


def test_rewards_of_others_do_not_matter() -> None:
    columns, changed = fragments(), fragments()
    changed[Fragment.REWARDS][..., 0] *= 50
    one, other = block(), block()
    one.learn(part_of(columns, 0, N), lesson(columns))
    other.learn(part_of(changed, 0, N), lesson(changed))
    for name in one.weights:
        assert torch.equal(one.weights[name][1:], other.weights[name][1:])
        assert not torch.equal(one.weights[name][0], other.weights[name][0])


def test_a_proximal_term_keeps_the_critic_near_its_anchor() -> None:
    columns = fragments()
    distances = {}
    for proximal in (0.0, 10.0):
        own = block()
        anchor = own.weights[CRITIC].clone()
        own.anchor(CRITIC, anchor)
        own.learn(part_of(columns, 0, N), lesson(columns, proximal=proximal))
        distances[proximal] = (own.weights[CRITIC] - anchor).norm()
    assert distances[10.0] < 0.5 * distances[0.0]


def test_a_saved_block_goes_on_bit_for_bit() -> None:
    first, second = fragments(0), fragments(1)
    whole = block()
    whole.learn(part_of(first, 0, N), lesson(first))
    state, weights = whole.get_state(), {n: w.clone() for n, w in learned(whole).items()}
    other = block()
    for name, values in learned(other).items():
        values.copy_(weights[name])
    assert other.actor.normaliser is not None
    assert other.value_moments is not None
    assert whole.actor.normaliser is not None
    assert whole.value_moments is not None
    other.actor.normaliser.count.copy_(whole.actor.normaliser.count)
    other.value_moments.count.copy_(whole.value_moments.count)
    other.set_state(state)
    for own in (whole, other):
        own.learn(part_of(second, 0, N), lesson(second))
    for name, values in learned(whole).items():
        assert torch.equal(learned(other)[name], values), name


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_rewards_that_are_not_finite_change_no_weight(bad: float) -> None:
    columns = fragments()
    columns[Fragment.REWARDS][0, 0] = bad
    own = block()
    before = {name: weights.clone() for name, weights in own.weights.items()}
    with pytest.raises(DivergenceError, match="value targets"):
        own.learn(part_of(columns, 0, N), lesson(columns))
    assert all(torch.equal(before[name], own.weights[name]) for name in before)


ALONE = {"critic": "local", "parameter_sharing": "independent", "team_reward": "own",
         "decisions_only": True, "independent_learners": True}  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"critic": "central"}, "critic: expected 'local' with independent_learners"),
     ({"team_reward": "sum"}, "team_reward: expected 'own'"),
     ({"parameter_sharing": "shared"}, "parameter_sharing: expected 'independent'"),
     ({"use_kl_loss": True}, "use_kl_loss: expected False")],
)  # fmt: skip
def test_what_agents_that_learn_alone_cannot_share_is_refused(
    wrong: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValidationError, match=named):
        MAPPOOptions(**{**ALONE, **wrong})


@pytest.mark.parametrize("options", [O2OOptions, SCALEOptions])
def test_methods_with_learners_of_their_own_refuse_to_have_them_replaced(
    options: type[MAPPOOptions],
) -> None:
    with pytest.raises(ValidationError, match="independent_learners"):
        options(independent_learners=True)
