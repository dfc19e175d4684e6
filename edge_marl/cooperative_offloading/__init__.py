"""Simulate edge servers that share tasks and resources (CTO-TP paper), with its load and rules."""

from edge_marl.cooperative_offloading.heuristics import HEURISTICS
from edge_marl.cooperative_offloading.scenario import CooperativeScenario
from edge_marl.cooperative_offloading.simulator import (
    METRICS,
    CooperativeOffloadingSimulator,
    EpisodeResults,
)

__all__ = [
    "HEURISTICS",
    "METRICS",
    "CooperativeOffloadingSimulator",
    "CooperativeScenario",
    "EpisodeResults",
]
