"""Write and read checkpoints, which keep the actors apart from what only training needs.

A checkpoint is a folder::

    checkpoint.json    what was trained and how far, with the SHA-256 of the policy's files
    policy/            the decentralised actors: safetensors and a card, no pickle
    algorithm/         RLlib's own checkpoint, for continuing training only

It is written aside and then renamed, so a folder of that name is whole. Evaluation and export
read ``checkpoint.json`` and ``policy/`` alone: no code of a checkpoint is ever run for them.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import edge_marl
from edge_marl.envs.batched import make_batched
from edge_marl.errors import InputError
from edge_marl.experiments.systems import systems
from edge_marl.experiments.training.recipe import Recipe, changed_environment
from edge_marl.files import aside, put_back
from edge_marl.json_files import Number, read_json, write_json
from edge_marl.reading import check_file, reading
from edge_marl.validation import invalid, shown

if TYPE_CHECKING:
    from edge_marl.algorithms.actors import Actor
    from edge_marl.algorithms.core.algorithm import JointAlgorithm

FORMAT = "edge-marl checkpoint"
FORMAT_VERSION = 2
"""1: simulators were kept in another form. What decides is read all the same."""
CARD, POLICY, ALGORITHM = "checkpoint.json", "policy", "algorithm"
PARTS = (CARD, POLICY, ALGORITHM)
BEST = "best"
"""The folder, within a run's, of the checkpoint with the best evaluation."""
_NUMBERED = re.compile(r"\d{6,}")


class CheckpointCard(BaseModel):
    """Describe a checkpoint, as stored in ``checkpoint.json``."""

    model_config = ConfigDict(frozen=True)

    format: str = FORMAT
    format_version: int = FORMAT_VERSION
    edge_marl_version: str = edge_marl.__version__
    recipe: Recipe
    iteration: int = Field(ge=0)
    env_steps: int = Field(ge=0)
    time_s: float = Field(ge=0)
    """Training time of this and of the runs that it continued."""
    evaluation: dict[str, Number] | None = None
    """Means over the evaluation episodes, where these weights were evaluated; NaN over none."""
    files: dict[Annotated[str, Field(pattern=r"^[\w-][\w.-]*$")], str] = Field(default_factory=dict)
    """SHA-256 of the policy's files."""


@dataclass(frozen=True)
class Checkpoint:
    """Hold a checkpoint that was read and found complete."""

    folder: Path
    card: CheckpointCard
    actor: Actor
    env_config: Mapping[str, Any]
    """Options of the environment to play it in: those it was trained with, unless changed."""

    @property
    def name(self) -> str:
        """Return what identifies it in a table: the name of the run's folder and its own."""
        folder = self.folder.resolve()
        parent = folder.parent.parent if folder.parent.name == "checkpoints" else folder.parent
        return f"{parent.name}/{folder.name}"

    def elsewhere(self, overrides: Sequence[str]) -> Checkpoint:
        """Return the same weights in an environment with other options.

        Args:
            overrides: ``env.key=value``. Networks over sets, such as the servers of a cluster,
                adapt where these change the size of the set.

        Raises:
            InputError: for a bad option, or if the network does not fit the other environment.
        """
        if not overrides:
            return self
        env = self.card.recipe.env
        env_config = changed_environment(env, self.env_config, overrides)
        actor = self.actor
        if env in systems():
            n_actions = make_batched(env, env_config, 1, state=False).action_spec.n
            try:
                actor = actor.resized(n_actions - 1)
            except InputError as error:
                raise InputError(f"{self.folder}: {error}") from error
        return replace(self, env_config=env_config, actor=actor)


def write_checkpoint(algorithm: JointAlgorithm, folder: Path, card: CheckpointCard) -> None:
    """Write a checkpoint, replacing what is there only once it is whole.

    Args:
        algorithm: what is trained.
        folder: of the checkpoint.
        card: everything but the files.
    """
    from edge_marl.algorithms.actors import save_actor

    with aside(folder, parts=PARTS) as place:
        place.mkdir()
        algorithm.save_to_path(str((place / ALGORITHM).resolve()))
        about = card.model_dump(mode="json", include={"recipe", "iteration", "env_steps"})
        save_actor(algorithm.actor(), place / POLICY, {"training": about})
        whole = card.model_copy(update={"files": file_digests(place / POLICY)})
        write_json(place / CARD, whole)


def copy_checkpoint(source: Path, target: Path) -> None:
    """Copy a checkpoint to another place, replacing the checkpoint that is there."""
    with aside(target, parts=PARTS) as place:
        shutil.copytree(source, place)


def read_card(folder: Path) -> CheckpointCard:
    """Read and check ``checkpoint.json``.

    Raises:
        InputError: in one line, if this is no checkpoint, a damaged one or one that was written
            by a newer version.
    """
    put_back(folder)
    path = folder / CARD
    if not os.path.lexists(path):
        raise InputError(f"{folder}: expected a checkpoint (a folder with {CARD})")
    found = read_json(path)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        format_ = found.get("format") if isinstance(found, dict) else found
        raise InputError(f"{path}: format: expected {FORMAT!r}, found {shown(format_)}")
    _refuse_newer(path, found)
    try:
        return CheckpointCard.model_validate(found)
    except ValidationError as error:
        raise invalid(error, f"{path}: damaged: ") from error


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read the card and the actors of a checkpoint, without Ray and without pickle.

    Args:
        folder: of the checkpoint, or of a run, whose best one is read then.

    Raises:
        InputError: as :func:`read_card`, or if a file of the policy is missing or not the one
            that was written.
    """
    from edge_marl.algorithms.actors import load_actor

    put_back(folder / BEST)
    if not os.path.lexists(folder / CARD) and os.path.lexists(folder / BEST / CARD):
        folder = folder / BEST
    card = read_card(folder)
    for name, digest in card.files.items():
        path = folder / POLICY / name
        if _digest(path) != digest:
            raise InputError(f"{path}: damaged checkpoint: its SHA-256 is not the recorded one")
    return Checkpoint(folder, card, load_actor(folder / POLICY), card.recipe.env_config)


def numbered_checkpoints(folder: Path) -> list[Path]:
    """Return the numbered checkpoints in a folder, the oldest first; none if it does not exist."""
    if not os.path.isdir(folder):
        return []
    found = (path for path in folder.iterdir() if _NUMBERED.fullmatch(path.name))
    return sorted((path for path in found if (path / CARD).is_file()), key=lambda p: int(p.name))


def _refuse_newer(path: Path, found: Mapping[str, Any]) -> None:
    version, code = found.get("format_version"), str(found.get("edge_marl_version"))
    newer_format = isinstance(version, int) and version > FORMAT_VERSION
    if newer_format or _release(code) > _release(edge_marl.__version__):
        raise InputError(
            f"{path}: written by edge-marl {shown(code)} (format {version}), newer than this "
            f"edge-marl {edge_marl.__version__} (format {FORMAT_VERSION}): update edge-marl"
        )


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def file_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a folder, by name."""
    return {path.name: _digest(path) for path in sorted(folder.iterdir())}


def _digest(path: Path) -> str:
    path = check_file(path)
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
