"""SCOF: federated dueling Q-learning, averaged synchronously (Peng et al., 2024)."""

from edge_marl.algorithms.scof.config import SCOFConfig

__all__ = ["SCOFConfig"]
