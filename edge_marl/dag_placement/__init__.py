"""Place workflows on heterogeneous servers (the SCALE paper)."""

from edge_marl.dag_placement.records import Observation, Progress, Servers, Tasks
from edge_marl.dag_placement.scenario import (
    TIERS,
    DagScenario,
    RandomWorkflows,
    RecordedWorkflows,
    Tier,
)
from edge_marl.dag_placement.simulator import (
    METRICS,
    DagPlacementSimulator,
    EpisodeResults,
    RewardTerms,
)
from edge_marl.dag_placement.workflows import Workflow, Workflows, pack
from edge_marl.dag_placement.workload import Status, Workload

__all__ = [
    "METRICS",
    "TIERS",
    "DagPlacementSimulator",
    "DagScenario",
    "EpisodeResults",
    "Observation",
    "Progress",
    "RandomWorkflows",
    "RecordedWorkflows",
    "RewardTerms",
    "Servers",
    "Status",
    "Tasks",
    "Tier",
    "Workflow",
    "Workflows",
    "Workload",
    "pack",
]
