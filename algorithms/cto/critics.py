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


_WIDTH = 64
"""Of the hidden layer for scales."""
_LARGEST_LOG_SCALE = 10.0
_LEAST_NOISE = 0.3
"""Over the scale of immediate rewards: what is known any better is not learned any faster."""


class Scales(NamedTuple):
    """Hold the magnitudes, ``[K, G]`` each, of what states lead to."""

    immediate: Tensor
    """Of the reward of the decision's own step."""
    later: Tensor
    """Of both that and all that follows, which may be nothing."""
    noise: Tensor
    """Of what the critic does not know of all that follows, and of a part of immediate rewards."""


class JointCritic(nn.Module):
    """Map state and joint action to the value of one agent (Lowe et al., 2017, equation 6).

    A value is what the step itself earns, what the action adds to what follows, and what follows
    anyhow: ``V(s, a) = i(s) (r(s, a) + e(s, a)) + l(s) b(s)``, where i and l are scales of
    immediate and of later rewards. What follows depends on all that is still to come, and hardly on
    the action: one network for values would learn small differences between actions from targets
    that vary a hundred times as much. So what is known at once is learned by itself, effects are
    in units of it, and b does not see the action. Scales make errors alike for small and for large
    tasks.

    Args:
        n_groups: G, parameter sets.
        spec: of the network.
    """

    def __init__(self, n_groups: int, spec: CriticSpec) -> None:
        super().__init__()
        self.spec = spec
        size = spec.embedding if spec.n_choices > 1 else 0
        self.embedding = ChoiceEmbedding(n_groups, spec.n_choices, size) if size else None
        n_seen = spec.state_size + spec.n_agents
        n_in = n_seen + spec.n_told * (size + spec.vector_size)

        def layers(n_in: int, hidden_sizes: tuple[int, ...], n_out: int) -> GroupedMLP:
            return GroupedMLP(n_groups, (n_in, *hidden_sizes, n_out), spec.activation)

        self.of_actions = layers(n_in, spec.hidden_sizes, 2)
        self.of_states = layers(n_seen, tuple(max(1, n // 2) for n in spec.hidden_sizes), 1)
        self.log_scales = layers(n_seen, (_WIDTH,), len(Scales._fields))

    def forward(self, state: Tensor, agents: Tensor, actions: JointActions) -> Tensor:
        """Return values ``[K, G]``.

        Args:
            state: ``[K, G, S]``.
            agents: ``[K, G]``, whose values.
            actions: of them, and of those who decide in the same step.
        """
        scales = self.scales(state, agents)
        effects = self.effects(state, agents, actions)
        return scales.immediate * effects + scales.later * self._base(state, agents)

    def scales(self, state: Tensor, agents: Tensor) -> Scales:
        """Return the scales in states, which losses of values do not change."""
        return _scales(self._log_scales(state, agents))

    def effects(self, state: Tensor, agents: Tensor, actions: JointActions) -> Tensor:
        """Return what actions are worth beside one another, r + e, ``[K, G]``."""
        return self._of_actions(state, agents, actions).sum(-1)

    def errors(
        self,
        state: Tensor,
        agents: Tensor,
        actions: JointActions,
        immediate: Tensor,
        later: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return errors of immediate and of later rewards over their scales, and losses of scales.

        A scale learns a root mean square in a state, of rewards or of the error of later ones, by
        the likelihood of a normal distribution around 0.

        Args:
            state: as for :meth:`forward`, as the next two.
            agents: whose values.
            actions: what was done.
            immediate: ``[K, G]``, rewards of the steps.
            later: ``[K, G]``, targets of what follows.

        Returns:
            ``[K, G]`` each.
        """
        logarithms = self._log_scales(state, agents)
        scales = _scales(logarithms)
        reward, effect = self._of_actions(state, agents, actions).unbind(-1)
        base = scales.later * self._base(state, agents)
        error = scales.immediate * effect + base - later
        magnitudes = torch.stack([
            immediate,
            torch.hypot(immediate, later),
            torch.hypot(_LEAST_NOISE * immediate, error.detach()),
        ], dim=-1)  # fmt: skip
        losses = (0.5 * (magnitudes * (-logarithms).exp()).square() + logarithms).sum(-1)
        return reward - immediate / scales.immediate, error / scales.noise, losses

    def _of_actions(self, state: Tensor, agents: Tensor, actions: JointActions) -> Tensor:
        """Return immediate rewards and effects on what follows, ``[K, G, 2]``."""
        parts = [actions.vectors]
        if self.embedding is not None:
            parts.append(self.embedding(actions.choices, None))
        done = torch.cat(parts, dim=-1) * actions.decide[..., None]
        seen = torch.cat([self._told_apart(state, agents), done.flatten(2)], dim=-1)
        found: Tensor = self.of_actions(seen, None)
        return found

    def _base(self, state: Tensor, agents: Tensor) -> Tensor:
        """Return what follows whatever is done, over its scale, ``[K, G]``."""
        found: Tensor = self.of_states(self._told_apart(state, agents), None)
        return found.squeeze(-1)

    def _log_scales(self, state: Tensor, agents: Tensor) -> Tensor:
        found: Tensor = self.log_scales(self._told_apart(state, agents), None)
        return found.clamp(-_LARGEST_LOG_SCALE, _LARGEST_LOG_SCALE)

    def _told_apart(self, state: Tensor, agents: Tensor) -> Tensor:
        """Append to ``state [K, G, S]`` whose values are asked for."""
        return torch.cat([state, nn.functional.one_hot(agents, self.spec.n_agents)], dim=-1)


def _scales(logarithms: Tensor) -> Scales:
    """Return scales from their logarithms ``[K, G, 3]``."""
    return Scales(*logarithms.detach().exp().unbind(-1))
