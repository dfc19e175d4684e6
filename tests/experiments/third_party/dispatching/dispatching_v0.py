"""The environment."""

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pydantic import Field

from dispatching.simulator import (
    AGENTS,
    METRICS,
    SERVERS,
    SLOTS,
    DispatchingSimulator,
)
from edge_marl.envs.views import SimulatorBatch, SimulatorEnv
from edge_marl.options import Count, Options, Seed


class DispatchingConfig(Options):
    slots: Count = Field(SLOTS, description="of an episode")
    seed: Seed = 0


class DispatchingEnv(SimulatorEnv):
    """One episode."""

    metadata: ClassVar[dict[str, Any]] = {"name": "dispatching_v0", "render_modes": []}

    def __init__(self, config: DispatchingConfig) -> None:
        self.config = config
        width = 2 * SERVERS
        super().__init__(
            DispatchingSimulator(1, config.slots),
            agents=AGENTS,
            observations=spaces.Box(0.0, np.inf, (width,), np.float32),
            state=spaces.Box(0.0, np.inf, (len(AGENTS) * width,), np.float32),
            metrics=METRICS,
            seed=config.seed,
        )


def parallel_env(**config: Any) -> DispatchingEnv:
    return DispatchingEnv(DispatchingConfig(**config))


def batched_env(batch_size: int, **config: Any) -> SimulatorBatch:
    slots = DispatchingConfig(**config).slots
    return SimulatorBatch(
        DispatchingSimulator(batch_size, slots),
        agents=AGENTS, metrics=METRICS, shared_reward=False,
    )  # fmt: skip
