"""Train agents by policy gradients with a central (MAPPO) or a local critic (IPPO)."""

from edge_marl.algorithms.mappo.algorithm import MAPPO
from edge_marl.algorithms.mappo.config import MAPPOConfig

__all__ = ["MAPPO", "MAPPOConfig"]
