"""Publish tandem scheduling's exact oracle, :mod:`edge_marl.tandem.oracle`, under a short name."""

from edge_marl.tandem.oracle import Schedule, simulate_order, solve

__all__ = ["Schedule", "simulate_order", "solve"]
