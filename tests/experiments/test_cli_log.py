"""The commands of task logs."""

import sqlite3
from pathlib import Path

import pytest

from edge_marl.algorithms.offline.dataset import OfflineTransitions
from edge_marl.errors import InputError
from edge_marl.experiments import cli
from edge_marl.task_log import open_log
from tests.experiments.command_line import call
from tests.fuzzing import memory_limited
from tests.task_log.logs import write_log

SMALL = ("nodes=3", "slots=8")


def test_a_log_is_collected_summed_up_exported_and_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for policy, episodes in (("ratc", 5), ("ratc", 7), ("random", 3)):
        options = ("--policy", policy, "--episodes", str(episodes))
        assert call("log", "collect", "log.sqlite", *SMALL, *options) == 0
    assert call("log", "export", "log.sqlite", "parquet") == 0
    assert call("log", "import", "parquet", "copy.sqlite") == 0
    assert capsys.readouterr().out.splitlines() == [
        "log.sqlite: 5 episodes added, 0 were there",
        "log.sqlite: 2 episodes added, 5 were there",
        "log.sqlite: 3 episodes added, 0 were there",
        "parquet: 10 episodes",
        "copy.sqlite: 10 episodes added, 0 were there",
    ]
    tables = []
    for place in ("log.sqlite", "parquet", "copy.sqlite"):
        assert call("log", "stats", place) == 0
        *table, last = capsys.readouterr().out.splitlines()
        assert last.startswith(f"{place}: 10 episodes, 240 decisions, ")
        tables.append(table)
    assert tables[0] == tables[1] == tables[2]
    rows = [line.split() for line in tables[0] if "random" in line or "ratc" in line]
    assert [(row[1], row[3], row[9]) for row in rows] == [("1", "ratc", "7"), ("2", "random", "3")]


def test_presets_bring_their_own_settings(tmp_path: Path) -> None:
    log = tmp_path / "log.sqlite"
    options = ("preset=testbed", "slots=4", "--episodes", "1")
    assert call("log", "collect", str(log), *options) == 0
    with open_log(log) as opened:
        [run] = opened.runs.values()
        assert (run.nodes, run.slot_s, opened.episodes[0].slots) == (10, 0.1, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("collect", "l.sqlite", "nodez=3"), "nodez: unknown option; did you mean nodes?"),
        (("collect", "l.sqlite", "nodes=0"), "nodes: "),
        (("collect", "l.sqlite", "preset=moon"), "preset: "),
        (("collect", "l.sqlite", "--policy", "lucky"), "lucky"),
        (("collect", "mysql://h/n"), "mysql://h/n: "),
        (("collect", "l.sqlite", "--episodes", "0"), "--episodes"),
        (("collect", ":memory:", "nodes=3"), "expected a SQLite file, as its path or"),
        (("stats", "missing.sqlite"), "missing.sqlite: expected a task log, found no file"),
        (("import", "missing", "l.sqlite"), "missing: expected a task log, found no file"),
        (("export", "missing.sqlite", "folder"), "missing.sqlite: expected a task log"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("log", *arguments) == cli.BAD_INPUT
    captured = capsys.readouterr()
    *bar, line = captured.err.splitlines()
    assert len(bar) <= 1
    assert line.startswith("edge-marl: ")
    assert message in line
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_bad_row_ends_stats_export_and_import(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    collect = ("collect", "log.sqlite", *SMALL, "--episodes", "2")
    assert call("log", *collect) == 0
    with sqlite3.connect("log.sqlite") as connection:
        connection.execute("UPDATE decisions SET action = 9 WHERE episode = 2 AND slot = 1")
    connection.close()
    capsys.readouterr()
    for arguments in (
        ("stats", "log.sqlite"),
        ("export", "log.sqlite", "folder"),
        ("import", "log.sqlite", "copy.sqlite"),
    ):
        assert call("log", *arguments) == cli.BAD_INPUT
        captured = capsys.readouterr()
        assert "log.sqlite: decisions: row episode 2, slot 1, node 0: action: " in captured.err
        assert captured.out == ""
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("command", ["stats", "import", "export"])
def test_an_episode_that_says_it_is_endless_takes_no_memory(
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_log(Path("log.sqlite"), 2)
    with sqlite3.connect("log.sqlite") as connection:
        connection.execute("UPDATE episodes SET slots = 2000000000 WHERE id = 2")
    connection.close()
    target = () if command == "stats" else ("target.sqlite" if command == "import" else "target",)
    with memory_limited():
        assert call("log", command, "log.sqlite", *target) == cli.BAD_INPUT
        with pytest.raises(InputError, match=r"slot 12, node 0: expected a decision, found none"):
            OfflineTransitions("log.sqlite")
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("edge-marl: log.sqlite: decisions: row episode 2, slot 12, node 0: ")
    assert not Path("target").exists()
