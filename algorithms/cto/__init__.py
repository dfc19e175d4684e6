"""Train agents that choose and allocate, by MADQN, by MADDPG and by both together (CTO-TP)."""

from edge_marl.algorithms.cto.config import CTOConfig, MADDPGConfig, MADQNConfig

__all__ = ["CTOConfig", "MADDPGConfig", "MADQNConfig"]
