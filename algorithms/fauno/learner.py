"""Let every client learn alone, and federate what they share."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from torch import Tensor

from edge_marl.algorithms.core.learner import Terms
from edge_marl.algorithms.fauno.clients import ClientActors
from edge_marl.algorithms.fauno.federation import SimulatedFederation
from edge_marl.algorithms.fauno.options import FAuNOOptions
from edge_marl.algorithms.mappo.blocks import ACTOR, CRITIC, AgentBlock, Lesson
from edge_marl.algorithms.mappo.critics import LocalCritic
from edge_marl.algorithms.mappo.independent import IndependentLearner
from edge_marl.algorithms.networks.agents import Actor
from edge_marl.algorithms.sampling.columns import Fragment

_FEDERATION = "federation"


class FAuNOLearner(IndependentLearner):
    """Train all clients on a train batch, and let the federation go on for as long as it took.

    The time of the federation is that of an episode: a train batch with T steps of each of the
    episodes that are played at once takes T ticks.
    """

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Make clients and federation, which draw no number that sampling would miss."""
        super().configure_optimizers_for_module(module_id, config)
        self._options = FAuNOOptions.of(config)
        seed = self.block.seeds[0] % 2**31
        self.federation = SimulatedFederation(self.block, self._options, seed)

    def make_block(
        self, actor: Actor, critic: LocalCritic, value_moments: Any, seeds: list[int], config: Any
    ) -> AgentBlock | ClientActors:
        """Return a block of all clients, or Ray actors with blocks of some."""
        if config.clients_per_actor is None:
            return super().make_block(actor, critic, value_moments, seeds, config)
        cpus = config.num_cpus_per_learner
        return ClientActors(
            actor, critic, value_moments, seeds,
            clients_per_actor=config.clients_per_actor, num_cpus=1 if cpus == "auto" else cpus,
        )  # fmt: skip

    def learning_rates(self, config: Any) -> dict[str, Any]:
        """Return the learning rate of each network, or its schedule."""
        return {ACTOR: config.lr, CRITIC: config.critic_lr}

    def learn(self, columns: dict[str, Tensor], **how: Any) -> list[Terms]:
        """Take over versions, train, send updates, and let the federation work meanwhile."""
        config = self.config
        episodes = config.num_envs_per_env_runner * max(1, config.num_env_runners)
        ticks = max(1, columns[Fragment.VALID].numel() // episodes)
        trains = self.federation.before(ticks)
        columns[Fragment.ACTIVE] = columns[Fragment.ACTIVE] & torch.from_numpy(trains)
        history = super().learn(columns, **how)
        self.federation.after(trains, ticks)
        self.metrics.log_dict(self.federation.report(), key=DEFAULT_MODULE_ID, window=1)
        return history

    def lesson(self, columns: dict[str, Tensor], *how: Any) -> Lesson:
        """Return how every client is to learn, see :meth:`IndependentLearner.lesson`."""
        return super().lesson(columns, *how)._replace(proximal=self._options.proximal)

    # Checkpoints ---------------------------------------------------------------------------

    def own_state(self) -> dict[str, Any]:
        """Return the states of the clients and of the federation."""
        return super().own_state() | {_FEDERATION: self.federation.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from where ``state`` was taken."""
        super().set_state(state)
        if _FEDERATION in state:
            self.federation.set_state(state[_FEDERATION])
