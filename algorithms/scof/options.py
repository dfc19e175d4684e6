"""Declare the options of SCOF."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from edge_marl.algorithms.core.options import JointOptions, Mark, Scheduled
from edge_marl.algorithms.federation.options import ClientOptions
from edge_marl.algorithms.networks.config import NetworkConfig
from edge_marl.options import Count, Positive, PositiveShare, Share

_PER_EPISODE, _EPISODES = 150, 8


class SCOFOptions(ClientOptions, JointOptions):
    """Declare the options of SCOF; no paper gives those of learning.

    A train batch has as many steps as FAuNO's.
    """

    parameter_sharing: Annotated[Literal["independent"], Mark.FIXED, Mark.MODULE] = "independent"
    team_reward: Literal["own"] = "own"
    participants: PositiveShare = 1.0
    synchronous: bool = True
    epsilon: Annotated[Scheduled[Share], Mark.MODULE] = Field(
        [(0, 1.0), (50_000, 0.05)],
        description="share of random actions: a number, or [(environment steps, share), ...] with "
        "linear interpolation",
    )
    double_q: bool = Field(
        True, description="choose the actions to bootstrap from by the networks that learn"
    )
    updates_per_batch: Count = Field(100, description="local updates after each train batch")
    minibatch_size: Count = Field(64, description="decisions of a client in one of them")
    replay_capacity: Annotated[Count, Mark.FIXED] = Field(
        2000, description="decisions of each client that it keeps to learn from"
    )
    tau: PositiveShare = Field(
        0.01, description="how far target networks move towards the learning ones at each update"
    )
    observation_normalisation: bool = True
    grad_clip: Positive | None = 10.0
    num_envs_per_env_runner: Count = _EPISODES
    train_batch_size_per_learner: Count = _EPISODES * _PER_EPISODE
    rollout_fragment_length: Literal["auto"] | Count = "auto"
    network: Annotated[NetworkConfig, Mark.FIXED, Mark.MODULE] = NetworkConfig(dueling=True)

    @model_validator(mode="after")
    def _learns_values(self) -> Self:
        kind = self.network.network_class
        fits = self.network.gru == 0 and not kind.gives_log_probabilities
        self.check(("network", fits, "a kind whose outputs can be values, without gru"))
        return self
