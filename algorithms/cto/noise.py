"""Add noise to vectors, to explore."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

NoiseKind = Literal["ornstein_uhlenbeck", "gaussian"]


def next_noise(noise: Tensor, kind: NoiseKind, theta: float) -> Tensor:
    """Return noise of variance 1 for the next decision, given that of the last one.

    Gaussian noise is independent of what was before. The Ornstein-Uhlenbeck process ``dx = -theta x
    dt + sqrt(2 theta) dW`` (Uhlenbeck and Ornstein, 1930; Lillicrap et al., 2016), sampled exactly
    once in a unit of time, has the correlation ``exp(-theta k)`` between noises k decisions apart.

    Args:
        noise: ``[...]``; the first one is Gaussian.
        kind: of noise.
        theta: rate at which the process returns to 0.
    """
    if kind == "gaussian":
        return torch.randn(noise.shape)
    kept = math.exp(-theta)
    return kept * noise + math.sqrt(1.0 - kept * kept) * torch.randn(noise.shape)
