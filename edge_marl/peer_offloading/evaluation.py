"""Playing a policy on a set of episodes."""

from __future__ import annotations

from numpy.typing import ArrayLike

from edge_marl.episodes import play
from edge_marl.peer_offloading.policies import Policy
from edge_marl.peer_offloading.scenario import OffloadingScenario
from edge_marl.peer_offloading.simulator import EpisodeResults, PeerOffloadingSimulator


def run(
    policy: Policy, scenario: OffloadingScenario, seeds: ArrayLike, batch_size: int = 64
) -> EpisodeResults:
    """Play one episode per seed, see :func:`edge_marl.episodes.play`.

    Args:
        policy: who decides.
        scenario: what the episodes are drawn from.
        seeds: ``[K]`` of the episodes.
        batch_size: episodes to play at once; makes no difference to the results.
    """

    def make(episodes: int) -> PeerOffloadingSimulator:
        return PeerOffloadingSimulator(scenario, episodes)

    return play(policy, make, seeds, batch_size, EpisodeResults)
