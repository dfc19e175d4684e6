"""Extend RLlib's learner with fast gradient steps that several learners make as one would."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from torch import Tensor

Terms = dict[str, Tensor]
"""Named parts of a loss, detached."""


_GENERATOR = "generator"


class DivergenceError(RuntimeError):
    """Signal that a loss or its gradient is not finite, before it has changed any weight."""


class JointLearner(TorchLearner):
    """Make many gradient steps in one call, each on one flat tensor of weights.

    A step takes a few milliseconds, less than RLlib spends around each of its minibatches;
    :meth:`update` therefore leaves all steps to :meth:`learn` of the subclass, and reports means
    once. Subclasses name the terms of their loss with :meth:`log_terms`.

    Several learners do together what one would do with all of their rows: gradients and terms are
    averaged over the learners, and where a loss is a mean over rows, every learner divides its sum
    by the :meth:`average` number of rows. Random numbers come from :attr:`generator`, which draws
    the same in all learners.
    """

    generator: torch.Generator
    env_steps = 0
    """Environment steps sampled so far."""

    def build(self) -> None:
        """Build module and optimisers."""
        cpus = self.config.num_cpus_per_learner
        torch.set_num_threads(1 if cpus == "auto" else max(1, int(cpus)))
        # A seed makes torch deterministic and, by default, also overwrite all memory it takes.
        torch.utils.deterministic.fill_uninitialized_memory = False
        self._terms: Terms = {}
        super().build()
        seed = torch.randint(2**62, (1,), device=self._device)
        if self.distributed:
            for tensor in (seed, *self.module[DEFAULT_MODULE_ID].state_dict().values()):
                torch.distributed.broadcast(tensor, 0)
        self.generator = torch.Generator().manual_seed(int(seed))

    def _make_modules_ddp_if_necessary(self) -> None:
        """Do nothing: :meth:`gradient_step` averages the one flat gradient itself.

        DDP would weigh minibatches of different sizes alike, and wait for ever, or raise, where
        learners have different numbers of them or leave weights unused.
        """

    # Several learners -----------------------------------------------------------------------

    def total(self, part: Tensor) -> Tensor:
        """Sum ``part`` over all learners, in place."""
        if self.distributed:
            torch.distributed.all_reduce(part)
        return part

    def average(self, part: Tensor) -> Tensor:
        """Average ``part`` over all learners, in place."""
        return self.total(part).div_(self.n_learners) if self.distributed else part

    def averages(self, *counts: float) -> list[float]:
        """Return the means over all learners of some counts, as if each were at least 1 in all.

        Something may have nobody to count, and what is divided by it is then 0 and not 0 / 0.
        """
        found = list(counts)
        if self.distributed:
            summed = torch.tensor(counts, dtype=torch.float64, device=self._device)
            found = self.average(summed).tolist()
        return [max(count, 1.0 / self.n_learners) for count in found]

    def share(self, n_rows: int) -> float:
        """Return the weight of a mean over this learner's ``n_rows`` rows.

        The average over the learners of such means, so weighted, is the mean over all rows.
        """
        (average,) = self.averages(n_rows)
        return n_rows / average

    def differentiable_total(self, part: Tensor) -> Tensor:
        """Return the sum of ``part`` over all learners, differentiable in this learner's own part.

        Gradients are averaged over the learners afterwards, so that of the own part is multiplied
        by the number of learners.
        """
        if not self.distributed:
            return part
        own = part * self.n_learners
        return own + (self.total(part.detach().clone()) - own.detach())

    @property
    def n_learners(self) -> int:
        """Return the number of learners, this one included."""
        return max(1, self.config.num_learners)

    def place_among_learners(self, n_rows: int) -> tuple[int, int]:
        """Return how many rows the learners before this one have, and how many all have."""
        if not self.distributed:
            return 0, n_rows
        rank = torch.distributed.get_rank()
        counts = torch.zeros(self.n_learners, dtype=torch.int64, device=self._device)
        counts[rank] = n_rows
        self.total(counts)
        return int(counts[:rank].sum()), int(counts.sum())

    # Learning -------------------------------------------------------------------------------

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Note how many steps were sampled, and set the learning rate.

        RLlib does so only after an update, too late for the first one after a restore.
        """
        super().before_gradient_based_update(timesteps=timesteps)
        self.env_steps = int(timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0))
        for optimiser, schedule in self._optimizer_lr_schedules.items():
            self._set_optimizer_lr(optimiser, lr=schedule.update(self.env_steps))

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
        """Learn from a batch for the one module, and return metrics as RLlib's method does."""
        self._check_is_built()
        self.before_gradient_based_update(timesteps=timesteps or {})
        self._weights_seq_no += 1
        whole = training_data.batch if batch is None else batch
        columns = {
            name: torch.as_tensor(column, device=self._device)
            for name, column in whole.policy_batches[DEFAULT_MODULE_ID].items()
        }
        history = self.learn(columns, **how)
        if history:
            names = list(history[0])
            terms = [torch.cat([terms[name].flatten() for terms in history]) for name in names]
            agreed = self.average(torch.stack([found.mean() for found in terms])).tolist()
            reported = dict(zip(names, agreed, strict=True))
            self.metrics.log_dict(reported, key=DEFAULT_MODULE_ID, window=1)
        # RLlib takes the length of a batch for the number of steps in it.
        counted = SampleBatch({"steps": np.empty(self.agent_steps(columns), np.bool_)})
        self._log_steps_trained_metrics(
            MultiAgentBatch({DEFAULT_MODULE_ID: counted}, whole.env_steps())
        )
        self.after_gradient_based_update(timesteps=timesteps or {})
        return self.metrics.reduce()

    def agent_steps(self, columns: dict[str, Tensor]) -> int:
        """Count the steps of single agents in a batch."""
        raise NotImplementedError

    def learn(self, columns: dict[str, Tensor], **how: Any) -> list[Terms]:
        """Make all gradient steps that a batch allows, perhaps none; return the terms of each."""
        raise NotImplementedError

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        """Return the loss of a minibatch for :meth:`gradient_step`, for learners that call it."""
        raise NotImplementedError

    def gradient_step(
        self,
        batch: dict[str, Tensor],
        optimiser: torch.optim.Optimizer,
        *,
        clip: float | None,
        fixed: int = 0,
        loss_of: Callable[[dict[str, Tensor]], Tensor] | None = None,
    ) -> Terms:
        """Make one gradient step.

        Args:
            batch: a minibatch, or this learner's part of one.
            optimiser: of one flat tensor, see :mod:`edge_marl.algorithms.core.optimiser`.
            clip: largest norm of the gradient; None: any.
            fixed: how many of the first weights stay as they are.
            loss_of: the loss of a minibatch; that of :meth:`compute_loss_for_module` when None.

        Returns:
            The terms of the loss, and the norm.

        Raises:
            DivergenceError: in all learners, where any has a loss or a gradient that is not finite.
        """
        (weights,) = optimiser.param_groups[0]["params"]
        self._terms.clear()
        loss = (loss_of or self._loss_of)(batch)
        weights.grad.zero_()
        loss.backward()
        self.average(weights.grad)
        if fixed:
            weights.grad[:fixed] = 0.0
        norm = weights.grad.norm()
        agreed = self.average(torch.stack([norm, loss.detach()]))
        size, value = agreed.tolist()
        if not (math.isfinite(size) and math.isfinite(value)):
            self._diverged({DEFAULT_MODULE_ID: batch})
        self.log_terms(total_loss=loss, gradient_norm=norm)
        if clip is not None and size > clip:
            weights.grad.mul_(clip / size)
        optimiser.step()
        return dict(self._terms)

    # Checkpoints ---------------------------------------------------------------------------

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Return RLlib's state and that of the random generator."""
        state: dict[str, Any] = super().get_state(
            components, not_components=not_components, **kwargs
        )
        if self._check_component(_GENERATOR, components, not_components):
            state[_GENERATOR] = self.generator.get_state().numpy()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from where ``state`` was taken, even if it is an earlier one of this learner.

        RLlib and env runners accept only weights of a higher sequence number than they have.
        """
        before = self._weights_seq_no  # type: ignore[has-type]
        self._weights_seq_no = 0
        super().set_state(state)
        if self._weights_seq_no <= before:
            self._weights_seq_no = before + 1
        if _GENERATOR in state:
            self.generator.set_state(torch.from_numpy(np.asarray(state[_GENERATOR])))

    def _loss_of(self, batch: dict[str, Tensor]) -> Tensor:
        # Not by way of ``forward_train``, which puts every submodule into training mode.
        outputs = self.module[DEFAULT_MODULE_ID]._forward_train(batch)
        loss: Tensor = self.compute_loss_for_module(
            module_id=DEFAULT_MODULE_ID, config=self.config, batch=batch, fwd_out=outputs
        )
        return loss

    def _diverged(self, batch: dict[str, Any]) -> None:
        """Raise an error that says which terms, and which inputs, are not finite."""
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
