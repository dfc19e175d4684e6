"""Give a trained actor the interface of the tandem heuristics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from edge_marl.algorithms.actors import greedy
from edge_marl.algorithms.networks.agents import Actor
from edge_marl.simulation import Policy
from edge_marl.tandem import TandemSimulator
from edge_marl.tandem.traces import IntArray


class ActorPolicy(Policy[TandemSimulator]):
    """Play tandem with an actor: greedily, each stage by its own queue.

    Args:
        name: shown in tables.
        actor: of the two stages.
        check: called before every decision; what it raises ends the playing.
    """

    def __init__(self, name: str, actor: Actor, check: Callable[[], None] | None = None) -> None:
        self.name = name
        self.actor = actor.eval()
        self._check = check
        self._hidden: Tensor | None = None

    def reset(self, simulator: TandemSimulator) -> None:
        """Forget earlier episodes: a recurrent actor begins with its initial memory."""
        recurrent = self.actor.is_recurrent
        self._hidden = self.actor.initial_hidden(simulator.batch_size) if recurrent else None

    @torch.inference_mode()
    def act(self, simulator: TandemSimulator) -> IntArray:
        """Return the positions ``[B, 2]`` of the chosen jobs."""
        observation = simulator.observation
        if self._check is not None:
            self._check()
        features = torch.from_numpy(observation.features).flatten(2)
        mask = torch.from_numpy(observation.action_mask)
        outputs, self._hidden = self.actor(features, mask, self._hidden)
        return greedy(outputs, mask).numpy().astype(np.int32)
