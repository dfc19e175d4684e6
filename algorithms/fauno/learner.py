"""Let every client learn alone, and federate what they share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_marl.algorithms.core.learner import Terms
from edge_marl.algorithms.fauno.clients import ClientActor, ClientActors
from edge_marl.algorithms.fauno.pace import PacedClientActor, PacedFederation
from edge_marl.algorithms.federation.clients import SimulatedFederation
from edge_marl.algorithms.federation.training import FederatedLearner
from edge_marl.algorithms.mappo.blocks import ACTOR, CRITIC, AgentBlock, Lesson
from edge_marl.algorithms.mappo.independent import IndependentLearner
from edge_marl.algorithms.sampling.columns import Fragment
from edge_marl.simulation import Travel

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
            actor_class=PacedClientActor if config.clock == "wall" else ClientActor,
        )  # fmt: skip

    def make_federation(self, seed: int) -> SimulatedFederation | PacedFederation:
        """Return the federation; a critic takes no part in playing, an actor does."""
        options, names = self.options, _SHARED[self.options.federated]
        if options.clock == "wall":
            return PacedFederation(self.block, names, options, seed)
        return SimulatedFederation(self.block, names, options, seed, plays=ACTOR in names)

    def connect(self, travel: Travel, folder: Path) -> None:
        """See :meth:`FederatedLearner.connect`."""
        if isinstance(self.federation, PacedFederation):
            self.federation.start(folder)
        else:
            super().connect(travel, folder)

    def disconnect(self) -> None:
        """See :meth:`FederatedLearner.disconnect`."""
        if isinstance(self.federation, PacedFederation):
            self.federation.close()

    def learn(self, columns: dict[str, Tensor], **how: Any) -> list[Terms]:
        """See :meth:`FederatedLearner.learn`; by the clock on the wall, clients do all of it."""
        if not isinstance(self.federation, PacedFederation):
            return super().learn(columns, **how)
        history = self.federation.learn(columns, self.lesson(columns, **how))
        self.report()
        return history

    def learning_rates(self, config: Any) -> dict[str, Any]:
        """Return the learning rate of each network, or its schedule."""
        return {ACTOR: config.lr, CRITIC: config.critic_lr}

    def learn_alone(
        self, columns: dict[str, Tensor], trains: NDArray[np.bool_], **how: Any
    ) -> list[Terms]:
        """Let clients learn from the fragments, see :meth:`IndependentLearner.learn`."""
        columns[Fragment.ACTIVE] = columns[Fragment.ACTIVE] & torch.from_numpy(trains)
        return IndependentLearner.learn(self, columns, **how)

    def lesson(self, columns: dict[str, Tensor], **how: Any) -> Lesson:
        """Return how every client is to learn, see :meth:`IndependentLearner.lesson`."""
        return super().lesson(columns, **how)._replace(proximal=self.options.proximal)

    def settle(self) -> None:
        """See :meth:`FederatedLearner.settle`."""
        if isinstance(self.federation, PacedFederation):
            self.federation.settle()
