"""Imitated policies of the study, fitted once and kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edge_marl.algorithms.imitation import ImitationConfig, fit, load_policy, save_policy
from edge_marl.algorithms.imitation.policies import ScoringPolicy
from edge_marl.experiments.tandem.config import Training
from edge_marl.tandem.traces import TraceSet


def imitated(
    config: ImitationConfig, traces: TraceSet, training: Training, drop_penalty: float, root: Path
) -> ScoringPolicy:
    """The policy of a network that needs no schedules, from its folder or fitted now.

    Args:
        config: what to imitate, and how, with its seed.
        traces: K training traces.
        training: what they are, for the folder's name.
        drop_penalty: ``lambda`` of the objective.
        root: folder of all policies.
    """
    what = f"{config.model_dump_json()}|{traces.metadata}|{len(traces)}|{drop_penalty}"
    digest = hashlib.sha256(what.encode()).hexdigest()[:12]
    folder = root / f"sl-step-{training}-{config.seed}-{digest}"
    if not (folder / "card.json").exists():
        save_policy(fit(config, traces, drop_penalty=drop_penalty), config, folder)
    return load_policy(folder)
