"""Damaged files of runs, searches and studies are read into valid values or refused in one line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edge_marl.algorithms.actors import CARD as ACTOR_CARD
from edge_marl.algorithms.actors import WEIGHTS, load_actor, save_actor
from edge_marl.errors import InputError
from edge_marl.experiments.study.units import read_rows
from edge_marl.experiments.training.checkpoints import CARD, read_checkpoint
from edge_marl.experiments.training.logs import read_log
from edge_marl.experiments.training.recipe import Recipe
from edge_marl.experiments.training.run import RunSettings, read_settings
from edge_marl.experiments.tuning.search import SearchSettings
from edge_marl.experiments.tuning.search import read_settings as read_search
from edge_marl.experiments.tuning.space import read_space
from edge_marl.json_files import write_json
from tests.experiments.checkpoint_files import untrained_actor, write_untrained
from tests.fuzzing import (
    damaged_bytes,
    damaged_csv,
    damaged_json,
    damaged_parquet,
    damaged_yaml,
    fuzzed,
    no_files,
    refused_or_read,
)

RECIPE = Recipe(env="tandem_v0", algorithm="vdn", options={"lr": 0.1}, env_config={"max_queue": 4})


SPACE = """\
lr: {loguniform: [0.0001, 0.003]}
gamma: {uniform: [0.95, 1.0]}
n_step: {randint: [1, 5]}
train_batch_size_per_learner: {choice: [64, 128]}
network.kind: mlp
"""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of each kind."""
    folder = tmp_path_factory.mktemp("good")
    write_untrained(folder / "checkpoint")
    save_actor(untrained_actor(), folder / "actor", {"curve": [[1, 0.5, None]], "seconds": 1})
    write_json(folder / "run" / "run.json", RunSettings(recipe=RECIPE))
    rows = {"split": ["3-3", "3-3"], "episode": [0, 1], "success_rate": [0.5, float("nan")]}
    pq.write_table(pa.table(rows), folder / "rows.parquet")
    (folder / "progress.csv").write_text("iteration,env_steps\n1,10\n2,20\n")
    (folder / "space.yaml").write_text(SPACE)
    settings = SearchSettings(recipe=RECIPE, space=folder / "space.yaml")
    write_json(folder / "search" / "search.json", settings)
    return folder


def check_space(path: Path) -> None:
    space = read_space(path, Recipe(env="tandem_v0", algorithm="vdn"))
    for distribution in space.searched.values():
        distribution.domain().sample()


def check_actor(folder: Path) -> None:
    actor = load_actor(folder)
    spec = actor.spec
    features = torch.zeros(1, len(spec.agents), spec.n_features)
    outputs, _ = actor(features, torch.ones(1, len(spec.agents), spec.n_actions, dtype=torch.bool))
    assert outputs.isfinite().all()


def check_rows(path: Path) -> None:
    rows = read_rows(path)
    numbers = rows.select_dtypes("number").to_numpy(dtype=float)
    assert not np.isinf(numbers).any()


Damage = Callable[[bytes], st.SearchStrategy[bytes]]
READERS: dict[str, tuple[str, Callable[[Path], object], Damage]] = {
    "checkpoint": (CARD, read_checkpoint, damaged_json),
    "checkpoint's actor": (f"policy/{ACTOR_CARD}", read_checkpoint, damaged_json),
    "checkpoint's weights": (f"policy/{WEIGHTS}", read_checkpoint, damaged_bytes),
    "actor": (ACTOR_CARD, check_actor, damaged_json),
    "actor's weights": (WEIGHTS, check_actor, damaged_bytes),
    "run": ("run.json", read_settings, damaged_json),
    "search": ("search.json", read_search, damaged_json),
    "space.yaml": ("", check_space, damaged_yaml),
    "rows.parquet": ("", check_rows, damaged_parquet),
    "progress.csv": ("", read_log, damaged_csv),
}


def copied(good: Path, name: str, folder: Path) -> Path:
    """A file, or the folder of several, to damage."""
    source = good / name.partition("'")[0]
    target = folder / source.name
    files = [file for file in source.rglob("*") if file.is_file()] if source.is_dir() else [source]
    for file in files:
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
    return target


@pytest.mark.parametrize("name", READERS)
@fuzzed
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(
    name: str, good: Path, tmp_path: Path, data: st.DataObject
) -> None:
    inner, read, damaged = READERS[name]
    path = copied(good, name, tmp_path)
    file = path / inner if inner else path
    file.write_bytes(data.draw(damaged(file.read_bytes())))
    refused_or_read(path, read)


@pytest.mark.parametrize("name", READERS)
def test_whole_files_are_read(name: str, good: Path, tmp_path: Path) -> None:
    assert refused_or_read(copied(good, name, tmp_path), READERS[name][1]) == ""


@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_refused(name: str, good: Path, tmp_path: Path) -> None:
    """In the place of the file itself, too."""
    inner, read, _ = READERS[name]
    for path in no_files(tmp_path):
        # A run that has not begun has no progress.
        assert refused_or_read(path, read) or not os.path.lexists(path)
        if inner:
            folder = copied(good, name, tmp_path / "with")
            (folder / inner).unlink()
            (folder / inner).symlink_to(path)
            assert refused_or_read(folder, read)
            (folder / inner).unlink()


def test_networks_larger_than_their_weights_are_not_made(good: Path, tmp_path: Path) -> None:
    folder = copied(good, "actor", tmp_path)
    card = json.loads((folder / ACTOR_CARD).read_text())
    for name, value in (("hidden_sizes", [100_000, 100_000]), ("gru", 100_000)):
        changed = {**card, "actor": {**card["actor"]}}
        changed["actor"]["network"] = {**card["actor"]["network"], name: value}
        (folder / ACTOR_CARD).write_text(json.dumps(changed))
        assert "expected" in refused_or_read(folder, load_actor)


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    actor = untrained_actor()
    with torch.no_grad():
        next(actor.parameters())[0] = float("nan")
    save_actor(actor, tmp_path / "actor")
    with pytest.raises(InputError, match=r"actor\.safetensors: .*: expected finite numbers"):
        load_actor(tmp_path / "actor")
