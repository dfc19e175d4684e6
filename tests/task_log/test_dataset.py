"""Transitions of a log, drawn from memory or streamed through Ray Data."""

import shutil
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_marl.algorithms.offline.dataset import EpisodesInMemory, OfflineTransitions, as_dataset
from edge_marl.errors import InputError
from edge_marl.peer_offloading import OffloadingScenario
from edge_marl.task_log import LoggedEpisode, open_log, read_episodes, write_parquet
from tests.task_log.logs import write_log

Columns = dict[str, NDArray[Any]]
ROWS = 20 * 11 * 3  # episodes, slots but the last, nodes


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("logs") / "log.sqlite", 20)


def by_content(columns: Columns) -> list[bytes]:
    """Rows as bytes, sorted, to compare as multisets."""
    names = sorted(columns)
    n_rows = len(columns["node"])
    flat = [np.asarray(columns[name], np.float64).reshape(n_rows, -1) for name in names]
    return sorted(row.tobytes() for row in np.concatenate(flat, axis=1))


def transitions(log: Path) -> Columns:
    """Every transition, spelt out."""
    rows = [
        {
            "features": e.features[t, i], "action_mask": e.action_mask[t, i],
            "actions": e.actions[t, i], "rewards": e.rewards[t, i],
            "next_features": e.features[t + 1, i], "next_action_mask": e.action_mask[t + 1, i],
            "node": i, "terminated": False,
        }
        for e in read_episodes(log)
        for t in range(11)
        for i in range(3)
    ]  # fmt: skip
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def test_draws_from_memory_are_transitions_each_as_likely(log: Path) -> None:
    held = OfflineTransitions(log)
    assert held.n_rows == ROWS
    drawn = held.draw(40_000, np.random.default_rng(0))
    expected = by_content(transitions(log))
    found, there = Counter(by_content(drawn)), Counter(expected)
    assert set(found) == set(there)
    # 61 draws of each on average; a row that is in the log k times is drawn k times as often.
    mean = 40_000 / ROWS
    assert all(abs(found[row] / k - mean) < 5 * np.sqrt(mean) for row, k in there.items())


def test_draws_are_reproducible_and_typed(log: Path) -> None:
    one, other = (OfflineTransitions(log).draw(64, np.random.default_rng(1)) for _ in range(2))
    assert {name: (v.shape, v.dtype.name) for name, v in one.items()} == {
        "features": ((64, 14), "float32"),
        "action_mask": ((64, 4), "bool"),
        "actions": ((64,), "int16"),
        "rewards": ((64,), "float32"),
        "next_features": ((64, 14), "float32"),
        "next_action_mask": ((64, 4), "bool"),
        "node": ((64,), "int16"),
        "terminated": ((64,), "bool"),
    }
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_episodes_in_memory_may_be_of_different_lengths() -> None:
    def episode(first: int, slots: int) -> LoggedEpisode:
        steps = first + np.arange(slots)
        columns = np.broadcast_to(steps[:, None], (slots, 2))
        return LoggedEpisode(
            columns[..., None].astype(np.float32),
            np.ones((slots, 2, 3), np.bool_),
            columns.astype(np.int16),
            columns.astype(np.float32),
        )

    held = EpisodesInMemory([episode(0, 3), episode(10, 1), episode(20, 2)], n_steps=12)
    drawn = held.draw(500, np.random.default_rng(0))
    assert set(drawn["actions"].tolist()) == {0, 1, 20}
    np.testing.assert_array_equal(drawn["next_features"], drawn["features"] + 1)
    assert set(drawn["node"].tolist()) == {0, 1}


def test_a_draw_takes_little_of_a_gradient_step(tmp_path: Path) -> None:
    held = OfflineTransitions(write_log(tmp_path / "log.sqlite", 30, OffloadingScenario()))
    rng = np.random.default_rng(0)
    begin = time.process_time()
    for _ in range(500):
        held.draw(128, rng)
    assert (time.process_time() - begin) / 500 < 0.3e-3


def test_a_log_without_a_transition_is_refused(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.sqlite", 2, OffloadingScenario(nodes=2, slots=1))
    with pytest.raises(InputError, match="expected one of at least 2 slots"):
        OfflineTransitions(log)


@pytest.mark.usefixtures("local_ray")
def test_a_dataset_holds_every_transition_once(log: Path, tmp_path: Path) -> None:
    with open_log(log) as opened:
        write_parquet(opened, tmp_path / "parquet")
    expected = transitions(log)
    del expected["terminated"]
    dataset = as_dataset(tmp_path / "parquet")
    batches = list(dataset.iter_batches(batch_size=100, batch_format="numpy"))
    found = {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}
    assert by_content(found) == by_content(expected)


@pytest.mark.usefixtures("local_ray")
def test_a_log_larger_than_memory_is_streamed(log: Path) -> None:
    rng = np.random.default_rng(0)
    stream = OfflineTransitions(log, memory_bytes=30_000)
    expected = by_content(transitions(log))
    # The pool is a fraction of the log: what was not drawn of one pass over it is in the next.
    seen: set[bytes] = set()
    for _ in range(40):
        drawn = stream.draw(150, rng)
        assert len(drawn["node"]) == 150
        seen |= set(by_content(drawn))
    assert seen <= set(expected)
    assert len(seen) > 0.98 * len(set(expected))


@pytest.mark.usefixtures("local_ray")
def test_a_bad_row_in_the_stream_is_one_line(log: Path, tmp_path: Path) -> None:
    bad = Path(shutil.copy(log, tmp_path))
    with sqlite3.connect(bad) as connection:
        connection.execute("UPDATE tasks SET size_kb = -1 WHERE episode = 20")
    connection.close()
    stream = OfflineTransitions(bad, memory_bytes=30_000)
    with pytest.raises(InputError, match=r"tasks: row episode 20, id \d+: size_kb: ") as error:
        stream.draw(2 * ROWS, np.random.default_rng(0))
    assert "\n" not in str(error.value)
