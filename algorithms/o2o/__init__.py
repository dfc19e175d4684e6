"""Train O2O-DRL agents: offline from the logs of a heuristic, then online."""

from edge_marl.algorithms.o2o.config import O2OConfig

__all__ = ["O2OConfig"]
