"""Learn from logged transitions first, then by PPO on fragments."""

from __future__ import annotations

import copy
from typing import Any

import torch
from ray.rllib.core import COMPONENT_OPTIMIZER, COMPONENT_RL_MODULE
from torch import Tensor, nn

from edge_marl.algorithms.core.learner import Terms
from edge_marl.algorithms.core.optimiser import flattened
from edge_marl.algorithms.mappo.learner import MAPPOTorchLearner
from edge_marl.algorithms.o2o.module import O2OModule
from edge_marl.algorithms.o2o.offline import OFFLINE_LOSSES
from edge_marl.algorithms.replay.columns import AgentTransition


class O2OLearner(MAPPOTorchLearner):
    """Learn from columns of :class:`AgentTransition` offline, and from fragments as MAPPO does.

    All weights lie in one tensor: those of actor and critic, then those of the twins. The offline
    phase has an optimiser for all of them, the online phase another for actor and critic.
    """

    def build(self) -> None:
        """Build module and optimisers."""
        super().build()
        self._targets = flattened(list(self._own_module.target_twins.parameters()))

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Register one Adam optimiser for each phase."""
        module = self._own_module
        lasting = [*module.actor.parameters(), *module.critic.parameters()]
        weights = flattened([*lasting, *module.twins.parameters()])
        assert weights.grad is not None
        n = sum(parameter.numel() for parameter in lasting)
        kept = nn.Parameter(weights.detach()[:n])
        kept.grad = weights.grad[:n]
        self._twins = weights.detach()[n:]
        self._optimiser = torch.optim.Adam([kept], fused=True)
        self._offline_optimiser = torch.optim.Adam([weights], fused=True)
        for name, optimiser, parameter in (
            ("default_optimizer", self._optimiser, kept),
            ("offline_optimizer", self._offline_optimiser, weights),
        ):
            self.register_optimizer(
                module_id=module_id,
                optimizer_name=name,
                optimizer=optimiser,
                params=[parameter],
                lr_or_lr_schedule=config.lr,
            )

    def learn(
        self, columns: dict[str, Tensor], *, minibatch_size: int | None = None, **how: Any
    ) -> list[Terms]:
        """Take one gradient step for each ``minibatch_size`` logged transitions.

        From fragments, learn as MAPPO does.
        """
        if AgentTransition.NEXT_FEATURES not in columns:
            return super().learn(columns, minibatch_size=minibatch_size, **how)
        columns |= {
            name: columns[name].long() for name in (AgentTransition.ACTIONS, AgentTransition.NODE)
        }
        size = minibatch_size or len(columns[AgentTransition.ACTIONS])
        pieces = {name: column.split(size) for name, column in columns.items()}
        history = []
        for k in range(len(pieces[AgentTransition.ACTIONS])):
            batch = {name: parts[k] for name, parts in pieces.items()}
            history.append(
                self.gradient_step(
                    batch, self._offline_optimiser, clip=None, loss_of=self._offline_loss
                )
            )
            self._targets.detach().lerp_(self._twins, self.config.tau)
        return history

    def agent_steps(self, columns: dict[str, Tensor]) -> int:
        """Count the steps of agents; each row of logged transitions is one."""
        if AgentTransition.NEXT_FEATURES in columns:
            return len(columns[AgentTransition.ACTIONS])
        return super().agent_steps(columns)

    def _offline_loss(self, batch: dict[str, Tensor]) -> Tensor:
        loss, terms = OFFLINE_LOSSES[self.config.offline_method](
            self._own_module, batch, self.config
        )
        self.log_terms(**terms)
        return loss

    # What is deployed -----------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of the weights and of the state of the optimisers."""
        parts = [COMPONENT_RL_MODULE, COMPONENT_OPTIMIZER]
        state = self.get_state(components=parts)
        return copy.deepcopy({part: state[part] for part in parts})

    def return_to(self, snapshot: dict[str, Any]) -> None:
        """Go back to where ``snapshot`` was taken, see :meth:`snapshot`."""
        self.set_state(copy.deepcopy(snapshot))

    @property
    def _own_module(self) -> O2OModule:
        module: O2OModule = super()._own_module
        return module
