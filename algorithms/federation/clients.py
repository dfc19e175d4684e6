"""Federate clients in simulated time (FAuNO paper, Algorithms 1 to 3)."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_marl.algorithms.federation.fedbuff import FedBuff
from edge_marl.algorithms.federation.options import ClientOptions, drawn_clients
from edge_marl.algorithms.federation.simulated import SimulatedNetwork
from edge_marl.algorithms.federation.updates import Update, size_of_update
from edge_marl.simulation import Travel

_ATTACKS = {"sign_flip": -1.0, "times_100": 100.0, "nan": math.nan}
_SAVED = (
    "tick", "versions", "steps", "sequences", "busy_until", "trainings", "is_slow", "is_attacker",
)  # fmt: skip


class Clients(Protocol):
    """Describe what trains N clients."""

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Return the weights ``[N, P]`` of each network, to be changed in place."""
        ...

    def anchor(self, name: str, weights: Tensor) -> None:
        """Keep a network near these weights ``[N, P]``."""
        ...


class SharedNetworks:
    """Show what clients share as one row of each.

    Args:
        weights: ``[N, P]`` of each network, which stay where they are.
        names: of the networks that are shared.
    """

    def __init__(self, weights: Mapping[str, Tensor], names: Sequence[str]) -> None:
        self._weights, self._names = weights, names
        self._widths = [weights[name].shape[1] for name in names]

    @property
    def n_bytes(self) -> int:
        """Return the size of an update on the network."""
        return size_of_update(sum(self._widths))

    @property
    def rows(self) -> Tensor:
        """Return a copy, ``[N, P]``."""
        return torch.cat([self._weights[name] for name in self._names], dim=1)

    def load(self, clients: int | slice, weights: Tensor) -> None:
        """Let clients go on from weights ``[P]``."""
        for name, part in self.parts(weights).items():
            self._weights[name][clients] = part

    def parts(self, weights: Tensor) -> dict[str, Tensor]:
        """Return the weights of each network, of ``weights [..., P]`` of all."""
        return dict(zip(self._names, weights.split(self._widths, -1), strict=True))


class SimulatedFederation:
    """Let clients take over versions and send updates, as their ticks pass.

    Clients learn from the steps of some ticks and send their updates when these have passed. It is
    then that they go on from the newest version that has reached them. Algorithm 1 looks for one
    before the steps are played; as versions are made some ticks after the updates have been sent,
    every second update would start from the version before, and count for nothing. What has to be
    learned from by those who played the steps, as an actor of PPO, is taken over when they begin.

    Args:
        clients: who all begin with the shared weights of the first.
        names: of the networks that they share.
        options: of the federation.
        seed: of who is slow, who forges updates, what is lost and late, and of noise.
        plays: whether versions are taken over when the steps begin.
    """

    def __init__(
        self,
        clients: Clients,
        names: Sequence[str],
        options: ClientOptions,
        seed: int,
        *,
        plays: bool,
    ) -> None:
        self._clients, self._options, self._seed, self._plays = clients, options, seed, plays
        self.shared = SharedNetworks(clients.weights, names)
        self.shared.load(slice(None), self.shared.rows[0])
        self.base = self.shared.rows
        """``[N, P]``: the version that each client started from, or its first weights."""
        N = len(self.base)
        self.versions = np.zeros(N, dtype=np.int64)
        """``[N]``: the number of that version."""
        self.steps = np.zeros(N, dtype=np.int64)
        """``[N]``: local trainings since."""
        self.sequences = np.zeros(N, dtype=np.int64)
        """``[N]``: updates so far."""
        self.busy_until = np.zeros(N, dtype=np.int64)
        """``[N]``: the tick in which a slow client has done with what it has begun."""
        self.tick = 0
        self.trainings = 0
        """Train batches so far."""
        chance = np.random.default_rng(seed)
        self.is_slow = drawn_clients(options.stragglers, N, chance)
        self.is_attacker = drawn_clients(options.attackers, N, chance)
        self.connect(Travel.at_once(N))

    @property
    def manager(self) -> FedBuff:
        """Return the manager."""
        return self._network.manager

    def report(self) -> dict[str, float]:
        """Return what can be said of all updates, see :meth:`.fedbuff.FedBuff.report`."""
        return self.manager.report()

    def connect(self, travel: Travel) -> None:
        """Connect the clients, before they train, with a manager on a network.

        Args:
            travel: how many ticks an update takes, and a version.
        """
        options, base = self._options, self.base
        self._network = SimulatedNetwork(
            FedBuff(base[0], len(base), options, seed=self._seed),
            travel,
            drop_rate=options.drop_rate,
            late_ticks=options.late_ticks,
            seed=self._seed,
        )

    def take(self, travel: Travel) -> None:
        """Let messages take so long from now on."""
        self._network.take(travel)

    def before(self, ticks: int) -> NDArray[np.bool_]:
        """Let clients take over versions, before they learn from the steps of so many ticks.

        Returns:
            Which clients learn, ``[N]``: neither are they busy nor do they wait for a version.
        """
        known = self.tick if self._plays else self.tick + ticks
        self._network.advance(known)
        trains = self.busy_until <= self.tick
        for client in np.flatnonzero(trains).tolist():
            made = self._network.newest(client, known)
            if made is not None and made.number > self.versions[client]:
                self.shared.load(client, made.weights)
                self.base[client] = made.weights
                self.versions[client], self.steps[client] = made.number, 0
            elif self._options.synchronous and self.steps[client]:
                trains[client] = False  # it waits for the version that its update is for
        if self._options.proximal:
            for name, base in self.shared.parts(self.base).items():
                self._clients.anchor(name, base)
        return trains

    def after(self, trained: NDArray[np.bool_], ticks: int) -> None:
        """Send updates, and let the manager work until so many ticks have passed.

        Args:
            trained: what :meth:`before` returned.
            ticks: the same.
        """
        self.steps += trained
        self.trainings += 1
        waiting = ~trained & (self.busy_until <= self.tick)
        slow = trained & self.is_slow
        self.busy_until[slow] = self.tick + ticks * self._options.slowness
        self.tick += ticks
        if self.trainings % self._options.share_every == 0:
            self._send(trained, waiting, ticks)
        self._network.advance(self.tick)

    def _send(self, trained: NDArray[np.bool_], waiting: NDArray[np.bool_], ticks: int) -> None:
        """Send the updates of clients that have trained; those that wait send theirs again."""
        shared = self.shared.rows
        self.sequences += trained
        for client in np.flatnonzero(trained | waiting).tolist():
            slower = self.is_slow[client] and trained[client]
            self._network.send(
                Update(
                    client,
                    int(self.sequences[client]),
                    int(self.versions[client]),
                    int(self.steps[client]),
                    self._forged(client, shared[client] - self.base[client]).numpy(),
                ),
                self.tick + (ticks * (self._options.slowness - 1) if slower else 0),
            )

    def _forged(self, client: int, delta: Tensor) -> Tensor:
        """Return what a client says that it has learned."""
        return delta * _ATTACKS[self._options.attack] if self.is_attacker[client] else delta

    # Checkpoints ---------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Return the states of the manager, the network and the clients, but for their weights."""
        saved = {name: getattr(self, name) for name in _SAVED}
        return copy.deepcopy(
            {"base": self.base.numpy(), "network": self._network.get_state(), **saved}
        )

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from where ``state`` was taken."""
        self._network.set_state(state["network"])
        self.base = torch.from_numpy(np.array(state["base"]))
        for name in _SAVED:
            setattr(self, name, copy.copy(state[name]))
