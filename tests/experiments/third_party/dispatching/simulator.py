"""Two dispatchers, three servers: in every slot each sends a job to a server."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from edge_marl.simulation import Policy, Simulator, Transition

SLOTS, AGENTS, SERVERS = 12, ("left", "right"), 3
METRICS = ("mean_wait",)


class Observation(NamedTuple):
    features: Any
    action_mask: Any
    state: Any


@dataclass
class Results:
    mean_wait: Any


class DispatchingSimulator(Simulator[Observation, Results]):
    """Speeds of the servers differ from episode to episode; a job waits for those before it."""

    def __init__(self, batch_size: int, slots: int = SLOTS) -> None:
        super().__init__(batch_size, AGENTS)
        B, N = batch_size, len(AGENTS)
        self.slots = slots
        self.speed, self.queue = np.ones((B, SERVERS)), np.zeros((B, SERVERS))
        self.slot, self.waited = np.zeros(B, dtype=int), np.zeros(B)
        features = np.zeros((B, N, 2 * SERVERS), dtype=np.float32)
        self.observation = Observation(
            features, np.ones((B, N, SERVERS), dtype=bool), features.reshape(B, -1)
        )
        self.transition = Transition(
            self.observation, np.zeros((B, N), dtype=np.float32), np.zeros(B, dtype=bool),
            np.zeros(B, dtype=bool), None,
        )  # fmt: skip

    @property
    def results(self) -> Results:
        return Results(self.waited / (len(AGENTS) * self.slots))

    def _start(self, where: Any) -> None:
        for b in np.flatnonzero(where):
            self.speed[b] = np.random.default_rng(int(self.seeds[b])).uniform(0.2, 1.0, SERVERS)
            self.queue[b], self.slot[b], self.waited[b], self.done[b] = 0.0, 0, 0.0, False
        self._see()

    def _check(self, actions: Any) -> None:
        assert ((actions >= 0) & (actions < SERVERS)).all()

    def _advance(self, actions: Any) -> None:
        playing, rows = ~self.done, np.arange(self.batch_size)
        for n in range(len(AGENTS)):
            self.queue[rows, actions[:, n]] += 1.0
            wait = self.queue[rows, actions[:, n]] / self.speed[rows, actions[:, n]] * playing
            self.transition.reward[:, n] = -wait
            self.waited += wait
        self.queue[:] = np.maximum(self.queue - self.speed, 0.0)
        self.slot += playing
        self.transition.truncated[:] = playing & (self.slot >= self.slots)
        self.done |= self.transition.truncated
        self._see()

    def _records(self) -> dict[str, Any]:
        names = ("speed", "queue", "slot", "waited")
        return {
            "dispatching": {name: getattr(self, name) for name in names},
            "observation": {"features": self.observation.features},
        }

    def _see(self) -> None:
        seen = np.concatenate([self.speed, self.queue], axis=1)
        self.observation.features[:] = seen[:, None]


class Heuristic(Policy[DispatchingSimulator]):
    """The fastest server, or the one that will be done first."""

    def __init__(self, name: str) -> None:
        self.name = name

    def act(self, simulator: DispatchingSimulator) -> Any:
        ahead = simulator.queue if self.name == "shortest" else 0.0
        best = ((ahead + 1.0) / simulator.speed).argmin(axis=1)
        return np.repeat(best[:, None], len(AGENTS), axis=1)
