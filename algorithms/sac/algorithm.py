"""Define the algorithm of discrete soft actor-critic."""

from __future__ import annotations

from typing import Any

from edge_marl.algorithms.replay.algorithm import OffPolicyAlgorithm


class DiscreteSAC(OffPolicyAlgorithm):
    """Run SAC; see :class:`edge_marl.algorithms.sac.config.DiscreteSACConfig`, which builds it."""

    @classmethod
    def get_default_config(cls) -> Any:
        """Return the configuration with all its defaults."""
        from edge_marl.algorithms.sac.config import DiscreteSACConfig

        return DiscreteSACConfig()
