"""Mix the action values of agents into the joint action value of their team.

Shapes: ``[..., N]`` for N agents, with any leading dimensions. Agents that have left the episode,
False in ``present [..., N]``, contribute nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

MixerKind = Literal["sum", "qmix"]


class SumMixer(nn.Module):
    """Add up the agents' values, ``Q_tot = sum_i Q_i`` (VDN; Sunehag et al., 2017, equation 3)."""

    def forward(self, values: Tensor, present: Tensor, state: Tensor) -> Tensor:
        """Map ``values [..., N]`` and ``present [..., N]`` to ``[...]``; ``state`` is ignored."""
        return self.mix(values, present, {})

    def weights(self, state: Tensor) -> dict[str, Tensor]:
        """Return no weights: a sum needs none."""
        return {}

    def mix(self, values: Tensor, present: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """Mix as :meth:`forward` does, given what :meth:`weights` returned."""
        return (values * present).sum(-1)


class QMixer(nn.Module):
    """Mix by ``Q_tot = w2(s) . ELU(W1(s) q + b1(s)) + V(s)``, monotonic in every agent's value.

    As in QMIX (Rashid et al., 2018, section 4.1 and figure 2), hypernetworks over the global state
    produce the weights of the mixing network, whose absolute values are taken, so that the
    greedy actions of the agents are the greedy joint action. The weights come from a hidden layer
    of ReLU units, ``b1`` is linear in the state, and V has a hidden layer as wide as the embedding.

    Args:
        n_agents: N.
        state_size: S.
        embedding: E, width of the mixing network.
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
        self.n_agents = n_agents

    def forward(self, values: Tensor, present: Tensor, state: Tensor) -> Tensor:
        """Map ``values [..., N]``, ``present [..., N]`` and ``state [..., S]`` to ``[...]``."""
        return self.mix(values, present, self.weights(state))

    def weights(self, state: Tensor) -> dict[str, Tensor]:
        """Compute the mixing network's weights and biases from ``state [..., S]``."""
        for_1, for_2, for_bias, bias_1 = self.first(state).split(self.sizes, dim=-1)
        return {
            "weight_1": self.weight_1(for_1.relu()).abs().unflatten(-1, (self.n_agents, -1)),
            "bias_1": bias_1,
            "weight_2": self.weight_2(for_2.relu()).abs(),
            "bias_2": self.bias_2(for_bias.relu()).squeeze(-1),
        }

    def mix(self, values: Tensor, present: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """Mix as :meth:`forward` does, given what :meth:`weights` returned."""
        mixed = ((values * present).unsqueeze(-1) * weights["weight_1"]).sum(-2)  # [..., E]
        hidden = F.elu(mixed + weights["bias_1"])
        return (hidden * weights["weight_2"]).sum(-1) + weights["bias_2"]


def make_mixer(
    kind: MixerKind, *, n_agents: int, state_size: int, embedding: int, hypernet: int
) -> SumMixer | QMixer:
    """Build the mixer named ``kind``; the sum needs none of the sizes."""
    return SumMixer() if kind == "sum" else QMixer(n_agents, state_size, embedding, hypernet)
