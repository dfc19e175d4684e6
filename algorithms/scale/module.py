"""Define the RLModule of SCALE: an actor and a critic behind one attention feature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.rllib.core.columns import Columns
from torch import Tensor, nn

from edge_marl.algorithms.mappo.module import OUTPUTS, MAPPOModule
from edge_marl.algorithms.mappo.rows import AGENT
from edge_marl.algorithms.networks.agents import Actor, AgentRows
from edge_marl.algorithms.networks.grouped import GroupedMLP, by_group
from edge_marl.algorithms.networks.normalisation import Total
from edge_marl.algorithms.sampling.columns import Fragment

ATTENTION_FEATURE = "attention_feature"
"""``[C, d]`` what actor and critic decide by, from ``forward_train``."""

_HIDDEN = (64, 64)


class FeatureCritic(nn.Module):
    """Estimate each agent's value from its attention feature alone, for any number of servers.

    Args:
        actor: whose features these are.
    """

    n_values = None

    def __init__(self, actor: Actor) -> None:
        super().__init__()
        self.n_groups = actor.n_groups
        sizes = (actor.representation_size, *_HIDDEN, 1)
        self.layers = GroupedMLP(self.n_groups, sizes, "relu")

    def forward(self, features: Tensor, groups: Tensor | None) -> Tensor:
        """Map ``f [..., N, d]`` to values ``[..., N]``."""
        rows = features.reshape(-1, *features.shape[-2:])
        values: Tensor = self.layers(rows, groups)
        return values.view(features.shape[:-1])

    def of_rows(self, features: Tensor, groups: Tensor) -> Tensor:
        """Map ``f [K, d]`` of single agents of groups ``[K]`` to values ``[K]``."""
        own = None if self.n_groups == 1 else groups
        (values,) = by_group(lambda f: (self.layers(f, None),), own, self.n_groups, features)
        return values.squeeze(-1)

    def observe(self, fragments: Mapping[str, Tensor], total: Total) -> None:
        """Do nothing: there are no moments."""


class SCALEModule(MAPPOModule):
    """Compute policy, value and feature in one pass; their losses all train the same trunk."""

    critic: FeatureCritic

    def make_critic(self) -> nn.Module:
        """Make the critic, a head on the actor's feature."""
        return FeatureCritic(self.actor)

    def attention_features(self, features: Tensor, action_mask: Tensor) -> Tensor:
        """Return the features that decisions are made from (Table 5).

        Args:
            features: ``[..., N, F]``; with a pointer network, of any number of servers.
            action_mask: ``[..., N, A]`` bool.

        Returns:
            ``[..., N, d]``.
        """
        return self.actor.with_representation(features, action_mask)[1]

    def compute_values(self, batch: dict[str, Tensor], embeddings: Tensor | None = None) -> Tensor:
        """Do the same as :meth:`MAPPOModule.compute_values`, from the attention features."""
        if embeddings is not None:
            return embeddings
        seen = self.attention_features(batch[Fragment.FEATURES], batch[Fragment.ACTION_MASK])
        values: Tensor = self.critic(seen, self.actor.parameter_sets)
        return values

    def _forward_train(self, batch: dict[str, Tensor], **kwargs: Any) -> dict[str, Tensor]:
        """Return what :meth:`MAPPOModule._forward_train` does, plus all attention features."""
        agents, n_choices = batch[AGENT], len(batch[Columns.ACTIONS])
        outputs, seen = self.actor.rows_with_representation(
            AgentRows(batch[Fragment.FEATURES], batch[Fragment.ACTION_MASK], agents)
        )
        if n_choices < len(outputs):
            outputs = outputs[:n_choices]
        return {
            OUTPUTS: outputs,
            Columns.EMBEDDINGS: self.critic.of_rows(seen, self.actor.groups[agents]),
            ATTENTION_FEATURE: seen,
        }
