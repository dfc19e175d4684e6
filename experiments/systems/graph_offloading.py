"""Declare offloading on a graph (the FAuNO paper)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_marl.experiments.systems.system import Episodes, Goal, ScenarioSystem

FINISHED_RATIO = "finished_ratio"


class GraphOffloading(ScenarioSystem):
    """Declare offloading on a graph; policies are judged by the share of tasks that finish."""

    environment = "graph_offloading_v0"
    module = "edge_marl.envs.graph_offloading_v0"
    goal = Goal(FINISHED_RATIO, higher_is_better=True)
    reported = (FINISHED_RATIO, "finished_known", "response_ticks", "refused", "expired",
                "in_flight", "offloaded", "offered_load")  # fmt: skip
    n_episodes = 20

    def evaluation(
        self, env_config: Mapping[str, Any], n: int | None, on: str | None = None
    ) -> Episodes:
        """Return the usual episodes; the title names preset, graph and offered load."""
        episodes = super().evaluation(env_config, n, on)
        scenario = self.scenario(env_config)
        where = f"{scenario.graph().name}, offered load {scenario.offered_load():.2f}"
        return episodes._replace(title=f"{episodes.title}, preset {scenario.preset}, {where}")

    def heuristics(self) -> Mapping[str, Any]:
        """Return a factory of every heuristic for offloading on a graph."""
        from edge_marl.graph_offloading.heuristics import HEURISTICS

        return HEURISTICS
