"""Declare the placement of workflows, graphs of primitives, on servers (the SCALE paper)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_marl.experiments.systems.system import Episodes, Goal, ScenarioSystem

RESPONSE = "response_s"


class DagPlacement(ScenarioSystem):
    """Declare workflow placement; policies are judged by the mean response time of primitives."""

    environment = "dag_placement_v0"
    module = "edge_marl.envs.dag_placement_v0"
    goal = Goal(RESPONSE, higher_is_better=False)
    reported = (RESPONSE, "ratio_to_bound", "workflow_response_s", "completed", "unfinished",
                "waits", "utilisation")  # fmt: skip

    def evaluation(
        self, env_config: Mapping[str, Any], n: int | None, on: str | None = None
    ) -> Episodes:
        """Return the usual episodes; the title says how many servers there are."""
        episodes = super().evaluation(env_config, n, on)
        servers = self.scenario(env_config).servers
        return episodes._replace(title=f"{episodes.title}, {servers} servers")

    def heuristics(self) -> Mapping[str, Any]:
        """Return a factory of every heuristic for workflow placement."""
        from edge_marl.dag_placement.heuristics import HEURISTICS

        return HEURISTICS

    def simulator(self, env: Any, n: int) -> Any:
        """Make the simulator without rewards, which no heuristic reads."""
        from edge_marl.dag_placement.simulator import DagPlacementSimulator

        return DagPlacementSimulator(env.config.scenario, n, reward=None)
