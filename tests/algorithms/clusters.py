"""A toy cluster of known best decisions, as a PettingZoo parallel environment."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv
from ray import tune

CLUSTER = "toy_cluster"
N_FEATURES = 3


class ToyCluster(ParallelEnv[str, Any, int]):
    """Tasks for n servers, one after the other; placing on server j earns its speed minus its lag.

    One server in six does not exist. The task's row is ``[demand, 0, 1]``, a server's ``[speed,
    lag, 0]`` with speeds in (0, 1] and lags in [0, 1); one server, anywhere, has the speed 1 and
    the lag 0: it dominates. Waiting, the last action, earns nothing and is always legal.
    """

    metadata: dict[str, Any] = {"name": CLUSTER}  # noqa: RUF012

    def __init__(self, n: int = 8, length: int = 8) -> None:
        self.n, self.length = n, length
        self.possible_agents = ["placer"]
        self.agents: list[str] = []
        self.rng = np.random.default_rng(0)

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        rows = spaces.Box(0.0, 1.0, (1 + self.n, N_FEATURES), np.float32)
        return spaces.Dict(observation=rows, action_mask=spaces.MultiBinary(self.n + 1))

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Discrete(self.n + 1)

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.agents, self.t = list(self.possible_agents), 0
        return self._observe(), {"placer": {}}

    def step(self, actions: dict[str, int]) -> Any:
        speed, lag = self.servers.T
        action = actions["placer"]
        reward = float(speed[action] - lag[action]) if action < self.n else 0.0
        self.t += 1
        over = self.t == self.length
        if over:
            self.agents = []
        info = {"slots": float(self.t)}
        return (
            self._observe(),
            {"placer": reward},
            {"placer": over},
            {"placer": False},
            {"placer": info},
        )

    def _observe(self) -> Any:
        rng, n = self.rng, self.n
        speed, lag = 1.0 - rng.random(n), rng.random(n)
        exists = rng.random(n) < 5 / 6
        best = rng.integers(n)
        speed[best], lag[best], exists[best] = 1.0, 0.0, True
        self.servers: NDArray[np.float64] = np.stack([speed, lag], axis=1) * exists[:, None]
        rows = np.zeros((1 + n, N_FEATURES), np.float32)
        rows[0] = rng.random(), 0.0, 1.0
        rows[1:, :2] = self.servers
        mask = np.append(exists, True).astype(np.int8)
        return {"placer": {"observation": rows, "action_mask": mask}}


def register_clusters() -> None:
    """Make the cluster known to Ray under :data:`CLUSTER`, its options as ``env_config``."""
    tune.register_env(CLUSTER, lambda config: ToyCluster(**config))


def placements(n: int, rows: int, seed: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Features ``[rows, 1, F]``, masks ``[rows, 1, A]`` and the best actions ``[rows]``."""
    env = ToyCluster(n, length=rows + 1)
    seen, best = [env.reset(seed)[0]["placer"]], []
    for _ in range(rows):
        best.append(int(np.argmax(env.servers[:, 0] - env.servers[:, 1])))
        seen.append(env.step({"placer": n})[0]["placer"])
    features = np.stack([one["observation"].ravel() for one in seen[:rows]])
    masks = np.stack([one["action_mask"].astype(np.bool_) for one in seen[:rows]])
    return features[:, None], masks[:, None], np.array(best)
