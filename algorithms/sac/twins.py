"""Define twin action-value networks of single nodes, for soft actor-critics."""

from __future__ import annotations

import torch
from ray.rllib.core.learner.utils import make_target_network
from torch import Tensor

from edge_marl.algorithms.core.module import JointModule
from edge_marl.algorithms.networks.agents import Actor, AgentRows
from edge_marl.errors import InputError

TWINS = ("twins", "target_twins")
"""Attributes that only learners need."""


class TwinCritics(JointModule):
    """Add two action-value networks like the actor's, and their targets, to a module.

    This is a mixin for modules whose actors share their parameters.
    """

    target_twins: Actor

    def make_twins(self) -> None:
        """Build the twins and their targets; the actor has to exist already.

        Raises:
            InputError: where identities cannot be part of what the twins see.
        """
        spec = self.actor.spec
        if spec.n_ids and not self.actor.kind.fits_any_observation:
            raise InputError(
                f"network.agent_id: expected False with kind {spec.network.kind} for twin Q "
                "networks of several agents, found True"
            )
        # Identities are those of nodes: for the twins, part of what is observed.
        seen = (spec.n_features + spec.n_ids,) if spec.n_ids else spec.observation_shape
        twins = {"agents": ("first", "second"), "groups": (0, 1), "n_ids": 0, "normalise": False}
        self.twins = Actor(spec.model_copy(update={**twins, "observation_shape": seen}))
        self.target_twins = make_target_network(self.twins)

    def logits(self, seen: AgentRows) -> Tensor:
        """Return the actor's outputs ``[K, A]``, not masked."""
        return self.actor.of_rows(seen)

    def q_values(self, seen: AgentRows, *, target: bool = False) -> Tensor:
        """Return the action values ``[K, 2, A]`` of the twins, or of their targets, not masked."""
        features, mask, agents = seen
        if self.actor.spec.n_ids:
            features = torch.cat([features, self.actor.ids[agents]], dim=-1)
        network: Actor = self.target_twins if target else self.twins
        K = len(features)
        q_values, _ = network(features[:, None].expand(K, 2, -1), mask[:, None].expand(K, 2, -1))
        return q_values
