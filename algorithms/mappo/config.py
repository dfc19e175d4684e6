"""Configure MAPPO and IPPO."""

from __future__ import annotations

from typing import Any, ClassVar

from ray.rllib.algorithms.ppo import PPOConfig

from edge_marl.algorithms.core.batches import BatchConfig
from edge_marl.algorithms.core.blocks import check_single_learner
from edge_marl.algorithms.core.options import JointOptions
from edge_marl.algorithms.mappo.algorithm import MAPPO
from edge_marl.algorithms.mappo.independent import IndependentLearner
from edge_marl.algorithms.mappo.learner import MAPPOTorchLearner
from edge_marl.algorithms.mappo.module import MAPPOModule
from edge_marl.algorithms.mappo.options import MAPPOOptions


class MAPPOConfig(BatchConfig, PPOConfig):
    """Configure multi-agent PPO (MAPPO), or independent PPO (IPPO) with ``critic="local"``.

    MAPPO is described by Yu et al. 2022, "The surprising effectiveness of PPO in cooperative
    multi-agent games", IPPO by de Witt et al. 2020.

    Decentralised actors learn from every step in which an agent has a choice. They maximise

    ``min(rho A, clip(rho, 1 - clip_param, 1 + clip_param) A) + entropy_coeff H``,

    where ``rho`` is the ratio of the new to the old probability of the action, ``A`` its
    generalised advantage, standardised over the train batch, and ``H`` the policy's entropy. The
    critic regresses on the lambda returns, standardised by their running moments with
    ``value_normalisation``; its squared error is clipped at ``vf_clip_param``. The terms of the
    loss are those of RLlib's PPO.

    ``train_batch_size_per_learner`` and ``minibatch_size`` count joint steps. ``lr`` and
    ``entropy_coeff`` take schedules ``[[step, value], ...]``.
    """

    options_model: ClassVar[type[JointOptions]] = MAPPOOptions
    algorithm_class = MAPPO
    joint_learner_class = MAPPOTorchLearner
    joint_module_class = MAPPOModule
    learns_vectors = True

    @property
    def uses_state(self) -> bool:
        """Return whether the critic looks at the global state, as only a central one does."""
        return self.critic == "central"

    def get_default_learner_class(self) -> Any:
        """Return the class of the learner, another one for agents that learn alone."""
        if self.independent_learners:
            return IndependentLearner
        return super().get_default_learner_class()

    def validate(self) -> None:
        """Check all options, see :meth:`JointConfig.validate`."""
        super().validate()
        if self.independent_learners:
            check_single_learner(self)

    @property
    def fixed_options(self) -> dict[str, Any]:
        """Return the options with which a checkpoint has to be restored.

        Of ``team_reward``, only this is fixed: whether agents earn their own rewards or the team's.
        """
        team_reward = "own" if self.team_reward == "own" else "the team's"
        return super().fixed_options | {"team_reward": team_reward}

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        # Nobody else needs the logits.
        return super()._model_config_auto_includes | {"records_logits": self.use_kl_loss}
