"""Estimate advantages of fragments, then minimise the PPO loss on minibatches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from ray.rllib.algorithms.ppo.ppo import LEARNER_RESULTS_KL_KEY
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor

from edge_marl.algorithms.core.learner import JointLearner, Terms
from edge_marl.algorithms.core.optimiser import flat_adam
from edge_marl.algorithms.mappo.losses import (
    Coefficients,
    divergences,
    explained_variance,
    ppo_loss,
)
from edge_marl.algorithms.mappo.module import OUTPUTS, MAPPOModule
from edge_marl.algorithms.mappo.rows import (
    VALUE_WEIGHTS,
    JointSteps,
    WholeFragments,
    learning_targets,
)
from edge_marl.algorithms.sampling.columns import Fragment, who_decides

_KL = "kl_coeff"


class MAPPOTorchLearner(JointLearner, PPOTorchLearner):
    """Learn from fragments, see :class:`edge_marl.algorithms.sampling.columns.Fragment`.

    RLlib's learner provides the schedules and adapts the coefficient of the KL penalty.
    """

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Note the environment steps sampled so far, and set the entropy coefficient by them."""
        super().before_gradient_based_update(timesteps=timesteps)
        self.entropy_coeff_schedulers_per_module[DEFAULT_MODULE_ID].update(self.env_steps)

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Register Adam on one tensor that holds all parameters, those of the actor first."""
        module = self._own_module
        self._optimiser = flat_adam([*module.actor.parameters(), *module.critic.parameters()])
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
        team_reward: str = "sum",
        **_: Any,
    ) -> list[Terms]:
        """Train for all epochs on the fragments, then update the observation normaliser.

        The normaliser comes last, because its earlier moments produced the action probabilities
        that the fragments hold.
        """
        actor = self._own_module.actor
        rows, steps_per_row = self._rows(dict(columns), team_reward)
        size = minibatch_size and max(1, minibatch_size // steps_per_row)
        warming_up = self.env_steps <= self.config.critic_warmup_steps
        fixed = sum(weights.numel() for weights in actor.parameters()) if warming_up else 0
        history = [
            self.gradient_step(batch, self._optimiser, clip=self.config.grad_clip, fixed=fixed)
            for parts in self._epochs(rows.n_rows, size, num_epochs)
            for batch in rows.minibatches(parts)
        ]
        for terms in history:
            terms["vf_explained_var"] = self._explained_variance
        if actor.normaliser is not None:
            seen = columns[Fragment.ACTIVE]
            if self.config.decisions_only:
                seen = who_decides(columns) & seen
            actor.normaliser.update(
                columns[Fragment.FEATURES].flatten(0, -3), seen.flatten(0, -2),
                sets=actor.groups, total=self.total,
            )  # fmt: skip
        return history

    def agent_steps(self, columns: dict[str, Tensor]) -> int:
        """Count the steps that agents in the episode have played."""
        active = columns[Fragment.ACTIVE][:, :-1]
        return int((columns[Fragment.VALID][..., None] & active).sum())

    def _epochs(self, n_rows: int, size: int | None, n_epochs: int) -> Iterator[list[Tensor]]:
        """Yield the minibatches of each epoch: every row once, in a new order, in equal parts.

        All learners draw the same order of all rows, and each keeps its own rows; its part of a
        minibatch may therefore be empty.

        Args:
            n_rows: of this learner.
            size: about how many rows of each learner a minibatch has; all when None.
            n_epochs: passes over the rows.
        """
        before, n_all = self.place_among_learners(n_rows)
        n_parts = max(1, round(n_all / (size * self.n_learners))) if size else 1
        for _ in range(n_epochs):
            parts = torch.randperm(n_all, generator=self.generator).chunk(n_parts)
            if self.distributed:
                parts = [part[(part >= before) & (part < before + n_rows)] - before
                         for part in parts]  # fmt: skip
            yield [part.to(self._device) for part in parts]

    @torch.no_grad()
    def _rows(
        self, fragments: dict[str, Tensor], team_reward: str
    ) -> tuple[JointSteps | WholeFragments, int]:
        """Return the rows of the train batch, and how many joint steps each of them holds.

        This also updates the running moments of states and returns, where they are kept.
        """
        config, module = self.config, self._own_module
        values = module.values_of_return(fragments, decisions=config.decisions_only)
        targets = learning_targets(
            fragments,
            values,
            gamma=config.gamma,
            lambda_=config.lambda_,
            team_reward=team_reward,
            shared_end=team_reward != "own" and config.critic == "central",
            decisions=config.decisions_only,
            total=self.total,
        )
        returns, counts = targets[Postprocessing.VALUE_TARGETS], targets[Columns.LOSS_MASK]
        bad = self.total((~torch.isfinite(returns[counts])).sum())
        if bad > 0:
            # This comes before the moments below are spoilt, which are weights too.
            self.log_terms(**{Postprocessing.VALUE_TARGETS: returns[counts]})
            self._diverged({DEFAULT_MODULE_ID: fragments})
        self._explained_variance = explained_variance(
            returns[counts], values[:, :-1][counts], self.total
        )
        module.critic.observe(fragments, self.total)
        if module.value_moments is not None:
            module.value_moments.update(returns[counts], total=self.total)
            targets[Postprocessing.VALUE_TARGETS] = module.value_moments.normalise(returns)
        if module.actor.is_recurrent:
            return WholeFragments(fragments, targets), counts.shape[1]
        return JointSteps(fragments, targets, module.critic.n_values), 1

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Tensor]
    ) -> Tensor:
        """Return the PPO loss of a minibatch of :mod:`.rows`, with a KL penalty if asked for."""
        outputs, values = fwd_out[OUTPUTS], fwd_out[Columns.EMBEDDINGS]
        weights = batch.get(VALUE_WEIGHTS)
        n_choices, n_values = self.averages(
            len(outputs), values.numel() if weights is None else float(weights.sum())
        )
        entropy_coeff = self.entropy_coeff_schedulers_per_module[module_id].get_current_value()
        coefficients = Coefficients(
            config.clip_param, config.vf_clip_param, config.vf_loss_coeff, float(entropy_coeff)
        )
        loss, terms = ppo_loss(
            outputs,
            values,
            batch,
            coefficients,
            n_choices=n_choices,
            n_values=n_values,
        )
        if config.use_kl_loss:
            terms[LEARNER_RESULTS_KL_KEY] = divergences(outputs, batch).sum() / n_choices
            penalty = self.curr_kl_coeffs_per_module[module_id] * terms[LEARNER_RESULTS_KL_KEY]
            loss = loss + penalty
        self.log_terms(**terms)
        return loss

    # Checkpoints ---------------------------------------------------------------------------

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return what :meth:`set_state` needs."""
        current = float(self.curr_kl_coeffs_per_module[DEFAULT_MODULE_ID])
        return super().get_state(*args, **kwargs) | {_KL: (self.config.kl_coeff, current)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from where ``state`` was taken.

        The adapted coefficient is not restored if the option ``kl_coeff`` has changed since.
        """
        super().set_state(state)
        first, current = state.get(_KL, (None, None))
        if first == self.config.kl_coeff:
            self.curr_kl_coeffs_per_module[DEFAULT_MODULE_ID] = self._get_tensor_variable(current)

    @property
    def _own_module(self) -> MAPPOModule:
        module: MAPPOModule = self.module[DEFAULT_MODULE_ID].unwrapped()
        return module
