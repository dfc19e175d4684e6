"""The learner of value decomposition: many small updates in one call, and target networks."""

from __future__ import annotations

import math
from typing import Any

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor

from edge_marl.algorithms.core.learner import JointLearner
from edge_marl.algorithms.core.optimiser import flattened
from edge_marl.algorithms.value_decomposition.losses import mean_errors, td_loss, td_targets
from edge_marl.algorithms.value_decomposition.module import (
    FOLLOWING,
    PREDICTED,
    ValueDecompositionModule,
)
from edge_marl.algorithms.value_decomposition.replay import Drawn

TD_ERRORS = "td_errors"
"""Absolute errors of the rows of the batch, in its order; with prioritised replay only."""

_N_UPDATES = "n_updates"
_PASS = 16  # minibatches of a target pass: enough to hide its overhead, little enough to hold


class ValueDecompositionLearner(JointLearner):
    """Learns from the columns of :class:`.replay.Drawn`.

    An update takes a millisecond or two, less than RLlib spends around each of its minibatches;
    :meth:`update` therefore goes through them itself and reports means once.
    """

    def build(self) -> None:
        """Build module, optimiser and target networks."""
        super().build()
        self._n_updates = 0
        self._interval = self.config.target_update_interval
        self._clip = self.config.grad_clip or math.inf
        self._own_module.make_target_networks()
        pairs = self._own_module.get_target_network_pairs()
        self._targets = flattened([p for _, target in pairs for p in target.parameters()])
        self._buffers = [
            (followed, buffer)
            for network, target in pairs
            for followed, buffer in zip(network.buffers(), target.buffers(), strict=True)
        ]

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Adam, on one tensor that holds all parameters."""
        module = self._own_module
        self._weights = flattened([*module.actor.parameters(), *module.mixer.parameters()])
        self._optimiser = torch.optim.Adam([self._weights], fused=True)
        self.register_optimizer(
            module_id=module_id,
            optimizer=self._optimiser,
            params=[self._weights],
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
        module = self._own_module
        columns = {
            name: torch.as_tensor(column, device=self._device)
            for name, column in whole.policy_batches[DEFAULT_MODULE_ID].items()
        }
        n_rows = len(columns[Drawn.STATE])
        size, start = minibatch_size or n_rows, 0
        # All minibatches are draws from one replay: the first tells the moments enough.
        self._take_in({name: column[:size] for name, column in columns.items()})
        columns[Drawn.STATE] = module.state_normaliser.normalise(columns[Drawn.STATE])
        history: list[dict[str, Tensor]] = []
        while start < n_rows:
            # The targets of all updates that share a target network are computed in one pass.
            alike = min(_PASS, self._interval - self._n_updates % self._interval)
            end = min(start + alike * size, n_rows)
            part = {name: column[start:end] for name, column in columns.items()}
            part |= module.forward_target(part)
            minibatches = {name: column.split(size) for name, column in part.items()}
            for k in range(len(minibatches[Drawn.STATE])):
                minibatch = {name: pieces[k] for name, pieces in minibatches.items()}
                history.append(self._step(minibatch))
            start = end
        self._report(history, columns[Drawn.WEIGHTS])
        self._log_steps_trained_metrics(whole)
        self.after_gradient_based_update(timesteps=timesteps or {})
        return self.metrics.reduce()

    def _step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One gradient step, and the target networks' after it; returns what to report."""
        self._terms.clear()
        # Not by way of ``forward_train``, which puts every submodule into training mode.
        outputs = self.module[DEFAULT_MODULE_ID]._forward_train(batch)
        loss = self.compute_loss_for_module(
            module_id=DEFAULT_MODULE_ID, config=self.config, batch=batch, fwd_out=outputs
        )
        self._gradient.zero_()
        loss.backward()
        norm = self._gradient.norm()
        self.log_terms(gradient_norm=norm)
        size = norm.item()
        if not math.isfinite(size):  # as it is if the loss is not
            self._diverged({DEFAULT_MODULE_ID: batch})
        if size > self._clip:
            self._gradient.mul_(self._clip / size)
        self._optimiser.step()
        self._n_updates += 1
        if self._n_updates % self._interval == 0:
            self._follow(self.config.tau)
        return dict(self._terms)

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        """The temporal-difference loss of the joint value."""
        predicted = fwd_out[PREDICTED]
        targets = td_targets(
            batch[Drawn.RETURNS], batch[Drawn.DISCOUNTS], batch[Drawn.BOOTSTRAP], fwd_out[FOLLOWING]
        )
        errors = predicted - targets
        loss = td_loss(errors, batch[Drawn.WEIGHTS], huber=config.loss == "huber")
        self.log_terms(td_loss=loss, q_mean=predicted, td_error=errors)
        return loss

    @torch.no_grad()
    def _follow(self, tau: float) -> None:
        """Move the target networks towards the learning ones."""
        self._targets.lerp_(self._weights, tau)
        for followed, buffer in self._buffers:
            buffer.copy_(followed)

    def _take_in(self, columns: dict[str, Tensor]) -> None:
        """Update the moments by which states, and observations if asked, are standardised."""
        module = self._own_module
        if not math.isfinite((columns[Drawn.STATE].sum() + columns[Drawn.FEATURES].sum()).item()):
            self._terms.clear()
            self._diverged({DEFAULT_MODULE_ID: columns})  # before it is in the moments for good
        played = (columns[Drawn.WEIGHTS] > 0).flatten()[:, None]
        module.state_normaliser.update(columns[Drawn.STATE][:, :-1].flatten(0, 1), played)
        if module.actor.normaliser is not None:
            features, present = columns[Drawn.FEATURES][:, :-1], columns[Drawn.PRESENT]
            module.actor.normaliser.update(features.flatten(0, 1), present.flatten(0, 1)[..., None])

    def _report(self, history: list[dict[str, Tensor]], weights: Tensor) -> None:
        """Log the means of all updates, and the errors that prioritised replay asks for."""
        errors = mean_errors(torch.cat([terms["td_error"] for terms in history]), weights)
        if self.config.replay_alpha > 0:
            self.metrics.log_value((DEFAULT_MODULE_ID, TD_ERRORS), errors, reduce="item_series")
        means = {
            name: torch.stack([terms[name].mean() for terms in history]).mean().item()
            for name in history[0]
        }
        means["td_error"] = errors.mean().item()
        self.metrics.log_dict(means, key=DEFAULT_MODULE_ID, window=1)

    @property
    def _gradient(self) -> Tensor:
        assert self._weights.grad is not None
        return self._weights.grad

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
