"""Define the training iteration of FAuNO."""

from __future__ import annotations

from typing import Any

from edge_marl.algorithms.mappo.algorithm import MAPPO


class FAuNO(MAPPO):
    """Run FAuNO; :class:`edge_marl.algorithms.fauno.config.FAuNOConfig` builds and describes it."""

    @classmethod
    def get_default_config(cls) -> Any:
        """Return the configuration with all its defaults."""
        from edge_marl.algorithms.fauno.config import FAuNOConfig

        return FAuNOConfig()

    def setup(self, config: Any) -> None:
        """Build env runners and the clients, and connect these by the environment's network."""
        super().setup(config)
        env = self.env_runner.env
        (n_bytes,) = self.learner_group.foreach_learner(lambda own: own.federation.update_bytes)
        travel = env.travel(n_bytes.get())
        self.learner_group.foreach_learner(lambda own: own.federation.connect(travel))
