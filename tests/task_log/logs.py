"""Small logs for tests."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_marl.peer_offloading import OffloadingScenario, PeerOffloadingSimulator
from edge_marl.peer_offloading.collect import collect
from edge_marl.simulation import Policy
from edge_marl.task_log import EpisodeRecord

SMALL = OffloadingScenario(
    nodes=3,
    slots=12,
    deadline_s=(1.0, 2.0),
    failure_rate=(0.1, 0.5),
    link_failure_rate=(0.3, 1.0),
)
"""Short deadlines and many failures: every fate occurs in a few episodes."""


class Anywhere(Policy[PeerOffloadingSimulator]):
    """Sends every task to a random node among those that take it, the same for the same state."""

    name = "anywhere"

    def act(self, simulator: PeerOffloadingSimulator) -> NDArray[np.int32]:
        draws = np.modf(1e4 * np.sin(1 + simulator.observation.features.sum(axis=2)))[0]
        mask = simulator.observation.action_mask
        order = np.modf(1e4 * np.sin(draws[:, :, None] + np.arange(mask.shape[2])))[0]
        return np.where(mask, order, -2).argmax(axis=2).astype(np.int32)


def write_log(path: Path, episodes: int = 4, scenario: OffloadingScenario = SMALL) -> Path:
    collect(Anywhere(), scenario, range(episodes), path, batch_size=3)
    return path


def assert_same(found: list[EpisodeRecord], expected: list[EpisodeRecord]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.seed == other.seed
        for mine, yours in zip((*one.tasks, *one[2:]), (*other.tasks, *other[2:]), strict=True):
            np.testing.assert_array_equal(mine, yours)
            assert mine.dtype == yours.dtype
