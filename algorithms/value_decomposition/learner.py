"""The learner of value decomposition: many small updates in one call, and target networks."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor

from edge_marl.algorithms.core.learner import JointLearner
from edge_marl.algorithms.value_decomposition.losses import td_loss, td_targets
from edge_marl.algorithms.value_decomposition.module import (
    FOLLOWING,
    PREDICTED,
    ValueDecompositionModule,
)
from edge_marl.algorithms.value_decomposition.replay import Drawn

TD_ERRORS = "td_errors"
"""Absolute errors of the rows of the batch, in its order; with prioritised replay only."""

_N_UPDATES = "n_updates"


class ValueDecompositionLearner(JointLearner):
    """Learns from the columns of :class:`.replay.Drawn`.

    An update takes a millisecond or two, less than RLlib spends around each of its minibatches;
    :meth:`update` therefore goes through them itself and reports means once.
    """

    def build(self) -> None:
        """Build module, optimiser and target networks."""
        super().build()
        self._n_updates = 0
        module = self._own_module
        module.make_target_networks()
        pairs = module.get_target_network_pairs()
        self._learning = [p for network, _ in pairs for p in network.parameters()]
        self._targets = [p for _, network in pairs for p in network.parameters()]
        self._buffers = [
            (followed, buffer)
            for network, target in pairs
            for followed, buffer in zip(network.buffers(), target.buffers(), strict=True)
        ]

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Adam, in one kernel for all parameters."""
        parameters = list(self._own_module.parameters())
        self.register_optimizer(
            module_id=module_id,
            optimizer=torch.optim.Adam(parameters, fused=True),
            params=parameters,
            lr_or_lr_schedule=config.lr,
        )

    def update(
        self,
        batch: Any = None,
        *,
        training_data: Any = None,
        timesteps: dict[str, Any] | None = None,
        minibatch_size: int | None = None,
        **_: Any,
    ) -> Any:
        """One update for each ``minibatch_size`` rows of the batch, in order."""
        self._check_is_built()
        self.before_gradient_based_update(timesteps=timesteps or {})
        self._weights_seq_no += 1
        whole = training_data.batch if batch is None else batch
        columns = {
            name: torch.as_tensor(column, device=self._device)
            for name, column in whole.policy_batches[DEFAULT_MODULE_ID].items()
        }
        size = minibatch_size or len(columns[Drawn.WEIGHTS])
        parts = {name: column.split(size) for name, column in columns.items()}
        history: list[dict[str, Tensor]] = []
        for k in range(len(parts[Drawn.WEIGHTS])):
            self._update({DEFAULT_MODULE_ID: {name: part[k] for name, part in parts.items()}})
            history.append(dict(self._terms))
        self._take_in(columns)
        self._report(history)
        self._log_steps_trained_metrics(whole)
        self.after_gradient_based_update(timesteps=timesteps or {})
        return self.metrics.reduce()

    def _update(self, batch: dict[str, Any], **_: Any) -> tuple[Any, Any, Any]:
        """One gradient step, and the target networks' after it."""
        self._terms.clear()
        outputs = self.module.forward_train(batch)
        loss = self.compute_loss_for_module(
            module_id=DEFAULT_MODULE_ID,
            config=self.config,
            batch=batch[DEFAULT_MODULE_ID],
            fwd_out=outputs[DEFAULT_MODULE_ID],
        )
        if not torch.isfinite(loss):
            self._diverged(batch)
        optimiser = self.get_optimizer()
        optimiser.zero_grad()
        loss.backward()
        clip = self.config.grad_clip or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self._learning, clip, foreach=True)
        self.log_terms(gradient_norm=norm)
        if not torch.isfinite(norm):
            self._diverged(batch)
        optimiser.step()
        self._n_updates += 1
        if self._n_updates % self.config.target_update_interval == 0:
            self._follow(self.config.tau)
        return outputs, {DEFAULT_MODULE_ID: loss}, {}

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        """The temporal-difference loss of the joint value."""
        predicted = fwd_out[PREDICTED]
        targets = td_targets(
            batch[Drawn.RETURNS], batch[Drawn.DISCOUNTS], batch[Drawn.BOOTSTRAP], fwd_out[FOLLOWING]
        )
        loss, errors = td_loss(
            predicted, targets, batch[Drawn.WEIGHTS], huber=config.loss == "huber"
        )
        self.log_terms(td_loss=loss, q_mean=predicted.mean(), td_error=errors)
        return loss

    @torch.no_grad()
    def _follow(self, tau: float) -> None:
        """Move the target networks towards the learning ones."""
        torch._foreach_lerp_(self._targets, self._learning, tau)
        for followed, buffer in self._buffers:
            buffer.copy_(followed)

    def _take_in(self, columns: dict[str, Tensor]) -> None:
        """Update the moments by which states, and observations if asked, are standardised."""
        module = self._own_module
        played = (columns[Drawn.WEIGHTS] > 0).flatten()[:, None]
        module.state_normaliser.update(columns[Drawn.STATE][:, :-1].flatten(0, 1), played)
        if module.actor.normaliser is not None:
            features, present = columns[Drawn.FEATURES][:, :-1], columns[Drawn.PRESENT]
            module.actor.normaliser.update(features.flatten(0, 1), present.flatten(0, 1)[..., None])

    def _report(self, history: list[dict[str, Tensor]]) -> None:
        """Log the means of all updates, and the errors that prioritised replay asks for."""
        errors = torch.cat([terms["td_error"] for terms in history])
        if self.config.replay_alpha > 0:
            self.metrics.log_value((DEFAULT_MODULE_ID, TD_ERRORS), errors, reduce="item_series")
        means = {
            name: torch.stack([terms[name].mean() for terms in history]).mean().item()
            for name in history[0]
        }
        self.metrics.log_dict(means, key=DEFAULT_MODULE_ID, window=1)

    @property
    def _own_module(self) -> ValueDecompositionModule:
        module: TorchRLModule = self.module[DEFAULT_MODULE_ID]
        return module.unwrapped()

    # Checkpoints ---------------------------------------------------------------------------

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """RLlib's state, and when the targets are due."""
        return super().get_state(*args, **kwargs) | {_N_UPDATES: self._n_updates}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        super().set_state(state)
        self._n_updates = state.get(_N_UPDATES, self._n_updates)
