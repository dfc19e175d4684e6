"""The learner of MAPPO: advantages of fragments, then RLlib's PPO loss on minibatches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import ENTROPY_KEY, POLICY_LOSS_KEY, VF_LOSS_KEY
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from torch import Tensor, nn

from edge_marl.algorithms.core.learner import JointLearner
from edge_marl.algorithms.core.optimiser import flat_adam
from edge_marl.algorithms.mappo.module import MAPPOModule
from edge_marl.algorithms.mappo.rows import (
    joint_steps,
    learning_targets,
    minibatches,
    whole_fragments,
)
from edge_marl.algorithms.sampling.columns import Fragment

_OF_AGENTS = (
    Columns.ACTIONS, Columns.ACTION_LOGP, Columns.ACTION_DIST_INPUTS,
    Postprocessing.ADVANTAGES, Postprocessing.VALUE_TARGETS,
)  # fmt: skip
"""What the loss reads of the steps of agents."""


class MAPPOTorchLearner(JointLearner, PPOTorchLearner):
    """Learns from fragments, see :class:`edge_marl.algorithms.sampling.columns.Fragment`."""

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Note how far the training is."""
        super().before_gradient_based_update(timesteps=timesteps)
        self._env_steps = timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0)

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Adam, on one tensor that holds all parameters."""
        optimiser = flat_adam(list(self._own_module.parameters()))
        self.register_optimizer(
            module_id=module_id,
            optimizer=optimiser,
            params=optimiser.param_groups[0]["params"],
            lr_or_lr_schedule=config.lr,
        )

    def compute_gradients(
        self, loss_per_module: dict[str, Tensor], **kwargs: Any
    ) -> dict[nn.Parameter, Tensor]:
        """Gradients of the one tensor, in place, for those of the parameters are views of it."""
        (weights,) = self._params.values()
        weights.grad.zero_()
        sum(loss_per_module.values()).backward()
        return {weights: weights.grad}

    def _create_iterator_if_necessary(
        self,
        *,
        training_data: Any,
        num_epochs: int = 1,
        minibatch_size: int | None = None,
        **kwargs: Any,
    ) -> Iterator[MultiAgentBatch]:
        """Minibatches of what the fragments teach."""
        batch = self._make_batch_if_necessary(training_data=training_data)
        fragments = dict(batch.policy_batches[DEFAULT_MODULE_ID])
        rows, steps_per_row = self._rows(fragments)
        size = minibatch_size and max(1, minibatch_size // steps_per_row)
        for part in minibatches(rows, size, num_epochs):
            own = SampleBatch(part)
            own.count = len(part[Columns.ACTIONS]) * steps_per_row
            yield MultiAgentBatch({DEFAULT_MODULE_ID: own}, env_steps=own.count)

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
            super()._diverged({DEFAULT_MODULE_ID: fragments})
        module.critic.observe(fragments)
        if module.value_moments is not None:
            module.value_moments.update(returns[counts])
            targets[Postprocessing.VALUE_TARGETS] = module.value_moments.normalise(returns)
        if not config.use_kl_loss:
            # RLlib's loss makes the old distribution all the same: let it be a cheap one.
            logits = fragments[Fragment.ACTION_DIST_INPUTS]
            fragments[Fragment.ACTION_DIST_INPUTS] = logits[..., :1]
        if module.actor.is_recurrent:
            return whole_fragments(fragments, targets), counts.shape[1]
        return joint_steps(fragments, targets), 1

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Tensor]
    ) -> Tensor:
        """RLlib's PPO loss of the agents' steps that count, in one row each."""
        mask = batch.get(Columns.LOSS_MASK)
        if self._env_steps <= config.critic_warmup_steps:
            logits = fwd_out[Columns.ACTION_DIST_INPUTS]
            # Gradients that are zero, for those that are missing count as a fault further on.
            fwd_out = {**fwd_out, Columns.ACTION_DIST_INPUTS: logits.detach() + 0.0 * logits}

        def steps(column: Tensor) -> Tensor:
            agents = batch[Columns.ACTIONS].dim()
            return column.flatten(0, agents - 1) if mask is None else column[mask]

        loss: Tensor = super().compute_loss_for_module(
            module_id=module_id,
            config=config,
            batch={name: steps(batch[name]) for name in _OF_AGENTS},
            fwd_out={name: steps(output) for name, output in fwd_out.items()},
        )
        return loss

    def _diverged(self, batch: dict[str, Any]) -> None:
        """Say which of the terms that RLlib's loss has logged is not finite."""
        for name in (POLICY_LOSS_KEY, VF_LOSS_KEY, ENTROPY_KEY):
            self.log_terms(**{name: torch.as_tensor(self.metrics.peek((DEFAULT_MODULE_ID, name)))})
        super()._diverged(batch)

    @property
    def _own_module(self) -> MAPPOModule:
        module: MAPPOModule = self.module[DEFAULT_MODULE_ID].unwrapped()
        return module
