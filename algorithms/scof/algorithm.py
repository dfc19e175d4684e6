"""Define the algorithm of SCOF."""

from __future__ import annotations

from typing import Any

from edge_marl.algorithms.core.batches import BatchAlgorithm
from edge_marl.algorithms.federation.training import FederatedAlgorithm


class SCOF(FederatedAlgorithm, BatchAlgorithm):
    """Run SCOF; :class:`edge_marl.algorithms.scof.config.SCOFConfig` builds and describes it."""

    @classmethod
    def get_default_config(cls) -> Any:
        """Return the configuration with all its defaults."""
        from edge_marl.algorithms.scof.config import SCOFConfig

        return SCOFConfig()
