"""Declare the options of algorithms that learn from a replay buffer."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from edge_marl.algorithms.core.options import JointOptions, Mark, Scheduled
from edge_marl.algorithms.networks.config import NetworkConfig
from edge_marl.options import Count, CountOrZero, Positive, PositiveShare, Share


class ValueOptions(JointOptions):
    """Declare the options of agents that learn action values from their own decisions."""

    epsilon: Annotated[Scheduled[Share], Mark.MODULE] = Field(
        [(0, 1.0), (50_000, 0.05)],
        description="share of random actions: a number, or [(environment steps, share), ...] with "
        "linear interpolation",
    )
    double_q: bool = Field(
        True, description="choose the actions to bootstrap from by the networks that learn"
    )
    network: Annotated[NetworkConfig, Mark.FIXED, Mark.MODULE] = NetworkConfig(dueling=True)

    @model_validator(mode="after")
    def _learns_values(self) -> Self:
        kind = self.network.network_class
        fits = self.network.gru == 0 and not kind.gives_log_probabilities
        self.check(("network", fits, "a kind whose outputs can be values, without gru"))
        return self


class OffPolicyOptions(JointOptions):
    """Declare the options that all algorithms with a replay buffer have."""

    team_reward: Literal["auto", "sum", "shared"] = "auto"
    rollout_fragment_length: Annotated[Literal["auto"] | Count, Mark.FIXED] = 32  # of what is kept
    train_batch_size_per_learner: Count = Field(
        128,
        description="steps of one update; with a memory, as many fragments as make up so many",
    )
    tau: PositiveShare = Field(
        1.0,
        description="how far target networks move towards the learning ones at an update of them; "
        "1 copies them",
    )
    replay_capacity: Count = Field(100_000, description="environment steps that are kept")
    num_steps_sampled_before_learning_starts: CountOrZero = Field(
        2_000, description="environment steps, once"
    )
    training_intensity: Positive = Field(
        4.0,
        description="steps replayed per environment step sampled; with the train batch size this "
        "gives the number of updates of an iteration",
    )
    store_buffer_in_checkpoints: bool = Field(
        True,
        description="keep the replay buffer in checkpoints; training continues exactly only with "
        "it",
    )
