"""Let clients in Ray actors train at their own pace, with a manager that waits for none of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import ray
import torch
from ray.exceptions import PendingCallsLimitExceeded, RayError

from edge_marl.algorithms.core.learner import Terms
from edge_marl.algorithms.fauno.clients import ClientActor, ClientActors, Learned
from edge_marl.algorithms.fauno.options import FAuNOOptions
from edge_marl.algorithms.federation.clients import SharedNetworks
from edge_marl.algorithms.federation.manager import start_manager
from edge_marl.algorithms.federation.options import drawn_clients, how_many
from edge_marl.algorithms.federation.updates import Update
from edge_marl.algorithms.mappo.blocks import Lesson
from edge_marl.algorithms.mappo.rows import Rows

_END_S = 5.0
"""How long the end waits for a manager, which may be dead."""


class Membership(NamedTuple):
    """Say what a block of clients has to know of its federation."""

    manager: Any
    """Handle of a :class:`.federation.manager.GlobalManager`."""
    names: Sequence[str]
    """Of the networks that are shared."""
    clients: Sequence[int]
    """Their numbers."""
    share_every: int
    slowness: int
    """How many times as long as it has to it trains."""


class PacedClientActor(ClientActor):
    """Hold a block of clients that talks to the manager itself; arguments are those of the base."""

    _version = 0
    _trainings = 0
    _steps = 0
    """Trainings since that version."""

    def join(self, membership: Membership) -> None:
        """Take part in a federation."""
        self._of = membership
        self._base: Learned = {}
        self._answers: list[Any] = []

    def train(
        self, fragments: Rows, lesson: Lesson, before: Learned
    ) -> tuple[Learned, list[Terms]]:
        """Take over the newest version, learn, and send what was learned (Algorithm 1).

        Arguments and results are those of :meth:`.ClientActor.learn`.
        """
        began = time.monotonic()
        before = self._with_newest(before)
        if lesson.proximal:
            for name in self._of.names:
                self.anchor(name, self._base[name])
        learned, history = self.learn(fragments, lesson, before)
        self._trainings += 1
        self._steps += 1
        if self._trainings % self._of.share_every == 0:
            self._send(learned)
        time.sleep((self._of.slowness - 1) * (time.monotonic() - began))
        return learned, history

    def _with_newest(self, before: Learned) -> Learned:
        """Return what the clients go on from: the newest version, if there is one they lack."""
        ray.get(self._answers)  # what it had not taken in, it would not know of
        found = ray.get(self._of.manager.newest.remote(self._version))
        if found is not None:
            self._version, weights = found
            self._steps = 0
            shared = SharedNetworks(before, self._of.names)
            new = shared.parts(torch.from_numpy(np.array(weights)))
            before = before | {
                name: part.expand(len(self._of.clients), -1) for name, part in new.items()
            }
        if found is not None or not self._base:
            self._base = {name: before[name].clone() for name in self._of.names}
        return before

    def _send(self, learned: Learned) -> None:
        """Send every client's update; what the manager cannot take in is part of the next one."""
        names = self._of.names
        deltas = SharedNetworks(learned, names).rows - SharedNetworks(self._base, names).rows
        self._answers = []
        for client, delta in zip(self._of.clients, deltas.numpy(), strict=True):
            update = Update(client, self._trainings, self._version, self._steps, delta.copy())
            try:
                self._answers.append(self._of.manager.receive.remote(update))
            except PendingCallsLimitExceeded:
                return

    def get_state(self) -> dict[str, Any]:
        """Return also where in the federation the clients are."""
        return super().get_state() | {
            "version": self._version, "trainings": self._trainings, "steps": self._steps,
            "base": {name: weights.numpy() for name, weights in self._base.items()},
        }  # fmt: skip

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from where ``state`` was taken."""
        super().set_state(state)
        self._version, self._trainings, self._steps = (
            state["version"], state["trainings"], state["steps"],
        )  # fmt: skip
        self._base = {name: torch.from_numpy(np.array(c)) for name, c in state["base"].items()}


class PacedFederation:
    """Hand fragments to the client actors that are free, and never wait for all of them.

    The manager is a Ray actor of its own, and the clients talk to it without this process. Which
    updates make a version depends on who is how fast, so no two trainings are the same.

    Args:
        clients: of :class:`PacedClientActor`; all begin with the shared weights of the first.
        names: of the networks that they share.
        options: of the federation.
        seed: of who is slow, and of noise.
    """

    def __init__(
        self, clients: ClientActors, names: Sequence[str], options: FAuNOOptions, seed: int
    ) -> None:
        self._clients, self._names, self._options, self._seed = clients, names, options, seed
        self.shared = SharedNetworks(clients.weights, names)
        self.shared.load(slice(None), self.shared.rows[0])
        self._busy: dict[Any, int] = {}  # the actor by what it was asked for
        self.manager: Any = None

    def start(self, folder: Path) -> None:
        """Start the manager, which keeps its versions and messages in a folder."""
        weights, options = self.shared.rows, self._options
        N = len(weights)
        self.manager = start_manager(
            weights[0].numpy(), N, options, folder, seed=self._seed, log=True
        )
        is_slow = drawn_clients(options.stragglers, N, np.random.default_rng(self._seed))
        ray.get([
            actor.join.remote(Membership(
                self.manager, self._names, range(begin, end), options.share_every,
                options.slowness if is_slow[begin:end].any() else 1,
            ))
            for actor, (begin, end) in self._clients.actors()
        ])  # fmt: skip

    def learn(self, fragments: Rows, lesson: Lesson) -> list[Terms]:
        """Have all free actors begin to learn, and wait until a share of all is free again.

        That share is the one that a version takes updates of. Who is still busy learns nothing
        from these fragments, and plays on with the actor that it had.

        Args:
            fragments: columns of :class:`.sampling.columns.Fragment`, of all clients.
            lesson: how.

        Returns:
            The terms of the loss of those who have learned, perhaps from earlier fragments.
        """
        working = set(self._busy.values())
        for k in range(len(self._clients.actors())):
            if k not in working:
                self._busy[self._clients.ask(k, "train", fragments, lesson)] = k
        return self._take(how_many(self._options.participants, len(self._busy)))

    def report(self) -> dict[str, float]:
        """Return what can be said of all updates, see :meth:`.fedbuff.FedBuff.report`."""
        found: dict[str, float] = ray.get(self.manager.report.remote())
        return found | {"busy_actors": len(self._busy)}

    def _take(self, n: int) -> list[Terms]:
        """Wait for n actors, and take over what all have learned that are free."""
        ray.wait([*self._busy], num_returns=n)
        ready, _ = ray.wait([*self._busy], num_returns=len(self._busy), timeout=0)
        history: list[Terms] = []
        for one in ready:
            history += self._clients.take(self._busy.pop(one), ray.get(one))
        return history

    def settle(self) -> None:
        """Wait for all that are at work; the terms of their losses are not reported."""
        if self._busy:
            self._take(len(self._busy))

    def close(self) -> None:
        """End the manager, before its folder goes."""
        if self.manager is None:
            return
        # Its process lives on for a moment, in which it might write a version.
        with suppress(RayError):
            ray.get(self.manager.end.remote(), timeout=_END_S)
        ray.kill(self.manager)

    # Checkpoints ---------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Return the manager's state; all actors have to be free."""
        return {"manager": ray.get(self.manager.get_state.remote())}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from where ``state`` was taken; all actors have to be free."""
        ray.get(self.manager.set_state.remote(state["manager"]))
