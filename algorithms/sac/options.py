"""Declare the options of discrete soft actor-critic."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from edge_marl.algorithms.core.options import LearningRate, Mark
from edge_marl.algorithms.replay.options import OffPolicyOptions
from edge_marl.options import Count, Positive, PositiveShare


class DiscreteSACOptions(OffPolicyOptions):
    """Declare the options of discrete soft actor-critic.

    All agents share one network, which has no memory and no normaliser.
    """

    parameter_sharing: Literal["shared"] = "shared"
    observation_normalisation: Literal[False] = False
    alpha: Annotated[Positive, Mark.MODULE] = Field(
        0.05, description="temperature, or where it begins"
    )
    target_entropy: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="of the policy, as a share of the largest there is, that of legal actions "
        "drawn alike; None: the temperature stays as it is",
    )
    tau: PositiveShare = 0.005
    lr: LearningRate = 5e-4
    grad_clip: Positive | None = 10.0
    train_batch_size_per_learner: Count = 256

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.check(("network", self.network.gru == 0, "gru=0"))
        return self
