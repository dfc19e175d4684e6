"""Configuration of MAPPO and IPPO."""

from __future__ import annotations

from typing import Any, ClassVar

from ray.rllib.algorithms.ppo import PPOConfig

from edge_marl.algorithms.core.config import JointConfig
from edge_marl.algorithms.core.options import JointOptions
from edge_marl.algorithms.mappo.algorithm import MAPPO
from edge_marl.algorithms.mappo.learner import MAPPOTorchLearner
from edge_marl.algorithms.mappo.module import MAPPOModule
from edge_marl.algorithms.mappo.options import MAPPOOptions


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

    options_model: ClassVar[type[JointOptions]] = MAPPOOptions
    algorithm_class = MAPPO
    joint_learner_class = MAPPOTorchLearner
    joint_module_class = MAPPOModule

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

    @property
    def fixed_options(self) -> dict[str, Any]:
        """See :attr:`JointConfig.fixed_options`."""
        team_reward = "own" if self.team_reward == "own" else "the team's"
        return super().fixed_options | {"team_reward": team_reward}

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        # Nobody else needs the logits.
        return super()._model_config_auto_includes | {"records_logits": self.use_kl_loss}
