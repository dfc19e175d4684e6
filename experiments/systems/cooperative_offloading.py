"""Declare cooperative offloading with resource allocation (the CTO-TP paper)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_marl.experiments.systems.system import Bound, Episodes, Goal, ScenarioSystem

COST = "cost"
BOUND = "bound (clairvoyant)"


class CooperativeOffloading(ScenarioSystem):
    """Declare cooperative offloading; policies are judged by the weighted cost."""

    environment = "cooperative_offloading_v0"
    module = "edge_marl.envs.cooperative_offloading_v0"
    goal = Goal(COST, higher_is_better=False)
    reported = (COST, "latency_s", "latency_p95_s", "energy_j", "offloaded", "alone", "waiting_s")

    def evaluation(
        self, env_config: Mapping[str, Any], n: int | None, on: str | None = None
    ) -> Episodes:
        """Return the usual episodes; the title says servers and offered load."""
        episodes = super().evaluation(env_config, n, on)
        scenario = self.scenario(env_config)
        where = f"{scenario.servers} servers, offered load {scenario.offered_load:g}"
        return episodes._replace(title=f"{episodes.title}, {where}")

    def heuristics(self) -> Mapping[str, Any]:
        """Return a factory of every heuristic for cooperative offloading."""
        from edge_marl.cooperative_offloading.heuristics import HEURISTICS

        return HEURISTICS

    def bound(self, episodes: Episodes, folder: Path) -> Bound:
        """Compute the clairvoyant bounds of cost, latency and energy, each by itself."""
        from edge_marl.cooperative_offloading.bound import clairvoyant_bound

        found = clairvoyant_bound(self.scenario(episodes.env_config), episodes.seeds)
        return Bound(BOUND, found._asdict())
