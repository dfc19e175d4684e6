"""The loss of PPO (Schulman et al. 2017), as RLlib has it, as a pure function of tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def ppo_loss(
    ratios: Tensor,
    advantages: Tensor,
    entropies: Tensor,
    values: Tensor,
    value_targets: Tensor,
    *,
    clip_param: float,
    vf_clip_param: float,
    vf_loss_coeff: float,
    entropy_coeff: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Clipped surrogate, squared error of the values clipped at ``vf_clip_param``, entropy.

    Args:
        ratios: ``[R]`` probability of each action by the new policy over that by the old one.
        advantages: ``[R]``.
        entropies: ``[R]`` of the new policy.
        values: ``[R]`` of the critic.
        value_targets: ``[R]``.
        clip_param: how far a ratio may move from 1 and still matter.
        vf_clip_param: largest squared error that teaches.
        vf_loss_coeff: weight of the critic's loss.
        entropy_coeff: weight of the entropy.

    Returns:
        The loss, and its terms under RLlib's names.
    """
    clipped = ratios.clamp(1 - clip_param, 1 + clip_param)
    policy_loss = -torch.min(ratios * advantages, clipped * advantages).mean()
    squared = (values - value_targets).square()
    vf_loss = squared.clamp(max=vf_clip_param).mean()
    entropy = entropies.mean()
    loss = policy_loss + vf_loss_coeff * vf_loss - entropy_coeff * entropy
    terms = {
        "policy_loss": policy_loss,
        "vf_loss": vf_loss,
        "vf_loss_unclipped": squared.mean(),
        "vf_explained_var": explained_variance(value_targets, values),
        "entropy": entropy,
    }
    return loss, terms


@torch.no_grad()
def explained_variance(targets: Tensor, values: Tensor) -> Tensor:
    """Share of the variance of ``targets [R]`` that ``values [R]`` explain; at least -1."""
    variance = targets.var(correction=0).clamp(min=1e-12)
    return (1.0 - (targets - values).var(correction=0) / variance).clamp(min=-1.0)
