"""Define the algorithms of MADQN, MADDPG and CTO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_marl.algorithms.core.batches import BatchAlgorithm
from edge_marl.algorithms.core.blocks import BlockAlgorithm
from edge_marl.algorithms.cto.pool import read_turns

_LEARNERS = "learners"


class DecisionAlgorithm(BlockAlgorithm, BatchAlgorithm):
    """Run MADQN, MADDPG or CTO; see :mod:`.config`, whose classes build and describe them."""

    def setup(self, config: Any) -> None:
        """Build env runners and learners."""
        super().setup(config)
        folder = Path(self.logdir) / _LEARNERS
        self.learner_group.foreach_learner(lambda own: own.connect(folder))

    def turns(self) -> list[dict[str, Any]]:
        """Return what learners that are Ray actors have done so far, see :func:`.read_turns`."""
        return read_turns(Path(self.logdir) / _LEARNERS)

    def lesson(self) -> dict[str, Any]:
        """Return the arguments of :meth:`.learner.DecisionLearner.learn`."""
        return {"team_reward": self.team_reward}


class MADQN(DecisionAlgorithm):
    """Run MADQN."""

    @classmethod
    def get_default_config(cls) -> Any:
        """Return the configuration with all its defaults."""
        from edge_marl.algorithms.cto.config import MADQNConfig

        return MADQNConfig()


class MADDPG(DecisionAlgorithm):
    """Run MADDPG."""

    @classmethod
    def get_default_config(cls) -> Any:
        """Return the configuration with all its defaults."""
        from edge_marl.algorithms.cto.config import MADDPGConfig

        return MADDPGConfig()


class CTO(DecisionAlgorithm):
    """Run CTO."""

    @classmethod
    def get_default_config(cls) -> Any:
        """Return the configuration with all its defaults."""
        from edge_marl.algorithms.cto.config import CTOConfig

        return CTOConfig()
