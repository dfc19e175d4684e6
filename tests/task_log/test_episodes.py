"""A log gives back what was played: observations, decisions, and rewards rebuilt from tasks."""

from pathlib import Path

import numpy as np
import pytest

from edge_marl.errors import InputError
from edge_marl.peer_offloading import OffloadingScenario, PeerOffloadingSimulator, Status
from edge_marl.peer_offloading.collect import play
from edge_marl.peer_offloading.simulator import Reward
from edge_marl.task_log import TaskColumns, read_episodes
from edge_marl.task_log.episodes import task_rewards
from tests.task_log.logs import SMALL, Anywhere, write_log


def tasks(*rows: tuple[int, int, Status, float]) -> TaskColumns:
    """Tasks of (slot, source, status, seconds until its fate was known)."""
    slot, source, status, spent_s = (np.array(column) for column in zip(*rows, strict=True))
    zero, one = np.zeros(len(rows)), np.ones(len(rows))
    return TaskColumns(
        id=np.arange(len(rows)), slot=slot, source=source, destination=source, status=status,
        size_kb=one, cycles=one, deadline_s=one, transmission_wait_s=zero,
        transmission_s=spent_s / 2, execution_wait_s=zero, execution_s=spent_s / 2,
    )  # fmt: skip


def test_feedback_comes_in_the_slot_in_which_a_fate_is_known() -> None:
    log = tasks(
        (0, 0, Status.SUCCEEDED, 0.2),  # within slot 0
        (0, 1, Status.SUCCEEDED, 0.5),  # at the end of slot 0, which is part of it
        (1, 0, Status.DROPPED, 1.0),  # at the end of slot 2
        (1, 1, Status.EXECUTION_FAILED, 0.6),  # in slot 2
        (2, 0, Status.IN_FLIGHT, np.nan),
        (3, 1, Status.SUCCEEDED, 0.7),  # after the last slot
    )
    own = task_rewards(log, 4, 2, 0.5, "own")
    assert own.tolist() == [[1, 1], [0, 0], [-1, -1], [0, 0]]
    assert task_rewards(log, 4, 2, 0.5, "team").tolist() == [[2, 2], [0, 0], [-2, -2], [0, 0]]


@pytest.mark.parametrize("reward", ["team", "own"])
@pytest.mark.parametrize(
    "scenario",
    [
        OffloadingScenario(slots=40),
        OffloadingScenario(preset="testbed"),  # slots of 0.1 s, which binary numbers only round
        OffloadingScenario(slot_s=0.3, deadline_s=(0.3, 5.0), nodes=5),
        SMALL,
    ],
    ids=["simulation", "testbed", "odd", "small"],
)
def test_rewards_are_those_of_the_simulator(
    scenario: OffloadingScenario, reward: Reward, tmp_path: Path
) -> None:
    seeds = np.arange(8)
    simulator = PeerOffloadingSimulator(scenario, len(seeds), reward=reward)
    simulator.reset(seeds)
    paid = np.zeros((len(seeds), scenario.slots, scenario.nodes), np.float32)
    for t in range(scenario.slots):
        paid[:, t] = simulator.step(Anywhere().act(simulator)).reward
    assert paid.any()
    log = write_log(tmp_path / "log.sqlite", len(seeds), scenario)
    for expected, episode in zip(paid, read_episodes(log, reward=reward), strict=True):
        np.testing.assert_array_equal(episode.rewards, expected)


def test_observations_masks_and_actions_are_those_played(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.sqlite")
    for played, episode in zip(play(Anywhere(), SMALL, range(4)), read_episodes(log), strict=True):
        np.testing.assert_array_equal(episode.features, played.features)
        np.testing.assert_array_equal(episode.action_mask, played.action_mask)
        np.testing.assert_array_equal(episode.actions, played.actions)
        assert np.take_along_axis(
            episode.action_mask, episode.actions[..., None].astype(int), axis=2
        ).all()


def test_episodes_are_of_the_environment_that_is_asked_for(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.sqlite")
    fine = {"nodes": 3, "deadline_s": (1.0, 2.0)}
    assert len(list(read_episodes(log, environment="peer_offloading_v0", configuration=fine))) == 4
    assert len(list(read_episodes(log, policy="anywhere"))) == 4
    for wanted, message in (
        ({"environment": "tandem_v0"}, "environment: expected tandem_v0, found peer_offloading_v0"),
        ({"configuration": {"slot_s": 0.1}}, "configuration: expected slot_s = 0.1, found 0.5"),
        ({"configuration": {"hops": 2}}, "configuration: expected hops = 2, found none"),
        ({"policy": "ratc"}, "expected episodes of ratc"),
    ):
        with pytest.raises(InputError, match=message):
            list(read_episodes(log, **wanted))  # type: ignore[arg-type]


def test_runs_of_different_sizes_are_not_learnt_from_together(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.sqlite", 1)
    write_log(log, 1, SMALL.model_copy(update={"nodes": 4}))
    with pytest.raises(InputError, match="runs: row id 2: nodes: expected 3, found 4"):
        list(read_episodes(log))
