"""One training run: the loop, its checkpoints, its logs.

The folder of a run::

    run.json           settings, enough to continue it
    checkpoints/       numbered by iteration, the last few
    best/              the checkpoint with the best evaluation
    progress.csv       one row per iteration
    tensorboard/       the same for TensorBoard
"""

from __future__ import annotations

import pickle
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_marl.errors import InputError
from edge_marl.experiments.progress import stdout
from edge_marl.experiments.training.checkpoints import (
    ALGORITHM,
    BEST,
    PARTS,
    CheckpointCard,
    current_actor,
    numbered_checkpoints,
    read_card,
    write_checkpoint,
)
from edge_marl.experiments.training.display import Display, Status, result_table
from edge_marl.experiments.training.interrupts import Interrupts
from edge_marl.experiments.training.logs import PROGRESS, STEP, TENSORBOARD, RunLog, flat_numbers
from edge_marl.experiments.training.recipe import Recipe
from edge_marl.experiments.training.runtime import built, ray_for_training
from edge_marl.experiments.training.validation import Validation, make_validation
from edge_marl.files import check_output, write_aside
from edge_marl.locks import sole_writer
from edge_marl.validation import invalid

SETTINGS, CHECKPOINTS = "run.json", "checkpoints"

DIVERGED = 1


class Limits(BaseModel):
    """When a run ends, counted from its very beginning; without any it goes on until stopped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    iterations: int | None = Field(None, ge=1)
    env_steps: int | None = Field(None, ge=1)
    time_s: float | None = Field(None, gt=0)

    def share_done(self, card: CheckpointCard) -> float | None:
        """Progress towards the nearest limit, 1 when reached; None without limits."""
        shares = [
            done / limit
            for done, limit in (
                (card.iteration, self.iterations),
                (card.env_steps, self.env_steps),
                (card.time_s, self.time_s),
            )
            if limit is not None
        ]
        return min(1.0, max(shares)) if shares else None


class RunSettings(BaseModel):
    """The contents of ``run.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Recipe
    limits: Limits = Field(default_factory=Limits)
    workers: int = Field(0, ge=0)
    checkpoint_every: int = Field(50, ge=1, description="iterations")
    keep: int = Field(3, ge=1, description="checkpoints beside the best one")
    evaluate_every: int = Field(25, ge=1, description="iterations")
    episodes: int = Field(100, ge=1, description="of each evaluation")


def start(settings: RunSettings, folder: Path, *, address: str | None = None) -> int:
    """Begin a run in a folder that holds none.

    Returns:
        The exit code: 0, or 128 and the number of the signal that stopped it.

    Raises:
        InputError: for a folder that is in use or cannot be written, or an option that is not as
            it should be.
    """
    with sole_writer(folder):
        if (folder / SETTINGS).exists():
            raise InputError(
                f"{folder}: holds a run already; continue it with --resume {folder} or choose "
                "another folder with --out"
            )
        for name in (CHECKPOINTS, BEST, PROGRESS, TENSORBOARD):
            if (folder / name).exists():
                raise InputError(f"{folder}: expected a new folder, found one with {name}")
        return _Run(settings, folder, None).train(address)


def resume(folder: Path, changes: Mapping[str, Any], *, address: str | None = None) -> int:
    """Continue a run from its last checkpoint.

    Args:
        folder: of the run.
        changes: fields of :class:`RunSettings` that are to be others from now on.
        address: of a Ray cluster.

    Raises:
        InputError: if the folder holds no run or another process writes to it, or if its last
            checkpoint is damaged.
    """
    settings = read_settings(folder)
    with sole_writer(folder):
        check_output(folder / BEST, parts=PARTS)
        found = numbered_checkpoints(folder / CHECKPOINTS)
        # A run that was stopped before its first checkpoint begins again.
        source = found[-1] if found else None
        return _Run(settings.model_copy(update=changes), folder, source).train(address)


def read_settings(folder: Path) -> RunSettings:
    """The settings of the run in a folder.

    Raises:
        InputError: if there is none.
    """
    path = folder / SETTINGS
    try:
        return RunSettings.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{folder}: expected the folder of a run ({SETTINGS})") from error
    except ValidationError as error:
        raise invalid(error, f"{path}: ") from error


@dataclass
class _Run:
    """A run in this process."""

    settings: RunSettings
    folder: Path
    source: Path | None
    """The checkpoint to go on from."""
    card: CheckpointCard = field(init=False)
    best: float = field(default=float("-inf"), init=False)
    evaluation: Mapping[str, float] | None = field(default=None, init=False)
    phase: str = field(default="", init=False)

    def train(self, address: str | None) -> int:
        """Train until a limit or a signal; what ran is kept whatever happens."""
        recipe = self.settings.recipe
        if self.source is None:
            self.card = CheckpointCard(recipe=recipe, iteration=0, env_steps=0, time_s=0.0)
        else:
            self.card = read_card(self.source)
        config = recipe.config(workers=self.settings.workers)
        if self._finished():
            stdout().print(f"{self.folder}: at its limit already ({self._where()})")
            return 0
        validation = make_validation(recipe, self.settings.episodes)
        self._recall_best(validation)
        interrupts = Interrupts()
        name = f"{recipe.env} {recipe.algorithm}"
        try:
            with (
                ray_for_training(self.settings.workers + 1, address),
                built(config) as algorithm,
                interrupts,
                Display(name, validation) as display,
            ):
                self._loop(algorithm, validation, display, interrupts)
        except KeyboardInterrupt:
            self._report_stop("stopped at once")
            return 128 + (interrupts.signal or 2)
        except RuntimeError as error:
            from edge_marl.algorithms.core.learner import DivergenceError

            if not isinstance(error, DivergenceError):
                raise
            self._report_stop(str(error).strip().splitlines()[-1])
            return DIVERGED
        self._report(validation, stopped=interrupts.requested)
        return interrupts.exit_code

    def _loop(
        self, algorithm: Any, validation: Validation, display: Display, interrupts: Interrupts
    ) -> None:
        if self.source is not None:
            _restore(algorithm, self.source / ALGORITHM)
        # Not before all is there that the run needs: a start that fails claims no folder.
        algorithm.prepare()
        write_aside(self.folder / SETTINGS, self.settings.model_dump_json(indent=1) + "\n")
        log = RunLog(self.folder, after=self.card.iteration)
        try:
            while not self._finished() and not interrupts.requested:
                row = self._iterate(algorithm)
                if self._finished() or self._due(self.settings.evaluate_every):
                    row |= self._evaluate(algorithm, validation)
                log.add(row)
                last = self._finished() or interrupts.requested
                if last or self._due(self.settings.checkpoint_every):
                    self._checkpoint(algorithm)
                display.update(self._status(row))
        finally:
            log.close()

    def _iterate(self, algorithm: Any) -> dict[str, float]:
        """One training iteration; the numbers of it."""
        begin, steps = time.perf_counter(), self.card.env_steps
        result = algorithm.train()
        self.phase = result.get("phase", "")
        seconds = time.perf_counter() - begin
        env_steps = algorithm.env_steps_sampled
        self.card = self.card.model_copy(
            update={
                "iteration": self.card.iteration + 1,
                "env_steps": env_steps,
                "time_s": self.card.time_s + seconds,
                "evaluation": None,
            }
        )
        numbers = {part: result.get(part, {}) for part in ("env_runners", "learners")}
        return {
            STEP: self.card.iteration,
            "env_steps": env_steps,
            "time_s": self.card.time_s,
            "steps_per_s": (env_steps - steps) / seconds,
            **dict(flat_numbers(numbers)),
        }

    def _evaluate(self, algorithm: Any, validation: Validation) -> dict[str, float]:
        """Play the evaluation episodes, and keep these weights if no others were better."""
        evaluation = validation(current_actor(algorithm))
        self.evaluation = evaluation
        self.card = self.card.model_copy(update={"evaluation": evaluation})
        score = validation.goal.score(evaluation)
        if score > self.best:
            self.best = score
            write_checkpoint(algorithm, self.folder / BEST, self.card)
        heuristics = {
            f"heuristics/{name}/{validation.goal.metric}": values[validation.goal.metric]
            for name, values in validation.baselines.items()
        }
        return {**{f"evaluation/{name}": value for name, value in evaluation.items()}, **heuristics}

    def _checkpoint(self, algorithm: Any) -> None:
        """Write a numbered checkpoint and drop the oldest ones."""
        folder = self.folder / CHECKPOINTS
        write_checkpoint(algorithm, folder / f"{self.card.iteration:06d}", self.card)
        for old in numbered_checkpoints(folder)[: -self.settings.keep]:
            shutil.rmtree(old)

    def _recall_best(self, validation: Validation) -> None:
        """The score to beat, when a run goes on."""
        if self.source is not None and (self.folder / BEST).is_dir():
            evaluation = read_card(self.folder / BEST).evaluation
            if evaluation is not None and validation.goal.metric in evaluation:
                self.best = validation.goal.score(evaluation)

    def _due(self, every: int) -> bool:
        return self.card.iteration % every == 0

    def _finished(self) -> bool:
        share = self.settings.limits.share_done(self.card)
        return share is not None and share >= 1

    def _status(self, row: Mapping[str, float]) -> Status:
        return Status(
            iteration=self.card.iteration,
            phase=self.phase,
            env_steps=self.card.env_steps,
            steps_per_s=row["steps_per_s"],
            episode_return=row.get("env_runners/episode_return_mean", float("nan")),
            evaluation=self.evaluation,
            share_done=self.settings.limits.share_done(self.card),
        )

    def _where(self) -> str:
        return f"iteration {self.card.iteration}, {self.card.env_steps:,} steps"

    def _report(self, validation: Validation, *, stopped: bool) -> None:
        rows: dict[str, Mapping[str, float]] = {}
        if self.evaluation is not None:
            rows[f"last (iteration {self.card.iteration})"] = self.evaluation
        if (self.folder / BEST).is_dir():
            best = read_card(self.folder / BEST)
            rows[f"best (iteration {best.iteration})"] = best.evaluation or {}
            console = stdout()
            console.print(result_table(rows, validation))
            console.print(f"best checkpoint: {self.folder / BEST}", soft_wrap=True)
        if stopped:
            self._report_stop("stopped")

    def _report_stop(self, why: str) -> None:
        """Say what is left and how to go on."""
        from rich.console import Console

        kept = numbered_checkpoints(self.folder / CHECKPOINTS)
        left = (
            f"last checkpoint {kept[-1]}; continue with: edge-marl train --resume {self.folder}"
            if kept
            else "no checkpoint yet"
        )
        Console(stderr=True, highlight=False).print(
            f"edge-marl: {why} at {self._where()}; {left}", soft_wrap=True, markup=False
        )


def _restore(algorithm: Any, folder: Path) -> None:
    try:
        algorithm.restore_from_path(str(folder.resolve()))
    except (OSError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise InputError(f"{folder}: damaged checkpoint: {error!r}") from error
