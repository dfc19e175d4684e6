"""Placement of workflows, graphs of primitives, on servers (the SCALE paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge_marl.experiments.systems.system import Episodes, Goal, Metrics, System, metrics_of

RESPONSE = "response_s"


class DagPlacement(System):
    """Servers at which workflows arrive; judged by the mean response time of primitives."""

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
        servers = self._scenario(env_config).servers
        return episodes._replace(title=f"{episodes.title}, {servers} servers")

    def deciding(self, env_config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the scenario: what is seen and what earns a reward makes no difference to it."""
        return {"scenario": self._scenario(env_config)}

    def heuristics(self) -> Sequence[str]:
        """Return all of them."""
        from edge_marl.dag_placement.heuristics import HEURISTICS

        return tuple(HEURISTICS)

    def play(self, heuristic: str, episodes: Episodes) -> Metrics:
        """Play a heuristic."""
        from functools import partial

        from edge_marl.dag_placement import heuristics
        from edge_marl.dag_placement.simulator import METRICS, DagPlacementSimulator
        from edge_marl.simulation import run

        policy = heuristics.heuristic(heuristic)
        make = partial(DagPlacementSimulator, self._scenario(episodes.env_config), reward=None)
        return metrics_of(run(policy, make, episodes.seeds), METRICS)

    def _scenario(self, env_config: Mapping[str, Any]) -> Any:
        config: Any = self.options(env_config)
        return config.scenario
