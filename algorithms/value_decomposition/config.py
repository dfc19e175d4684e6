"""Options of value decomposition."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.schedules.scheduler import Scheduler

from edge_marl.algorithms.core.options import Scheduled
from edge_marl.algorithms.networks.config import Width
from edge_marl.algorithms.replay.config import OffPolicyConfig
from edge_marl.algorithms.value_decomposition.mixers import MixerKind
from edge_marl.errors import InputError
from edge_marl.options import Count, NotNegative, Share

Steps = Annotated[int, Field(ge=1, le=10_000)]


class ValueDecompositionConfig(OffPolicyConfig):
    """Decentralised action values ``Q_i``, mixed into the value ``Q_tot`` of the team.

    Minimises over replayed steps (Rashid et al., 2018, equations 5 and 6)

    ``(Q_tot(s_t, u_t) - sum_{k<n} gamma^k r_{t+k} - gamma^n Q'_tot(s_{t+n}, u'))^2``

    where ``Q'`` are target networks and ``u'`` the best legal actions, by the target networks or,
    with double Q-learning (van Hasselt et al., 2016), by the networks that learn. The sum ends
    early where the episode does; a termination ends the bootstrapping, a truncation does not.
    Agents that have left the episode are not mixed. With a GRU (``network={"gru": 64}``) whole
    fragments are replayed from the memory they were sampled with.

    :class:`VDNConfig` and :class:`QMIXConfig` choose the mixer; both take every option.
    """

    def __init__(self, algo_class: type | None = None) -> None:
        from edge_marl.algorithms.value_decomposition.algorithm import ValueDecomposition

        super().__init__(algo_class=algo_class or ValueDecomposition)
        self.evaluation_config = {"explore": False}  # without random actions
        self.mixer: MixerKind = "qmix"
        self.mixer_embedding = 32
        self.mixer_hypernet = 64
        self.double_q = True
        self.loss: Literal["huber", "mse"] = "huber"
        self.epsilon: Any = [(0, 1.0), (50_000, 0.05)]
        self.target_update_interval = 200
        self.observation_normalisation = True
        self.lr = 5e-4
        self.grad_clip = 10.0
        self.train_batch_size_per_learner = 128

    def training(
        self,
        *,
        mixer: MixerKind = NotProvided,
        mixer_embedding: Width = NotProvided,
        mixer_hypernet: Width = NotProvided,
        double_q: bool = NotProvided,
        n_step: Steps = NotProvided,
        loss: Literal["huber", "mse"] = NotProvided,
        epsilon: Scheduled[Share] = NotProvided,
        target_update_interval: Count = NotProvided,
        replay_alpha: NotNegative = NotProvided,
        replay_beta: Share = NotProvided,
        **kwargs: Any,
    ) -> ValueDecompositionConfig:
        """Set training options; those not given stay as they are.

        Args:
            mixer: ``"sum"`` (VDN) or ``"qmix"``.
            mixer_embedding: width of the mixing network of QMIX.
            mixer_hypernet: width of the hidden layer that produces its weights.
            double_q: choose the actions to bootstrap from by the networks that learn.
            n_step: n, the most rewards that are summed before bootstrapping.
            loss: of the error; ``"huber"`` grows linearly beyond 1.
            epsilon: share of random actions: a number, or ``[(environment steps, share), ...]``
                with linear interpolation, as all schedules of RLlib.
            target_update_interval: updates between two updates of the target networks. Updates
                that share targets are faster, because these are evaluated for all in one pass.
                With ``tau`` 1 they are hard updates; less with a short interval are soft ones.
            replay_alpha: 0 replays uniformly; above, prioritised by the error to that power.
            replay_beta: how far prioritised replay is corrected by importance weights, up to 1.
            kwargs: options of :class:`OffPolicyConfig`.
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

    def validate(self) -> None:
        """Check options and their combination.

        Raises:
            InputError: naming the option, what was expected and what was found.
        """
        super().validate()
        self.check(
            (
                "network",
                not self.network.network_class.gives_log_probabilities,
                "a kind whose outputs can be values",
            ),
        )
        try:
            Scheduler.validate(
                fixed_value_or_schedule=self.epsilon, setting_name="epsilon", description="epsilon"
            )
        except ValueError as error:
            raise InputError(f"epsilon: {error}") from None

    @property
    def uses_state(self) -> bool:
        """Whether the mixer looks at the global state."""
        return self.mixer == "qmix"

    def get_default_learner_class(self) -> type:
        """The learner of value decomposition."""
        from edge_marl.algorithms.value_decomposition.learner import ValueDecompositionLearner

        return ValueDecompositionLearner

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """The module of value decomposition."""
        from edge_marl.algorithms.value_decomposition.module import ValueDecompositionModule

        return RLModuleSpec(module_class=ValueDecompositionModule)

    @property
    def fixed_options(self) -> dict[str, Any]:
        """See :attr:`JointConfig.fixed_options`."""
        names = ("mixer", "mixer_embedding", "mixer_hypernet")
        return super().fixed_options | {name: getattr(self, name) for name in names}

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        own = ("mixer", "mixer_embedding", "mixer_hypernet", "double_q", "epsilon")
        return super()._model_config_auto_includes | {name: getattr(self, name) for name in own}


class VDNConfig(ValueDecompositionConfig):
    """Value-decomposition networks (Sunehag et al., 2017): ``Q_tot`` is the sum of the ``Q_i``."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class)
        self.mixer = "sum"


class QMIXConfig(ValueDecompositionConfig):
    """QMIX (Rashid et al., 2018): ``Q_tot`` is monotonic in the ``Q_i``, and knows the state."""
