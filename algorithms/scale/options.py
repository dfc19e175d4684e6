"""Define the options of SCALE."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from edge_marl.algorithms.core.options import LearningRate
from edge_marl.algorithms.mappo.options import MAPPOOptions
from edge_marl.algorithms.networks.config import NetworkConfig
from edge_marl.algorithms.networks.spec import ParameterSharing
from edge_marl.errors import InputError
from edge_marl.limits import LARGEST
from edge_marl.options import Count, CountOrZero, NotNegative, Positive

SEGMENTS = 64
"""Straight pieces of an annealing cosine; they are off by less than 0.0004 of its height."""

_KINDS = ("pointer", "structured_mlp", "mlp")


class SCALEOptions(MAPPOOptions):
    """Declare the options of SCALE; discount, network sizes and weights of SRR are the paper's.

    The paper does not give the defaults from ``lr`` on.
    """

    srr: bool = Field(True, description="regularise the attention feature")
    srr_decorrelation_coeff: NotNegative = Field(0.01, description="lambda_1")
    srr_kl_coeff: NotNegative = Field(0.001, description="lambda_2")
    srr_start_iteration: CountOrZero = Field(10, description="E_s, training iterations without")
    srr_warmup_iterations: Count = Field(
        50, description="E_w, iterations from then on to full weights"
    )
    cosine_steps: CountOrZero = Field(
        0,
        description="environment steps over which the learning rate falls from lr to 0 as half a "
        "cosine; 0: it stays as lr says",
    )
    critic: Literal["local"] = "local"
    independent_learners: Literal[False] = False
    network: NetworkConfig = NetworkConfig(kind="pointer", hidden_sizes=(16, 16))
    # Agents that decide about different things share nothing.
    parameter_sharing: ParameterSharing = "independent"
    lr: LearningRate = 1e-3
    vf_clip_param: Positive = LARGEST  # values are not clipped
    vf_loss_coeff: NotNegative = 0.5
    grad_clip: Positive | None = 0.5
    num_epochs: Count = 4
    minibatch_size: Count | None = 512

    @model_validator(mode="after")
    def _fits(self) -> Self:
        anneals = self.cosine_steps > 0
        self.check(
            ("cosine_steps", not anneals or self.cosine_steps >= SEGMENTS,
             f"0 or at least {SEGMENTS}"),
            ("lr", not anneals or isinstance(self.lr, float | int), "a number with cosine_steps"),
        )  # fmt: skip
        if self.network.kind not in _KINDS or self.network.gru:
            raise InputError(
                f"network.kind: expected {', '.join(_KINDS)}, without a memory, "
                f"found {self.network.kind} with gru {self.network.gru}"
            )
        return self
