"""What our learners add to RLlib's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from torch import Tensor

Terms = dict[str, Tensor]
"""Named parts of a loss, detached."""


class DivergenceError(RuntimeError):
    """A loss is not finite; raised before any weight has been touched by it."""


class JointLearner(TorchLearner):
    """Base of our learners: many gradient steps in one call, each on one flat tensor of weights.

    A step takes a few milliseconds, less than RLlib spends around each of its minibatches;
    :meth:`update` therefore leaves them to :meth:`learn` of the subclass, and reports means once.
    Subclasses name the terms of their loss with :meth:`log_terms`.
    """

    def build(self) -> None:
        """Build module and optimisers."""
        cpus = self.config.num_cpus_per_learner
        torch.set_num_threads(1 if cpus == "auto" else max(1, int(cpus)))
        # A seed makes torch deterministic and, by default, also overwrite all memory it takes.
        torch.utils.deterministic.fill_uninitialized_memory = False
        self._terms: Terms = {}
        super().build()

    def log_terms(self, **terms: Tensor) -> None:
        """Name the terms of the loss being computed, for metrics and for diagnosis."""
        self._terms.update({name: term.detach() for name, term in terms.items()})

    def update(
        self,
        batch: Any = None,
        *,
        training_data: Any = None,
        timesteps: dict[str, Any] | None = None,
        **how: Any,
    ) -> Any:
        """Learn from a batch of the one module, as RLlib's method of this name."""
        self._check_is_built()
        self.before_gradient_based_update(timesteps=timesteps or {})
        self._weights_seq_no += 1
        whole = training_data.batch if batch is None else batch
        columns = {
            name: torch.as_tensor(column, device=self._device)
            for name, column in whole.policy_batches[DEFAULT_MODULE_ID].items()
        }
        history = self.learn(columns, **how)
        means = {
            name: torch.cat([terms[name].flatten() for terms in history]).mean().item()
            for name in history[0]
        }
        self.metrics.log_dict(means, key=DEFAULT_MODULE_ID, window=1)
        self._log_steps_trained_metrics(whole)
        self.after_gradient_based_update(timesteps=timesteps or {})
        return self.metrics.reduce()

    def learn(self, columns: dict[str, Tensor], **how: Any) -> list[Terms]:
        """All gradient steps that a batch allows; returns the terms of each."""
        raise NotImplementedError

    def gradient_step(
        self,
        batch: dict[str, Tensor],
        optimiser: torch.optim.Optimizer,
        *,
        clip: float | None,
        loss_of: Callable[[dict[str, Tensor]], Tensor] | None = None,
    ) -> Terms:
        """One gradient step.

        Args:
            batch: a minibatch.
            optimiser: of one flat tensor, see :mod:`edge_marl.algorithms.core.optimiser`.
            clip: largest norm of the gradient; None: any.
            loss_of: the loss of a minibatch; that of :meth:`compute_loss_for_module` when None.

        Returns:
            The terms of the loss, and the norm.
        """
        (weights,) = optimiser.param_groups[0]["params"]
        self._terms.clear()
        loss = (loss_of or self._loss_of)(batch)
        weights.grad.zero_()
        loss.backward()
        norm = weights.grad.norm()
        size = norm.item()
        if not (math.isfinite(size) and math.isfinite(loss.item())):
            self._diverged({DEFAULT_MODULE_ID: batch})
        self.log_terms(total_loss=loss, gradient_norm=norm)
        if clip is not None and size > clip:
            weights.grad.mul_(clip / size)
        optimiser.step()
        return dict(self._terms)

    def _loss_of(self, batch: dict[str, Tensor]) -> Tensor:
        # Not by way of ``forward_train``, which puts every submodule into training mode.
        outputs = self.module[DEFAULT_MODULE_ID]._forward_train(batch)
        loss: Tensor = self.compute_loss_for_module(
            module_id=DEFAULT_MODULE_ID, config=self.config, batch=batch, fwd_out=outputs
        )
        return loss

    def _diverged(self, batch: dict[str, Any]) -> None:
        """Say which term, or which input, is not finite."""
        terms = [name for name, term in self._terms.items() if not torch.isfinite(term).all()]
        columns = batch[DEFAULT_MODULE_ID]
        inputs = [
            name
            for name, column in columns.items()
            if isinstance(column, Tensor)
            and column.is_floating_point()
            and name != Columns.ACTION_DIST_INPUTS
            and not torch.isfinite(column).all()
        ]
        what = f"loss term {', '.join(terms) or 'total'} is not finite"
        because = f"; so is the input {', '.join(inputs)}" if inputs else ""
        raise DivergenceError(f"training diverged: {what}{because}")
