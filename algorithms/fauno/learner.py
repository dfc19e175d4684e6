"""Let every client learn alone, and federate what they share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_marl.algorithms.core.learner import Terms
from edge_marl.algorithms.fauno.clients import ClientActors
from edge_marl.algorithms.federation.clients import SimulatedFederation
from edge_marl.algorithms.federation.training import FederatedLearner
from edge_marl.algorithms.mappo.blocks import ACTOR, CRITIC, AgentBlock, Lesson
from edge_marl.algorithms.mappo.independent import IndependentLearner
from edge_marl.algorithms.sampling.columns import Fragment

_SHARED = {"critic": (CRITIC,), "actor": (ACTOR,), "both": (ACTOR, CRITIC)}


class FAuNOLearner(FederatedLearner, IndependentLearner):
    """Train clients by PPO, and federate their critics, their actors or both."""

    def make_block(self, module: Any, seeds: list[int], config: Any) -> AgentBlock | ClientActors:
        """Return a block of all clients, or Ray actors with blocks of some."""
        if config.clients_per_actor is None:
            return IndependentLearner.make_block(self, module, seeds, config)
        cpus = config.num_cpus_per_learner
        return ClientActors(
            module.actor, module.critic, module.value_moments, seeds,
            clients_per_actor=config.clients_per_actor, num_cpus=1 if cpus == "auto" else cpus,
        )  # fmt: skip

    def make_federation(self, seed: int) -> SimulatedFederation:
        """Return the federation; a critic takes no part in playing, an actor does."""
        names = _SHARED[self.options.federated]
        return SimulatedFederation(self.block, names, self.options, seed, plays=ACTOR in names)

    def learning_rates(self, config: Any) -> dict[str, Any]:
        """Return the learning rate of each network, or its schedule."""
        return {ACTOR: config.lr, CRITIC: config.critic_lr}

    def learn_alone(
        self, columns: dict[str, Tensor], trains: NDArray[np.bool_], **how: Any
    ) -> list[Terms]:
        """Let clients learn from the fragments, see :meth:`IndependentLearner.learn`."""
        columns[Fragment.ACTIVE] = columns[Fragment.ACTIVE] & torch.from_numpy(trains)
        return IndependentLearner.learn(self, columns, **how)

    def lesson(self, columns: dict[str, Tensor], *how: Any) -> Lesson:
        """Return how every client is to learn, see :meth:`IndependentLearner.lesson`."""
        return super().lesson(columns, *how)._replace(proximal=self.options.proximal)
