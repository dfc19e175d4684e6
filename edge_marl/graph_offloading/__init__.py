"""Offload tasks on a graph of nodes: simulator, graphs, load and heuristics (the FAuNO paper)."""

from edge_marl.graph_offloading.heuristics import HEURISTICS, heuristic
from edge_marl.graph_offloading.scenario import GraphScenario
from edge_marl.graph_offloading.simulator import (
    EpisodeResults,
    GraphOffloadingSimulator,
    RewardConfig,
)
from edge_marl.graph_offloading.topology import Topology

__all__ = [
    "HEURISTICS",
    "EpisodeResults",
    "GraphOffloadingSimulator",
    "GraphScenario",
    "RewardConfig",
    "Topology",
    "heuristic",
]
