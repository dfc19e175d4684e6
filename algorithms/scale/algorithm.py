"""The algorithm SCALE: its iterations are MAPPO's."""

from __future__ import annotations

from typing import Any

from edge_marl.algorithms.mappo.algorithm import MAPPO


class SCALE(MAPPO):
    """Built by :class:`edge_marl.algorithms.scale.config.SCALEConfig`, which describes it."""

    @classmethod
    def get_default_config(cls) -> Any:
        """The configuration with all its defaults."""
        from edge_marl.algorithms.scale.config import SCALEConfig

        return SCALEConfig()
