"""The learner of MAPPO: advantages of fragments, then the PPO loss on minibatches."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.algorithms.ppo.ppo import LEARNER_RESULTS_KL_KEY
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from torch import Tensor

from edge_marl.algorithms.core.learner import JointLearner, Terms
from edge_marl.algorithms.core.optimiser import flat_adam
from edge_marl.algorithms.mappo.distribution import MaskedCategorical
from edge_marl.algorithms.mappo.losses import ppo_loss
from edge_marl.algorithms.mappo.module import MAPPOModule
from edge_marl.algorithms.mappo.rows import (
    joint_steps,
    learning_targets,
    minibatches,
    whole_fragments,
)
from edge_marl.algorithms.sampling.columns import Fragment


class MAPPOTorchLearner(JointLearner, PPOTorchLearner):
    """Learns from fragments, see :class:`edge_marl.algorithms.sampling.columns.Fragment`.

    RLlib's are the schedules and the coefficient of the KL penalty.
    """

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Note how far the training is."""
        super().before_gradient_based_update(timesteps=timesteps)
        self._env_steps = timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0)

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Adam, on one tensor that holds all parameters."""
        self._optimiser = flat_adam(list(self._own_module.parameters()))
        self.register_optimizer(
            module_id=module_id,
            optimizer=self._optimiser,
            params=self._optimiser.param_groups[0]["params"],
            lr_or_lr_schedule=config.lr,
        )

    def learn(
        self,
        columns: dict[str, Tensor],
        *,
        num_epochs: int = 1,
        minibatch_size: int | None = None,
        **_: Any,
    ) -> list[Terms]:
        """Passes over what the fragments teach, then the fragments into the normaliser.

        Afterwards, because the probabilities in them are those of the normaliser before.
        """
        rows, steps_per_row = self._rows(dict(columns))
        size = minibatch_size and max(1, minibatch_size // steps_per_row)
        history = [
            self.gradient_step(part, self._optimiser, clip=self.config.grad_clip)
            for part in minibatches(rows, size, num_epochs)
        ]
        normaliser = self._own_module.actor.normaliser
        if normaliser is not None:
            features, active = columns[Fragment.FEATURES], columns[Fragment.ACTIVE]
            normaliser.update(features.flatten(0, -3), active.flatten(0, -2)[..., None])
        return history

    @torch.no_grad()
    def _rows(self, fragments: dict[str, Tensor]) -> tuple[dict[str, Tensor], int]:
        """Rows of the train batch, and how many joint steps each is."""
        config, module = self.config, self._own_module
        team = config.team_reward == "sum"
        targets = learning_targets(
            fragments,
            module.values_of_return(fragments),
            gamma=config.gamma,
            lambda_=config.lambda_,
            shared_reward=team,
            shared_end=team and config.critic == "central",
        )
        returns, counts = targets[Postprocessing.VALUE_TARGETS], targets[Columns.LOSS_MASK]
        if not torch.isfinite(returns[counts]).all():
            # Before the moments below are spoilt, which are weights too.
            self.log_terms(**{Postprocessing.VALUE_TARGETS: returns[counts]})
            self._diverged({DEFAULT_MODULE_ID: fragments})
        module.critic.observe(fragments)
        if module.value_moments is not None:
            module.value_moments.update(returns[counts])
            targets[Postprocessing.VALUE_TARGETS] = module.value_moments.normalise(returns)
        if not config.use_kl_loss:
            del fragments[Fragment.ACTION_DIST_INPUTS]
        if module.actor.is_recurrent:
            return whole_fragments(fragments, targets), counts.shape[1]
        return joint_steps(fragments, targets), 1

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Tensor]
    ) -> Tensor:
        """The PPO loss of the agents' steps that count, in one row each."""
        mask = batch.get(Columns.LOSS_MASK)

        def steps(column: Tensor) -> Tensor:
            agents = batch[Columns.ACTIONS].dim()
            return column.flatten(0, agents - 1) if mask is None else column[mask]

        logits = steps(fwd_out[Columns.ACTION_DIST_INPUTS])
        if self._env_steps <= config.critic_warmup_steps:
            logits = logits.detach()
        distribution = MaskedCategorical(logits)
        chosen = distribution.logp(steps(batch[Columns.ACTIONS]))
        loss, terms = ppo_loss(
            (chosen - steps(batch[Columns.ACTION_LOGP])).exp(),
            steps(batch[Postprocessing.ADVANTAGES]),
            distribution.entropy(),
            steps(fwd_out[Columns.EMBEDDINGS]),
            steps(batch[Postprocessing.VALUE_TARGETS]),
            clip_param=config.clip_param,
            vf_clip_param=config.vf_clip_param,
            vf_loss_coeff=config.vf_loss_coeff,
            entropy_coeff=self.entropy_coeff_schedulers_per_module[module_id].get_current_value(),
        )
        if config.use_kl_loss:
            before = MaskedCategorical(steps(batch[Columns.ACTION_DIST_INPUTS]))
            terms[LEARNER_RESULTS_KL_KEY] = before.kl(distribution).mean()
            penalty = self.curr_kl_coeffs_per_module[module_id] * terms[LEARNER_RESULTS_KL_KEY]
            loss = loss + penalty
        self.log_terms(**terms)
        return loss

    @property
    def _own_module(self) -> MAPPOModule:
        module: MAPPOModule = self.module[DEFAULT_MODULE_ID].unwrapped()
        return module
