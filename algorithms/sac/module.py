"""Define the RLModule of soft actor-critic: stochastic actors, twin critics, a temperature."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from edge_marl.algorithms.core.module import PolicyModule
from edge_marl.algorithms.sac.twins import TWINS, TwinCritics


class DiscreteSACModule(TwinCritics, PolicyModule):
    """Hold actor, twin critics and temperature; env runners need the actor only."""

    def setup(self) -> None:
        """Build actor, twins, their targets and the temperature."""
        super().setup()
        self.make_twins()
        self.log_alpha = nn.Parameter(torch.tensor(math.log(self.model_config["alpha"])))

    def get_non_inference_attributes(self) -> list[str]:
        """Name the parts that only learners have."""
        return [*TWINS, "log_alpha"]

    def _forward_train(self, batch: dict[str, Any], **_: Any) -> dict[str, Tensor]:
        """Do nothing: the loss evaluates the networks itself."""
        return {}
