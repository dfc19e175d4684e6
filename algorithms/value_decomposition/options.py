"""Declare the options of value decomposition."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from ray.rllib.utils.schedules.scheduler import Scheduler

from edge_marl.algorithms.core.options import LearningRate, Mark, Scheduled
from edge_marl.algorithms.networks.config import Width
from edge_marl.algorithms.replay.options import OffPolicyOptions
from edge_marl.algorithms.value_decomposition.mixers import MixerKind
from edge_marl.errors import InputError
from edge_marl.options import Count, NotNegative, Positive, Share

_Steps = Annotated[int, Field(ge=1, le=10_000)]


class QMIXOptions(OffPolicyOptions):
    """Declare the options of QMIX, which those of VDN are based on."""

    mixer: Annotated[MixerKind, Mark.FIXED, Mark.MODULE] = Field(
        "qmix", description='"sum" (VDN) or "qmix"'
    )
    mixer_embedding: Annotated[Width, Mark.FIXED, Mark.MODULE] = Field(
        32, description="width of the mixing network of QMIX"
    )
    mixer_hypernet: Annotated[Width, Mark.FIXED, Mark.MODULE] = Field(
        64, description="width of the hidden layer that produces its weights"
    )
    double_q: Annotated[bool, Mark.MODULE] = Field(
        True, description="choose the actions to bootstrap from by the networks that learn"
    )
    n_step: _Steps = Field(
        1, description="n, the most rewards that are summed before bootstrapping"
    )
    loss: Literal["huber", "mse"] = Field(
        "huber", description='of the error; "huber" grows linearly beyond 1'
    )
    epsilon: Annotated[Scheduled[Share], Mark.MODULE] = Field(
        [(0, 1.0), (50_000, 0.05)],
        description="share of random actions: a number, or [(environment steps, share), ...] with "
        "linear interpolation, as all schedules of RLlib",
    )
    target_update_interval: Count = Field(
        200,
        description="updates between two updates of the target networks. Updates that share "
        "targets are faster, because these are evaluated for all in one pass. With tau 1 they are "
        "hard updates; less with a short interval are soft ones",
    )
    replay_alpha: NotNegative = Field(
        0.0,
        description="0 replays uniformly; above, prioritised by the error to that power",
    )
    replay_beta: Share = Field(
        0.4,
        description="how far prioritised replay is corrected by importance weights, up to 1",
    )
    observation_normalisation: bool = True
    lr: LearningRate = 5e-4
    grad_clip: Positive | None = 10.0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        # Of scores that are log probabilities the greedy action is not the one of largest value.
        valued = not self.network.network_class.gives_log_probabilities
        self.check(("network", valued, "a kind whose outputs can be values"))
        try:
            Scheduler.validate(
                fixed_value_or_schedule=self.epsilon, setting_name="epsilon", description="epsilon"
            )
        except ValueError as error:
            raise InputError(f"epsilon: {error}") from None
        return self


class VDNOptions(QMIXOptions):
    """Declare the options of VDN: those of QMIX, with the sum as the mixer."""

    mixer: MixerKind = "sum"
