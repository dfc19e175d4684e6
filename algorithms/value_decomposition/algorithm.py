"""Define the algorithm of VDN and QMIX."""

from __future__ import annotations

from typing import Any

from edge_marl.algorithms.replay.algorithm import OffPolicyAlgorithm


class ValueDecomposition(OffPolicyAlgorithm):
    """Run VDN or QMIX; :class:`.config.ValueDecompositionConfig` builds and describes them."""

    @classmethod
    def get_default_config(cls) -> Any:
        """Return the configuration of QMIX with all its defaults."""
        from edge_marl.algorithms.value_decomposition.config import QMIXConfig

        return QMIXConfig()
