"""Declare the options of MADQN, MADDPG and CTO."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, Strict, model_validator

from edge_marl.algorithms.core.options import JointOptions, LearningRate, Mark, Scheduled
from edge_marl.algorithms.cto.noise import NoiseKind
from edge_marl.algorithms.networks.config import Width
from edge_marl.algorithms.networks.spec import ParameterSharing
from edge_marl.algorithms.replay.options import ValueOptions
from edge_marl.options import Count, CountOrZero, NotNegative, Positive, PositiveShare, Share

_Sizes = Annotated[tuple[Width, ...], Field(min_length=1, max_length=100), Strict(False)]


class DecisionOptions(JointOptions):
    """Declare the options of all that learn from transitions between decisions.

    The paper gives none of their values.
    """

    parameter_sharing: Annotated[ParameterSharing, Mark.FIXED, Mark.MODULE] = "independent"
    n_step: Annotated[int, Field(ge=1, le=1000), Mark.FIXED] = Field(
        4, description="decisions after which values are bootstrapped from"
    )
    replay_capacity: Annotated[Count, Mark.FIXED] = Field(
        50_000, description="decisions that each parameter set keeps to learn from"
    )
    updates_per_batch: Count = Field(32, description="updates after each train batch")
    minibatch_size: Count = Field(1024, description="decisions of a parameter set in one of them")
    num_steps_sampled_before_learning_starts: CountOrZero = Field(
        10_000, description="environment steps, once"
    )
    tau: PositiveShare = Field(
        0.01, description="how far target networks move towards the learning ones at each update"
    )
    loss: Literal["huber", "mse"] = Field(
        "huber", description='of errors of values; "huber" grows linearly beyond 1'
    )
    sync_interval: Count = Field(
        100,
        description="updates after which a parameter set gives what it has kept to a buffer that "
        "all share, and takes as much from there as all have made meanwhile",
    )
    global_share: Annotated[float, Field(ge=0, lt=1), Mark.FIXED] = Field(
        0.0, description="share of a minibatch that comes from there; 0: nothing is shared"
    )
    global_capacity: Annotated[Count, Mark.FIXED] = Field(
        100_000, description="decisions that are shared"
    )
    asynchronous: Annotated[bool, Mark.FIXED] = Field(
        False,
        description="whether each agent's learner is a Ray actor that works at its own pace, with "
        "no result twice; otherwise all learn in turn, in one process",
    )
    barrier: bool = Field(
        False, description="whether learners in Ray actors wait for one another after each batch"
    )
    stragglers: Share = Field(0.0, description="share of these learners that are slow")
    slowness: Count = Field(5, description="how many times as long as it has to one of them works")
    lr: LearningRate = 3e-4
    reward_scaling: bool = True
    observation_normalisation: bool = True
    grad_clip: Positive | None = 10.0
    num_envs_per_env_runner: Count = 64
    train_batch_size_per_learner: Count = 2048
    rollout_fragment_length: Literal["auto"] | Count = "auto"

    @model_validator(mode="after")
    def _has_no_memory(self) -> Self:
        self.check(("network", self.network.gru == 0, "gru: 0"))
        return self

    @model_validator(mode="after")
    def _are_apart(self) -> Self:
        if self.asynchronous:
            self.check(
                ("parameter_sharing", self.parameter_sharing == "independent",
                 '"independent" with asynchronous'),
            )  # fmt: skip
        else:
            self.check(
                ("barrier", not self.barrier, "false without asynchronous"),
                ("stragglers", self.stragglers == 0.0, "0 without asynchronous"),
            )
        return self


class MADQNOptions(DecisionOptions, ValueOptions):
    """Declare the options of MADQN."""

    epsilon: Annotated[Scheduled[Share], Mark.MODULE] = Field([(0, 1.0), (200_000, 0.05)])


class MADDPGOptions(DecisionOptions):
    """Declare the options of MADDPG."""

    critic_lr: LearningRate = Field(1e-3, description="learning rate of the critics")
    allocator_hidden_sizes: Annotated[_Sizes, Mark.FIXED, Mark.MODULE] = Field(
        (64, 64), description="layers of the network that decides on vectors"
    )
    critic_hidden_sizes: Annotated[_Sizes, Mark.FIXED, Mark.MODULE] = Field(
        (128, 128), description="layers of the critics"
    )
    choice_embedding: Annotated[Width, Mark.FIXED, Mark.MODULE] = Field(
        8,
        description="numbers that stand for a choice, where vectors are decided on and in critics",
    )
    twin_critics: Annotated[bool, Mark.FIXED, Mark.MODULE] = Field(
        False, description="two critics, of which the smaller value is bootstrapped from (TD3)"
    )
    policy_delay: Count = Field(
        1, description="updates of the critics for one of what they teach (TD3: 2)"
    )
    noise: Annotated[NoiseKind, Mark.FIXED, Mark.MODULE] = Field(
        "ornstein_uhlenbeck", description="that is added to vectors to explore"
    )
    noise_theta: Annotated[NotNegative, Mark.MODULE] = Field(
        0.15, description="rate at which Ornstein-Uhlenbeck noise returns to 0, per decision"
    )
    noise_scale: Annotated[Scheduled[NotNegative], Mark.MODULE] = Field(
        [(0, 0.3), (500_000, 0.05)],
        description="standard deviation of the noise, of the width of a box: a number, or "
        "[(environment steps, deviation), ...]",
    )


class CTOOptions(MADQNOptions, MADDPGOptions):
    """Declare the options of CTO: choices by MADQN, vectors by MADDPG."""

    choice_targets: Literal["critic", "td"] = Field(
        "critic",
        description="what values of choices learn: what the critic says of a choice with the "
        "vector that goes with it now, or, as MADQN alone, rewards and the values that follow",
    )
