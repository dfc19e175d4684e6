"""Define what one gradient step of discrete soft actor-critic minimises on agents' transitions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from edge_marl.algorithms.networks.agents import AgentRows
from edge_marl.algorithms.replay.columns import AgentTransition
from edge_marl.algorithms.sac.losses import (
    Policy,
    entropies,
    masked_policy,
    q_loss,
    soft_values,
    td_targets,
)
from edge_marl.algorithms.sac.twins import TwinCritics


class SoftActorCritic(NamedTuple):
    """Hold what one step of discrete soft actor-critic minimises, and what it found on the way."""

    loss: Tensor
    terms: dict[str, Tensor]
    """They are reported."""
    targets: Tensor
    """``[K]`` of the twins."""
    policy: Policy
    """It holds both ends of the transitions, ``[2 K, A]``."""


def soft_actor_critic(
    module: TwinCritics,
    batch: dict[str, Tensor],
    *,
    alpha: float | Tensor,
    gamma: float | Tensor,
    lambda_c: float = 0.0,
) -> SoftActorCritic:
    """Compute the loss of one step (equations 10 and 11 of the O2O-DRL paper).

    Args:
        module: actor, twin critics and their targets.
        batch: the columns of :class:`AgentTransition`, K rows.
        alpha: temperature.
        gamma: discount, one for all or ``[K]``.
        lambda_c: weight of CQL's regulariser.
    """
    seen, here, K = both_ends(batch), observed(batch), len(batch[AgentTransition.ACTIONS])
    policy = masked_policy(module.logits(seen), seen.action_mask)
    with torch.no_grad():
        target_values = module.q_values(seen, target=True)
    values = soft_values(policy, target_values, alpha)
    targets = bootstrapped_targets(batch, values[K:], gamma)
    of_twins, terms = q_loss(
        module.q_values(here), here.action_mask, batch[AgentTransition.ACTIONS], targets, lambda_c
    )
    of_actor = -values.mean()
    terms |= {"actor_loss": of_actor, "entropy": entropies(policy)[:K]}
    return SoftActorCritic(of_twins + of_actor, terms, targets, policy)


def observed(batch: dict[str, Tensor]) -> AgentRows:
    """Return ``[K]`` rows, the observations that the transitions begin with."""
    columns = (AgentTransition.FEATURES, AgentTransition.ACTION_MASK, AgentTransition.NODE)
    return AgentRows(*(batch[name] for name in columns))


def both_ends(batch: dict[str, Tensor]) -> AgentRows:
    """Return ``[2 K]`` rows: the first observations of the transitions, then the following ones.

    Where nothing followed, the first observation is repeated; its value is not bootstrapped from.
    """
    over = batch[AgentTransition.TERMINATED][:, None]
    features, mask = batch[AgentTransition.FEATURES], batch[AgentTransition.ACTION_MASK]
    following = torch.where(over, features, batch[AgentTransition.NEXT_FEATURES])
    following_mask = torch.where(over, mask, batch[AgentTransition.NEXT_ACTION_MASK])
    nodes = batch[AgentTransition.NODE]
    return AgentRows(
        torch.cat([features, following]),
        torch.cat([mask, following_mask]),
        torch.cat([nodes, nodes]),
    )


def bootstrapped_targets(
    batch: dict[str, Tensor], following: Tensor, gamma: float | Tensor
) -> Tensor:
    """Return the value targets ``[K]``, given the values ``[K]`` of the following observations."""
    rewards, terminated = batch[AgentTransition.REWARDS], batch[AgentTransition.TERMINATED]
    return td_targets(rewards, terminated, following.detach(), gamma)
