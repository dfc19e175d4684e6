"""Two dispatchers, three servers: in every slot each sends a job to a server."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

SLOTS, AGENTS, SERVERS = 12, ("left", "right"), 3
METRICS = ("mean_wait",)


class Observation(NamedTuple):
    features: Any
    action_mask: Any
    state: Any


class Transition(NamedTuple):
    observation: Observation
    reward: Any
    terminated: Any
    truncated: Any


@dataclass
class Results:
    mean_wait: Any


class DispatchingSimulator:
    """Speeds of the servers differ from episode to episode; a job waits for those before it."""

    def __init__(self, batch_size: int, slots: int = SLOTS) -> None:
        B, N = batch_size, len(AGENTS)
        self.batch_size, self.slots = batch_size, slots
        self.done = np.ones(B, dtype=bool)
        self.speed, self.queue = np.ones((B, SERVERS)), np.zeros((B, SERVERS))
        self.slot, self.waited = np.zeros(B, dtype=int), np.zeros(B)
        features = np.zeros((B, N, 2 * SERVERS), dtype=np.float32)
        self.observation = Observation(
            features, np.ones((B, N, SERVERS), dtype=bool), features.reshape(B, -1)
        )

    @property
    def results(self) -> Results:
        return Results(self.waited / (len(AGENTS) * self.slots))

    def reset(self, seeds: Any, where: Any = None) -> Observation:
        for b in range(self.batch_size) if where is None else np.flatnonzero(where):
            self.speed[b] = np.random.default_rng(int(seeds[b])).uniform(0.2, 1.0, SERVERS)
            self.queue[b], self.slot[b], self.waited[b], self.done[b] = 0.0, 0, 0.0, False
        return self._see()

    def step(self, actions: Any) -> Transition:
        B, N = actions.shape
        reward = np.zeros((B, N), dtype=np.float32)
        playing = ~self.done
        for n in range(N):
            rows = np.arange(B)
            self.queue[rows, actions[:, n]] += 1.0
            wait = self.queue[rows, actions[:, n]] / self.speed[rows, actions[:, n]]
            reward[:, n] = -wait * playing
            self.waited += wait * playing
        self.queue = np.maximum(self.queue - self.speed, 0.0)
        self.slot += playing
        ended = playing & (self.slot >= self.slots)
        self.done |= ended
        return Transition(self._see(), reward, np.zeros(B, dtype=bool), ended)

    def get_state(self) -> dict[str, Any]:
        names = ("speed", "queue", "slot", "waited", "done")
        return {name: getattr(self, name).copy() for name in names}

    def set_state(self, state: Any) -> None:
        for name, value in state.items():
            getattr(self, name)[...] = value
        self._see()

    def _see(self) -> Observation:
        seen = np.concatenate([self.speed, self.queue], axis=1)
        self.observation.features[:] = seen[:, None]
        return self.observation


class Heuristic:
    """The fastest server, or the one that will be done first."""

    def __init__(self, name: str) -> None:
        self.name = name

    def act(self, simulator: DispatchingSimulator) -> Any:
        ahead = simulator.queue if self.name == "shortest" else 0.0
        best = ((ahead + 1.0) / simulator.speed).argmin(axis=1)
        return np.repeat(best[:, None], len(AGENTS), axis=1)
