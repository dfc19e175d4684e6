"""The algorithm soft actor-critic."""

from __future__ import annotations

from typing import Any

from edge_marl.algorithms.replay.algorithm import OffPolicyAlgorithm


class DiscreteSAC(OffPolicyAlgorithm):
    """Built by :class:`edge_marl.algorithms.sac.config.DiscreteSACConfig`, which describes it."""

    @classmethod
    def get_default_config(cls) -> Any:
        """The configuration with all its defaults."""
        from edge_marl.algorithms.sac.config import DiscreteSACConfig

        return DiscreteSACConfig()
