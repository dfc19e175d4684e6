"""Buffer updates and aggregate them, semi-asynchronously (FAuNO paper, Algorithms 2 and 3).

This is a state machine: it knows neither time nor network nor processes. Whoever feeds it says when
a tick is over. Fed the same messages in the same order, it makes the same versions bit for bit, be
it in simulated time or on a running cluster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_marl.algorithms.federation.aggregation import ROBUST, coefficients, weighted_mean
from edge_marl.algorithms.federation.options import FederationOptions, how_many
from edge_marl.algorithms.federation.privacy import DELTA, epsilon
from edge_marl.algorithms.federation.updates import Outcome, Update

_SERVER_OPTIMISERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


@dataclass
class _Client:
    """Hold what the manager remembers of a client, also after it has left."""

    takes_part: bool = True
    sequence: int = 0
    """Of its newest update."""
    releases: int = 0
    """Versions that an update of it is part of."""
    outcomes: Counter[Outcome] = field(default_factory=Counter)


class FedBuff:
    """Hold the shared weights, and the updates that will make their next version.

    The buffer has one update per client, its newest. Once K distinct clients have sent one, the
    next :meth:`close` makes a version of all that are in the buffer (equation 15):

    ``w <- w + sum_n p_n Delta_n``

    In the paper the K-th arrival makes the version at once. Clients that train in step and are
    equally far away would then always be the same ones that are too late, with a version that has
    just become old; so all arrivals of a tick come first, and K or more updates are aggregated.
    A newer update replaces an older one also if it has fewer steps, because it started from a newer
    version.

    Args:
        weights: ``[P]``, of version 0.
        n_clients: clients 0 to n - 1 take part.
        options: see :class:`.options.FederationOptions`.
        seed: of the noise.
    """

    def __init__(
        self, weights: Tensor, n_clients: int, options: FederationOptions, *, seed: int = 0
    ) -> None:
        self.version = 0
        self.options = options
        self._weights = torch.nn.Parameter(weights.detach().clone().float())
        optimiser = _SERVER_OPTIMISERS[options.server_optimiser]
        self._optimiser = optimiser([self._weights], lr=options.server_lr)
        self._generator = torch.Generator().manual_seed(seed)
        self._buffer: dict[int, Update] = {}
        self._clients = {client: _Client() for client in range(n_clients)}

    @property
    def weights(self) -> Tensor:
        """Return a copy of the weights of this version, ``[P]``."""
        return self._weights.detach().clone()

    @property
    def needed(self) -> int:
        """Return K: of how many distinct clients a version needs updates."""
        n = sum(client.takes_part for client in self._clients.values())
        return max(1, how_many(self.options.participants, n))

    @property
    def is_ready(self) -> bool:
        """Return whether so many have sent one."""
        return len(self._buffer) >= self.needed

    @property
    def outcomes(self) -> Mapping[int, Mapping[Outcome, int]]:
        """Return how many updates of each client came to which end."""
        return {number: client.outcomes for number, client in self._clients.items()}

    @property
    def most_releases(self) -> int:
        """Return the most versions that updates of one client are part of."""
        return max((client.releases for client in self._clients.values()), default=0)

    def report(self) -> dict[str, float]:
        """Return the version, updates by their outcomes, and how many clients count for nothing.

        With noise, also the ``epsilon`` of whoever was part of most versions, for the delta
        :data:`.privacy.DELTA`.
        """
        clients = self._clients.values()
        found: dict[str, float] = {
            f"updates_{outcome}": sum(client.outcomes[outcome] for client in clients)
            for outcome in Outcome
            if outcome is not Outcome.BUFFERED
        }
        found["version"] = self.version
        found["silent_clients"] = sum(client.outcomes[Outcome.USED] == 0 for client in clients)
        if self.options.noise_multiplier > 0:
            multiplier = self.options.noise_multiplier
            found["epsilon"] = epsilon(multiplier, self.most_releases, DELTA)
        return found

    def join(self, client: int) -> None:
        """Let a client take part from now on, for the first time or again."""
        self._clients.setdefault(client, _Client()).takes_part = True

    def leave(self, client: int) -> None:
        """Let a client take part no more; what it has sent and is not used yet counts as lost."""
        if client in self._clients:
            self._clients[client].takes_part = False
        if self._buffer.pop(client, None) is not None:
            self.lose(client)

    def lose(self, client: int) -> None:
        """Count an update of a client that never arrives."""
        self._clients[client].outcomes[Outcome.LOST] += 1

    def receive(self, update: Update) -> Outcome:
        """Take in an update, or say why not.

        Args:
            update: of any client, and perhaps not what it should be.

        Returns:
            :attr:`Outcome.BUFFERED` if it will be part of the next version, unless a newer one of
            its client comes before; otherwise why it will not.
        """
        client = self._clients.get(update.client)
        if client is None or not client.takes_part:
            return Outcome.REFUSED
        outcome = self._judged(update, client)
        if outcome is not Outcome.BUFFERED:
            client.outcomes[outcome] += 1
            return outcome
        if update.client in self._buffer:
            client.outcomes[Outcome.REPLACED] += 1
        self._buffer[update.client] = update
        return outcome

    def close(self) -> bool:
        """Make the next version of what is in the buffer, if K distinct clients have sent it.

        Returns:
            Whether there is a new version.
        """
        if not self.is_ready:
            return False
        # In the order of clients: sums do not depend on who came first.
        self._weights.grad = -torch.from_numpy(
            self._aggregated([self._buffer[client] for client in sorted(self._buffer)])
        )
        self._optimiser.step()
        self.version += 1
        for number in self._buffer:
            self._clients[number].releases += 1
            self._clients[number].outcomes[Outcome.USED] += 1
        self._buffer.clear()
        return True

    def _judged(self, update: Update, client: _Client) -> Outcome:
        if update.sequence <= client.sequence:
            return Outcome.DUPLICATE
        client.sequence = update.sequence
        delta = update.delta
        if (
            not isinstance(delta, np.ndarray)
            or delta.dtype != np.float32
            or delta.shape != tuple(self._weights.shape)
            or not 0 <= update.version <= self.version
            or update.steps < 1
            or not _norm(delta) <= self.options.norm_bound  # false for NaN
        ):
            return Outcome.REFUSED
        if self.options.staleness == "exact" and update.version < self.version:
            return Outcome.STALE
        return Outcome.BUFFERED

    def _aggregated(self, updates: list[Update]) -> NDArray[np.float32]:
        """Return what the weights change by, ``[P]``."""
        options, n = self.options, len(updates)
        deltas = np.stack([self._clipped(update.delta) for update in updates])
        ages = np.array([self.version - update.version for update in updates])
        worth = np.ones(n, np.float32)
        if options.staleness == "polynomial":
            worth = (1.0 + ages).astype(np.float32) ** -np.float32(options.staleness_exponent)
        if options.aggregation != "mean":
            byzantine = how_many(options.byzantine, n)
            return ROBUST[options.aggregation](deltas * worth[:, None], byzantine)
        equal = options.coefficients == "equal"
        steps = [1 if equal else update.steps for update in updates]
        mean = weighted_mean(deltas, coefficients(steps) * worth)
        if options.noise_multiplier > 0 and options.clip_norm is not None:
            # Of the sum of n updates, one changes by at most the norm.
            deviation = options.noise_multiplier * options.clip_norm / n
            mean += deviation * torch.randn(len(mean), generator=self._generator).numpy()
        return mean

    def _clipped(self, delta: NDArray[np.float32]) -> NDArray[np.float32]:
        most, norm = self.options.clip_norm, _norm(delta)
        return delta if most is None or norm <= most else delta * np.float32(most / norm)

    # Checkpoints ---------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Return all that :meth:`set_state` needs, the buffer included, as arrays and numbers."""
        return {
            "version": self.version,
            "weights": self.weights.numpy(),
            "optimiser": {
                name: value.detach().clone().numpy()
                for name, value in self._optimiser.state[self._weights].items()
                if isinstance(value, Tensor)
            },
            "generator": self._generator.get_state().numpy(),
            "buffer": [vars(self._buffer[client]) for client in sorted(self._buffer)],
            "clients": {
                number: {**vars(client), "outcomes": dict(client.outcomes)}
                for number, client in self._clients.items()
            },
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from where ``state`` was taken."""
        self.version = state["version"]
        with torch.no_grad():
            self._weights.copy_(torch.from_numpy(np.array(state["weights"])))
        # Also that of an optimiser that had made no step yet.
        self._optimiser.state[self._weights] = {
            name: torch.from_numpy(np.array(value)) for name, value in state["optimiser"].items()
        }
        self._generator.set_state(torch.from_numpy(np.array(state["generator"])))
        self._buffer = {update["client"]: Update(**update) for update in state["buffer"]}
        self._clients = {
            number: _Client(**{**client, "outcomes": Counter(client["outcomes"])})
            for number, client in state["clients"].items()
        }


def _norm(delta: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.square(delta.astype(np.float64)).sum()))
