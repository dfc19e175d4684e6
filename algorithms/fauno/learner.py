"""Let every client learn alone, and federate what they share (FAuNO paper, Algorithms 1 to 3)."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.core import DEFAULT_MODULE_ID
from torch import Tensor

from edge_marl.algorithms.core.learner import Terms
from edge_marl.algorithms.fauno.clients import ClientActors
from edge_marl.algorithms.fauno.options import FAuNOOptions
from edge_marl.algorithms.federation.fedbuff import FedBuff
from edge_marl.algorithms.federation.privacy import epsilon
from edge_marl.algorithms.federation.simulated import SimulatedNetwork
from edge_marl.algorithms.federation.updates import Outcome, Update, size_of_update
from edge_marl.algorithms.mappo.blocks import ACTOR, CRITIC, Lesson
from edge_marl.algorithms.mappo.critics import LocalCritic
from edge_marl.algorithms.mappo.independent import IndependentLearner
from edge_marl.algorithms.networks.agents import Actor
from edge_marl.algorithms.sampling.columns import Fragment
from edge_marl.simulation import Travel

_FEDERATION = "federation"
_SHARED = {"critic": (CRITIC,), "actor": (ACTOR,), "both": (ACTOR, CRITIC)}
_DELTA = 1e-5  # of differential privacy
_ATTACKS = {"sign_flip": -1.0, "times_100": 100.0, "nan": math.nan}
_OF_CLIENTS = (
    "version",
    "steps",
    "sequence",
    "busy_until",
    "is_slow",
    "is_attacker",
    "tick",
    "trainings",
    "seed",
)


class FAuNOLearner(IndependentLearner):
    """Train all clients on a train batch, and let the federation go on for as long as it took.

    The time of the federation is that of an episode: a train batch with T steps of each of the
    episodes that are played at once takes T ticks. Clients learn from it and send their updates when it ends. A critic takes no part in
    acting, so it is then that they go on from the newest version that has reached them. Algorithm 1
    looks for one before the steps are played; as versions are made some ticks after the updates
    have been sent, every second update would start from the version before, and count for nothing.
    An actor that is shared acts, so the newest version is taken over when the steps begin.
    """

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Make a block of all clients, which begin with the same shared weights."""
        super().configure_optimizers_for_module(module_id, config)
        self._options = FAuNOOptions.of(config)
        shared = self._shared
        self._load(slice(None), shared[0])
        N = len(shared)
        self._base = self._shared  # of the version that each client started from
        self._version = np.zeros(N, dtype=np.int64)
        self._steps = np.zeros(N, dtype=np.int64)
        self._sequence = np.zeros(N, dtype=np.int64)
        self._busy_until = np.zeros(N, dtype=np.int64)
        self._tick = 0
        self._seed = self.block.seeds[0] % 2**31  # draws nothing that sampling would miss
        chance = np.random.default_rng(self._seed)
        self._is_slow, self._is_attacker = (
            chance.permutation(N) < math.ceil(round(share * N, 9))
            for share in (self._options.stragglers, self._options.attackers)
        )
        self._trainings = 0
        at_once = np.zeros(N)
        self.connect(Travel(at_once, at_once))

    def make_block(
        self, actor: Actor, critic: LocalCritic, value_moments: Any, seeds: list[int], config: Any
    ) -> Any:
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

    @property
    def update_bytes(self) -> int:
        """Return the size of an update on the network."""
        return size_of_update(self._shared.shape[1])

    def connect(self, travel: Travel) -> None:
        """Connect the clients, before they train, with a manager on a network.

        Args:
            travel: how many ticks an update takes, and a version.
        """
        options, shared = self._options, self._shared
        self.federation = SimulatedNetwork(
            FedBuff(shared[0], len(shared), options, seed=self._seed),
            travel,
            drop_rate=options.drop_rate,
            late_ticks=options.late_ticks,
            seed=self._seed,
        )

    def learn(self, columns: dict[str, Tensor], **how: Any) -> list[Terms]:
        """Take over versions, train, send updates, and let the federation work meanwhile."""
        config = self.config
        episodes = config.num_envs_per_env_runner * max(1, config.num_env_runners)
        begin, ticks = self._tick, max(1, columns[Fragment.VALID].numel() // episodes)
        trains = self._take_over(begin if ACTOR in self._names else begin + ticks)
        columns[Fragment.ACTIVE] = columns[Fragment.ACTIVE] & torch.from_numpy(trains)
        history = super().learn(columns, **how)
        self._steps += trains
        self._tick = begin + ticks
        self._trainings += 1
        if self._trainings % self._options.share_every == 0:
            self._send(trains, ~trains & (self._busy_until <= begin), ticks)
        slow = trains & self._is_slow
        self._busy_until[slow] = begin + ticks * self._options.slowness
        self.federation.advance(self._tick)
        self._report()
        return history

    def lesson(
        self, columns: dict[str, Tensor], n_epochs: int, minibatch_size: int | None
    ) -> Lesson:
        """Return how every client is to learn, see :meth:`IndependentLearner.lesson`."""
        lesson = super().lesson(columns, n_epochs, minibatch_size)
        if self._options.proximal:
            self._anchor()
        return replace(lesson, proximal=self._options.proximal)

    def _take_over(self, tick: int) -> NDArray[np.bool_]:
        """Let clients go on from the newest version that has reached them by a tick.

        Returns:
            Which clients train, ``[N]``: neither are they busy nor do they wait for a version.
        """
        self.federation.advance(tick)
        trains = self._busy_until <= self._tick
        for client in np.flatnonzero(trains).tolist():
            made = self.federation.newest(client, tick)
            if made is not None and made.number > self._version[client]:
                self._load(client, made.weights)
                self._base[client] = made.weights
                self._version[client], self._steps[client] = made.number, 0
            elif self._options.synchronous and self._steps[client]:
                trains[client] = False  # it waits for the version that its update is for
        return trains

    def _send(self, trained: NDArray[np.bool_], waiting: NDArray[np.bool_], ticks: int) -> None:
        """Send the updates of clients that have trained; those that wait send theirs again."""
        shared = self._shared
        self._sequence += trained
        for client in np.flatnonzero(trained | waiting).tolist():
            slower = self._is_slow[client] and trained[client]
            self.federation.send(
                Update(
                    client,
                    int(self._sequence[client]),
                    int(self._version[client]),
                    int(self._steps[client]),
                    self._forged(client, shared[client] - self._base[client]).numpy(),
                ),
                self._tick + (ticks * (self._options.slowness - 1) if slower else 0),
            )

    def _forged(self, client: int, delta: Tensor) -> Tensor:
        """Return what a client says that it has learned."""
        return delta * _ATTACKS[self._options.attack] if self._is_attacker[client] else delta

    def _anchor(self) -> None:
        """Keep what is shared near the version that each client started from (equation 21)."""
        for name, base in zip(self._names, self._base.split(self._widths, dim=1), strict=True):
            self.block.anchor(name, base)

    @property
    def _names(self) -> tuple[str, ...]:
        """Return the networks that are shared."""
        return _SHARED[self._options.federated]

    @property
    def _widths(self) -> list[int]:
        """Return how many weights each of them has."""
        return [self.block.weights[name].shape[1] for name in self._names]

    @property
    def _shared(self) -> Tensor:
        """Return a copy of what the clients share, ``[N, P]``."""
        return torch.cat([self.block.weights[name] for name in self._names], dim=1)

    def _load(self, clients: int | slice, weights: Tensor) -> None:
        """Let clients go on from shared weights ``[P]``."""
        for name, part in zip(self._names, weights.split(self._widths), strict=True):
            self.block.weights[name][clients] = part

    def _report(self) -> None:
        """Report the version, updates by their outcomes, and clients of which none was used."""
        manager = self.federation.manager
        outcomes = manager.outcomes.values()
        found: dict[str, float] = {f"updates_{outcome}": sum(own[outcome] for own in outcomes)
                 for outcome in Outcome if outcome is not Outcome.BUFFERED}  # fmt: skip
        found["version"] = manager.version
        found["silent_clients"] = sum(own[Outcome.USED] == 0 for own in outcomes)
        if self._options.noise_multiplier > 0:
            multiplier = self._options.noise_multiplier
            found["epsilon"] = epsilon(multiplier, manager.most_releases, _DELTA)
        self.metrics.log_dict(found, key=DEFAULT_MODULE_ID, window=1)

    # Checkpoints ---------------------------------------------------------------------------

    def own_state(self) -> dict[str, Any]:
        """Return the states of the block, the manager and the network between them."""
        clients = {name: getattr(self, f"_{name}") for name in _OF_CLIENTS}
        state = {"base": self._base.numpy(), "network": self.federation.get_state(), **clients}
        return super().own_state() | {_FEDERATION: copy.deepcopy(state)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from where ``state`` was taken."""
        super().set_state(state)
        if _FEDERATION in state:
            found = state[_FEDERATION]
            self.federation.set_state(found["network"])
            self._base = torch.from_numpy(np.array(found["base"]))
            for name in _OF_CLIENTS:
                setattr(self, f"_{name}", copy.copy(found[name]))
