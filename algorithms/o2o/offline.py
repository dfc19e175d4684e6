"""The offline methods: what one gradient step on logged transitions minimises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from edge_marl.algorithms.core.twins import TwinCritics
from edge_marl.algorithms.networks.agents import AgentRows
from edge_marl.algorithms.o2o.losses import (
    Policy,
    chosen,
    cloning_loss,
    critic_loss,
    entropies,
    expectile_loss,
    masked_policy,
    q_loss,
    soft_values,
    td_targets,
    weighted_cloning_loss,
)
from edge_marl.algorithms.o2o.module import O2OModule, both_ends
from edge_marl.algorithms.offline.dataset import Drawn

Method = Callable[[O2OModule, dict[str, Tensor], Any], tuple[Tensor, dict[str, Tensor]]]
"""Module, columns of :class:`Drawn`, configuration -> the loss, and terms to report."""


class SoftActorCritic(NamedTuple):
    """What one step of discrete soft actor-critic minimises, and what it found on the way."""

    loss: Tensor
    terms: dict[str, Tensor]
    """To report."""
    targets: Tensor
    """``[K]`` of the twins."""
    policy: Policy
    """At both ends of the transitions, ``[2 K, A]``."""


def soft_actor_critic(
    module: TwinCritics,
    batch: dict[str, Tensor],
    *,
    alpha: float | Tensor,
    gamma: float | Tensor,
    lambda_c: float = 0.0,
) -> SoftActorCritic:
    """Equations 10 and 11 for the columns of :class:`Drawn`."""
    seen, here, K = both_ends(batch), _here(batch), len(batch[Drawn.ACTIONS])
    policy = masked_policy(module.logits(seen), seen.action_mask)
    with torch.no_grad():
        target_values = module.q_values(seen, target=True)
    values = soft_values(policy, target_values, alpha)
    targets = _targets(batch, values[K:], gamma)
    of_twins, terms = q_loss(
        module.q_values(here), here.action_mask, batch[Drawn.ACTIONS], targets, lambda_c
    )
    of_actor = -values.mean()
    terms |= {"actor_loss": of_actor, "entropy": entropies(policy)[:K]}
    return SoftActorCritic(of_twins + of_actor, terms, targets, policy)


def conservative_soft_actor_critic(
    module: O2OModule, batch: dict[str, Tensor], config: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """Discrete soft actor-critic with CQL's regulariser (equations 10 to 12)."""
    found = soft_actor_critic(
        module, batch, alpha=config.alpha, gamma=config.gamma, lambda_c=config.lambda_c
    )
    of_critic = critic_loss(module.values(_here(batch)), found.targets)
    return found.loss + of_critic, {**found.terms, "critic_loss": of_critic}


def behaviour_cloning(
    module: O2OModule, batch: dict[str, Tensor], config: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy to the log's actions; the critic learns the value of the log's policy."""
    here, K = _here(batch), len(batch[Drawn.ACTIONS])
    policy = masked_policy(module.logits(here), here.action_mask)
    of_actor = cloning_loss(policy, batch[Drawn.ACTIONS])
    values = module.values(both_ends(batch))
    of_critic = critic_loss(values[:K], _targets(batch, values[K:], config.gamma))
    terms = {"actor_loss": of_actor, "critic_loss": of_critic, "entropy": entropies(policy)}
    return of_actor + of_critic, terms


def implicit_q_learning(
    module: O2OModule, batch: dict[str, Tensor], config: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """Implicit Q-learning (Kostrikov et al. 2022, equations 5 to 7)."""
    here, actions = _here(batch), batch[Drawn.ACTIONS]
    K = len(actions)
    policy = masked_policy(module.logits(here), here.action_mask)
    with torch.no_grad():
        taken = chosen(module.q_values(here, target=True), actions).amin(-1)
    values = module.values(both_ends(batch))
    advantages = taken - values[:K]
    of_critic = expectile_loss(advantages, config.iql_expectile)
    of_twins, terms = q_loss(
        module.q_values(here),
        here.action_mask,
        actions,
        _targets(batch, values[K:], config.gamma),
        lambda_c=0.0,
    )
    of_actor = weighted_cloning_loss(policy, actions, advantages.detach(), config.iql_beta)
    terms |= {"actor_loss": of_actor, "critic_loss": of_critic, "entropy": entropies(policy)}
    return of_twins + of_actor + of_critic, terms


METHODS: Mapping[str, Method] = {
    "cql": conservative_soft_actor_critic,
    "bc": behaviour_cloning,
    "iql": implicit_q_learning,
}


def _here(batch: dict[str, Tensor]) -> AgentRows:
    columns = (Drawn.FEATURES, Drawn.ACTION_MASK, Drawn.NODE)
    return AgentRows(*(batch[name] for name in columns))


def _targets(batch: dict[str, Tensor], following: Tensor, gamma: float | Tensor) -> Tensor:
    rewards, terminated = batch[Drawn.REWARDS], batch[Drawn.TERMINATED]
    return td_targets(rewards, terminated, following.detach(), gamma)
