"""The temporal-difference loss of value decomposition, as pure functions of tensors.

Shapes: M rows of L steps with L + 1 observations, N agents, A actions, see
:class:`edge_marl.algorithms.value_decomposition.replay.Drawn`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from edge_marl.algorithms.networks import MASKED


class TDLoss(NamedTuple):
    """What :func:`td_loss` returns."""

    loss: Tensor  # []
    errors: Tensor  # [M] mean absolute error of each row, the priority of a replay


def chosen_values(values: Tensor, actions: Tensor) -> Tensor:
    """The value of each agent's action: ``values [..., A]``, ``actions [...]`` -> ``[...]``."""
    return values.gather(-1, actions.unsqueeze(-1)).squeeze(-1)


def greedy_actions(values: Tensor, action_mask: Tensor) -> Tensor:
    """The best legal action: ``values [..., A]``, ``action_mask [..., A]`` -> ``[...]``."""
    return values.masked_fill(~action_mask, MASKED).argmax(-1)


def td_targets(returns: Tensor, discounts: Tensor, bootstrap: Tensor, mixed: Tensor) -> Tensor:
    """``y_t = sum_k gamma^k r_{t+k} + gamma^n Q_tot(s_{t+n}, greedy actions)``.

    Args:
        returns: ``[M, L]`` the sum.
        discounts: ``[M, L]`` gamma^n, 0 where the episode terminated.
        bootstrap: ``[M, L]`` index of the value to bootstrap from.
        mixed: ``[M, L]`` the target network's value of observations 1 to L.
    """
    return returns + discounts * mixed.gather(1, bootstrap)


def td_loss(predicted: Tensor, targets: Tensor, weights: Tensor, *, huber: bool) -> TDLoss:
    """Weighted mean over the steps played of the squared error, halved, or of Huber's loss.

    Args:
        predicted: ``[M, L]`` joint values of the actions played.
        targets: ``[M, L]``.
        weights: ``[M, L]``, 0 for steps that were not played.
        huber: linear beyond an error of 1 instead of quadratic everywhere.
    """
    errors = predicted - targets
    each = F.huber_loss(predicted, targets, reduction="none") if huber else 0.5 * errors.square()
    played = weights > 0
    loss = (weights * each).sum() / played.sum().clamp(min=1)
    with torch.no_grad():
        absolute = (errors.abs() * played).sum(1) / played.sum(1).clamp(min=1)
    return TDLoss(loss, absolute)
