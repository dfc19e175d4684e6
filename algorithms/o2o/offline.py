"""Define, for each offline method, what one gradient step on logged transitions minimises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from edge_marl.algorithms.o2o.losses import (
    cloning_loss,
    critic_loss,
    expectile_loss,
    weighted_cloning_loss,
)
from edge_marl.algorithms.o2o.module import O2OModule
from edge_marl.algorithms.replay.columns import AgentTransition
from edge_marl.algorithms.sac.losses import chosen, entropies, masked_policy, q_loss
from edge_marl.algorithms.sac.objective import (
    bootstrapped_targets,
    both_ends,
    observed,
    soft_actor_critic,
)

OfflineLoss = Callable[[O2OModule, dict[str, Tensor], Any], tuple[Tensor, dict[str, Tensor]]]
"""Module, columns of :class:`AgentTransition`, configuration -> the loss, and terms to report."""


def conservative_soft_actor_critic(
    module: O2OModule, batch: dict[str, Tensor], config: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of discrete soft actor-critic with CQL's regulariser (equations 10 to 12)."""
    found = soft_actor_critic(
        module, batch, alpha=config.alpha, gamma=config.gamma, lambda_c=config.lambda_c
    )
    of_critic = critic_loss(module.values(observed(batch)), found.targets)
    return found.loss + of_critic, {**found.terms, "critic_loss": of_critic}


def behaviour_cloning(
    module: O2OModule, batch: dict[str, Tensor], config: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the cross-entropy to the log's actions plus the critic's loss.

    The critic learns the value of the log's policy.
    """
    here, K = observed(batch), len(batch[AgentTransition.ACTIONS])
    policy = masked_policy(module.logits(here), here.action_mask)
    of_actor = cloning_loss(policy, batch[AgentTransition.ACTIONS])
    values = module.values(both_ends(batch))
    of_critic = critic_loss(values[:K], bootstrapped_targets(batch, values[K:], config.gamma))
    terms = {"actor_loss": of_actor, "critic_loss": of_critic, "entropy": entropies(policy)}
    return of_actor + of_critic, terms


def implicit_q_learning(
    module: O2OModule, batch: dict[str, Tensor], config: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of implicit Q-learning (Kostrikov et al. 2022, equations 5 to 7)."""
    here, actions = observed(batch), batch[AgentTransition.ACTIONS]
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
        bootstrapped_targets(batch, values[K:], config.gamma),
        lambda_c=0.0,
    )
    of_actor = weighted_cloning_loss(policy, actions, advantages.detach(), config.iql_beta)
    terms |= {"actor_loss": of_actor, "critic_loss": of_critic, "entropy": entropies(policy)}
    return of_twins + of_actor + of_critic, terms


OFFLINE_LOSSES: Mapping[str, OfflineLoss] = {
    "cql": conservative_soft_actor_critic,
    "bc": behaviour_cloning,
    "iql": implicit_q_learning,
}
