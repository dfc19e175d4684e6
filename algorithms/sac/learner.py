"""Learn by discrete soft actor-critic from replayed steps."""

from __future__ import annotations

import math
from typing import Any

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from torch import Tensor

from edge_marl.algorithms.core.learner import JointLearner, Terms
from edge_marl.algorithms.core.optimiser import flattened
from edge_marl.algorithms.networks import has_choice
from edge_marl.algorithms.replay.columns import AgentTransition, JointTransition
from edge_marl.algorithms.sac.losses import entropies, temperature_loss
from edge_marl.algorithms.sac.module import DiscreteSACModule
from edge_marl.algorithms.sac.objective import both_ends, soft_actor_critic

_ALPHA = "alpha"


class DiscreteSACLearner(JointLearner):
    """Learn from the columns of the replay, taking every agent's steps on their own.

    All weights lie in one tensor, those of the twins last.
    """

    def build(self) -> None:
        """Build module, optimiser and target networks."""
        super().build()
        self._targets = flattened(list(self._own_module.target_twins.parameters()))

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Register Adam on one tensor that holds all parameters that learn."""
        module = self._own_module
        policy = [*module.actor.parameters(), module.log_alpha]
        weights = flattened([*policy, *module.twins.parameters()])
        self._twins = weights.detach()[sum(part.numel() for part in policy) :]
        self._optimiser = torch.optim.Adam([weights], fused=True)
        self.register_optimizer(
            module_id=module_id,
            optimizer=self._optimiser,
            params=[weights],
            lr_or_lr_schedule=config.lr,
        )

    def learn(
        self, columns: dict[str, Tensor], *, minibatch_size: int | None = None, **_: Any
    ) -> list[Terms]:
        """Take one gradient step for each ``minibatch_size`` rows of the batch, in order."""
        size = minibatch_size or len(columns[JointTransition.ACTIONS])
        pieces = {name: column.split(size) for name, column in columns.items()}
        history = []
        for k in range(len(pieces[JointTransition.ACTIONS])):
            rows = transitions({name: parts[k] for name, parts in pieces.items()})
            history.append(self.gradient_step(rows, self._optimiser, clip=self.config.grad_clip))
            self._targets.detach().lerp_(self._twins, self.config.tau)
        return history

    def agent_steps(self, columns: dict[str, Tensor]) -> int:
        """Count the steps of agents that were sampled."""
        return int(columns[JointTransition.PRESENT].sum())

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Tensor]
    ) -> Tensor:
        """Return the loss of actor and twins, plus that of the temperature if it is tuned."""
        module = self._own_module
        # A log_alpha that was tuned before has momentum and would go on moving.
        tuned = config.target_entropy is not None
        alpha = module.log_alpha.detach().exp() if tuned else torch.tensor(config.alpha)
        found = soft_actor_critic(
            module, batch, alpha=alpha, gamma=batch[AgentTransition.DISCOUNTS]
        )
        share = self.share(len(batch[AgentTransition.ACTIONS]))
        self.log_terms(
            **{name: term.mean() * share for name, term in found.terms.items()}, alpha=alpha
        )
        loss = found.loss * share
        if not tuned:
            return loss
        mask = both_ends(batch).action_mask
        of_temperature = temperature_loss(
            module.log_alpha, entropies(found.policy).detach(), mask, config.target_entropy
        )
        return loss + of_temperature * self.share(int(has_choice(mask).sum()))

    # Checkpoints ---------------------------------------------------------------------------

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return what :meth:`set_state` needs."""
        return super().get_state(*args, **kwargs) | {_ALPHA: self.config.alpha}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from where ``state`` was taken.

        The temperature starts anew from the option ``alpha`` if that has changed since.
        """
        super().set_state(state)
        if state.get(_ALPHA, self.config.alpha) != self.config.alpha:
            self._own_module.log_alpha.data.fill_(math.log(self.config.alpha))

    @property
    def _own_module(self) -> DiscreteSACModule:
        module: DiscreteSACModule = self.module[DEFAULT_MODULE_ID].unwrapped()
        return module


def transitions(drawn: dict[str, Tensor]) -> dict[str, Tensor]:
    """Split joint steps into one row for each agent that played the step.

    Args:
        drawn: M single transitions in the columns of :class:`JointTransition`.

    Returns:
        The columns of :class:`AgentTransition`, with the rewards of the team.
    """
    present = drawn[JointTransition.PRESENT][:, 0]
    features, mask = drawn[JointTransition.FEATURES], drawn[JointTransition.ACTION_MASK]
    return {
        AgentTransition.FEATURES: features[:, 0][present],
        AgentTransition.ACTION_MASK: mask[:, 0][present],
        AgentTransition.NODE: present.nonzero()[:, 1],
        AgentTransition.ACTIONS: drawn[JointTransition.ACTIONS][:, 0][present],
        AgentTransition.REWARDS: drawn[JointTransition.RETURNS].expand_as(present)[present],
        AgentTransition.DISCOUNTS: drawn[JointTransition.DISCOUNTS].expand_as(present)[present],
        AgentTransition.TERMINATED: ~drawn[JointTransition.REMAINING][:, 0][present],
        AgentTransition.NEXT_FEATURES: features[:, 1][present],
        AgentTransition.NEXT_ACTION_MASK: mask[:, 1][present],
    }
