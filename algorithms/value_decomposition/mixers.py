"""Mixers: the joint action value of a team from the action values of its agents.

Shapes: ``[..., N]`` for N agents, with any leading dimensions. Agents that have left the episode,
False in ``present [..., N]``, contribute nothing.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MixerKind = Literal["sum", "qmix"]


class SumMixer(nn.Module):
    """``Q_tot = sum_i Q_i`` (VDN; Sunehag et al., 2017, equation 3)."""

    def forward(self, values: Tensor, present: Tensor, state: Tensor) -> Tensor:
        """``values [..., N]``, ``present [..., N]`` -> ``[...]``; ``state`` is not looked at."""
        return (values * present).sum(-1)


class QMixer(nn.Module):
    """``Q_tot = w2(s) . ELU(W1(s) q + b1(s)) + V(s)``, monotonic in every agent's value.

    QMIX (Rashid et al., 2018, section 4.1 and figure 2): hypernetworks over the global state
    produce the weights of the mixing network, whose absolute values are taken, so that the
    greedy actions of the agents are the greedy joint action. Weights come from a hidden layer of
    ReLU units, ``b1`` is linear in the state, V has a hidden layer as wide as the embedding.

    Args:
        n_agents: N.
        state_size: S.
        embedding: width of the mixing network.
        hypernet: width of the hidden layer that produces the weights.
    """

    def __init__(self, n_agents: int, state_size: int, embedding: int, hypernet: int) -> None:
        super().__init__()
        # The first layers of all hypernetworks, in one product: those of W1, w2 and V, and b1.
        self.sizes = (hypernet, hypernet, embedding, embedding)
        self.first = nn.Linear(state_size, sum(self.sizes))
        self.weight_1 = nn.Linear(hypernet, n_agents * embedding)
        self.weight_2 = nn.Linear(hypernet, embedding)
        self.bias_2 = nn.Linear(embedding, 1)

    def forward(self, values: Tensor, present: Tensor, state: Tensor) -> Tensor:
        """``values [..., N]``, ``present [..., N]``, ``state [..., S]`` -> ``[...]``."""
        first = self.first(state)
        for_1, for_2, for_bias, bias_1 = first.split(self.sizes, dim=-1)
        weight_1 = self.weight_1(torch.relu(for_1)).abs().unflatten(-1, (values.shape[-1], -1))
        weight_2 = self.weight_2(torch.relu(for_2)).abs()  # [..., E]
        bias_2 = self.bias_2(torch.relu(for_bias)).squeeze(-1)  # V(s)
        mixed = ((values * present).unsqueeze(-1) * weight_1).sum(-2)  # [..., E]
        return (F.elu(mixed + bias_1) * weight_2).sum(-1) + bias_2


def make_mixer(
    kind: MixerKind, *, n_agents: int, state_size: int, embedding: int, hypernet: int
) -> SumMixer | QMixer:
    """The mixer of that name; the sum needs none of the sizes."""
    return SumMixer() if kind == "sum" else QMixer(n_agents, state_size, embedding, hypernet)
