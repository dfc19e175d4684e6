"""Declare the options of O2O-DRL."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from edge_marl.algorithms.core.options import Coefficient, LearningRate
from edge_marl.algorithms.mappo.options import MAPPOOptions
from edge_marl.algorithms.networks.config import NetworkConfig
from edge_marl.errors import InputError
from edge_marl.limits import LARGEST
from edge_marl.options import Count, CountOrZero, NotNegative, Positive, PositiveShare, Several

OfflineMethod = Literal["cql", "bc", "iql"]
RewardNormalisation = Literal["standardise", "scale", "none"]


@runtime_checkable
class Transitions(Protocol):
    """Describe a log as offline learning reads it."""

    def draw(self, n_rows: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """Draw random rows of :class:`edge_marl.algorithms.replay.columns.AgentTransition`."""
        ...


class O2OOptions(MAPPOOptions):
    """Declare the options of O2O-DRL; defaults are those of section V-A where it gives one."""

    log: str | Transitions | None = Field(
        None,
        description="path or database URL of a task log, or an object with draw of Transitions, "
        "which is then part of every checkpoint",
    )
    offline_method: OfflineMethod = Field(
        "cql",
        description='"cql": discrete SAC with CQL\'s regulariser, without it if lambda_c is 0; '
        '"bc": the actor imitates the log, the critic learns the value of its policy; "iql": '
        "implicit Q-learning (Kostrikov et al. 2022), whose critic is its expectile V",
    )
    offline_updates: CountOrZero = Field(20_000, description="gradient steps of the offline phase")
    offline_updates_per_iteration: Count = Field(500, description="of them per training iteration")
    offline_batch_size: Count = Field(
        128, description="rows of each and of every learner, steps of single nodes"
    )
    alpha: NotNegative = Field(0.05, description="temperature")
    lambda_c: NotNegative = Field(0.1, description="weight of CQL's regulariser")
    tau: PositiveShare = Field(
        0.0005,
        description="how far target networks move towards the learning ones after each step",
    )
    iql_expectile: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.7, description='of the values that "iql" learns; 0.5: those of the log\'s policy'
    )
    iql_beta: NotNegative = Field(3.0, description='how much more "iql" imitates better actions')
    reward_normalisation: RewardNormalisation = Field(
        "standardise",
        description='"standardise" by mean and standard deviation of the log, "scale" by the '
        'latter only, or "none". They stay as they are online, so that the critic stays valid; '
        "without an offline phase they are those of what was sampled so far. Subtracting a mean "
        'changes what is best where episodes terminate: there, "scale"',
    )
    guard_interval: CountOrZero = Field(
        0,
        description="online iterations between two checks of what has been learnt against the "
        "policy deployed last; 0: none. What is significantly worse (paired t-test, one-sided, "
        "5%) is given up, and learning goes on from what is deployed",
    )
    guard_episodes: Several = Field(
        20, description="played with each of the two for a check, the same ones"
    )
    critic: Literal["local"] = "local"
    team_reward: Literal["own"] = "own"
    independent_learners: Literal[False] = False
    reward_scaling: Literal[False] = Field(False, description="never, see reward_normalisation")
    value_normalisation: bool = False
    # Observations of peer_offloading hold the node's one-hot index already (section IV-C2).
    network: NetworkConfig = NetworkConfig(agent_id=False)
    lr: LearningRate = 3e-4
    num_epochs: Count = 4
    entropy_coeff: Coefficient = 0.0
    vf_clip_param: Positive = LARGEST  # values are not clipped
    train_batch_size_per_learner: Count = 6400
    minibatch_size: Count | None = 1600

    @model_validator(mode="after")
    def _offline_phase_fits(self) -> Self:
        """Refuse options that an offline phase cannot learn with.

        The rows of a log tell neither what came before them nor the moments of observations.
        """
        if not has_offline_phase(self):
            return self
        for name, found, expected in (
            ("parameter_sharing", self.parameter_sharing, "shared"),
            ("network.gru", self.network.gru, 0),
            ("observation_normalisation", self.observation_normalisation, False),
            ("value_normalisation", self.value_normalisation, False),
        ):
            if found != expected:
                raise InputError(f"{name}: expected {expected!r} with a log, found {found!r}")
        if self.network.agent_id and not self.network.network_class.fits_any_observation:
            raise InputError(
                f"network.agent_id: expected False with a log and network.kind "
                f"{self.network.kind}, found True"
            )
        return self


def has_offline_phase(options: Any) -> bool:
    """Return whether, by these options or attributes, there is anything to learn offline."""
    return options.log is not None and options.offline_updates > 0
