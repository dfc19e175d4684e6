"""Imitate the oracles of the tandem: SL-Step and SL-E2E (tandem paper, section 3.2)."""

from edge_marl.algorithms.tandem.imitation.config import (
    ABLATIONS,
    BEST,
    EndToEndConfig,
    ImitationConfig,
)
from edge_marl.algorithms.tandem.imitation.end_to_end import fit_end_to_end
from edge_marl.algorithms.tandem.imitation.policies import ScoringPolicy, load_policy, save_policy
from edge_marl.algorithms.tandem.imitation.training import fit

__all__ = [
    "ABLATIONS",
    "BEST",
    "EndToEndConfig",
    "ImitationConfig",
    "ScoringPolicy",
    "fit",
    "fit_end_to_end",
    "load_policy",
    "save_policy",
]
