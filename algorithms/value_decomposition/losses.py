"""Define the temporal-difference loss of value decomposition, as pure functions of tensors.

Shapes: M rows of L steps with L + 1 observations, N agents, A actions, see
:class:`edge_marl.algorithms.replay.columns.JointTransition`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def td_targets(returns: Tensor, discounts: Tensor, bootstrap: Tensor, mixed: Tensor) -> Tensor:
    """Return ``y_t = sum_k gamma^k r_{t+k} + gamma^n Q_tot(s_{t+n}, greedy actions)``.

    Args:
        returns: ``[M, L]`` the sum.
        discounts: ``[M, L]`` gamma^n, or of the time passed; 0 where the episode terminated.
        bootstrap: ``[M, L]`` index of the value to bootstrap from.
        mixed: ``[M, L]`` the target network's value of observations 1 to L.
    """
    return returns + discounts * mixed.gather(1, bootstrap)


def td_loss(errors: Tensor, weights: Tensor, n_played: float, *, huber: bool) -> Tensor:
    """Return the weighted mean of half the squared error, or of Huber's loss, over steps played.

    Args:
        errors: ``[M, L]`` of the joint values of the actions played.
        weights: ``[M, L]``, 0 for steps that were not played.
        n_played: what the sum is divided by; with one learner, the number of steps played.
        huber: linear beyond an error of 1 instead of quadratic everywhere.
    """
    each = (
        F.huber_loss(errors, torch.zeros_like(errors), reduction="none")
        if huber
        else (0.5 * errors.square())
    )
    return (weights * each).sum() / n_played


def mean_errors(errors: Tensor, weights: Tensor) -> Tensor:
    """Return each row's mean absolute error ``[M]`` over steps played; shapes are as above."""
    played = weights > 0
    return (errors.abs() * played).sum(1) / played.sum(1).clamp(min=1)
