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


_SCALE_WIDTH = 64
_LARGEST_LOG_SCALE = 10.0


class JointCritic(nn.Module):
    """Map state and joint action to the value of one agent (Lowe et al., 2017, equation 6).

    Values are products of a scale, which depends on the state alone, and a relative value. Where
    some tasks cost a hundred times as much as others, errors of relative values are alike for all,
    while one network for values themselves would be right about the largest alone, or, with a loss
    that grows linearly, about the smallest.

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
        sizes = (spec.state_size + spec.n_agents, _SCALE_WIDTH, 1)
        self.log_scale = GroupedMLP(n_groups, sizes, spec.activation)

    def forward(self, state: Tensor, agents: Tensor, actions: JointActions) -> Tensor:
        """Return values ``[K, G]``, see :meth:`relative`."""
        return self.scale(state, agents).detach() * self.relative(state, agents, actions)

    def scale(self, state: Tensor, agents: Tensor) -> Tensor:
        """Return the scales ``[K, G]`` of values in states."""
        logarithms = self.log_scale(self._told_apart(state, agents), None).squeeze(-1)
        return logarithms.clamp(-_LARGEST_LOG_SCALE, _LARGEST_LOG_SCALE).exp()

    def errors(
        self, state: Tensor, agents: Tensor, actions: JointActions, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the errors ``[K, G]`` of relative values, and the losses ``[K, G]`` of scales.

        A scale learns the root mean square of targets in a state, by the likelihood of a normal
        distribution around 0.
        """
        scale = self.scale(state, agents)
        errors = self.relative(state, agents, actions) - targets / scale.detach()
        return errors, 0.5 * (targets / scale).square() + scale.log()

    def relative(self, state: Tensor, agents: Tensor, actions: JointActions) -> Tensor:
        """Return values over their scales, ``[K, G]``.

        Args:
            state: ``[K, G, S]``.
            agents: ``[K, G]``, whose values.
            actions: of them, and of those who decide in the same step.
        """
        parts = [actions.vectors]
        if self.embedding is not None:
            parts.append(self.embedding(actions.choices, None))
        done = torch.cat(parts, dim=-1) * actions.decide[..., None]
        seen = self._told_apart(state, agents)
        values: Tensor = self.layers(torch.cat([seen, done.flatten(2)], dim=-1), None)
        return values.squeeze(-1)

    def _told_apart(self, state: Tensor, agents: Tensor) -> Tensor:
        """Append to ``state [K, G, S]`` whose values are asked for."""
        return torch.cat([state, nn.functional.one_hot(agents, self.spec.n_agents)], dim=-1)
