"""Options of MAPPO and IPPO."""

from __future__ import annotations

from typing import Any, Literal

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from edge_marl.algorithms.core.config import JointConfig
from edge_marl.options import CountOrZero


class MAPPOConfig(JointConfig, PPOConfig):
    """Multi-agent PPO (Yu et al. 2022, "The surprising effectiveness of PPO in cooperative
    multi-agent games"), and independent PPO (de Witt et al. 2020) with ``critic="local"``.

    Decentralised actors, trained on every step of every agent with the clipped surrogate

    ``min(rho A, clip(rho, 1 - clip_param, 1 + clip_param) A) + entropy_coeff H``,

    where ``rho`` is the ratio of the new to the old probability of the action, ``A`` its
    generalised advantage, standardised over the train batch, and ``H`` the policy's entropy; and a
    critic that regresses on the lambda returns, standardised by their running moments, its squared
    error clipped at ``vf_clip_param``. The loss is RLlib's own.

    ``train_batch_size_per_learner`` and ``minibatch_size`` count joint steps. ``lr`` and
    ``entropy_coeff`` take schedules ``[[step, value], ...]``.
    """

    def __init__(self, algo_class: type | None = None) -> None:
        from edge_marl.algorithms.mappo.algorithm import MAPPO

        super().__init__(algo_class=algo_class or MAPPO)
        self.critic: str = "central"
        self.value_normalisation = True
        self.critic_warmup_steps = 0
        # Where RLlib's defaults differ from sections 5 and A.6 of the MAPPO paper.
        self.lr = 5e-4
        self.lambda_ = 0.95
        self.clip_param = 0.2
        self.entropy_coeff = 0.01
        self.use_kl_loss = False
        self.grad_clip = 10.0
        self.num_epochs = 5
        self.train_batch_size_per_learner = 4096
        self.minibatch_size = 1024
        self.rollout_fragment_length = "auto"

    def training(
        self,
        *,
        critic: Literal["central", "local"] = NotProvided,
        team_reward: Literal["auto", "sum", "shared", "own"] = NotProvided,
        value_normalisation: bool = NotProvided,
        critic_warmup_steps: CountOrZero = NotProvided,
        **kwargs: Any,
    ) -> MAPPOConfig:
        """Set training options.

        Args:
            critic: "central": values from the global state (MAPPO); "local": the value of each
                agent from its own observation (IPPO).
            team_reward: "sum": every agent earns the rewards of all, with a central critic even
                after it has left, for as long as its team plays on; "shared": the same in an
                environment that pays every agent the team's reward; "auto": which of the two, the
                environment says, "sum" if it does not; "own": every agent earns its own.
            value_normalisation: whether the critic learns standardised returns.
            critic_warmup_steps: environment steps during which only the critic learns, so that
                actors that were trained before are not spoilt by the advantages of a random one.
            kwargs: options of :class:`JointConfig` and of RLlib's PPO.
        """
        super().training(**kwargs)
        if critic is not NotProvided:
            self.critic = critic
        if team_reward is not NotProvided:
            self.team_reward = team_reward
        if value_normalisation is not NotProvided:
            self.value_normalisation = value_normalisation
        if critic_warmup_steps is not NotProvided:
            self.critic_warmup_steps = critic_warmup_steps
        return self

    @property
    def uses_state(self) -> bool:
        """Whether the global state is looked at."""
        return self.critic == "central"

    def memory_needed(self, step_bytes: float) -> tuple[float, str]:
        """See :meth:`JointConfig.memory_needed`: the fragments, and the rows chosen from them."""
        n_steps = self.total_train_batch_size
        return (
            2 * n_steps * step_bytes,
            f"{n_steps} steps (train_batch_size_per_learner, rollout_fragment_length)",
        )

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Actors and critic in one module."""
        from edge_marl.algorithms.mappo.module import MAPPOModule

        return RLModuleSpec(module_class=MAPPOModule)

    def get_default_learner_class(self) -> type:
        """RLlib's PPO learner, taught about fragments."""
        from edge_marl.algorithms.mappo.learner import MAPPOTorchLearner

        return MAPPOTorchLearner

    @property
    def fixed_options(self) -> dict[str, Any]:
        """See :attr:`JointConfig.fixed_options`."""
        names = ("critic", "value_normalisation")
        team_reward = "own" if self.team_reward == "own" else "the team's"
        own = {name: getattr(self, name) for name in names}
        return super().fixed_options | own | {"team_reward": team_reward}

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return super()._model_config_auto_includes | {
            "critic": self.critic,
            "team_reward": self.team_reward,
            "value_normalisation": self.value_normalisation,
            "records_logits": self.use_kl_loss,  # nobody else needs them
        }
