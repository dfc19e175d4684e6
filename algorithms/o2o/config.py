"""Options of O2O-DRL."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from edge_marl.algorithms.mappo.config import MAPPOConfig
from edge_marl.errors import InputError
from edge_marl.limits import LARGEST
from edge_marl.options import Count, CountOrZero, NotNegative, PositiveShare, Several

OfflineMethod = Literal["cql", "bc", "iql"]
RewardNormalisation = Literal["standardise", "scale", "none"]


@runtime_checkable
class Transitions(Protocol):
    """A log as offline learning reads it."""

    def draw(self, n_rows: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """Random rows, columns of :class:`edge_marl.algorithms.replay.columns.AgentTransition`."""
        ...


class O2OConfig(MAPPOConfig):
    """O2O-DRL: reinforcement learning from the logs of a heuristic, then online.

    "Offline-to-online deep reinforcement learning for decentralized task offloading", section
    IV-C and Algorithms 1 and 2. One model is shared by all nodes.

    Offline, on rows drawn from ``log``: discrete soft actor-critic. With twin networks ``Q_i`` and
    targets ``Qbar_i`` that follow them, over legal actions only,

    ``V(o) = pi(o)^T (min_i Qbar_i(o) - alpha log pi(o))``, ``y = r + gamma V(o')``,

    every gradient step minimises, all three from the same weights,

    - equation 10, ``(Q_i(o, a) - y)^2 + lambda_c (log sum_b exp Q_i(o, b) - Q_i(o, a))``,
    - equation 11, ``-V(o')``, by the actor; and ``-V(o)``, because first observations of episodes
      follow no other, and some episodes are only as long,
    - equation 12, ``(V_omega(o) - y)^2``, by a critic of its own.

    When ``offline_updates`` are done the online phase begins by itself: PPO with GAE (equations 13
    to 19, :class:`MAPPOConfig` with ``critic="local"``) from the actor and the critic as they are,
    with an optimiser that starts anew. Without a log, or with ``offline_updates=0``, there is only
    that phase.

    Deployed, nodes sample their actions, as the paper's do; evaluate with
    ``.evaluation(evaluation_interval=..., evaluation_config={"explore": True})``. Defaults are
    those of section V-A where it has one.
    """

    def __init__(self, algo_class: type | None = None) -> None:
        from edge_marl.algorithms.o2o.algorithm import O2O

        super().__init__(algo_class=algo_class or O2O)
        self.log: str | Transitions | None = None
        self.offline_method: OfflineMethod = "cql"
        self.offline_updates = 20_000
        self.offline_updates_per_iteration = 500
        self.offline_batch_size = 128
        self.alpha = 0.05
        self.lambda_c = 0.1
        self.tau = 0.0005
        self.iql_expectile = 0.7
        self.iql_beta = 3.0
        self.reward_normalisation: RewardNormalisation = "standardise"
        self.guard_interval = 0
        self.guard_episodes = 20
        self.critic = "local"
        self.team_reward = "own"
        self.value_normalisation = False
        # Observations of peer_offloading hold the node's one-hot index already (section IV-C2).
        self.network = self.network.model_copy(update={"agent_id": False})
        self.lr = 3e-4
        self.num_epochs = 4
        self.entropy_coeff = 0.0
        self.vf_clip_param = LARGEST  # values are not clipped
        self.train_batch_size_per_learner = 6400
        self.minibatch_size = 1600

    def training(
        self,
        *,
        log: str | Transitions | None = NotProvided,
        offline_method: OfflineMethod = NotProvided,
        offline_updates: CountOrZero = NotProvided,
        offline_updates_per_iteration: Count = NotProvided,
        offline_batch_size: Count = NotProvided,
        alpha: NotNegative = NotProvided,
        lambda_c: NotNegative = NotProvided,
        tau: PositiveShare = NotProvided,
        iql_expectile: Annotated[float, Field(gt=0, lt=1)] = NotProvided,
        iql_beta: NotNegative = NotProvided,
        reward_normalisation: RewardNormalisation = NotProvided,
        guard_interval: CountOrZero = NotProvided,
        guard_episodes: Several = NotProvided,
        **kwargs: Any,
    ) -> O2OConfig:
        """Set training options; those not given stay as they are.

        Args:
            log: path or database URL of a task log, or an object with ``draw`` of
                :class:`Transitions`, which is then part of every checkpoint.
            offline_method: "cql": as above, without the regulariser if ``lambda_c`` is 0; "bc":
                the actor imitates the log, the critic learns the value of its policy; "iql":
                implicit Q-learning (Kostrikov et al. 2022), whose critic is its expectile V.
            offline_updates: gradient steps of the offline phase.
            offline_updates_per_iteration: of them per training iteration.
            offline_batch_size: rows of each and of every learner, steps of single nodes.
            alpha: temperature.
            lambda_c: weight of CQL's regulariser.
            tau: how far target networks move towards the learning ones after each step.
            iql_expectile: of the values that "iql" learns; 0.5: those of the log's policy.
            iql_beta: how much more "iql" imitates better actions.
            reward_normalisation: "standardise" by mean and standard deviation of the log, "scale"
                by the latter only, or "none". They stay as they are online, so that the critic
                stays valid; without an offline phase they are those of what was sampled so far.
                Subtracting a mean changes what is best where episodes terminate: there, "scale".
            guard_interval: online iterations between two checks of what has been learnt against
                the policy deployed last; 0: none. What is significantly worse (paired t-test, one
                sided, 5%) is given up, and learning goes on from what is deployed.
            guard_episodes: played with each of the two for a check, the same ones.
            kwargs: options of :class:`MAPPOConfig`.
        """
        given = {
            name: value
            for name, value in locals().items()
            if name not in ("self", "kwargs", "__class__") and value is not NotProvided
        }
        super().training(**kwargs)
        for name, value in given.items():
            setattr(self, name, value)
        return self

    @property
    def has_offline_phase(self) -> bool:
        """Whether there is anything to learn before going online."""
        return self.log is not None and self.offline_updates > 0

    def validate(self) -> None:
        """Check options and their combination.

        Raises:
            InputError: naming the option, what was expected and what was found.
        """
        super().validate()
        self.check(
            ("critic", self.critic == "local", "local"),
            ("team_reward", self.team_reward == "own", "own"),
            ("reward_scaling", not self.reward_scaling, "False, see reward_normalisation"),
        )
        if self.has_offline_phase:
            self._validate_offline()

    def _validate_offline(self) -> None:
        """Rows of a log know neither the steps before them nor the moments of observations."""
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

    def get_default_learner_class(self) -> type:
        """The learner of both phases."""
        from edge_marl.algorithms.o2o.learner import O2OLearner

        return O2OLearner

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Actors and critic, and the twin Q networks of the offline phase."""
        from edge_marl.algorithms.o2o.module import O2OModule

        return RLModuleSpec(module_class=O2OModule)
