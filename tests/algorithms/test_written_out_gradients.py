"""What has its backward pass written out has the gradients of autograd."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor
from torch.distributions import Beta, Categorical
from torch.nn import functional as F

from edge_marl.algorithms.mappo.losses import Coefficients, ppo_loss
from edge_marl.algorithms.mappo.rows import PENALTIES, VALUE_WEIGHTS, penalties
from edge_marl.algorithms.networks.grouped import ACTIVATIONS, GroupedMLP, by_group
from edge_marl.algorithms.networks.pointer import _Attention, _attention
from edge_marl.algorithms.sampling.columns import Fragment

PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu, "tanh": torch.tanh, "gelu": F.gelu, "silu": F.silu,
}  # fmt: skip


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("activate_last", [False, True])
@pytest.mark.parametrize("n_groups", [1, 3])
def test_layers(n_groups: int, activate_last: bool, activation: str) -> None:
    torch.manual_seed(0)
    network = GroupedMLP(n_groups, (5, 7, 6), activation, activate_last=activate_last).double()
    x = torch.randn(4, n_groups, 2, 5, dtype=torch.double)
    directions = torch.randn(4, n_groups, 2, 6, dtype=torch.double)

    def plain(x: Tensor) -> Tensor:
        for i, layer in enumerate(network.layers):
            x = torch.einsum("rg...i,goi->rg...o", x, layer.weight) + layer.bias[:, None]
            if i == 0 or activate_last:
                x = PLAIN[activation](x)
        return x

    found = []
    for forward in (plain, lambda x: network(x, None)):
        network.zero_grad()
        seen = x.clone().requires_grad_()
        outputs = forward(seen)
        (outputs * directions).sum().backward()
        (forward(seen) * directions).sum().backward()  # gradients add up
        found.append([outputs, seen.grad, *(p.grad for p in network.parameters())])
    for expected, same in zip(*found, strict=True):
        torch.testing.assert_close(same, expected)
    with torch.no_grad():
        torch.testing.assert_close(network(x, None), found[0][0])


def test_rows_in_any_order_are_evaluated_by_the_network_of_their_group() -> None:
    torch.manual_seed(0)
    network = GroupedMLP(3, (5, 7, 2))
    groups, x = torch.tensor([2, 0, 2, 2, 0]), torch.randn(5, 5)
    (found,) = by_group(lambda x: (network(x, None),), groups, 3, x)
    every = network(x[:, None].expand(5, 3, 5), None)
    torch.testing.assert_close(found, every[torch.arange(5), groups])
    (nothing,) = by_group(lambda x: (network(x, None),), groups[:0], 3, x[:0])
    assert nothing.shape == (0, 2)


def test_attention() -> None:
    torch.manual_seed(0)
    queries, seen = torch.randn(3, 4, 8).double(), torch.randn(3, 5, 8).double()
    bias = torch.where(torch.rand(3, 1, 5) < 0.7, 0.0, -1e9).double()
    inputs = queries.requires_grad_(), seen.requires_grad_()
    expected = F.scaled_dot_product_attention(*inputs, seen, attn_mask=bias, scale=0.5)
    torch.testing.assert_close(_attention(*inputs, bias, 0.5), expected)
    assert torch.autograd.gradcheck(lambda q, s: _Attention.apply(q, s, bias, 0.5), inputs)


@pytest.mark.parametrize("vf_clip_param", [0.5, 1e9])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("d", [0, 2])
def test_the_loss_of_ppo(d: int, weighted: bool, vf_clip_param: float) -> None:
    torch.manual_seed(0)
    K, A = 9, 5
    mask = torch.rand(K, A) < 0.6
    mask[:, :2] = True
    batch = {
        PENALTIES: penalties(mask).double(),
        Columns.ACTIONS: torch.arange(K) % 2,
        Columns.ACTION_LOGP: -2 * torch.rand(K).double(),
        Postprocessing.ADVANTAGES: torch.randn(K).double(),
        Postprocessing.VALUE_TARGETS: torch.randn(6, 2).double(),
    }
    if weighted:
        batch[VALUE_WEIGHTS] = torch.arange(12).view(6, 2).double()
    coefficients = Coefficients(0.2, vf_clip_param, 0.7, 0.05)
    if d:
        batch[Fragment.VECTORS] = torch.rand(K, d).double()
    outputs, values = torch.randn(K, A + 2 * d).double(), torch.randn(6, 2).double()
    inputs = outputs.requires_grad_(), values.requires_grad_()

    def ours(outputs: Tensor, values: Tensor) -> Tensor:
        return ppo_loss(outputs, values, batch, coefficients, n_choices=K, n_values=12)[0]

    policy = Categorical(logits=outputs[:, :A].masked_fill(~mask, -1e9))
    logarithms, entropies = policy.log_prob(batch[Columns.ACTIONS]), policy.entropy()
    if d:
        numbers = Beta(*(1.0 + F.softplus(outputs[:, A:])).chunk(2, dim=-1))
        logarithms = logarithms + numbers.log_prob(batch[Fragment.VECTORS]).sum(-1)
        entropies = entropies + numbers.entropy().sum(-1)
    ratios = (logarithms - batch[Columns.ACTION_LOGP]).exp()
    advantages = batch[Postprocessing.ADVANTAGES]
    surrogate = torch.min(ratios * advantages, ratios.clamp(0.8, 1.2) * advantages).mean()
    squared = (values - batch[Postprocessing.VALUE_TARGETS]).square().clamp(max=vf_clip_param)
    of_values = (squared * batch.get(VALUE_WEIGHTS, 1.0)).mean()
    expected = -surrogate + 0.7 * of_values - 0.05 * entropies.mean()
    torch.testing.assert_close(ours(*inputs), expected)
    gradients = (torch.autograd.grad(loss, inputs) for loss in (ours(*inputs), expected))
    for found, same in zip(*gradients, strict=True):
        torch.testing.assert_close(found, same)
    assert torch.autograd.gradcheck(ours, inputs)
