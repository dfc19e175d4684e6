"""Let every agent learn alone, by PPO of its own: independent learners in the strict sense."""

from __future__ import annotations

from typing import Any

from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import Tensor

from edge_marl.algorithms.core.blocks import BlockLearner
from edge_marl.algorithms.core.learner import Terms
from edge_marl.algorithms.mappo.blocks import ACTOR, CRITIC, AgentBlock, Lesson
from edge_marl.algorithms.mappo.learner import MAPPOTorchLearner
from edge_marl.algorithms.mappo.losses import Coefficients
from edge_marl.algorithms.sampling.columns import Fragment


class IndependentLearner(BlockLearner, MAPPOTorchLearner):
    """Learn from fragments for each agent alone, see :class:`.blocks.AgentBlock`."""

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Make a block of all agents, and the schedules of its learning rates."""
        super().configure_optimizers_for_module(module_id, config)
        self._rates = {name: Scheduler(rate) for name, rate in self.learning_rates(config).items()}

    def make_block(self, module: Any, seeds: list[int], config: Any) -> Any:
        """Return what trains all agents, with the methods of a block."""
        return AgentBlock(module.actor, module.critic, module.value_moments, seeds)

    def learning_rates(self, config: Any) -> dict[str, Any]:
        """Return the learning rate of each network, or its schedule."""
        return {ACTOR: config.lr, CRITIC: config.lr}

    def learn(self, columns: dict[str, Tensor], **how: Any) -> list[Terms]:
        """Train for all epochs on the fragments, then update the observation normaliser."""
        return self.block.learn(columns, self.lesson(columns, **how))

    def lesson(
        self,
        columns: dict[str, Tensor],
        *,
        num_epochs: int = 1,
        minibatch_size: int | None = None,
        **_: Any,
    ) -> Lesson:
        """Return how every agent is to learn from fragments of all agents.

        Args:
            columns: of :class:`Fragment`.
            num_epochs: passes over its rows.
            minibatch_size: joint steps of a minibatch, of which an agent has those with a choice;
                None: all.
        """
        config = self.config
        n_steps = int(columns[Fragment.VALID].sum())
        entropy_coeff = self.entropy_coeff_schedulers_per_module[DEFAULT_MODULE_ID]
        return Lesson(
            coefficients=Coefficients(
                config.clip_param, config.vf_clip_param, config.vf_loss_coeff,
                float(entropy_coeff.get_current_value()),
            ),
            lr={name: float(rate.update(self.env_steps)) for name, rate in self._rates.items()},
            gamma=config.gamma,
            lambda_=config.lambda_,
            grad_clip=config.grad_clip,
            n_epochs=num_epochs,
            n_parts=max(1, round(n_steps / minibatch_size)) if minibatch_size else 1,
        )  # fmt: skip
