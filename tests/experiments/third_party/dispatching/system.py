"""What the commands know of it."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from dispatching.simulator import METRICS, Heuristic
from edge_marl.experiments.systems.system import Goal, System


class Dispatching(System):
    environment = "dispatching_v0"
    module = "dispatching.dispatching_v0"
    goal = Goal("mean_wait", higher_is_better=False)
    reported = METRICS

    def heuristics(self) -> Mapping[str, Any]:
        return {name: partial(Heuristic, name) for name in ("fastest", "shortest")}
