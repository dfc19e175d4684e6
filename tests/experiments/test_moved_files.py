"""A run whose files were moved is continued and evaluated with them at their new places."""

from pathlib import Path

import pytest

from edge_marl.errors import InputError
from edge_marl.experiments import cli
from edge_marl.experiments.training.checkpoints import read_checkpoint
from edge_marl.experiments.training.recipe import Recipe, parse_recipe, with_files_at
from edge_marl.experiments.training.run import read_settings
from edge_marl.tandem.scenario import TandemWorkload
from edge_marl.tandem.trace_files import write_traces
from tests.experiments.checkpoint_files import write_untrained
from tests.experiments.command_line import call
from tests.experiments.test_train import SMALL

GRAPH = "2\n0 0 0\n1 4 1 0\n2 6 1 1\n3 0 1 2\n"


def test_a_run_goes_on_with_a_file_that_was_moved(
    local_ray: None,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    old, new, out = tmp_path / "old.parquet", tmp_path / "new.parquet", tmp_path / "run"
    write_traces(TandemWorkload().make(4), old)
    begun = ("train", "tandem_v0", "vdn", f"env.traces={old}", *SMALL, "--iterations", "1")
    assert call(*begun, "--out", str(out)) == 0
    old.rename(new)
    capsys.readouterr()
    again = ("train", "--resume", str(out), "--iterations", "2")
    assert call(*again) == cli.BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{old}: cannot be read: No such file or directory" in line
    assert call(*again, f"env.traces={new}") == 0
    assert read_settings(out).recipe.env_config == {"traces": str(new)}
    last = read_checkpoint(out / "checkpoints" / "000002")
    assert last.card.recipe.env_config == {"traces": str(new)}


def test_only_files_that_a_run_has_may_be_others(tmp_path: Path) -> None:
    (tmp_path / "new.stg").write_text(GRAPH)
    (tmp_path / "damaged.stg").write_text("x")
    name = "env.scenario.workflows.path"
    workflows = {"format": "stg", "path": str(tmp_path / "gone.stg"), "largest": 9}
    recipe = Recipe(
        env="dag_placement_v0", algorithm="scale", env_config={"scenario": {"workflows": workflows}}
    )
    moved = with_files_at(recipe, [f"{name}={tmp_path / 'new.stg'}"])
    new = {**workflows, "path": str(tmp_path / "new.stg")}
    assert moved.env_config["scenario"]["workflows"] == new
    assert recipe.env_config["scenario"]["workflows"] == workflows
    for override, message in (
        ("env.scenario.workflows.largest=5", f"names a file of this run, one of {name}"),
        ("env.scenario.servers=5", "names a file of this run"),
        ("log=x.sqlite", "names a file of this run"),
        ("lr=1", "'lr': expected an option that names a file of this run"),
        (f"{name}={tmp_path / 'absent.stg'}", "absent.stg: cannot be read: No such file"),
        (f"{name}={tmp_path / 'damaged.stg'}", "damaged.stg: line 1: expected whole numbers"),
    ):
        with pytest.raises(InputError, match=message):
            with_files_at(recipe, [override])
    with pytest.raises(InputError, match="names a file of this run, none"):
        with_files_at(Recipe(env="tandem_v0", algorithm="vdn"), ["env.traces=x.parquet"])


def test_a_log_may_be_elsewhere_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = parse_recipe("peer_offloading_v0", "o2o", ["log=old.sqlite"])
    for place in ("new.sqlite", "postgresql+psycopg://u@h/n"):
        found = with_files_at(recipe, [f"log={place}"]).options["log"]
        assert found == (place if "://" in place else str(tmp_path / place))


def test_a_checkpoint_is_played_with_a_file_that_was_moved(tmp_path: Path) -> None:
    write_traces(TandemWorkload().make(4), tmp_path / "new.parquet")
    gone = str(tmp_path / "gone.parquet")
    checkpoint = read_checkpoint(write_untrained(tmp_path / "best", env_config={"traces": gone}))
    new = {"traces": str(tmp_path / "new.parquet")}
    assert checkpoint.elsewhere([f"env.traces={new['traces']}"]).env_config == new
