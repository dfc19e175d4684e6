"""The algorithm of VDN and QMIX."""

from __future__ import annotations

from typing import Any

from edge_marl.algorithms.replay.algorithm import OffPolicyAlgorithm


class ValueDecomposition(OffPolicyAlgorithm):
    """Built by :class:`.config.ValueDecompositionConfig`, which describes it."""

    @classmethod
    def get_default_config(cls) -> Any:
        """QMIX's."""
        from edge_marl.algorithms.value_decomposition.config import QMIXConfig

        return QMIXConfig()
