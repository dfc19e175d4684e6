"""What the commands know of it."""

from typing import Any

import numpy as np

from dispatching.simulator import METRICS, DispatchingSimulator, Heuristic
from edge_marl.experiments.systems.system import Episodes, Goal, Metrics, System, metrics_of


class Dispatching(System):
    environment = "dispatching_v0"
    module = "dispatching.dispatching_v0"
    goal = Goal("mean_wait", higher_is_better=False)
    reported = METRICS

    def heuristics(self) -> tuple[str, ...]:
        return ("fastest", "shortest")

    def play(self, heuristic: str, episodes: Episodes) -> Metrics:
        config: Any = self.options(episodes.env_config)
        simulator = DispatchingSimulator(len(episodes.seeds), config.slots)
        simulator.reset(episodes.seeds)
        while not simulator.done.all():
            simulator.step(Heuristic(heuristic).act(simulator))
        return {name: np.asarray(v) for name, v in metrics_of(simulator.results, METRICS).items()}
