"""What our learners add to RLlib's."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from torch import Tensor

from edge_marl.algorithms.sampling.columns import Fragment


class DivergenceError(RuntimeError):
    """A loss is not finite; raised before any weight has been touched by it."""


class JointLearner(TorchLearner):
    """Base of our learners: stops at a loss that is not finite, updates the normaliser.

    Subclasses name the terms of their loss with :meth:`log_terms`.
    """

    def build(self) -> None:
        """Build module and optimisers."""
        cpus = self.config.num_cpus_per_learner
        torch.set_num_threads(1 if cpus == "auto" else max(1, int(cpus)))
        # A seed makes torch deterministic and, by default, also overwrite all memory it takes.
        torch.utils.deterministic.fill_uninitialized_memory = False
        self._terms: dict[str, Tensor] = {}
        super().build()

    def log_terms(self, **terms: Tensor) -> None:
        """Name the terms of the loss being computed, for metrics and for diagnosis."""
        self._terms.update({name: term.detach() for name, term in terms.items()})

    def update(self, *args: Any, **kwargs: Any) -> Any:
        """Update as RLlib does, then take the batch into the observation normaliser.

        Afterwards, because the probabilities in the batch are those of the normaliser before.
        """
        batch = kwargs.get("batch") or getattr(kwargs.get("training_data"), "batch", None)
        results = super().update(*args, **kwargs)
        normaliser = self.module[DEFAULT_MODULE_ID].unwrapped().actor.normaliser
        if normaliser is not None and batch is not None:
            columns = batch.policy_batches[DEFAULT_MODULE_ID]
            features = torch.as_tensor(columns[Fragment.FEATURES], device=self._device)
            active = torch.as_tensor(columns[Fragment.ACTIVE], device=self._device)
            normaliser.update(features.flatten(0, -3), active.flatten(0, -2)[..., None])
        return results

    def _update(self, batch: dict[str, Any], **kwargs: Any) -> tuple[Any, Any, Any]:
        """One gradient step on a minibatch."""
        self._terms.clear()
        fwd_out = self.module.forward_train(batch)
        loss_per_module = self.compute_losses(fwd_out=fwd_out, batch=batch)
        for loss in loss_per_module.values():
            if not torch.isfinite(loss):
                self._diverged(batch)
        gradients = self.compute_gradients(loss_per_module)
        self.apply_gradients(self.postprocess_gradients(gradients))
        self.metrics.log_dict(self._terms, key=DEFAULT_MODULE_ID, window=1)
        return fwd_out, loss_per_module, {}

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
