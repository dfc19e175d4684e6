"""MAPPO and IPPO: policy gradients of many agents with a central or a local critic."""

from edge_marl.algorithms.mappo.algorithm import MAPPO
from edge_marl.algorithms.mappo.config import MAPPOConfig

__all__ = ["MAPPO", "MAPPOConfig"]
