"""Define the losses of discrete soft actor-critic, as pure functions of tensors.

Shapes: K rows, each the observation of one agent, its action and what followed; A actions.
Forbidden actions have probability exactly 0 and add exactly 0 to every expectation, whatever the
networks say of them. Equation numbers are those of the O2O-DRL paper, section IV-C.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from edge_marl.algorithms.networks import MASKED


class Policy(NamedTuple):
    """Hold a distribution over the legal actions."""

    probabilities: Tensor
    """``[K, A]``, exactly 0 where forbidden."""
    logarithms: Tensor
    """``[K, A]`` of them, finite everywhere, so that 0 times a logarithm is 0."""


def masked_policy(logits: Tensor, action_mask: Tensor) -> Policy:
    """Map ``logits [K, A]`` and bool ``action_mask [K, A]`` to the softmax over legal actions."""
    legal = torch.where(action_mask, logits, MASKED)
    return Policy(torch.softmax(legal, dim=-1), torch.log_softmax(legal, dim=-1))


def chosen(values: Tensor, actions: Tensor) -> Tensor:
    """Pick the value of each row's action.

    This maps ``values [K, ..., A]`` and ``actions [K]`` to ``[K, ...]``.
    """
    index = actions.view(-1, *[1] * (values.dim() - 1)).expand(*values.shape[:-1], 1)
    return values.gather(-1, index).squeeze(-1)


def entropies(policy: Policy) -> Tensor:
    """Return the entropies ``[K]`` of the policy."""
    return -(policy.probabilities * policy.logarithms).sum(-1)


def soft_values(policy: Policy, q_values: Tensor, alpha: float | Tensor) -> Tensor:
    """Return ``V(o) = pi(o)^T (min_i Q_i(o) - alpha log pi(o))``.

    Args:
        policy: at the observations.
        q_values: ``[K, 2, A]`` of the twin target networks there.
        alpha: temperature.

    Returns:
        ``[K]``.
    """
    smaller = torch.minimum(q_values[:, 0], q_values[:, 1])
    return (policy.probabilities * (smaller - alpha * policy.logarithms)).sum(-1)


def td_targets(
    rewards: Tensor, terminated: Tensor, following: Tensor, gamma: float | Tensor
) -> Tensor:
    """Return ``y = r + gamma V(o')``, or ``y = r`` where the agent's part ended; all ``[K]``."""
    return rewards + gamma * ~terminated * following


def cql_gaps(q_values: Tensor, action_mask: Tensor, actions: Tensor) -> Tensor:
    """Return CQL's regulariser, ``log sum_a exp Q_i(o, a) - Q_i(o, a_t)`` over legal actions a.

    Args:
        q_values: ``[K, 2, A]`` of the twin networks.
        action_mask: ``[K, A]`` bool.
        actions: ``[K]``.

    Returns:
        ``[K, 2]``, at least 0; exactly 0 with a single legal action.
    """
    legal = torch.where(action_mask[:, None], q_values, MASKED)
    return -chosen(torch.log_softmax(legal, dim=-1), actions)


def q_loss(
    q_values: Tensor, action_mask: Tensor, actions: Tensor, targets: Tensor, lambda_c: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return equation 10: squared error and regulariser, averaged over rows, summed over twins.

    Args:
        q_values: ``[K, 2, A]`` of the twin networks.
        action_mask: ``[K, A]`` bool.
        actions: ``[K]``.
        targets: ``[K]``, see :func:`td_targets`.
        lambda_c: weight of the regulariser.

    Returns:
        The loss, and terms to report.
    """
    taken = chosen(q_values, actions)
    error = (taken - targets[:, None]).square().mean(0).sum()
    terms = {"q_loss": error, "q_mean": taken}
    if lambda_c == 0.0:
        return error, terms
    gaps = cql_gaps(q_values, action_mask, actions)
    return error + lambda_c * gaps.mean(0).sum(), {**terms, "cql_gap": gaps}


def temperature_loss(
    log_alpha: Tensor, entropy: Tensor, action_mask: Tensor, target: float
) -> Tensor:
    """Return the mean of ``log alpha (H - target log n)`` over rows with n > 1 legal actions.

    Minimising it lowers the temperature where the policy is more random than it should be.

    Args:
        log_alpha: a number.
        entropy: H ``[K]``.
        action_mask: ``[K, A]`` bool.
        target: share of the largest entropy there is.
    """
    n_legal = action_mask.sum(-1)
    decides = n_legal > 1
    surplus = (entropy - target * n_legal.to(entropy.dtype).log()) * decides
    return log_alpha * surplus.sum() / decides.sum().clamp(min=1)
