"""Learn by value decomposition, with many small updates in one call and target networks."""

from __future__ import annotations

import math
from typing import Any

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor

from edge_marl.algorithms.core.learner import JointLearner, Terms
from edge_marl.algorithms.core.optimiser import flattened
from edge_marl.algorithms.replay.columns import TD_ERRORS, JointTransition
from edge_marl.algorithms.value_decomposition.losses import mean_errors, td_loss, td_targets
from edge_marl.algorithms.value_decomposition.module import (
    FOLLOWING,
    PREDICTED,
    ValueDecompositionModule,
)

_N_UPDATES = "n_updates"
_PASS = 16  # minibatches of a target pass: enough to hide its overhead, little enough to hold


class ValueDecompositionLearner(JointLearner):
    """Learn from the columns of :class:`edge_marl.algorithms.replay.columns.JointTransition`."""

    def build(self) -> None:
        """Build module, optimiser and target networks."""
        super().build()
        self._n_updates = 0
        self._interval = self.config.target_update_interval
        self._own_module.make_target_networks()
        pairs = self._own_module.get_target_network_pairs()
        self._targets = flattened([p for _, target in pairs for p in target.parameters()])
        self._buffers = [
            (followed, buffer)
            for network, target in pairs
            for followed, buffer in zip(network.buffers(), target.buffers(), strict=True)
        ]

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Register Adam on one tensor that holds all parameters."""
        module = self._own_module
        self._weights = flattened([*module.actor.parameters(), *module.mixer.parameters()])
        self._optimiser = torch.optim.Adam([self._weights], fused=True)
        self.register_optimizer(
            module_id=module_id,
            optimizer=self._optimiser,
            params=[self._weights],
            lr_or_lr_schedule=config.lr,
        )

    def learn(
        self, columns: dict[str, Tensor], *, minibatch_size: int | None = None, **_: Any
    ) -> list[Terms]:
        """Take one gradient step for each ``minibatch_size`` rows of the batch, in order."""
        module = self._own_module
        n_rows = len(columns[JointTransition.STATE])
        size, start = minibatch_size or n_rows, 0
        # All minibatches are draws from one replay: the first tells the moments enough.
        self._take_in({name: column[:size] for name, column in columns.items()})
        history: list[Terms] = []
        while start < n_rows:
            # The targets of all updates that share a target network are computed in one pass.
            alike = min(_PASS, self._interval - self._n_updates % self._interval)
            end = min(start + alike * size, n_rows)
            part = {name: column[start:end] for name, column in columns.items()}
            part[JointTransition.STATE] = module.state_normaliser.normalise(
                part[JointTransition.STATE]
            )
            part |= module.forward_target(part)
            minibatches = {name: column.split(size) for name, column in part.items()}
            for k in range(len(minibatches[JointTransition.STATE])):
                minibatch = {name: pieces[k] for name, pieces in minibatches.items()}
                history.append(self._step(minibatch))
            start = end
        if self.config.replay_alpha > 0:
            errors = torch.cat([terms["td_error"] for terms in history])
            self.metrics.log_value((DEFAULT_MODULE_ID, TD_ERRORS), errors, reduce="item_series")
        return history

    def agent_steps(self, columns: dict[str, Tensor]) -> int:
        """Count the steps of agents that were sampled."""
        return int(columns[JointTransition.PRESENT].sum())

    def _step(self, batch: dict[str, Tensor]) -> Terms:
        """Take one gradient step, update the target networks if due, and return what to report."""
        terms = self.gradient_step(batch, self._optimiser, clip=self.config.grad_clip)
        self._n_updates += 1
        if self._n_updates % self._interval == 0:
            self._follow(self.config.tau)
        return terms

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        """Return the temporal-difference loss of the joint value."""
        predicted = fwd_out[PREDICTED]
        targets = td_targets(
            batch[JointTransition.RETURNS],
            batch[JointTransition.DISCOUNTS],
            batch[JointTransition.BOOTSTRAP],
            fwd_out[FOLLOWING],
        )
        errors = predicted - targets
        weights = batch[JointTransition.WEIGHTS]
        (n_played,) = self.averages(float(weights.count_nonzero()))
        loss = td_loss(errors, weights, max(n_played, 1.0), huber=config.loss == "huber")
        each = mean_errors(errors.detach(), weights)
        self.log_terms(td_loss=loss, q_mean=predicted, td_error=each)
        return loss

    @torch.no_grad()
    def _follow(self, tau: float) -> None:
        """Move the target networks towards the learning ones."""
        self._targets.lerp_(self._weights, tau)
        for followed, buffer in self._buffers:
            buffer.copy_(followed)

    def _take_in(self, columns: dict[str, Tensor]) -> None:
        """Update the moments by which states, and observations if asked, are standardised."""
        module, actor = self._own_module, self._own_module.actor
        seen = columns[JointTransition.STATE].sum() + columns[JointTransition.FEATURES].sum()
        if not math.isfinite(self.total(seen).item()):
            self._terms.clear()
            self._diverged({DEFAULT_MODULE_ID: columns})  # before it is in the moments for good
        played = (columns[JointTransition.WEIGHTS] > 0).flatten()
        states = columns[JointTransition.STATE][:, :-1].flatten(0, 1)
        module.state_normaliser.update(states, played, total=self.total)
        if actor.normaliser is not None:
            features, present = (
                columns[JointTransition.FEATURES][:, :-1],
                columns[JointTransition.PRESENT],
            )
            actor.normaliser.update(
                features.flatten(0, 1), present.flatten(0, 1),
                sets=actor.groups, total=self.total,
            )  # fmt: skip

    @property
    def _own_module(self) -> ValueDecompositionModule:
        module: TorchRLModule = self.module[DEFAULT_MODULE_ID]
        return module.unwrapped()

    # Checkpoints ---------------------------------------------------------------------------

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return RLlib's state and the number of updates, which tells when the targets are due."""
        return super().get_state(*args, **kwargs) | {_N_UPDATES: self._n_updates}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from where ``state`` was taken."""
        super().set_state(state)
        self._n_updates = state.get(_N_UPDATES, self._n_updates)
