"""Declare the options of MAPPO and IPPO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from edge_marl.algorithms.core.options import Coefficient, JointOptions, LearningRate, Mark
from edge_marl.options import Count, CountOrZero, NotNegative, Positive, Share
from edge_marl.validation import shown

_ALONE: Mapping[str, Any] = {
    "critic": "local",
    "parameter_sharing": "independent",
    "team_reward": "own",
    "decisions_only": True,
    "use_kl_loss": False,
    "critic_warmup_steps": 0,
}
"""What goes with agents that learn alone."""
_WHY = " with independent_learners"


class MAPPOOptions(JointOptions):
    """Declare the options of MAPPO and IPPO.

    Where the MAPPO paper differs from RLlib, defaults are those of its sections 5 and A.6.
    """

    critic: Annotated[Literal["central", "local"], Mark.FIXED, Mark.MODULE] = Field(
        "central",
        description='"central": values from the global state (MAPPO); "local": the value of each '
        "agent from its own observation (IPPO)",
    )
    team_reward: Annotated[Literal["auto", "sum", "shared", "own"], Mark.MODULE] = "auto"
    value_normalisation: Annotated[bool, Mark.FIXED, Mark.MODULE] = Field(
        True, description="whether the critic learns standardised returns"
    )
    critic_warmup_steps: CountOrZero = Field(
        0,
        description="environment steps during which only the critic learns, so that actors that "
        "were trained before are not spoilt by the advantages of a random one",
    )
    decisions_only: bool = Field(
        False,
        description="whether all learning is from steps in which an agent has a choice, as where "
        "agents wait most of the time; lambda_ then decays per decision, and observations are "
        "standardised over decisions",
    )
    independent_learners: Annotated[bool, Mark.FIXED, Mark.MODULE] = Field(
        False,
        description="whether every agent learns alone: advantages are standardised, minibatches "
        "drawn and gradients clipped for each, and returns standardised by its own; takes networks "
        "and rewards of their own",
    )
    lr: LearningRate = 5e-4
    grad_clip: Positive | None = 10.0
    rollout_fragment_length: Literal["auto"] | Count = "auto"
    num_epochs: Count = Field(5, description="passes over a train batch")
    minibatch_size: Count | None = Field(
        1024, description="environment steps of a minibatch; None: the whole train batch"
    )
    lambda_: Share = Field(0.95, description="of generalised advantage estimation")
    clip_param: Positive = Field(
        0.2, description="how far the ratio of probabilities is followed from 1"
    )
    entropy_coeff: Coefficient = Field(0.01, description="weight of the policy's entropy")
    vf_loss_coeff: NotNegative = Field(1.0, description="weight of the critic's loss")
    vf_clip_param: Positive = Field(
        10.0,
        description="squared errors of the critic are clipped there; what is further off than that "
        "is not corrected any more, and if values are bootstrapped from it, it can stay so",
    )
    use_kl_loss: bool = Field(False, description="whether a policy is kept near the one before")
    kl_coeff: NotNegative = Field(0.2, description="weight of that penalty, at first")
    kl_target: NotNegative = Field(0.01, description="divergence for which it is adapted")
    use_critic: Literal[True] = Field(True, description="RLlib's; there is always a critic")
    use_gae: Literal[True] = Field(True, description="RLlib's; advantages are always estimated so")

    @model_validator(mode="after")
    def _are_alone(self) -> Self:
        if self.independent_learners:
            self.check(
                *((name, getattr(self, name) == expected, f"{shown(expected)}{_WHY}")
                  for name, expected in _ALONE.items()),
                ("network", self.network.gru == 0, f"gru: 0{_WHY}"),
            )  # fmt: skip
        return self
