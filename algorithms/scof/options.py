"""Declare the options of SCOF."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edge_marl.algorithms.core.options import Mark
from edge_marl.algorithms.federation.options import ClientOptions
from edge_marl.algorithms.replay.options import ValueOptions
from edge_marl.options import Count, Positive, PositiveShare

_PER_EPISODE, _EPISODES = 150, 8


class SCOFOptions(ClientOptions, ValueOptions):
    """Declare the options of SCOF; no paper gives those of learning.

    A train batch has as many steps as FAuNO's.
    """

    parameter_sharing: Annotated[Literal["independent"], Mark.FIXED, Mark.MODULE] = "independent"
    team_reward: Literal["own"] = "own"
    participants: PositiveShare = 1.0
    synchronous: bool = True
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
