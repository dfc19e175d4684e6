"""Carry updates and versions over a simulated network, in simulated time.

Nothing here depends on when anything is computed: the same training makes the same versions.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from edge_marl.algorithms.federation.fedbuff import FedBuff
from edge_marl.algorithms.federation.updates import Update
from edge_marl.random_stream import uniform
from edge_marl.simulation import Travel

_CHANCES = 2  # numbers drawn for each update: whether it is lost, and how late it is


class Version(NamedTuple):
    """Hold a version of the shared weights."""

    number: int
    tick: int
    """In which it was made."""
    weights: Tensor
    """``[P]``"""


class SimulatedNetwork:
    """Bring updates to a manager in the order of their ticks, and its versions back.

    Updates that arrive in the same tick reach the manager in the order of their clients, before the
    tick is over. Those that there is no way for are lost.

    Args:
        manager: whose versions these are.
        travel: of a message of an update's size, in ticks, and of a version's.
        drop_rate: share of the updates that are lost on their way.
        late_ticks: each is late by up to so many ticks more.
        seed: of what is lost and late.
    """

    def __init__(
        self, manager: FedBuff, travel: Travel, *, drop_rate: float, late_ticks: float, seed: int
    ) -> None:
        self.manager = manager
        self._drop_rate = drop_rate
        self._late_ticks = late_ticks
        self._seed = seed
        self._n_sent = 0
        self._coming: list[tuple[int, int, int, Update]] = []
        self._versions: list[Version] = []
        self.take(travel)

    def take(self, travel: Travel) -> None:
        """Let messages that are sent from now on take so long, and versions until they arrive."""
        self._travel = travel
        reached = travel.from_manager[np.isfinite(travel.from_manager)]
        self._longest = float(reached.max(initial=0.0))

    def send(self, update: Update, tick: float) -> None:
        """Send an update at the end of a tick."""
        chance = _CHANCES * self._n_sent
        self._n_sent += 1
        late = self._late_ticks * uniform(self._seed, chance + 1)
        takes = float(self._travel.to_manager[update.client]) + late
        if math.isinf(takes) or uniform(self._seed, chance) < self._drop_rate:
            self.manager.lose(update.client)
            return
        arrives = math.ceil(tick + takes)
        heapq.heappush(self._coming, (arrives, update.client, update.sequence, update))

    def advance(self, tick: int) -> None:
        """Let the manager work until the end of a tick."""
        while self._coming and self._coming[0][0] <= tick:
            now = self._coming[0][0]
            while self._coming and self._coming[0][0] == now:
                self.manager.receive(heapq.heappop(self._coming)[-1])
            if self.manager.close():
                self._versions.append(Version(self.manager.version, now, self.manager.weights))
        everywhere = tick - self._longest
        while len(self._versions) > 1 and self._versions[1].tick <= everywhere:
            self._versions.pop(0)

    def newest(self, client: int, tick: float) -> Version | None:
        """Return the newest version that has reached a client by a tick; None before the first."""
        takes = self._travel.from_manager[client]
        arrived = (made for made in reversed(self._versions) if made.tick + takes <= tick)
        return next(arrived, None)

    # Checkpoints ---------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Return the state of the network and of its manager."""
        return {
            "manager": self.manager.get_state(),
            "travel": tuple(self._travel),
            "n_sent": self._n_sent,
            "coming": [(tick, vars(update)) for tick, *_, update in self._coming],
            "versions": [
                (number, tick, weights.numpy()) for number, tick, weights in self._versions
            ],
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from where ``state`` was taken."""
        self.manager.set_state(state["manager"])
        self.take(Travel(*state["travel"]))
        self._n_sent = state["n_sent"]
        self._coming = [
            (tick, update["client"], update["sequence"], Update(**update))
            for tick, update in state["coming"]
        ]
        self._versions = [
            Version(number, tick, torch.from_numpy(np.array(weights)))
            for number, tick, weights in state["versions"]
        ]
