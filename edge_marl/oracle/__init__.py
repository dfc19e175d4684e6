"""The oracle: exact schedules with all arrivals known, and re-planning with those known so far."""

from edge_marl.oracle.schedule import Schedule, simulate_order
from edge_marl.oracle.solver import solve

__all__ = ["Schedule", "simulate_order", "solve"]
