"""Define the algorithm of MAPPO and IPPO."""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.ppo import PPO

from edge_marl.algorithms.core.batches import BatchAlgorithm


class MAPPO(BatchAlgorithm, PPO):
    """Run MAPPO; :class:`edge_marl.algorithms.mappo.config.MAPPOConfig` builds and describes it."""

    @classmethod
    def get_default_config(cls) -> Any:
        """Return the configuration with all its defaults."""
        from edge_marl.algorithms.mappo.config import MAPPOConfig

        return MAPPOConfig()

    def lesson(self) -> dict[str, Any]:
        """Return the arguments of :meth:`.learner.MAPPOTorchLearner.learn`."""
        return {
            "num_epochs": self.config.num_epochs,
            "minibatch_size": self.config.minibatch_size,
            "team_reward": self.team_reward,
        }
