"""Sample many episodes at once inside RLlib."""

from edge_marl.algorithms.sampling.batched_env_runner import BatchedEnvRunner
from edge_marl.algorithms.sampling.columns import Fragment

__all__ = ["BatchedEnvRunner", "Fragment"]
