"""Define the offline losses besides those of soft actor-critic, as pure functions of tensors.

Shapes: K rows, each the observation of one node, its action and what followed; A actions. Equation
numbers are those of the O2O-DRL paper, section IV-C.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edge_marl.algorithms.sac.losses import Policy, chosen


def critic_loss(values: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error of ``values [K]`` (equation 12)."""
    return (values - targets).square().mean()


def cloning_loss(policy: Policy, actions: Tensor) -> Tensor:
    """Return the mean cross-entropy to the logged actions ``[K]`` (behaviour cloning)."""
    return -chosen(policy.logarithms, actions).mean()


def expectile_loss(differences: Tensor, expectile: float) -> Tensor:
    """Return the mean of ``|expectile - (u < 0)| u^2`` (Kostrikov et al. 2022, equation 5).

    Args:
        differences: u ``[K]``, target minus prediction.
        expectile: above a half, underestimates cost more.
    """
    weights = torch.where(differences < 0, 1.0 - expectile, expectile)
    return (weights * differences.square()).mean()


def weighted_cloning_loss(
    policy: Policy, actions: Tensor, advantages: Tensor, beta: float
) -> Tensor:
    """Return the mean cross-entropy weighted by ``min(exp(beta A), 100)``.

    This is equation 7 of Kostrikov et al. 2022.

    Args:
        policy: at the observations.
        actions: ``[K]`` logged.
        advantages: A ``[K]`` of these.
        beta: inverse temperature.
    """
    weights = (beta * advantages).exp().clamp(max=100.0)
    return -(weights * chosen(policy.logarithms, actions)).mean()
