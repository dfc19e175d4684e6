"""Learn as MAPPO does, and regularise the attention feature."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.tune.result import TRAINING_ITERATION
from torch import Tensor

from edge_marl.algorithms.mappo.learner import MAPPOTorchLearner
from edge_marl.algorithms.mappo.rows import AGENT
from edge_marl.algorithms.scale.module import ATTENTION_FEATURE
from edge_marl.algorithms.scale.srr import batch_statistics, warm_up


class SCALELearner(MAPPOTorchLearner):
    """Add SRR (equation 5) to PPO's loss."""

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Set up Adam, with the learning rate annealed if asked for."""
        annealed = config.copy(copy_frozen=False)
        annealed.lr = config.annealed_lr
        super().configure_optimizers_for_module(module_id, annealed)

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Set the weight of SRR for the present training iteration."""
        super().before_gradient_based_update(timesteps=timesteps)
        config, iteration = self.config, timesteps.get(TRAINING_ITERATION, 0)
        weight = warm_up(iteration, config.srr_start_iteration, config.srr_warmup_iterations)
        self._srr_weight = weight if config.srr else 0.0

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Tensor]
    ) -> Tensor:
        """Return PPO's loss plus SRR's, which is over each network's rows that leave a choice."""
        loss = super().compute_loss_for_module(
            module_id=module_id, config=config, batch=batch, fwd_out=fwd_out
        )
        choosing = fwd_out[ATTENTION_FEATURE][: len(batch[Columns.ACTIONS])]
        groups = self._own_module.actor.groups[batch[AGENT][: len(choosing)]]
        correlated = kl = choosing.new_zeros(())
        n_networks = self._own_module.actor.n_groups
        with torch.set_grad_enabled(self._srr_weight > 0):
            for group in range(n_networks):
                own = choosing if n_networks == 1 else choosing[groups == group]
                of_correlation, of_kl = batch_statistics(own, self.differentiable_total)
                correlated, kl = correlated + of_correlation, kl + of_kl
        d = choosing.shape[-1]
        self.log_terms(
            srr_decorrelation=correlated,
            srr_kl=kl,
            off_diagonal_covariance=correlated / (n_networks * d * (d - 1)),
        )
        if self._srr_weight == 0.0:
            return loss
        return loss + self._srr_weight * (
            config.srr_decorrelation_coeff * correlated + config.srr_kl_coeff * kl
        )
