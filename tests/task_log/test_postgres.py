"""Logs of a cluster: the same in a PostgreSQL server as in a file."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from edge_marl.errors import InputError
from edge_marl.peer_offloading.collect import collect, play
from edge_marl.task_log import import_log, open_log, read_episodes, write_parquet
from tests.task_log import postgres
from tests.task_log.logs import SMALL, Anywhere, assert_same, write_log


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres.server() as url:
        yield url


@pytest.fixture
def url(server: str) -> Iterator[str]:
    yield server
    change(server, "DROP TABLE IF EXISTS decisions, tasks, episodes, runs")


def change(url: str, *statements: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def test_it_holds_what_was_played(url: str) -> None:
    assert collect(Anywhere(), SMALL, range(4), url) == 4
    assert collect(Anywhere(), SMALL, range(6), url) == 2
    with open_log(url) as log:
        assert_same(list(log.records(log.episodes)), play(Anywhere(), SMALL, range(6)))
        assert log.count()[0] == 6 * 12 * 3
        assert log.size_bytes > 0


def test_logs_move_between_files_and_server(url: str, tmp_path: Path) -> None:
    with open_log(write_log(tmp_path / "log.sqlite", 3)) as log:
        expected, runs = list(log.records(log.episodes)), log.runs
        assert import_log(log, url) == 3
    with open_log(url) as log:
        assert log.runs == runs
        write_parquet(log, tmp_path / "parquet")
    with open_log(tmp_path / "parquet") as log:
        assert_same(list(log.records(log.episodes)), expected)


def test_a_bad_row_is_named_and_nothing_is_imported(url: str, tmp_path: Path) -> None:
    collect(Anywhere(), SMALL, range(2), url)
    change(url, "UPDATE tasks SET size_kb = 'NaN' WHERE episode = 2")
    expected = r"postgres.*: tasks: row episode 2, id \d+: size_kb: expected .* found nan"
    with pytest.raises(InputError, match=expected):
        list(read_episodes(url))
    with open_log(url) as log, pytest.raises(InputError, match=expected):
        import_log(log, tmp_path / "copy.sqlite")
    with open_log(tmp_path / "copy.sqlite") as log:
        assert log.episodes == []
        assert log.runs == {}


def test_two_collectors_write_at_the_same_time(url: str) -> None:
    collect(Anywhere(), SMALL, range(1), url)  # makes the tables
    with ThreadPoolExecutor(2) as pool:
        parts = [range(1, 30), range(30, 60)]
        played = list(pool.map(lambda seeds: collect(Anywhere(), SMALL, seeds, url), parts))
    assert played == [29, 30]
    with open_log(url) as log:
        assert len(log.runs) == 1
        assert sorted(row.seed for row in log.episodes) == list(range(60))
        assert len(list(log.records(log.episodes))) == 60


def test_a_server_without_a_log_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="expected a table runs, found none"):
        open_log(url)
