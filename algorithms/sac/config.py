"""Options of discrete soft actor-critic."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from edge_marl.algorithms.replay.config import OffPolicyConfig
from edge_marl.options import Positive


class DiscreteSACConfig(OffPolicyConfig):
    """Soft actor-critic for discrete actions (Haarnoja et al. 2018; Christodoulou 2019).

    Decentralised: every agent learns from its own observations and the team's reward, one network
    for all. With twin networks ``Q_i`` and targets ``Qbar_i`` that follow them, over legal actions
    only,

    ``V(o) = pi(o)^T (min_i Qbar_i(o) - alpha log pi(o))``, ``y = r + gamma V(o')``,

    every update minimises ``(Q_i(o, a) - y)^2`` and, by the actor, ``-V(o) - V(o')``: what O2O-DRL
    does offline, without its regulariser. That the actor learns from the targets is equation 11 of
    the O2O-DRL paper, and both phases are to have one method; Christodoulou's actor learns from the
    twins themselves. With ``target_entropy`` the temperature ``alpha`` learns too, by
    ``log alpha (H(o) - target_entropy log n(o))`` where ``n(o) > 1`` actions are legal; without, it
    stays at ``alpha``.
    """

    def __init__(self, algo_class: type | None = None) -> None:
        from edge_marl.algorithms.sac.algorithm import DiscreteSAC

        super().__init__(algo_class=algo_class or DiscreteSAC)
        self.alpha = 0.05
        self.target_entropy: float | None = None
        self.tau = 0.005
        self.lr = 5e-4
        self.grad_clip = 10.0
        self.train_batch_size_per_learner = 256

    def training(
        self,
        *,
        alpha: Positive = NotProvided,
        target_entropy: Annotated[float, Field(gt=0, lt=1)] | None = NotProvided,
        **kwargs: Any,
    ) -> DiscreteSACConfig:
        """Set training options; those not given stay as they are.

        Args:
            alpha: temperature, or where it begins.
            target_entropy: of the policy, as a share of the largest there is, that of legal
                actions drawn alike; None: the temperature stays as it is.
            kwargs: options of :class:`OffPolicyConfig`.
        """
        super().training(**kwargs)
        if alpha is not NotProvided:
            self.alpha = alpha
        if target_entropy is not NotProvided:
            self.target_entropy = target_entropy
        return self

    def validate(self) -> None:
        """Check options and their combination.

        Raises:
            InputError: naming the option, what was expected and what was found.
        """
        super().validate()
        self.check(
            ("parameter_sharing", self.parameter_sharing == "shared", "shared"),
            ("observation_normalisation", not self.observation_normalisation, "False"),
            ("network", self.network.gru == 0, "gru=0"),
        )

    @property
    def uses_state(self) -> bool:
        """Never: critics are decentralised."""
        return False

    def get_default_learner_class(self) -> type:
        """The learner of soft actor-critic."""
        from edge_marl.algorithms.sac.learner import DiscreteSACLearner

        return DiscreteSACLearner

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Actor and twins."""
        from edge_marl.algorithms.sac.module import DiscreteSACModule

        return RLModuleSpec(module_class=DiscreteSACModule)

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return super()._model_config_auto_includes | {"alpha": self.alpha}
