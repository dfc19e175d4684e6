"""Many episodes of peer offloading for the batched sampling of the algorithms."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_marl.envs.batched import BatchedObservation, BatchedTransition, BoolArray
from edge_marl.peer_offloading.simulator import (
    METRICS,
    Observation,
    PeerOffloadingSimulator,
    n_features,
)


class PeerOffloadingBatch:
    """The peer-offloading simulator as a :class:`edge_marl.envs.batched.BatchedEnv`."""

    def __init__(self, simulator: PeerOffloadingSimulator) -> None:
        self.simulator = simulator
        N = simulator.scenario.nodes
        self.agents = node_names(N)
        self.batch_size = simulator.batch_size
        self.observation_shape = (n_features(N),)
        self.n_actions = N + 1
        self.state_size = 8 * N
        self._active = np.zeros((self.batch_size, N), dtype=np.bool_)
        self._terminated = np.zeros((self.batch_size, N), dtype=np.bool_)
        self._truncated = np.zeros((self.batch_size, N), dtype=np.bool_)

    @property
    def done(self) -> BoolArray:
        """``[B]``: episodes that are over."""
        return self.simulator.done

    def reset(self, seeds: NDArray[np.int64], where: BoolArray | None = None) -> BatchedObservation:
        """Start episodes anew, see :class:`edge_marl.envs.batched.BatchedEnv`."""
        observation = self.simulator.reset(seeds, where)
        self._active[slice(None) if where is None else where] = True
        return self._seen(observation)

    def step(self, actions: NDArray[np.integer[Any]]) -> BatchedTransition:
        """Play one slot, see :class:`edge_marl.envs.batched.BatchedEnv`."""
        transition = self.simulator.step(actions)
        self._truncated[:] = transition.truncated[:, None]
        return BatchedTransition(
            self._seen(transition.observation),
            transition.reward, self._terminated, self._truncated,
        )  # fmt: skip

    def metrics(self, where: BoolArray) -> dict[str, NDArray[np.float64]]:
        """Results of the finished episodes ``where [B]``."""
        results = self.simulator.results
        return {name: getattr(results, name)[where].astype(np.float64) for name in METRICS}

    def get_state(self) -> Any:
        """Copies of the simulator's arrays."""
        return {"simulator": self.simulator.get_state(), "active": self._active.copy()}

    def set_state(self, state: Any) -> None:
        """Go on where ``state`` was taken."""
        self.simulator.set_state(state["simulator"])
        self._active[:] = state["active"]

    def _seen(self, observation: Observation) -> BatchedObservation:
        return BatchedObservation(*observation[:3], self._active)


def node_names(nodes: int) -> tuple[str, ...]:
    """Names of the agents."""
    return tuple(f"node_{i}" for i in range(nodes))
