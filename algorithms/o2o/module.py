"""The RLModule of O2O-DRL: that of independent PPO, and twin Q networks to learn offline."""

from __future__ import annotations

from typing import NamedTuple

import torch
from ray.rllib.core.learner.utils import make_target_network
from torch import Tensor

from edge_marl.algorithms.mappo.critics import LocalCritic
from edge_marl.algorithms.mappo.module import MAPPOModule
from edge_marl.algorithms.networks.agents import Actor
from edge_marl.algorithms.offline.dataset import Drawn


class Seen(NamedTuple):
    """Observations of single nodes, one a row."""

    features: Tensor
    """``[K, F]``"""
    action_mask: Tensor
    """``[K, A]`` bool"""
    nodes: Tensor
    """``[K]``"""


def both_ends(batch: dict[str, Tensor]) -> Seen:
    """``[2 K]`` rows: the observations of the transitions, then those that followed.

    Where nothing followed, the first again: whatever it is worth, nobody bootstraps from it.
    """
    over = batch[Drawn.TERMINATED][:, None]
    features, mask = batch[Drawn.FEATURES], batch[Drawn.ACTION_MASK]
    following = torch.where(over, features, batch[Drawn.NEXT_FEATURES])
    following_mask = torch.where(over, mask, batch[Drawn.NEXT_ACTION_MASK])
    nodes = batch[Drawn.NODE]
    return Seen(
        torch.cat([features, following]),
        torch.cat([mask, following_mask]),
        torch.cat([nodes, nodes]),
    )


class O2OModule(MAPPOModule):
    """Actor and critic learn in both phases, the twins in the first only."""

    critic: LocalCritic
    target_twins: Actor

    def setup(self) -> None:
        """Build actor, critic, twins and their targets."""
        super().setup()
        spec = self.actor.spec
        # Identities are those of nodes: for the twins, part of what is observed.
        seen = (spec.n_features + spec.n_ids,) if spec.n_ids else spec.observation_shape
        twins = {"agents": ("first", "second"), "groups": (0, 1), "n_ids": 0, "normalise": False}
        self.twins = Actor(spec.model_copy(update={**twins, "observation_shape": seen}))
        self.target_twins = make_target_network(self.twins)

    def get_non_inference_attributes(self) -> list[str]:
        """Parts that only learners have."""
        return [*super().get_non_inference_attributes(), "twins", "target_twins"]

    def logits(self, seen: Seen) -> Tensor:
        """``[K, A]``, not masked."""
        return self.actor.of_rows(*seen)

    def values(self, seen: Seen) -> Tensor:
        """``[K]`` of the critic that PPO goes on with."""
        return self.critic.values.of_rows(*seen)[..., -1]

    def q_values(self, seen: Seen, *, target: bool = False) -> Tensor:
        """``[K, 2, A]``, not masked."""
        features, mask, nodes = seen
        if self.actor.spec.n_ids:
            features = torch.cat([features, self.actor.ids[nodes]], dim=-1)
        network: Actor = self.target_twins if target else self.twins
        K = len(features)
        q_values, _ = network(features[:, None].expand(K, 2, -1), mask[:, None].expand(K, 2, -1))
        return q_values
