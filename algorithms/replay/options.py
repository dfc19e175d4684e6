"""Declare the options of algorithms that learn from a replay buffer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edge_marl.algorithms.core.options import JointOptions, Mark
from edge_marl.options import Count, CountOrZero, Positive, PositiveShare


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
