"""Decide on vectors, given the choices that they go with: the actors of MADDPG."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from edge_marl.algorithms.networks.grouped import GroupedLinear, GroupedMLP


class AllocatorSpec(BaseModel):
    """Describe everything needed to build an :class:`Allocator`, beside what its actor sees."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden_sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    activation: str
    embedding: int = Field(ge=1)
    """Numbers that stand for a choice."""


class ChoiceEmbedding(nn.Module):
    """Let numbers stand for choices.

    Args:
        n_groups: parameter sets.
        n_choices: A.
        size: E.
    """

    def __init__(self, n_groups: int, n_choices: int, size: int) -> None:
        super().__init__()
        self.n_choices = n_choices
        self.numbers = GroupedLinear(n_groups, n_choices, size, bias=False)

    def forward(self, choices: Tensor, groups: Tensor | None) -> Tensor:
        """Return ``[R, N, ..., E]``.

        Args:
            choices: ``[R, N, ...]`` integers, or probabilities ``[R, N, ..., A]`` to weigh by.
            groups: ``[N]`` the parameter set of each agent; None: one of each.
        """
        if not choices.is_floating_point():
            choices = F.one_hot(choices, self.n_choices).to(self.numbers.weight.dtype)
        found: Tensor = self.numbers(choices, groups)
        return found


class _Bounded(torch.autograd.Function):
    """Keep numbers in [0, 1] by inverting gradients (Hausknecht and Stone, 2016, section 5).

    What would raise a number is multiplied by its distance from 1, what would lower it by that from
    0, so that numbers stop at the bounds, and come back from beyond. A sigmoid in their place has
    next to no gradient near the bounds, and what a critic says that has not learned much yet leaves
    numbers there for good.
    """

    @staticmethod
    def forward(ctx: Any, numbers: Tensor) -> Tensor:
        """Clip numbers."""
        ctx.save_for_backward(numbers)
        return numbers.clamp(0.0, 1.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Return the gradient of what is minimised, inverted."""
        (numbers,), (gradient,) = ctx.saved_tensors, gradients
        return gradient * torch.where(gradient < 0, 1.0 - numbers, numbers)


class Allocator(nn.Module):
    """Map what an agent sees, and its choice, to a vector in [0, 1].

    Args:
        n_groups: parameter sets.
        n_seen: numbers that an agent sees, identity included.
        n_choices: A.
        vector_size: d.
        spec: of the network.
    """

    def __init__(
        self, n_groups: int, n_seen: int, n_choices: int, vector_size: int, spec: AllocatorSpec
    ) -> None:
        super().__init__()
        size = spec.embedding if n_choices > 1 else 0
        self.embedding = ChoiceEmbedding(n_groups, n_choices, size) if size else None
        sizes = (n_seen + size, *spec.hidden_sizes, vector_size)
        self.layers = GroupedMLP(n_groups, sizes, spec.activation)

    def forward(self, seen: Tensor, choices: Tensor, groups: Tensor | None) -> Tensor:
        """Return vectors ``[R, N, d]``.

        Args:
            seen: ``[R, N, F]``.
            choices: ``[R, N]``, or probabilities ``[R, N, A]``.
            groups: ``[N]`` the parameter set of each agent; None: one of each.
        """
        if self.embedding is not None:
            seen = torch.cat([seen, self.embedding(choices, groups)], dim=-1)
        outputs: Tensor = _Bounded.apply(0.5 + self.layers(seen, groups))
        return outputs
