"""Playing a policy on a set of episodes."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from edge_marl.dag_placement.policies import Policy
from edge_marl.dag_placement.scenario import DagScenario
from edge_marl.dag_placement.simulator import DagPlacementSimulator, EpisodeResults
from edge_marl.errors import InputError


def run(
    policy: Policy,
    scenario: DagScenario,
    seeds: ArrayLike,
    batch_size: int = 64,
    **options: Any,
) -> EpisodeResults:
    """Play one episode per seed.

    Args:
        policy: who decides.
        scenario: what the episodes are drawn from.
        seeds: ``[K]`` of the episodes.
        batch_size: episodes to play at once; makes no difference to the results.
        options: of the simulator.

    Returns:
        the results, ``[K]`` each.

    Raises:
        InputError: without a seed or with a batch size below 1.
    """
    seeds = np.asarray(seeds)
    if len(seeds) == 0:
        raise InputError("seeds: expected at least one, found none")
    if batch_size < 1:
        raise InputError(f"batch_size: expected at least 1, found {batch_size}")
    parts = []
    for first in range(0, len(seeds), batch_size):
        some = seeds[first : first + batch_size]
        simulator = DagPlacementSimulator(scenario, len(some), **options)
        simulator.reset(some)
        while not simulator.done.all():
            simulator.step(policy.act(simulator))
        parts.append(simulator.results)
    return EpisodeResults(**{
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(EpisodeResults)
    })  # fmt: skip
