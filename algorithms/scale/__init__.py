"""Implement SCALE: placement by a pointer network that is trained small and used large."""

from edge_marl.algorithms.scale.config import SCALEConfig

__all__ = ["SCALEConfig"]
