"""The RLModule of soft actor-critic: stochastic actors, twin action values, a temperature."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from edge_marl.algorithms.core.module import PolicyModule
from edge_marl.algorithms.sac.twins import TWINS, TwinCritics


class DiscreteSACModule(TwinCritics, PolicyModule):
    """Env runners need the actor only."""

    def setup(self) -> None:
        """Build actor, twins, their targets and the temperature."""
        super().setup()
        self.make_twins()
        self.log_alpha = nn.Parameter(torch.tensor(math.log(self.model_config["alpha"])))

    def get_non_inference_attributes(self) -> list[str]:
        """Parts that only learners have."""
        return [*TWINS, "log_alpha"]

    def _forward_train(self, batch: dict[str, Any], **_: Any) -> dict[str, Tensor]:
        """Do nothing: the loss asks for what it needs."""
        return {}
