"""Bad logs are refused by row, wherever they are."""

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edge_marl.errors import InputError
from edge_marl.task_log import import_log, open_log, read_episodes, write_parquet
from tests.task_log.logs import write_log


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log as a SQLite file and as Parquet files."""
    folder = tmp_path_factory.mktemp("logs")
    write_log(folder / "log.sqlite", 2)
    with open_log(folder / "log.sqlite") as log:
        write_parquet(log, folder / "parquet")
    return folder


@pytest.fixture
def log(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(good / "log.sqlite", tmp_path))


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good / "parquet", tmp_path / "parquet"))


def change(log: Path, *statements: str) -> None:
    with sqlite3.connect(log) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


NAN = f"X'{np.float32('nan').tobytes().hex()}'"
OF_STATUS = "(SELECT min(id) FROM tasks WHERE episode = 2 AND status = {})"


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE tasks SET size_kb = -3 WHERE episode = 2",
         r"tasks: row episode 2, id \d+: size_kb: expected a number above 0, found -3.0"),
        ("UPDATE tasks SET cycles = 'many' WHERE episode = 2",
         r"tasks: row episode 2, id \d+: cycles: expected a number above 0, found 'many'"),
        ("UPDATE tasks SET status = 9 WHERE episode = 2",
         r"status: expected a whole number from 1 to 5, found 9"),
        ("UPDATE tasks SET status = 0 WHERE episode = 2", r"from 1 to 5, found 0"),
        ("UPDATE tasks SET destination = 3 WHERE episode = 2",
         r"destination: expected a whole number from 0 to 2, found 3"),
        ("UPDATE tasks SET slot = 12 WHERE episode = 2",
         r"slot: expected a whole number from 0 to 11, found 12"),
        ("UPDATE tasks SET slot = 1.5 WHERE episode = 2",
         r"slot: expected a whole number from 0 to 11, found 1.5"),
        (f"UPDATE tasks SET execution_s = -1 WHERE episode = 2 AND id = {OF_STATUS.format(2)}",
         r"execution_s: expected a number of at least 0, found -1.0"),
        (f"UPDATE tasks SET execution_s = NULL WHERE episode = 2 AND id = {OF_STATUS.format(2)}",
         r"execution_s: expected a number, for it has finished, found nan"),
        (f"UPDATE tasks SET execution_s = 1 WHERE episode = 2 AND id = {OF_STATUS.format(1)}",
         r"execution_s: expected nothing, for it is in flight, found 1.0"),
        (f"UPDATE tasks SET execution_s = 9 WHERE episode = 2 AND id = {OF_STATUS.format(2)}",
         r"deadline_s: expected at least the four times together, found 1\.\d+"),
        (f"UPDATE tasks SET deadline_s = 9 WHERE episode = 2 AND id = {OF_STATUS.format(3)}",
         r"deadline_s: expected the four times together, for it was dropped, found 9.0"),
        ("UPDATE tasks SET status = 4 WHERE episode = 2 AND source = destination AND status > 1",
         r"status: expected another, for it was never sent, found 4"),
        ("UPDATE tasks SET destination = (destination + 1) % 3 WHERE episode = 2 AND status <> 4",
         r"destination: expected what the decision says, node \d, found \d"),
        ("UPDATE tasks SET slot = 0, source = 0, destination = 0 WHERE episode = 2 AND status <> 4",
         r"tasks: row episode 2, id \d+: (slot|destination): expected"),
        ("DELETE FROM tasks WHERE episode = 2",
         r"decisions: row episode 2, slot \d+, node \d: action: expected 3, for there is no task"),
        ("INSERT INTO tasks SELECT episode, id + 1000, slot, source, destination, status, size_kb,"
         " cycles, deadline_s, transmission_wait_s, transmission_s, execution_wait_s, execution_s"
         " FROM tasks WHERE episode = 2",
         r"tasks: row episode 2, id \d+: slot: expected one task a slot and node"),
        ("UPDATE tasks SET episode = 7 WHERE episode = 2",
         r"tasks: row episode 7, id \d+: episode: expected the id of an episode, found 7"),
        ("DELETE FROM decisions WHERE episode = 2 AND slot = 4 AND node = 1",
         "decisions: row episode 2, slot 4, node 1: expected a decision, found none"),
        ("DELETE FROM decisions WHERE episode = 2",
         "decisions: row episode 2, slot 0, node 0: expected a decision, found none"),
        ("UPDATE decisions SET node = 3 WHERE episode = 2 AND slot = 4 AND node = 1",
         "slot 4, node 3: node: expected a whole number from 0 to 2, found 3"),
        ("UPDATE decisions SET slot = 12 WHERE episode = 2 AND slot = 4 AND node = 1",
         "slot 12, node 1: slot: expected a whole number from 0 to 11, found 12"),
        ("UPDATE decisions SET action = 4 WHERE episode = 2 AND slot = 4 AND node = 1",
         "slot 4, node 1: action: expected a whole number from 0 to 3, found 4"),
        ("UPDATE decisions SET mask = X'00' WHERE episode = 2 AND slot = 4 AND node = 1",
         r"slot 4, node 1: action: expected an action of the mask, found \d"),
        ("UPDATE decisions SET mask = X'0000' WHERE episode = 2 AND slot = 4 AND node = 1",
         "slot 4, node 1: mask: expected 1 bytes, found 2 bytes"),
        ("UPDATE decisions SET mask = 'all' WHERE episode = 2 AND slot = 4 AND node = 1",
         "slot 4, node 1: mask: expected 1 bytes, found str"),
        ("UPDATE decisions SET observation = X'00' WHERE episode = 2 AND slot = 4 AND node = 1",
         "slot 4, node 1: observation: expected 56 bytes, found 1 bytes"),
        (f"UPDATE decisions SET observation = CAST({NAN} || zeroblob(52) AS BLOB)"
         " WHERE episode = 2 AND slot = 4 AND node = 1",
         "slot 4, node 1: observation: expected finite numbers, found nan"),
        ("UPDATE decisions SET episode = 0 WHERE episode = 2",
         "decisions: row episode 0, slot 0, node 0: episode: expected the id of an episode"),
        ("UPDATE episodes SET run = 9 WHERE id = 2",
         "episodes: row id 2: run: expected the id of a run, found 9"),
        ("UPDATE episodes SET slots = 0 WHERE id = 2", "episodes: row id 2: slots: expected"),
        ("UPDATE episodes SET seed = -1 WHERE id = 2", "episodes: row id 2: seed: expected"),
        ("UPDATE runs SET format = 2", "runs: row id 1: format: expected 1, found 2"),
        ("UPDATE runs SET nodes = 0", "runs: row id 1: nodes: expected"),
        ("UPDATE runs SET actions = 3", "actions: expected one more than nodes, found 3"),
        ("UPDATE runs SET slot_s = 0", "slot_s: expected a number above 0, found 0.0"),
        ("UPDATE runs SET features = 13", "observation: expected 52 bytes, found 56 bytes"),
        ("UPDATE runs SET configuration = '[1]'", "configuration: expected a JSON object"),
        ("UPDATE runs SET policy = X'00'", "policy: expected a text"),
        ("DROP TABLE decisions", "log.sqlite: expected a table decisions, found none"),
        ("ALTER TABLE tasks DROP COLUMN cycles",
         "log.sqlite: tasks: expected a column cycles, found none"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named(log: Path, statement: str, message: str) -> None:
    change(log, statement)
    with pytest.raises(InputError, match=message) as error:
        list(read_episodes(log))
    assert str(log) in str(error.value)
    assert "\n" not in str(error.value)


def test_nothing_of_a_log_with_a_bad_row_is_imported(log: Path, tmp_path: Path) -> None:
    change(log, "UPDATE tasks SET size_kb = -3 WHERE episode = 2")
    target = write_log(tmp_path / "target.sqlite", 1)
    with open_log(log) as opened, pytest.raises(InputError, match="size_kb"):
        import_log(opened, target)
    with open_log(target) as opened:
        assert len(opened.episodes) == 1


@pytest.mark.parametrize(
    ("file", "column", "values", "message"),
    [
        ("tasks", "size_kb", -3.0, r"tasks.parquet: row episode 2, id \d+: size_kb: expected a"),
        ("tasks", "size_kb", None, r"tasks.parquet: row episode 2, id \d+: size_kb: .* found nan"),
        ("tasks", "status", None, r"status: expected a whole number from 1 to 5, found None"),
        ("tasks", "episode", None, r"tasks.parquet: row episode None.*: expected a whole number"),
        ("tasks", "episode", 8, r"tasks.parquet: row episode 8.*expected the id of an episode"),
        ("decisions", "node", 3, "decisions.parquet: row episode 2, slot 11, node 3: node: expec"),
        ("decisions", "action", 77, "decisions.parquet: .*action: expected .* found 77"),
        ("decisions", "mask", [True], "mask: expected 4 values, found 1 values"),
        ("decisions", "mask", None, "mask: expected 4 values, found none"),
        ("decisions", "observation", [0.0] * 13, "expected 14 values, found 13 values"),
        ("decisions", "observation", [0.0] * 13 + [None], "14 values, found one missing"),
        ("decisions", "observation", [np.inf] + [0.0] * 13, "expected finite numbers, found inf"),
        ("episodes", "seed", None, "episodes.parquet: row id 2: seed: expected a whole number"),
    ],
)  # fmt: skip
def test_a_bad_row_of_a_file_is_named(
    folder: Path, file: str, column: str, values: object, message: str
) -> None:
    """The last row of a file is changed."""
    path = folder / f"{file}.parquet"
    table = pq.read_table(path)
    changed = table.column(column).to_pylist()
    changed[-1] = values
    field = table.schema.field(column)
    position = table.schema.get_field_index(column)
    pq.write_table(table.set_column(position, field, pa.array(changed, field.type)), path)
    with pytest.raises(InputError, match=message):
        list(read_episodes(folder))


def test_rows_of_files_may_be_in_any_order(folder: Path) -> None:
    expected = list(read_episodes(folder))
    for file in ("tasks", "decisions"):
        path = folder / f"{file}.parquet"
        table = pq.read_table(path)
        order = np.random.default_rng(0).permutation(len(table))
        pq.write_table(table.take(order), path)
    for one, other in zip(read_episodes(folder), expected, strict=True):
        for mine, yours in zip(one, other, strict=True):
            np.testing.assert_array_equal(mine, yours)


@pytest.mark.parametrize(
    ("file", "column"), [("tasks", "status"), ("decisions", "mask"), ("episodes", "slots")]
)
def test_a_missing_column_of_a_file_is_named(folder: Path, file: str, column: str) -> None:
    path = folder / f"{file}.parquet"
    pq.write_table(pq.read_table(path).drop_columns([column]), path)
    with pytest.raises(
        InputError, match=f"{file}.parquet: column {column}: expected one, found none"
    ):
        open_log(folder)


def test_damaged_files_are_named(folder: Path) -> None:
    runs = json.loads((folder / "runs.json").read_text())
    for text, message in (
        ("{", "runs.json: expected JSON"),
        ("{}", "runs.json: expected a list of objects"),
        (json.dumps([{**runs[0], "nodes": "three"}]), "runs.json: row id 1: nodes: expected a who"),
        (json.dumps([*runs, runs[0]]), "runs.json: row id 1: id: expected one that no other"),
        (json.dumps([{k: v for k, v in runs[0].items() if k != "policy"}]),
         "runs.json: run 1: expected a field policy, found none"),
    ):  # fmt: skip
        (folder / "runs.json").write_text(text)
        with pytest.raises(InputError, match=message):
            open_log(folder)
    (folder / "tasks.parquet").write_bytes(b"no Parquet")
    with pytest.raises(InputError, match=r"tasks\.parquet: expected a Parquet file"):
        open_log(folder)


def test_what_is_no_log_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_text("no database" * 100)
    for place, message in (
        (tmp_path / "missing.sqlite", "missing.sqlite: expected a task log, found no file"),
        (tmp_path / "text.sqlite", "text.sqlite: file is not a database"),
        (tmp_path, "episodes.parquet: cannot be read: No such file"),
        ("postgresql+psycopg://u:secret@127.0.0.1:1/x", r"u:\*\*\*@127.0.0.1:1/x: .*refused"),
        ("postgresql+psycopg://127.0.0.1:1/x?user=u&password=secret", r"x\?user=u: .*refused"),
        ("mysql://host/x", "mysql://host/x: "),
        ("ftp://host/x", "ftp://host/x: "),
        ("postgresql://u:secret@host:port/x", "postgresql://...: expected the URL of a database"),
        ("://", "expected the URL of a database"),
    ):
        with pytest.raises(InputError, match=message) as error:
            open_log(place)
        assert "secret" not in str(error.value)
