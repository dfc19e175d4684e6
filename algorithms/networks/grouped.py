"""Define layers with one set of parameters per group of agents, evaluated together.

Inputs are ``[R, N, ..., features]``: R rows, N agents. ``groups [N]`` names the parameter set of
each agent; None stands for one set per agent, in order. One set for all is a plain matrix product,
several are one batched product over the agents: nothing loops over agents.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _Activation(NamedTuple):
    apply: Callable[[Tensor], Tensor]
    """Changes a tensor that nobody else needs."""
    backward: Callable[[Tensor, Tensor, Tensor], Tensor]
    """Takes the gradient of the output, the input (if it is kept) and the output."""


ACTIVATIONS: Mapping[str, _Activation] = {
    "relu": _Activation(torch.relu_, lambda g, x, y: torch.ops.aten.threshold_backward(g, y, 0)),
    "tanh": _Activation(torch.tanh_, lambda g, x, y: torch.ops.aten.tanh_backward(g, y)),
    "gelu": _Activation(F.gelu, lambda g, x, y: torch.ops.aten.gelu_backward(g, x)),
    "silu": _Activation(F.silu, lambda g, x, y: torch.ops.aten.silu_backward(g, x)),
}


_LINE = 16  # floats of a cache line


def aligned(n: int) -> int:
    """Return the next number of floats that fills cache lines."""
    return -(-n // _LINE) * _LINE


def grouped_product(
    x: Tensor, weight: Tensor, bias: Tensor | None, groups: Tensor | None
) -> Tensor:
    """Return ``y = W_g x + b_g`` for an agent of group g.

    Args:
        x: ``[R, N, ..., n_in]``.
        weight: ``[G, n_out, n_in]``.
        bias: ``[G, n_out]`` or None.
        groups: ``[N]`` or None.

    Returns:
        ``[R, N, ..., n_out]``.
    """
    if _is_shared(weight, groups):
        return F.linear(x, weight.flatten(0, 1), None if bias is None else bias.flatten())
    weight, bias = _of(groups, weight), _of(groups, bias)
    by_agent = x.transpose(0, 1)  # [N, R, ..., n_in]
    y = _batched(by_agent.reshape(len(weight), -1, x.shape[-1]), weight, bias)
    return y.view(*by_agent.shape[:-1], y.shape[-1]).transpose(0, 1)


def by_group(
    evaluate: Callable[..., tuple[Tensor, ...]],
    groups: Tensor | None,
    n_groups: int,
    *columns: Tensor,
) -> tuple[Tensor, ...]:
    """Evaluate rows of single agents, in any order, with all groups at once.

    Args:
        evaluate: from columns ``[P, G, ...]``, one agent of each group, to such columns.
        groups: ``[K]`` of each row; None if there is one only.
        n_groups: G.
        columns: ``[K, n]``.

    Returns:
        Columns ``[K, ...]``.
    """
    if groups is None:
        return tuple(y.squeeze(1) for y in evaluate(*(column[:, None] for column in columns)))
    counts = torch.bincount(groups, minlength=n_groups)
    first = (counts.cumsum(0) - counts).repeat_interleave(counts)
    rank = torch.empty_like(groups)
    rank[groups.argsort(stable=True)] = torch.arange(len(groups), device=groups.device) - first
    place, P = rank * n_groups + groups, int(counts.max())

    def arranged(column: Tensor) -> Tensor:
        # Rows that are nobody's have every action: some networks divide by how many there are.
        filled = column.new_ones(P * n_groups, column.shape[1]).index_copy(0, place, column)
        return filled.view(P, n_groups, column.shape[1])

    return tuple(y.flatten(0, 1)[place] for y in evaluate(*map(arranged, columns)))


class GroupedLinear(nn.Module):
    """Compute ``y = W_g x + b_g`` for an agent of group g; initialised as ``torch.nn.Linear``."""

    def __init__(self, n_groups: int, n_in: int, n_out: int, *, bias: bool = True) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(n_in)
        self.weight = nn.Parameter(torch.empty(n_groups, n_out, n_in).uniform_(-bound, bound))
        self.bias = (
            nn.Parameter(torch.empty(n_groups, n_out).uniform_(-bound, bound)) if bias else None
        )

    def forward(self, x: Tensor, groups: Tensor | None) -> Tensor:
        """Map ``x [R, N, ..., n_in]`` of agents in ``groups [N]`` to ``[R, N, ..., n_out]``."""
        return through_layers(x, [self], groups)


class GroupedLayerNorm(nn.Module):
    """Apply layer normalisation (Ba et al., 2016) with a scale and a shift per group."""

    def __init__(self, n_groups: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_groups, width))
        self.bias = nn.Parameter(torch.zeros(n_groups, width))

    def forward(self, x: Tensor, groups: Tensor | None) -> Tensor:
        """Normalise ``x [R, N, width]`` of agents in ``groups [N]``; the shape stays the same."""
        if len(self.weight) == 1:
            return F.layer_norm(x, x.shape[-1:], self.weight.flatten(), self.bias.flatten())
        weight = self.weight if groups is None else self.weight[groups]
        bias = self.bias if groups is None else self.bias[groups]
        return torch.addcmul(bias, F.layer_norm(x, x.shape[-1:]), weight)


class GroupedMLP(nn.Module):
    """Apply linear layers with an activation between them, and after the last if asked.

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
        self.activation = activation
        self.activate_last = activate_last

    def forward(self, x: Tensor, groups: Tensor | None) -> Tensor:
        """Map ``x [R, N, ..., n_in]`` of agents in ``groups [N]`` to ``[R, N, ..., n_out]``."""
        return through_layers(
            x, [*self.layers], groups, self.activation, activate_last=self.activate_last
        )


def through_layers(
    x: Tensor,
    layers: Sequence[GroupedLinear],
    groups: Tensor | None,
    activation: str = "relu",
    *,
    activate_last: bool = False,
) -> Tensor:
    """Apply linear layers with an activation between them, and after the last if asked.

    Args:
        x: ``[R, N, ..., n_in]``.
        layers: of the same groups.
        groups: ``[N]`` or None.
        activation: by name.
        activate_last: whether the activation follows the last layer too.

    Returns:
        ``[R, N, ..., n_out]``.
    """
    weight, activate = layers[0].weight, ACTIVATIONS[activation]
    if torch.is_grad_enabled() and weight.requires_grad:
        shared = _is_shared(weight, groups)
        # The order of sums would depend on strides, and these on how many groups there are.
        by_agent = x if shared else x.transpose(0, 1).contiguous()
        rows = by_agent.reshape(1 if shared else len(by_agent), -1, x.shape[-1])
        own = None if shared else groups
        y: Tensor = _Layers.apply(rows, weight, layers, activate, activate_last, own)
        y = y.view(*by_agent.shape[:-1], y.shape[-1])
        return y if shared else y.transpose(0, 1)
    for i, layer in enumerate(layers):
        x = grouped_product(x, layer.weight, layer.bias, groups)
        if i < len(layers) - 1 or activate_last:
            x = activate.apply(x)
    return x


class _Layers(torch.autograd.Function):
    """Compute what :func:`through_layers` does, with the backward pass written out.

    Autograd keeps a node for every product, bias, activation and parameter, whose overhead is most
    of the time of a small batch. Here the gradients of parameters are added directly to their
    ``grad``, so that ``Tensor.backward`` fills it while ``torch.autograd.grad`` does not see them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        layers: Sequence[GroupedLinear],
        activation: _Activation,
        activate_last: bool,
        groups: Tensor | None,
    ) -> Tensor:
        """Map ``x [N, K, n_in]`` to ``[N, K, n_out]``; ``weight`` only asks for a backward pass."""
        inputs, sums = [x], []  # of every layer, and what its activation is applied to
        for i, layer in enumerate(layers):
            y = _affine(inputs[-1], layer.weight, layer.bias, groups)
            if i < len(layers) - 1 or activate_last:
                sums.append(y)
                y = activation.apply(y)
            inputs.append(y)
        if sums and activate_last:
            ctx.save_for_backward(inputs[-1])
        ctx.layers, ctx.activation, ctx.groups = layers, activation, groups
        ctx.inputs, ctx.sums = inputs[:-1], sums
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Return the gradient of ``x`` if needed, and add the parameters' to their ``grad``."""
        gradient = gradients[0].contiguous()
        outputs = [*ctx.inputs[1:], *ctx.saved_tensors]
        for i in reversed(range(len(ctx.layers))):
            if i < len(ctx.sums):
                gradient = ctx.activation.backward(gradient, ctx.sums[i], outputs[i])
            weight, bias, groups = ctx.layers[i].weight, ctx.layers[i].bias, ctx.groups
            if bias is not None:
                _add(_gradient_of(bias), groups, gradient.sum(1))
            shared = _is_shared(weight, groups)
            if shared:  # a plain product is faster
                _gradient_of(weight)[0].addmm_(gradient[0].T, ctx.inputs[i][0])
            elif groups is None:
                _gradient_of(weight).baddbmm_(gradient.transpose(1, 2), ctx.inputs[i])
            else:
                n = 2 if len(groups) == weight.shape[1] == 1 else len(groups)  # see _is_vector
                own = _rows_like(weight, n).zero_()
                by_output = gradient.transpose(1, 2)
                own.baddbmm_(by_output.expand(n, -1, -1), ctx.inputs[i].expand(n, -1, -1))
                _add(_gradient_of(weight), groups, own[: len(groups)])
            if i > 0 or ctx.needs_input_grad[0]:
                gradient = (
                    (gradient[0] @ weight[0])[None] if shared else gradient @ _of(groups, weight)
                )
        return gradient if ctx.needs_input_grad[0] else None, None, None, None, None, None


def _is_shared(weight: Tensor, groups: Tensor | None) -> bool:
    """Return whether there is one set for all; that of a single agent is none if it is asked for.

    What an agent learns shall not depend on whether others are there, and products of one matrix
    may round otherwise than those of several.
    """
    return len(weight) == 1 and (groups is None or len(groups) > 1)


def _of(groups: Tensor | None, parameter: Any) -> Any:
    """Return what agents of these groups have of a parameter; None: one of each group."""
    if groups is None or parameter is None:
        return parameter
    return _rows_like(parameter, len(groups)).copy_(parameter[groups])


def _rows_like(parameter: Tensor, n: int) -> Tensor:
    """Return room for what n groups have of a parameter, each from the start of a cache line.

    Products round by where their factors begin.
    """
    size = parameter[0].numel()
    rows = parameter.new_empty(n, aligned(size))[:, :size]
    return rows.unflatten(1, parameter.shape[1:])


def _add(gradient: Tensor, groups: Tensor | None, own: Tensor) -> None:
    """Add the gradients of agents of these groups."""
    if groups is None:
        gradient.add_(own)
    else:
        gradient.index_add_(0, groups, own)


def _gradient_of(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _affine(x: Tensor, weight: Tensor, bias: Tensor | None, groups: Tensor | None) -> Tensor:
    """Map ``x [N, K, n_in]`` of agents in ``groups [N]`` to ``[N, K, n_out]``."""
    if _is_shared(weight, groups):
        return (x[0] @ weight[0].T if bias is None else torch.addmm(bias[0], x[0], weight[0].T))[
            None
        ]
    return _batched(x, _of(groups, weight), _of(groups, bias))


def _batched(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Map ``x [N, K, n_in]`` by ``weight [N, n_out, n_in]`` to ``[N, K, n_out]``."""
    turned = weight.transpose(1, 2)
    if _is_vector(weight):
        y = (x.expand(2, -1, -1) @ turned.expand(2, -1, -1))[:1]
        return y if bias is None else y + bias[:, None]
    return x @ turned if bias is None else torch.baddbmm(bias[:, None], x, turned)


def _is_vector(weight: Tensor) -> bool:
    """Return whether there is one weight with one output.

    A product with a vector rounds otherwise than two of them together.
    """
    return len(weight) == weight.shape[1] == 1


class GroupedGRUCell(nn.Module):
    """Apply a gated recurrent unit (Cho et al., 2014) per group, as ``torch.nn.GRUCell`` does."""

    def __init__(self, n_groups: int, n_in: int, n_hidden: int) -> None:
        super().__init__()
        self.from_input = GroupedLinear(n_groups, n_in, 3 * n_hidden)
        self.from_hidden = GroupedLinear(n_groups, n_hidden, 3 * n_hidden)

    def forward(self, x: Tensor, hidden: Tensor, groups: Tensor | None) -> Tensor:
        """Map ``x [R, N, n_in]`` and ``hidden [R, N, H]`` to the next hidden state."""
        x_reset, x_update, x_new = self.from_input(x, groups).chunk(3, dim=-1)
        h_reset, h_update, h_new = self.from_hidden(hidden, groups).chunk(3, dim=-1)
        reset = torch.sigmoid(x_reset + h_reset)
        update = torch.sigmoid(x_update + h_update)
        new = torch.tanh(x_new + reset * h_new)
        return new + update * (hidden - new)
