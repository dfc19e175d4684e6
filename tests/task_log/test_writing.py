"""Writing a log: fast, whole episodes only, whatever happens; the same in every kind of place."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_marl.errors import InputError
from edge_marl.peer_offloading import OffloadingScenario, PeerOffloadingSimulator
from edge_marl.peer_offloading.collect import collect, play
from edge_marl.simulation import Policy
from edge_marl.task_log import TaskLogWriter, import_log, open_log, run_of, write_parquet
from edge_marl.task_log.records import EpisodeRecord, Run
from tests.task_log.logs import SMALL, Anywhere, assert_same, write_log

ROOT = Path(__file__).resolve().parents[2]
RUN = run_of("peer_offloading_v0", {}, "anywhere", nodes=3, features=14, slot_s=0.5)


def everything(place: str | Path) -> tuple[list[Run], list[EpisodeRecord]]:
    with open_log(place) as log:
        return list(log.runs.values()), list(log.records(log.episodes))


def test_every_fate_is_in_the_small_log() -> None:
    fates = {int(s) for episode in play(Anywhere(), SMALL, range(4)) for s in episode.tasks.status}
    assert fates == {1, 2, 3, 4, 5}


def test_parquet_and_back_is_exact(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.sqlite", 20)
    collect(Anywhere(), OffloadingScenario(nodes=4, slots=5), range(2), log)
    with open_log(log) as opened:
        write_parquet(opened, tmp_path / "parquet")
    with open_log(tmp_path / "parquet") as opened:
        assert import_log(opened, tmp_path / "back.sqlite") == 22
    runs, episodes = everything(log)
    assert len(runs) == 2
    for place in (tmp_path / "parquet", tmp_path / "back.sqlite"):
        found, records = everything(place)
        assert found == runs
        assert_same(records, episodes)


@pytest.mark.parametrize(
    "place",
    [
        "",
        ":memory:",
        "file::memory:?cache=shared",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite+pysqlite:///:memory:",
        "sqlite:///file::memory:?cache=shared&uri=true",
        "sqlite:///file:log.sqlite?mode=memory&uri=true",
        "sqlite:///log.sqlite?mode=memory",
        "sqlite:///log.sqlite?timeout=long",
        "sqlite://host/log.sqlite",
    ],
)
def test_a_log_that_would_be_kept_nowhere_is_refused(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log = write_log(tmp_path / "log.sqlite", 1)
    before = log.read_bytes()
    with pytest.raises(InputError, match="expected a SQLite file, as its path or as sqlite:///"):
        collect(Anywhere(), SMALL, range(2), place)
    with open_log(log) as opened, pytest.raises(InputError, match="expected a SQLite file"):
        import_log(opened, place)
    assert log.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} <= {log.name, f".{log.name}.lock"}


@settings(max_examples=15)
@given(nodes=st.integers(2, 17), slots=st.integers(1, 6), seed=st.integers(0, 2**62))
def test_any_episode_is_read_back_exactly(nodes: int, slots: int, seed: int) -> None:
    scenario = OffloadingScenario(nodes=nodes, slots=slots, deadline_s=(0.5, 3.0))
    with TemporaryDirectory() as folder:
        collect(Anywhere(), scenario, [seed], f"{folder}/log.sqlite")
        with open_log(f"{folder}/log.sqlite") as log:
            write_parquet(log, f"{folder}/parquet")
        for place in ("log.sqlite", "parquet"):
            _, episodes = everything(f"{folder}/{place}")
            assert_same(episodes, play(Anywhere(), scenario, [seed]))


def test_importing_twice_adds_nothing(tmp_path: Path) -> None:
    source = write_log(tmp_path / "log.sqlite", 2)
    with open_log(source) as opened:
        assert [import_log(opened, tmp_path / "copy.sqlite") for _ in range(2)] == [2, 0]
    assert_same(everything(tmp_path / "copy.sqlite")[1], everything(source)[1])


def test_episodes_in_the_log_are_not_played_again(tmp_path: Path) -> None:
    log = tmp_path / "log.sqlite"
    advanced: list[int] = []
    assert collect(Anywhere(), SMALL, range(3), log) == 3
    assert collect(Anywhere(), SMALL, range(8), log, batch_size=4, advance=advanced.append) == 5
    assert advanced == [3, 4, 1]
    runs, episodes = everything(log)
    assert len(runs) == 1
    assert_same(episodes, play(Anywhere(), SMALL, range(8)))


def test_an_episode_is_logged_once(tmp_path: Path) -> None:
    [episode] = play(Anywhere(), SMALL, [5])
    writer = TaskLogWriter(tmp_path / "log.sqlite")
    run = writer.run(RUN)
    for _ in range(2):
        writer.add(run, episode)
    with pytest.raises(InputError, match=r"log.sqlite: episodes: .*found one of \[5, 5\]"):
        writer.close()


def test_an_interrupt_leaves_no_part_of_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = play(Anywhere(), SMALL, range(2))

    def interrupt(run: int, episode: EpisodeRecord) -> None:
        raise KeyboardInterrupt

    writer = TaskLogWriter(tmp_path / "log.sqlite")
    run = writer.run(RUN)
    writer.add(run, first)
    writer.flush()
    writer.add(run, second)
    with monkeypatch.context() as patch:
        patch.setattr("edge_marl.task_log.writer._decision_rows", interrupt)
        with pytest.raises(KeyboardInterrupt):
            writer.flush()
    writer.close()
    assert_same(everything(tmp_path / "log.sqlite")[1], [first])


def test_a_policy_that_ignores_the_mask_is_not_logged(tmp_path: Path) -> None:
    class ToNextNode(Policy[PeerOffloadingSimulator]):
        name = "next"

        def act(self, simulator: PeerOffloadingSimulator) -> NDArray[np.int32]:
            idle = simulator.observation.action_mask[:, :, 3]
            return np.where(idle, 3, [1, 2, 0]).astype(np.int32)

    scenario = SMALL.model_copy(update={"queue_limit_per_core": 1e-3, "slot_s": 0.1})
    with pytest.raises(InputError, match=r"next: seed \d, slot \d+, node \d: expected an action"):
        collect(ToNextNode(), scenario, range(4), tmp_path / "log.sqlite")


def test_sqlite_takes_50_000_rows_a_second(tmp_path: Path) -> None:
    episodes = play(Anywhere(), OffloadingScenario(), range(20))
    rows = sum(episode.actions.size + len(episode.tasks.id) for episode in episodes)
    with TaskLogWriter(tmp_path / "log.sqlite") as writer:
        run = writer.run(RUN._replace(nodes=20, features=65, actions=21))
        begin = time.process_time()
        for episode in episodes:
            writer.add(run, episode)
        writer.flush()
        assert rows / (time.process_time() - begin) > 50_000


WRITE_FOR_EVER = """
import itertools, sys
from edge_marl.peer_offloading.collect import play
from edge_marl.task_log import TaskLogWriter
from tests.task_log.logs import SMALL, Anywhere
from tests.task_log.test_writing import RUN

writer = TaskLogWriter(sys.argv[1])
run = writer.run(RUN)
for first in itertools.count(0, 50):
    for episode in play(Anywhere(), SMALL, range(first, first + 50)):
        writer.add(run, episode)
    writer.flush()
    print(first + 50, flush=True)
"""


def test_who_is_killed_leaves_every_batch_but_the_last(tmp_path: Path) -> None:
    log = tmp_path / "log.sqlite"
    child = subprocess.Popen(
        [sys.executable, "-c", WRITE_FOR_EVER, str(log)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    written = [int(child.stdout.readline()) for _ in range(3)][-1]
    child.send_signal(signal.SIGKILL)
    written = max([written, *map(int, child.stdout.read().split())])
    child.wait()
    _, episodes = everything(log)
    assert written <= len(episodes) <= written + 50
    assert_same(episodes[-1:], play(Anywhere(), SMALL, [len(episodes) - 1]))


def test_a_log_is_read_while_it_is_written(tmp_path: Path) -> None:
    log = tmp_path / "log.sqlite"
    with TaskLogWriter(log) as writer:
        run = writer.run(RUN)
        first, second = play(Anywhere(), SMALL, range(2))
        writer.add(run, first)
        writer.flush()
        writer.add(run, second)
        assert_same(everything(log)[1], [first])
    assert_same(everything(log)[1], [first, second])
