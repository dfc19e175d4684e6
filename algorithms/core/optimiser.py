"""Lay parameters out in one tensor, for optimisers that run on all of them at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edge_marl.algorithms.networks.grouped import aligned


def flattened(parameters: Sequence[nn.Parameter]) -> nn.Parameter:
    """Return one tensor that all parameters become views of, as their gradients do of its gradient.

    Optimisers, clipping and target networks then run one kernel instead of one per parameter.
    The gradient has to be zeroed in place, never set to None.
    """
    flat = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in parameters]))
    flat.grad = torch.zeros_like(flat)
    start = 0
    for parameter in parameters:
        end = start + parameter.numel()
        parameter.data = flat.detach()[start:end].view_as(parameter)
        parameter.grad = flat.grad[start:end].view_as(parameter)
        start = end
    return flat


def rows_by_group(parameters: Sequence[nn.Parameter]) -> tuple[Tensor, Tensor]:
    """Return weights and gradients ``[G, P]``, of which all parameters become views.

    A row holds what one group of agents has, so that groups can be clipped, sent and optimised
    apart. The gradients have to be zeroed in place, never set to None.

    Args:
        parameters: ``[G, ...]`` each.
    """
    found = torch.cat([parameter.detach().flatten(1) for parameter in parameters], dim=1)
    n_groups, P = found.shape
    # Sums of a product depend on how its operands lie in memory: all rows begin with a cache line.
    room = found.new_zeros(2, n_groups, aligned(P))
    weights, gradients = room[0, :, :P].copy_(found), room[1, :, :P]
    start = 0
    for parameter in parameters:
        shape = parameter.shape[1:]
        end = start + shape.numel()
        parameter.data = weights[:, start:end].unflatten(1, shape)
        parameter.grad = gradients[:, start:end].unflatten(1, shape)
        start = end
    return weights, gradients


def flat_adam(parameters: Sequence[nn.Parameter]) -> torch.optim.Adam:
    """Return an Adam optimiser of the :func:`flattened` parameters."""
    return torch.optim.Adam([flattened(parameters)], fused=True)
