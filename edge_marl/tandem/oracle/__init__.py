"""Find exact schedules with all arrivals known, and re-plan with those known so far: the oracle."""

from edge_marl.tandem.oracle.schedule import Schedule, simulate_order
from edge_marl.tandem.oracle.solver import solve

__all__ = ["Schedule", "simulate_order", "solve"]
