"""Outputs of every command: checked before its work, written by one process, apart from inputs."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from edge_marl.experiments import cli
from edge_marl.experiments.training.recipe import parse_recipe
from edge_marl.experiments.training.run import RunSettings
from edge_marl.experiments.tuning.search import SearchSettings
from edge_marl.experiments.tuning.space import shipped_space
from edge_marl.locks import sole_writer
from edge_marl.task_log import TaskLogWriter
from tests.experiments.checkpoint_files import write_untrained
from tests.task_log.logs import write_log

Call = Callable[..., tuple[int, str]]

OUT = "OUT"
FILES: dict[str, tuple[str, ...]] = {
    "workload generate": (OUT,),
    "workload profile": ("--transcoding", "none.csv", "--uplink", "none.csv", "--out", OUT),
    "workload google": ("--jobs", "none.csv", "--requests", "none.csv", "--out", OUT),
    "benchmark tandem": ("--out", OUT),
    "benchmark offloading": ("--out", OUT),
    "benchmark dag": ("--out", OUT),
    "benchmark graph": ("--out", OUT),
    "benchmark federation": ("--out", OUT),
    "benchmark cooperative": ("--out", OUT),
    "benchmark cto": ("--out", OUT),
    "benchmark learning": ("--out", OUT),
    "log collect": (OUT,),
    "log import": ("log.sqlite", OUT),
}
FOLDERS: dict[str, tuple[str, ...]] = {
    "oracle solve": ("none.parquet", "--out", OUT),
    "reproduce tandem": ("--out", OUT),
    "reproduce o2o-drl": ("--out", OUT),
    "reproduce scale": ("--out", OUT),
    "reproduce fauno": ("--out", OUT),
    "reproduce cto-tp": ("--out", OUT),
    "predict train": ("none.csv", "--format", "google2011", "--out", OUT),
    "predict evaluate": ("none.csv", "none", "--out", OUT),
    "benchmark spread": ("--out", OUT),
    "train": ("tandem_v0", "vdn", "--out", OUT),
    "tune": ("tandem_v0", "vdn", "--out", OUT),
    "evaluate": ("checkpoint", "--out", OUT),
    "export": ("checkpoint", "--out", OUT),
    "log export": ("log.sqlite", OUT),
}
ONE_WRITER = [name for name in FOLDERS if name != "log export"]  # which appears as a whole


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Call:
    """Runs a command in a folder with a log and a checkpoint; gives exit code and error."""
    monkeypatch.chdir(tmp_path)
    write_log(Path("log.sqlite"), 2)
    write_untrained(Path("checkpoint"))

    def run(command: str, *arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["edge-marl", *command.split(), *arguments])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        return int(exit_.value.code or 0), capsys.readouterr().err

    return run


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, set[str]]]:
    """Every command, with the names of its parameters."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))
    if not hasattr(command, "commands"):
        yield " ".join(path), {parameter.name for parameter in command.params}


def test_every_command_with_an_output_is_here() -> None:
    every = commands(typer.main.get_command(cli.app))
    with_output = {name for name, parameters in every if parameters & {"out", "place"}}
    assert with_output == {*FILES, *FOLDERS, "log stats"}


@pytest.mark.parametrize("command", [*FILES, *FOLDERS])
def test_an_output_that_cannot_be_written_is_found_out_before_the_work(
    command: str, call: Call, tmp_path: Path
) -> None:
    Path("thesis.tex").write_text("years of work")
    before = snapshot(tmp_path)
    out = "thesis.tex/deep/out"
    arguments = (out if one == OUT else one for one in (FILES | FOLDERS)[command])
    code, said = call(command, *arguments)
    assert (code, said.count("\n")) == (cli.BAD_INPUT, 1), said
    assert "thesis.tex" in said
    assert "cannot be written: Not a directory" in said
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("command", [*FILES, *FOLDERS])
def test_no_file_is_written_over_a_folder_and_no_folder_over_a_file(
    command: str, call: Call, tmp_path: Path
) -> None:
    out = Path("precious")
    if command in FILES:
        out.mkdir()
        (out / "thesis.tex").write_text("years of work")
    else:
        out.write_text("years of work")
    before = snapshot(tmp_path)
    arguments = (str(out) if one == OUT else one for one in (FILES | FOLDERS)[command])
    code, said = call(command, *arguments)
    assert (code, said.count("\n")) == (cli.BAD_INPUT, 1), said
    assert "precious: " in said
    assert snapshot(tmp_path) == before


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("command", ONE_WRITER)
def test_a_second_writer_is_refused_in_one_line(command: str, call: Call) -> None:
    with sole_writer(Path("out")):
        code, said = call(command, *("out" if one == OUT else one for one in FOLDERS[command]))
    assert (code, said.count("\n")) == (cli.BAD_INPUT, 1), said
    assert said.startswith("edge-marl: out: process ")
    assert not Path("out").exists()


def test_a_run_and_a_search_are_continued_by_one_process(call: Call, tmp_path: Path) -> None:
    recipe = parse_recipe("tandem_v0", "vdn")
    search = SearchSettings(recipe=recipe, space=shipped_space("vdn"))
    for name, settings in (("run", RunSettings(recipe=recipe)), ("search", search)):
        folder = tmp_path / name
        with sole_writer(folder):
            (folder / f"{name}.json").write_text(settings.model_dump_json())
            command = {"run": "train", "search": "tune"}[name]
            code, said = call(command, "--resume", name)
            assert (code, said.count("\n")) == (cli.BAD_INPUT, 1), said
            assert said.startswith(f"edge-marl: {name}: process ")
        assert [path.name for path in folder.iterdir()] == [f"{name}.json"]


def test_a_log_has_one_writer_and_any_number_of_readers(call: Call) -> None:
    Path("link.sqlite").symlink_to("log.sqlite")
    with TaskLogWriter("log.sqlite"):
        for command, *arguments in (
            ("log collect", "log.sqlite", "--episodes", "1"),
            ("log collect", "link.sqlite", "--episodes", "1"),
            ("log import", "log.sqlite", "sqlite:///log.sqlite"),
        ):
            code, said = call(command, *arguments)
            assert (code, said.count("\n")) == (cli.BAD_INPUT, 1), said
            assert "is writing to it, which one may at a time" in said
        assert call("log stats", "log.sqlite")[0] == 0
    assert call("log collect", "log.sqlite", "--episodes", "1")[0] == 0
    assert not list(Path().glob(".*"))


def test_a_log_is_exported_over_an_export_only(call: Call) -> None:
    for _ in range(2):
        assert call("log export", "log.sqlite", "parquet")[0] == 0
    Path("parquet/thesis.tex").write_text("years of work")
    code, said = call("log export", "log.sqlite", "parquet")
    assert code == cli.BAD_INPUT
    assert "parquet: expected an earlier output of this kind, found a folder with thesis" in said
    assert len(list(Path("parquet").iterdir())) == 5


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("workload generate", ("rates.csv", "uplink=rates.csv", "network=rates")),
        ("workload profile", ("--transcoding", "runs.csv", "--uplink", "rates.csv",
                              "--out", "rates.csv")),
        ("evaluate", ("checkpoint", "--out", "checkpoint")),
        ("export", ("checkpoint", "--out", "checkpoint/onnx")),
        ("log export", ("parquet", "parquet")),
    ],
)  # fmt: skip
def test_an_output_is_apart_from_what_is_read(
    command: str, arguments: tuple[str, ...], call: Call, tmp_path: Path
) -> None:
    rows = "".join(f"Thu Aug 11 13:42:0{k} UTC 2022,{4 + k}\n" for k in range(3))
    Path("rates.csv").write_text(f"Time,RATE(MBit/s)\n{rows}")
    Path("runs.csv").touch()
    assert call("log export", "log.sqlite", "parquet")[0] == 0
    before = snapshot(tmp_path)
    code, said = call(command, *arguments)
    assert code == cli.BAD_INPUT
    assert "expected a place apart from" in said, said
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("option", ["alibaba=none.csv", "wfcommons=none"])
def test_inputs_of_a_study_are_read_before_anything_is_trained(option: str, call: Call) -> None:
    code, said = call("reproduce scale", option, "--quick", "--out", "new/study")
    assert (code, said.count("\n")) == (cli.BAD_INPUT, 1), said
    assert "none" in said
    assert not Path("new").exists()
