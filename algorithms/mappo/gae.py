"""Estimate generalised advantages over fragments of many agents (Schulman et al. 2016)."""

from __future__ import annotations

import torch
from torch import Tensor

from edge_marl.algorithms.networks.normalisation import Total, unchanged


def generalised_advantages(
    rewards: Tensor,
    values: Tensor,
    terminated: Tensor,
    over: Tensor,
    *,
    gamma: float | Tensor,
    lambda_: float | Tensor,
) -> Tensor:
    """Return the advantages of every step of every agent (equations 11 and 16).

    With ``delta_t = r_t + gamma * (1 - terminated_t) * V_{t+1} - V_t``, they are
    ``A_t = delta_t + gamma * lambda * (1 - over_t) * A_{t+1}``. A termination ends the
    bootstrapping; a truncation or the end of the fragment only ends the sum.

    Args:
        rewards: ``[B, T, N]``.
        values: ``[B, T+1, N]``, in units of the return; ``V_{t+1}`` is the value of the
            observation after step t, also where the episode ended there.
        terminated: bool ``[B, T, N]``.
        over: bool ``[B, T, N]``, true where the agent's episode ends with the step, however.
        gamma: discount, or that of every step, ``[B, T, 1]``.
        lambda_: decay of the sum, or that of every step.

    Returns:
        ``[B, T, N]``; ``values[:, :-1]`` added to it are the lambda returns.
    """
    deltas = rewards + gamma * values[:, 1:] * ~terminated - values[:, :-1]
    decays = gamma * lambda_ * (~over).to(deltas.dtype)
    advantages = torch.empty_like(deltas)
    following = torch.zeros_like(deltas[:, 0])
    for t in reversed(range(deltas.shape[1])):
        following = deltas[:, t] + decays[:, t] * following
        advantages[:, t] = following
    return advantages


def episode_ends(terminated: Tensor, truncated: Tensor, active: Tensor) -> Tensor:
    """Return where an agent's episode ends: by a flag, or by absence from the next observation.

    Args:
        terminated: bool ``[B, T, N]``.
        truncated: bool ``[B, T, N]``.
        active: bool ``[B, T+1, N]``.

    Returns:
        bool ``[B, T, N]``, what :func:`generalised_advantages` calls ``over``.
    """
    return terminated | truncated | ~active[:, 1:]


def team_ends(terminated: Tensor, truncated: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ends of the team's episode, which is over when its last agents leave.

    The episode is truncated if any of these last agents is, and terminated otherwise.

    Args:
        terminated: bool ``[B, T, N]``.
        truncated: bool ``[B, T, N]``.
        active: bool ``[B, T+1, N]``.

    Returns:
        ``terminated`` and ``over`` of :func:`generalised_advantages`, bool ``[B, T, 1]``.
    """
    over = episode_ends(terminated, truncated, active).all(-1, keepdim=True)
    cut = (truncated & ~terminated & active[:, :-1]).any(-1, keepdim=True)
    return over & ~cut, over


def standardised_by_agent(advantages: Tensor, mask: Tensor) -> Tensor:
    """Scale the advantages of each agent to mean 0 and standard deviation 1 over its own.

    Args:
        advantages: ``[B, T, N]``.
        mask: bool, of that shape: those that count.
    """
    # Agents first: the sums of one do not depend on how many others there are.
    counted = advantages.flatten(0, 1).T.double().contiguous()
    which = mask.flatten(0, 1).T.double().contiguous()
    n = which.sum(1, keepdim=True).clamp(min=1)
    counted -= (counted * which).sum(1, keepdim=True) / n
    deviation = ((counted.square() * which).sum(1, keepdim=True) / n).sqrt().clamp(min=1e-6)
    return (counted / deviation).T.to(advantages.dtype).view(advantages.shape)


def standardised(advantages: Tensor, mask: Tensor, total: Total = unchanged) -> Tensor:
    """Scale advantages to mean 0 and standard deviation 1 over the true elements of ``mask``.

    Args:
        advantages: of any shape.
        mask: bool, of that shape.
        total: adds up over the learners, each of which has advantages of its own.
    """
    counted = advantages[mask].double()
    n, first = total(torch.stack([counted.new_tensor(len(counted)), counted.sum()])).clone()
    mean = first / n.clamp(min=1)
    square_sum = total((counted - mean).square().sum())
    deviation = (square_sum / n.clamp(min=1)).sqrt().clamp(min=1e-6)
    return ((advantages - mean) / deviation).to(advantages.dtype)
