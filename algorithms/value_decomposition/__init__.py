"""Train agents by value decomposition: VDN and QMIX, one algorithm with a choice of mixers."""

from edge_marl.algorithms.value_decomposition.algorithm import ValueDecomposition
from edge_marl.algorithms.value_decomposition.config import (
    QMIXConfig,
    ValueDecompositionConfig,
    VDNConfig,
)

__all__ = ["QMIXConfig", "VDNConfig", "ValueDecomposition", "ValueDecompositionConfig"]
