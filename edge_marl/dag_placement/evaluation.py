"""Playing a policy on a set of episodes."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from edge_marl.dag_placement.policies import Policy
from edge_marl.dag_placement.scenario import DagScenario
from edge_marl.dag_placement.simulator import DagPlacementSimulator, EpisodeResults
from edge_marl.episodes import play


def run(
    policy: Policy,
    scenario: DagScenario,
    seeds: ArrayLike,
    batch_size: int = 64,
    **options: Any,
) -> EpisodeResults:
    """Play one episode per seed, see :func:`edge_marl.episodes.play`.

    Args:
        policy: who decides.
        scenario: what the episodes are drawn from.
        seeds: ``[K]`` of the episodes.
        batch_size: episodes to play at once; makes no difference to the results.
        options: of the simulator, but for the reward, which nobody reads.
    """

    def make(episodes: int) -> DagPlacementSimulator:
        return DagPlacementSimulator(scenario, episodes, reward=None, **options)

    return play(policy, make, seeds, batch_size, EpisodeResults)
