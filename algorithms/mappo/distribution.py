"""Define the distribution of masked discrete actions."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from ray.rllib.core.distribution.torch.torch_distribution import TorchCategorical
from torch import Tensor

SMALL = -40.0
"""Logarithm of next to nothing. Of less, exponentials or their products with small gradients have
no more normal floating-point numbers, with which processors compute ten times as long."""


class MaskedCategorical(TorchCategorical):
    """Replace RLlib's categorical distribution; a loss takes a third of the passes over the logits.

    Args:
        logits: ``[..., A]``, finite; those of forbidden actions are so low that nothing is left
            of them in the softmax.
    """

    def __init__(self, logits: Tensor) -> None:
        self.probs, self.logits = None, logits
        self.log_probabilities = torch.log_softmax(logits, dim=-1)

    @cached_property
    def _dist(self) -> Any:
        """Return Torch's distribution, which serves the methods that are not overridden here."""
        return self._get_torch_distribution(logits=self.logits)

    def logp(self, value: Tensor, **_: Any) -> Tensor:
        """Return the log-probabilities ``[...]`` of the actions ``value [...]``."""
        return self.log_probabilities.gather(-1, value.long()[..., None]).squeeze(-1)

    def entropy(self) -> Tensor:
        """Return the entropies ``[...]``."""
        probabilities = self.log_probabilities.clamp(min=SMALL).exp()
        return -(probabilities * self.log_probabilities).sum(-1)
