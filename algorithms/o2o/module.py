"""Define the RLModule of O2O-DRL: that of independent PPO, plus twin Q networks for offline use."""

from __future__ import annotations

from torch import Tensor

from edge_marl.algorithms.mappo.critics import LocalCritic
from edge_marl.algorithms.mappo.module import MAPPOModule
from edge_marl.algorithms.networks.agents import AgentRows
from edge_marl.algorithms.sac.twins import TWINS, TwinCritics


class O2OModule(TwinCritics, MAPPOModule):
    """Hold actor and critic, which learn in both phases, and twins, which learn offline only."""

    critic: LocalCritic

    def setup(self) -> None:
        """Build actor, critic, twins and their targets."""
        super().setup()
        self.make_twins()

    def get_non_inference_attributes(self) -> list[str]:
        """Name the parts that only learners have."""
        return [*super().get_non_inference_attributes(), *TWINS]

    def values(self, seen: AgentRows) -> Tensor:
        """Return the values ``[K]`` of the critic that PPO goes on with."""
        return self.critic.values.of_rows(seen)[..., -1]
