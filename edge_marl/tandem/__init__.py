"""Simulate tandem scheduling: uplink and compute in series (the tandem paper)."""

from edge_marl.tandem.records import Observation
from edge_marl.tandem.simulator import (
    AGENTS,
    DROP_PENALTY,
    JOB_FEATURES,
    MAX_QUEUE,
    RewardConfig,
    TandemSimulator,
)
from edge_marl.tandem.traces import TraceSet

__all__ = [
    "AGENTS",
    "DROP_PENALTY",
    "JOB_FEATURES",
    "MAX_QUEUE",
    "Observation",
    "RewardConfig",
    "TandemSimulator",
    "TraceSet",
]
