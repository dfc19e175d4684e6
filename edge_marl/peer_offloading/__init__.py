"""Simulate peer offloading with failures (the O2O-DRL paper)."""

from edge_marl.peer_offloading.records import Observation, Status, TaskRecords
from edge_marl.peer_offloading.scenario import EdgeNetworks, OffloadingScenario
from edge_marl.peer_offloading.simulator import (
    METRICS,
    EpisodeResults,
    PeerOffloadingSimulator,
)

__all__ = [
    "METRICS",
    "EdgeNetworks",
    "EpisodeResults",
    "Observation",
    "OffloadingScenario",
    "PeerOffloadingSimulator",
    "Status",
    "TaskRecords",
]
