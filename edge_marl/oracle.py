"""The public name of tandem scheduling's exact oracle, :mod:`edge_marl.tandem.oracle`."""

from edge_marl.tandem.oracle import Schedule, simulate_order, solve

__all__ = ["Schedule", "simulate_order", "solve"]
