"""The environment."""

from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from dispatching.simulator import METRICS, SLOTS, DispatchingSimulator
from edge_marl.envs.views import SimulatorEnv
from edge_marl.options import Count, Options, Seed


class DispatchingConfig(Options):
    slots: Count = Field(SLOTS, description="of an episode")
    seed: Seed = 0


class DispatchingEnv(SimulatorEnv):
    """One episode."""

    metadata: ClassVar[dict[str, Any]] = {"name": "dispatching_v0", "render_modes": []}
    Config = DispatchingConfig
    metrics = METRICS
    bounds = (0.0, np.inf)

    @classmethod
    def simulator(cls, config: DispatchingConfig, batch_size: int) -> DispatchingSimulator:
        return DispatchingSimulator(batch_size, config.slots)


parallel_env = DispatchingEnv.make
batched_env = DispatchingEnv.make_batch
