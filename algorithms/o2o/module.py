"""The RLModule of O2O-DRL: that of independent PPO, and twin Q networks to learn offline."""

from __future__ import annotations

import torch
from torch import Tensor

from edge_marl.algorithms.core.twins import TWINS, TwinCritics
from edge_marl.algorithms.mappo.critics import LocalCritic
from edge_marl.algorithms.mappo.module import MAPPOModule
from edge_marl.algorithms.networks.agents import AgentRows
from edge_marl.algorithms.offline.dataset import Drawn


def both_ends(batch: dict[str, Tensor]) -> AgentRows:
    """``[2 K]`` rows: the observations of the transitions, then those that followed.

    Where nothing followed, the first again: whatever it is worth, nobody bootstraps from it.
    """
    over = batch[Drawn.TERMINATED][:, None]
    features, mask = batch[Drawn.FEATURES], batch[Drawn.ACTION_MASK]
    following = torch.where(over, features, batch[Drawn.NEXT_FEATURES])
    following_mask = torch.where(over, mask, batch[Drawn.NEXT_ACTION_MASK])
    nodes = batch[Drawn.NODE]
    return AgentRows(
        torch.cat([features, following]),
        torch.cat([mask, following_mask]),
        torch.cat([nodes, nodes]),
    )


class O2OModule(TwinCritics, MAPPOModule):
    """Actor and critic learn in both phases, the twins in the first only."""

    critic: LocalCritic

    def setup(self) -> None:
        """Build actor, critic, twins and their targets."""
        super().setup()
        self.make_twins()

    def get_non_inference_attributes(self) -> list[str]:
        """Parts that only learners have."""
        return [*super().get_non_inference_attributes(), *TWINS]

    def values(self, seen: AgentRows) -> Tensor:
        """``[K]`` of the critic that PPO goes on with."""
        return self.critic.values.of_rows(seen)[..., -1]
