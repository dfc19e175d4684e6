"""Define the algorithm SCALE, whose iterations are MAPPO's."""

from __future__ import annotations

from typing import Any

from edge_marl.algorithms.mappo.algorithm import MAPPO


class SCALE(MAPPO):
    """Train by SCALE, described in :class:`edge_marl.algorithms.scale.config.SCALEConfig`."""

    @classmethod
    def get_default_config(cls) -> Any:
        """Return the configuration with all its defaults."""
        from edge_marl.algorithms.scale.config import SCALEConfig

        return SCALEConfig()
