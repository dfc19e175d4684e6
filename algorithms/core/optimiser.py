"""Run Adam on all parameters in one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


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


def flat_adam(parameters: Sequence[nn.Parameter]) -> torch.optim.Adam:
    """Return an Adam optimiser of the :func:`flattened` parameters."""
    return torch.optim.Adam([flattened(parameters)], fused=True)
