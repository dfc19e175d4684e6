"""Value what all agents do from the global state: the critics of MADDPG."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from edge_marl.algorithms.networks.allocation import ChoiceEmbedding
from edge_marl.algorithms.networks.grouped import GroupedMLP


class JointActions(NamedTuple):
    """Hold what an agent does and what others do in the same step, the agent's own first.

    J is how many agents are told of.
    """

    choices: Tensor
    """``[K, G, J]``, or probabilities ``[K, G, J, A]``."""
    vectors: Tensor
    """``[K, G, J, d]``"""
    decide: Tensor
    """``[K, G, J]`` bool: whose actions count."""


class CriticSpec(NamedTuple):
    """Say what a critic is built from."""

    state_size: int
    """S"""
    n_agents: int
    """N, whom a parameter set is told apart by."""
    n_choices: int
    """A"""
    vector_size: int
    """d"""
    n_told: int
    """J, agents whose actions are told of."""
    hidden_sizes: tuple[int, ...]
    activation: str
    embedding: int
    """Numbers that stand for a choice."""


class JointCritic(nn.Module):
    """Map state and joint action to the value of one agent (Lowe et al., 2017, equation 6).

    Args:
        n_groups: G, parameter sets.
        spec: of the network.
    """

    def __init__(self, n_groups: int, spec: CriticSpec) -> None:
        super().__init__()
        self.spec = spec
        size = spec.embedding if spec.n_choices > 1 else 0
        self.embedding = ChoiceEmbedding(n_groups, spec.n_choices, size) if size else None
        n_in = spec.state_size + spec.n_agents + spec.n_told * (size + spec.vector_size)
        self.layers = GroupedMLP(n_groups, (n_in, *spec.hidden_sizes, 1), spec.activation)

    def forward(self, state: Tensor, agents: Tensor, actions: JointActions) -> Tensor:
        """Return values ``[K, G]``.

        Args:
            state: ``[K, G, S]``.
            agents: ``[K, G]``, whose values.
            actions: of them, and of those who decide in the same step.
        """
        parts = [actions.vectors]
        if self.embedding is not None:
            parts.append(self.embedding(actions.choices, None))
        done = torch.cat(parts, dim=-1) * actions.decide[..., None]
        who = nn.functional.one_hot(agents, self.spec.n_agents)
        values: Tensor = self.layers(torch.cat([state, who, done.flatten(2)], dim=-1), None)
        return values.squeeze(-1)
