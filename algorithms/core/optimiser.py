"""Adam over all parameters in one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def flattened(parameters: Sequence[nn.Parameter]) -> nn.Parameter:
    """One tensor of which all parameters become views, and its gradient of theirs.

    Optimisers, clipping and target networks then run one kernel instead of one per parameter.
    The gradient has to be zeroed in place, never dropped.
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
    """Adam on the :func:`flattened` parameters."""
    return torch.optim.Adam([flattened(parameters)], fused=True)
