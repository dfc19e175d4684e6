"""Train agents by discrete soft actor-critic."""

from edge_marl.algorithms.sac.config import DiscreteSACConfig

__all__ = ["DiscreteSACConfig"]
