"""Let every client learn its action values alone, and average them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import Tensor

from edge_marl.algorithms.core.learner import DivergenceError, Terms
from edge_marl.algorithms.federation.clients import SimulatedFederation
from edge_marl.algorithms.federation.training import FederatedLearner
from edge_marl.algorithms.sampling.columns import Fragment
from edge_marl.algorithms.scof.block import VALUES, ValueBlock, ValueLesson


class SCOFLearner(FederatedLearner):
    """Train clients by Q-learning, and federate their networks."""

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Make block and federation, and the schedule of the learning rate."""
        super().configure_optimizers_for_module(module_id, config)
        self._rate = Scheduler(config.lr)

    def make_block(self, module: Any, seeds: list[int], config: Any) -> ValueBlock:
        """Return a block of all clients."""
        return ValueBlock(module.actor, seeds, config.replay_capacity)

    def make_federation(self, seed: int) -> SimulatedFederation:
        """Return the federation; Q-learning does not ask who has played."""
        return SimulatedFederation(self.block, (VALUES,), self.options, seed, plays=False)

    def learn_alone(
        self, columns: dict[str, Tensor], trains: NDArray[np.bool_], **how: Any
    ) -> list[Terms]:
        """Keep the decisions of all clients, and let those learn that train."""
        config = self.config
        rewards = columns[Fragment.REWARDS]
        if not torch.isfinite(rewards).all():
            raise DivergenceError("rewards are not finite")
        self.block.keep(columns, config.gamma)
        return self.block.learn(
            trains,
            ValueLesson(
                lr=float(self._rate.update(self.env_steps)),
                grad_clip=config.grad_clip,
                n_updates=config.updates_per_batch,
                minibatch_size=config.minibatch_size,
                tau=config.tau,
                double_q=config.double_q,
                proximal=config.proximal,
            ),
        )

    def agent_steps(self, columns: dict[str, Tensor]) -> int:
        """Count the steps of agents that were sampled."""
        counted = columns[Fragment.ACTIVE][:, :-1] & columns[Fragment.VALID][..., None]
        return int(counted.sum())
