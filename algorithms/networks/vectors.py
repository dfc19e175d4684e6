"""Turn the outputs of actors into vectors whose numbers lie in [0, 1], by Beta distributions.

A Beta distribution keeps to the bounds (Chou et al., 2017, "Improving stochastic policy gradients
in continuous control with deep reinforcement learning using the Beta distribution"). Both of its
parameters are at least 1, so that it has one mode and next to nothing at the bounds.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

ABSENT = -1.0
"""What is recorded of a number that an agent's vector does not have."""

_EDGE = 1e-6
"""How close to its bounds a number is drawn, because log-probabilities there may be infinite."""


class BetaVectors(NamedTuple):
    """Hold the parameters of independent Beta distributions, ``[..., d]`` each."""

    alpha: Tensor
    beta: Tensor

    @classmethod
    def of_outputs(cls, outputs: Tensor) -> BetaVectors:
        """Return the distributions for ``outputs [..., 2d]`` of an actor."""
        return cls(*(1.0 + F.softplus(outputs)).chunk(2, dim=-1))

    @property
    def mean(self) -> Tensor:
        """Return the means ``[..., d]``, what is done where nothing is drawn."""
        return self.alpha / (self.alpha + self.beta)

    def sample(self) -> Tensor:
        """Draw vectors ``[..., d]``."""
        drawn = torch.distributions.Beta(self.alpha, self.beta, validate_args=False).sample()
        return drawn.clamp(_EDGE, 1.0 - _EDGE)

    def log_probabilities(self, vectors: Tensor) -> Tensor:
        """Return the logarithms ``[...]`` of the densities at ``vectors [..., d]``."""
        there = vectors != ABSENT
        inside = torch.where(there, vectors, 0.5)
        each = (
            (self.alpha - 1.0) * inside.log()
            + (self.beta - 1.0) * (1.0 - inside).log()
            - self._log_normaliser
        )
        return torch.where(there, each, 0.0).sum(-1)

    def entropies(self, vectors: Tensor) -> Tensor:
        """Return the entropies ``[...]`` of the numbers that are there in ``vectors [..., d]``."""
        both = self.alpha + self.beta
        each = (
            self._log_normaliser
            - (self.alpha - 1.0) * torch.digamma(self.alpha)
            - (self.beta - 1.0) * torch.digamma(self.beta)
            + (both - 2.0) * torch.digamma(both)
        )
        return torch.where(vectors != ABSENT, each, 0.0).sum(-1)

    def divergences(self, other: BetaVectors, vectors: Tensor) -> Tensor:
        """Return the Kullback-Leibler divergences ``[...]`` of ``other`` from these."""
        both = self.alpha + self.beta
        each = (
            other._log_normaliser
            - self._log_normaliser
            + (self.alpha - other.alpha) * torch.digamma(self.alpha)
            + (self.beta - other.beta) * torch.digamma(self.beta)
            + (other.alpha + other.beta - both) * torch.digamma(both)
        )
        return torch.where(vectors != ABSENT, each, 0.0).sum(-1)

    @property
    def _log_normaliser(self) -> Tensor:
        """Return ``log B(alpha, beta)``."""
        return (
            torch.lgamma(self.alpha)
            + torch.lgamma(self.beta)
            - torch.lgamma(self.alpha + self.beta)
        )
