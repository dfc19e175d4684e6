"""Layers with one set of parameters per group of agents, evaluated together.

Inputs are ``[R, N, ..., features]``: R rows, N agents. ``groups [N]`` names the parameter set of
each agent; None stands for one set per agent, in order. One set for all is a plain matrix product,
several are one batched product over the agents: nothing loops over agents.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}


def grouped_product(
    x: Tensor, weight: Tensor, bias: Tensor | None, groups: Tensor | None
) -> Tensor:
    """``y = W_g x + b_g`` for an agent of group g.

    Args:
        x: ``[R, N, ..., n_in]``.
        weight: ``[G, n_out, n_in]``.
        bias: ``[G, n_out]`` or None.
        groups: ``[N]`` or None.

    Returns:
        ``[R, N, ..., n_out]``.
    """
    if len(weight) == 1:
        return F.linear(x, weight[0], None if bias is None else bias[0])
    if groups is not None:
        weight, bias = weight[groups], None if bias is None else bias[groups]
    by_agent = x.transpose(0, 1)  # [N, R, ..., n_in]
    rows, turned = by_agent.reshape(len(weight), -1, x.shape[-1]), weight.transpose(1, 2)
    y = rows @ turned if bias is None else torch.baddbmm(bias[:, None], rows, turned)
    return y.view(*by_agent.shape[:-1], -1).transpose(0, 1)


class GroupedLinear(nn.Module):
    """``y = W_g x + b_g`` for an agent of group g; initialised as ``torch.nn.Linear``."""

    def __init__(self, n_groups: int, n_in: int, n_out: int, *, bias: bool = True) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(n_in)
        self.weight = nn.Parameter(torch.empty(n_groups, n_out, n_in).uniform_(-bound, bound))
        self.bias = (
            nn.Parameter(torch.empty(n_groups, n_out).uniform_(-bound, bound)) if bias else None
        )

    def forward(self, x: Tensor, groups: Tensor | None) -> Tensor:
        """``x [R, N, ..., n_in]``, ``groups [N]`` -> ``[R, N, ..., n_out]``."""
        return grouped_product(x, self.weight, self.bias, groups)


class GroupedLayerNorm(nn.Module):
    """Layer normalisation (Ba et al., 2016) with a scale and a shift per group."""

    def __init__(self, n_groups: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_groups, width))
        self.bias = nn.Parameter(torch.zeros(n_groups, width))

    def forward(self, x: Tensor, groups: Tensor | None) -> Tensor:
        """``x [R, N, width]``, ``groups [N]`` -> the same shape."""
        if len(self.weight) == 1:
            return F.layer_norm(x, x.shape[-1:], self.weight[0], self.bias[0])
        weight = self.weight if groups is None else self.weight[groups]
        bias = self.bias if groups is None else self.bias[groups]
        return torch.addcmul(bias, F.layer_norm(x, x.shape[-1:]), weight)


class GroupedMLP(nn.Module):
    """Linear layers with an activation between them, and after the last if asked.

    Args:
        n_groups: parameter sets.
        sizes: of the input and of every layer.
        activation: by name.
        activate_last: whether the activation follows the last layer too.
    """

    def __init__(
        self,
        n_groups: int,
        sizes: Sequence[int],
        activation: str = "relu",
        *,
        activate_last: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            GroupedLinear(n_groups, n_in, n_out) for n_in, n_out in itertools.pairwise(sizes)
        )
        self.activation = ACTIVATIONS[activation]()
        self.activate_last = activate_last

    def forward(self, x: Tensor, groups: Tensor | None) -> Tensor:
        """``x [R, N, ..., n_in]``, ``groups [N]`` -> ``[R, N, ..., n_out]``."""
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            x = layer(x, groups)
            if i < last or self.activate_last:
                x = self.activation(x)
        return x


class GroupedGRUCell(nn.Module):
    """A gated recurrent unit (Cho et al., 2014) per group; equations as ``torch.nn.GRUCell``."""

    def __init__(self, n_groups: int, n_in: int, n_hidden: int) -> None:
        super().__init__()
        self.from_input = GroupedLinear(n_groups, n_in, 3 * n_hidden)
        self.from_hidden = GroupedLinear(n_groups, n_hidden, 3 * n_hidden)

    def forward(self, x: Tensor, hidden: Tensor, groups: Tensor | None) -> Tensor:
        """``x [R, N, n_in]``, ``hidden [R, N, H]`` -> the next hidden state."""
        x_reset, x_update, x_new = self.from_input(x, groups).chunk(3, dim=-1)
        h_reset, h_update, h_new = self.from_hidden(hidden, groups).chunk(3, dim=-1)
        reset = torch.sigmoid(x_reset + h_reset)
        update = torch.sigmoid(x_update + h_update)
        new = torch.tanh(x_new + reset * h_new)
        return new + update * (hidden - new)
