"""Define the algorithm of FAuNO."""

from __future__ import annotations

from typing import Any

from edge_marl.algorithms.federation.training import FederatedAlgorithm
from edge_marl.algorithms.mappo.algorithm import MAPPO


class FAuNO(FederatedAlgorithm, MAPPO):
    """Run FAuNO; :class:`edge_marl.algorithms.fauno.config.FAuNOConfig` builds and describes it."""

    @classmethod
    def get_default_config(cls) -> Any:
        """Return the configuration with all its defaults."""
        from edge_marl.algorithms.fauno.config import FAuNOConfig

        return FAuNOConfig()
