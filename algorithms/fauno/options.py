"""Declare the options of FAuNO."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from edge_marl.algorithms.core.options import Coefficient, LearningRate, Mark
from edge_marl.algorithms.federation.options import ClientOptions
from edge_marl.algorithms.mappo.options import MAPPOOptions
from edge_marl.algorithms.networks.config import NetworkConfig
from edge_marl.limits import LARGEST
from edge_marl.options import Count, NotNegative, Positive, Share

_PER_EPISODE, _EPISODES = 150, 8
_SIMULATED = ("synchronous", "drop_rate", "late_ticks", "shares_links", "attackers")
"""Options of what happens in simulated time alone."""


class FAuNOOptions(ClientOptions, MAPPOOptions):
    """Declare the options of FAuNO; defaults are those of Table 26, or of section 4 of the paper.

    Eight episodes are played at once instead of one, with as many steps of each.
    """

    critic: Annotated[Literal["local"], Mark.FIXED, Mark.MODULE] = "local"
    parameter_sharing: Annotated[Literal["independent"], Mark.FIXED, Mark.MODULE] = "independent"
    team_reward: Annotated[Literal["own"], Mark.MODULE] = "own"
    decisions_only: Literal[True] = True
    independent_learners: Annotated[Literal[True], Mark.FIXED, Mark.MODULE] = True
    federated: Annotated[Literal["critic", "actor", "both"], Mark.FIXED] = Field(
        "critic", description="networks that the clients share; the others stay local"
    )
    clock: Annotated[Literal["simulated", "wall"], Mark.FIXED] = Field(
        "simulated",
        description='"simulated": updates take their ticks on the environment\'s network, and the '
        'same training has the same outcome; "wall": clients in Ray actors train at their own '
        "pace, and a manager takes updates as they come",
    )
    clients_per_actor: Annotated[Count | None, Mark.FIXED] = Field(
        None,
        description="clients that a Ray actor trains; None: the learner trains all. It changes "
        "no result",
    )
    critic_lr: LearningRate = Field(3e-4, description="learning rate of the critic")
    lr: LearningRate = 1e-3
    gamma: Share = 0.9
    clip_param: Positive = 0.5
    vf_clip_param: Positive = LARGEST  # values are not clipped
    vf_loss_coeff: NotNegative = 0.5
    entropy_coeff: Coefficient = 0.5
    grad_clip: Positive | None = 0.5  # not given in the paper
    num_epochs: Count = 10  # not given in the paper
    num_envs_per_env_runner: Count = _EPISODES
    train_batch_size_per_learner: Count = _EPISODES * _PER_EPISODE
    minibatch_size: Count | None = _EPISODES * 30
    network: Annotated[NetworkConfig, Mark.FIXED, Mark.MODULE] = NetworkConfig(
        hidden_sizes=[64, 64], activation="tanh"
    )

    @model_validator(mode="after")
    def _fits_the_clock(self) -> Self:
        if self.clock == "wall":
            own = type(self).defaults()
            self.check(
                ("clients_per_actor", self.clients_per_actor is not None,
                 'a number with clock "wall"'),
                # Others would learn from steps that an earlier version has played.
                ("federated", self.federated == "critic", '"critic" with clock "wall"'),
                *((name, getattr(self, name) == own[name], f'{own[name]} with clock "wall"')
                  for name in _SIMULATED),
            )  # fmt: skip
        return self
