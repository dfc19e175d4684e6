"""FAuNO: PPO with networks that are federated semi-asynchronously (Metelo et al., 2026)."""

from edge_marl.algorithms.fauno.config import FAuNOConfig

__all__ = ["FAuNOConfig"]
