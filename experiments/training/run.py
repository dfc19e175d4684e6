"""Carry out one training run: the loop, its checkpoints, its logs.

The folder of a run::

    run.json           settings, enough to continue it
    checkpoints/       numbered by iteration, the last few
    best/              the checkpoint with the best evaluation
    progress.csv       one row per iteration
    tensorboard/       the same for TensorBoard
"""

from __future__ import annotations

import os
import pickle
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from edge_marl.envs.faults import EnvironmentFaultError, described
from edge_marl.errors import InputError
from edge_marl.experiments.evaluate.episodes import CUT, check_fit, cut_note
from edge_marl.experiments.parallel import built
from edge_marl.experiments.progress import stdout
from edge_marl.experiments.training.checkpoints import (
    ALGORITHM,
    BEST,
    FORMAT_VERSION,
    PARTS,
    CheckpointCard,
    numbered_checkpoints,
    read_card,
    read_checkpoint,
    write_checkpoint,
)
from edge_marl.experiments.training.display import Display, Status, result_table
from edge_marl.experiments.training.interrupts import Interrupts, StopRequested
from edge_marl.experiments.training.logs import PROGRESS, STEP, TENSORBOARD, RunLog, flat_numbers
from edge_marl.experiments.training.loop import Limits
from edge_marl.experiments.training.recipe import Recipe, with_files_at
from edge_marl.experiments.training.runtime import ray_for_training
from edge_marl.experiments.training.validation import Validation
from edge_marl.files import check_output
from edge_marl.json_files import read_model, write_json
from edge_marl.locks import sole_writer
from edge_marl.options import Count, Episodes, Options, Steps, Workers

SETTINGS, CHECKPOINTS = "run.json", "checkpoints"

FAILED = 1

_SAVED_EVERY_S = 300.0
"""A checkpoint is written at least as often, however long iterations take."""

_LAST_EVALUATION = 0.1
_LAST_EVALUATION_S = 60.0
"""What the evaluation at the end may take beyond a limit of time: a share of it, or this if that is
more."""


class RunSettings(Options):
    """Configure a run, as stored in ``run.json``."""

    recipe: Recipe
    limits: Limits = Field(default_factory=Limits)
    workers: Workers = 0
    checkpoint_every: Count = Field(50, description="iterations")
    keep: Count = Field(3, description="checkpoints beside the best one")
    evaluate_every: Count = Field(25, description="iterations")
    episodes: Episodes = Field(100, description="of each evaluation")
    max_episode_steps: Steps | None = Field(
        None, description="of evaluation episodes, see playing.longest_episode"
    )


def start(settings: RunSettings, folder: Path, *, address: str | None = None) -> int:
    """Begin a run in a folder that holds none.

    Returns:
        The exit code: 0, 1 if the training diverged or the environment failed, or 128 plus the
        number of the signal that stopped it.

    Raises:
        InputError: for a folder that is in use or cannot be written, or for an invalid option.
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


def resume(
    folder: Path,
    changes: Mapping[str, Any],
    *,
    files: Sequence[str] = (),
    address: str | None = None,
) -> int:
    """Continue a run from its last checkpoint.

    Args:
        folder: of the run.
        changes: fields of :class:`RunSettings` with the values that they have from now on.
        files: ``key=value`` of options that name files which were moved, see
            :func:`~edge_marl.experiments.training.recipe.with_files_at`.
        address: of a Ray cluster.

    Returns:
        The exit code, as :func:`start`.

    Raises:
        InputError: if the folder holds no run or another process writes to it, or if its last
            checkpoint is damaged.
    """
    settings = read_settings(folder)
    if files:
        changes = {**changes, "recipe": with_files_at(settings.recipe, files)}
    with sole_writer(folder):
        check_output(folder / BEST, parts=PARTS)
        found = numbered_checkpoints(folder / CHECKPOINTS)
        # A run that was stopped before its first checkpoint begins again.
        source = found[-1] if found else None
        return _Run(settings.model_copy(update=changes), folder, source).train(address)


def read_settings(folder: Path) -> RunSettings:
    """Read the settings of the run in a folder.

    Raises:
        InputError: if the folder holds no run, or the settings are damaged.
    """
    path = folder / SETTINGS
    if not os.path.lexists(path):
        raise InputError(f"{folder}: expected the folder of a run ({SETTINGS})")
    return read_model(path, RunSettings)


@dataclass
class _Run:
    """Carry out a run in this process."""

    settings: RunSettings
    folder: Path
    source: Path | None
    """The checkpoint to go on from."""
    card: CheckpointCard = field(init=False)
    best: float = field(default=float("-inf"), init=False)
    shown: Status = field(default_factory=Status, init=False)
    _begun_s: float = field(default=0.0, init=False)
    _before_s: float = field(default=0.0, init=False)
    _saved_s: float | None = field(default=None, init=False)
    """When the last checkpoint was written, by the monotonic clock as the two above."""
    _judged: int = field(default=-1, init=False)
    """The iteration of the last evaluation, be it given up."""

    def train(self, address: str | None) -> int:
        """Train until a limit, a signal or an error, and return the exit code.

        A limit, a first signal or a fault of the environment leaves a checkpoint of where training
        stopped; anything else leaves the last checkpoint that was written before.
        """
        recipe = self.settings.recipe
        if self.source is None:
            self.card = CheckpointCard(recipe=recipe, iteration=0, env_steps=0, time_s=0.0)
        else:
            # The recipe may have files at other places now.
            self.card = read_card(self.source).model_copy(update={"recipe": recipe})
        config = recipe.config(workers=self.settings.workers)
        if self._finished():
            stdout().print(f"{self.folder}: at its limit already ({self._where()})")
            return 0
        recipe.check_sizes()
        validation = Validation(recipe, self.settings.episodes, self.settings.max_episode_steps)
        self._recall_best(validation)
        interrupts = Interrupts()
        name = f"{recipe.env} {recipe.algorithm}"
        try:
            with ray_for_training(self.settings.workers + 1, address), built(config) as algorithm:
                try:
                    with interrupts, Display(name, validation) as display:
                        self._loop(algorithm, validation, display, interrupts)
                except Exception as error:
                    return self._failed(error)
        except KeyboardInterrupt:
            self._report_stop("stopped at once")
            return 128 + (interrupts.signal or 2)
        self._report(validation, stopped=interrupts.requested)
        return interrupts.exit_code

    def _loop(
        self, algorithm: Any, validation: Validation, display: Display, interrupts: Interrupts
    ) -> None:
        if self.source is not None:
            _restore(algorithm, self.source)
            self._saved_s = time.monotonic()
        # Not before all is there that the run needs: a start that fails claims no folder.
        algorithm.prepare()
        write_json(self.folder / SETTINGS, self.settings)
        self._begun_s, self._before_s = time.monotonic(), self.card.time_s
        limits = self.settings.limits

        def check(until_s: float | None, doing: str) -> None:
            """Show the status if it is due, and raise StopRequested if the run is to stop."""
            if display.due:
                display.update(self._status(doing))
            late = until_s is not None and self._time_s >= until_s
            if late or interrupts.requested:
                raise StopRequested

        def evaluate() -> dict[str, float]:
            return self._evaluate(
                algorithm, validation, partial(check, _last_evaluation_s(limits), "evaluating")
            )

        algorithm.watch(partial(check, limits.time_s, ""))
        log = RunLog(self.folder, after=self.card.iteration)
        try:
            while not self._finished() and not interrupts.requested:
                try:
                    row = self._iterate(algorithm)
                except StopRequested:
                    self._note()
                    continue  # a checkpoint of now goes on within the iteration
                if self._finished() or self._due(self.settings.evaluate_every):
                    if self._overdue:
                        self._checkpoint(algorithm)
                    row |= evaluate()
                log.add(row)
                if self._overdue or self._due(self.settings.checkpoint_every):
                    self._checkpoint(algorithm)
                display.update(self._status())
            if not interrupts.requested and self._judged != self.card.iteration:
                log.complete({STEP: self.card.iteration, **evaluate()})
            self._checkpoint(algorithm)
        except EnvironmentFaultError:
            self._checkpoint(algorithm)
            raise
        except InputError as error:
            raise InputError(f"{error} at {self._where()}; {self._left()}") from error
        finally:
            log.close()

    def _iterate(self, algorithm: Any) -> dict[str, float]:
        """Run one training iteration and return its numbers."""
        begin, steps = time.monotonic(), self.card.env_steps
        result = algorithm.train()
        env_steps = algorithm.env_steps_sampled
        steps_per_s = (env_steps - steps) / (time.monotonic() - begin)
        self._note(iteration=self.card.iteration + 1, env_steps=env_steps, evaluation=None)
        numbers = {part: result.get(part, {}) for part in ("env_runners", "learners")}
        row = {
            STEP: self.card.iteration,
            "env_steps": env_steps,
            "time_s": self.card.time_s,
            "steps_per_s": steps_per_s,
            **dict(flat_numbers(numbers)),
        }
        self.shown.phase = result.get("phase", "")
        self.shown.steps_per_s = steps_per_s
        self.shown.episode_return = row.get("env_runners/episode_return_mean", float("nan"))
        if algorithm.faults:
            row["environment_faults"] = len(algorithm.faults)
        return row

    def _evaluate(
        self, algorithm: Any, validation: Validation, check: Callable[[], None]
    ) -> dict[str, float]:
        """Play the evaluation episodes, and keep these weights if they are better than all before.

        No numbers are returned if the run is to stop or if the environment raised an exception.
        """
        self._judged = self.card.iteration
        try:
            evaluation = validation(algorithm.actor(), check)
        except StopRequested:
            return {}
        except EnvironmentFaultError as fault:
            algorithm.note_fault(fault)
            return {}
        self.shown.evaluation = evaluation
        self._note(evaluation=evaluation)
        score = validation.goal.score(evaluation)
        if score > self.best:
            self.best = score
            write_checkpoint(algorithm, self.folder / BEST, self.card)
        heuristics = {
            f"heuristics/{name}/{validation.goal.metric}": values[validation.goal.metric]
            for name, values in validation.baselines.items()
        }
        return {**{f"evaluation/{name}": value for name, value in evaluation.items()}, **heuristics}

    @property
    def _time_s(self) -> float:
        """Return the seconds that this run and those it continues have taken."""
        return self._before_s + time.monotonic() - self._begun_s

    def _note(self, **changes: Any) -> None:
        """Bring the card up to date."""
        self.card = self.card.model_copy(update={"time_s": self._time_s, **changes})

    @property
    def _overdue(self) -> bool:
        """Return whether too much would be lost, as there is no checkpoint yet or no recent one."""
        return self._saved_s is None or time.monotonic() - self._saved_s > _SAVED_EVERY_S

    def _checkpoint(self, algorithm: Any) -> None:
        """Write a numbered checkpoint and drop the oldest ones."""
        folder = self.folder / CHECKPOINTS
        self._note()
        write_checkpoint(algorithm, folder / f"{self.card.iteration:06d}", self.card)
        for old in numbered_checkpoints(folder)[: -self.settings.keep]:
            shutil.rmtree(old)
        self._saved_s = time.monotonic()

    def _recall_best(self, validation: Validation) -> None:
        """Restore the score to beat when a run is continued."""
        if self.source is not None and (self.folder / BEST).is_dir():
            evaluation = read_card(self.folder / BEST).evaluation
            if evaluation is not None and validation.goal.metric in evaluation:
                self.best = validation.goal.score(evaluation)

    def _due(self, every: int) -> bool:
        return self.card.iteration % every == 0

    @property
    def _share_done(self) -> float | None:
        card = self.card
        return self.settings.limits.share_done(card.iteration, card.env_steps, card.time_s)

    def _finished(self) -> bool:
        share = self._share_done
        return share is not None and share >= 1

    def _status(self, doing: str = "") -> Status:
        self._note()
        return replace(
            self.shown,
            iteration=self.card.iteration,
            env_steps=self.card.env_steps,
            share_done=self._share_done,
            doing=doing,
        )

    def _where(self) -> str:
        return f"iteration {self.card.iteration}, {self.card.env_steps:,} steps"

    def _report(self, validation: Validation, *, stopped: bool) -> None:
        from edge_marl.algorithms.playing import longest_episode

        rows: dict[str, Mapping[str, float]] = {}
        if self.card.evaluation is not None:
            rows[f"last (iteration {self.card.iteration})"] = self.card.evaluation
        if (self.folder / BEST).is_dir():
            best = read_card(self.folder / BEST)
            rows[f"best (iteration {best.iteration})"] = best.evaluation or {}
            console = stdout()
            console.print(result_table(rows, validation))
            episodes, asked = self.settings.episodes, self.settings.max_episode_steps
            for policy, means in rows.items():
                if CUT in means:
                    longest = longest_episode(self.settings.recipe.env, asked)
                    note = cut_note(policy, means[CUT] * episodes, episodes, longest)
                    console.print(note, soft_wrap=True)
            console.print(f"best checkpoint: {self.folder / BEST}", soft_wrap=True)
        if stopped:
            self._report_stop("stopped")
        elif self.card.evaluation is None:
            self._report_stop("the last evaluation was given up")

    def _failed(self, error: Exception) -> int:
        """Say in a line what ended the run, and return the exit code.

        Raises:
            InputError: the error itself if it is one, or for an error of the operating system.
            RuntimeError: for any other exception, in a line that says what is left.
        """
        from edge_marl.algorithms.core.learner import DivergenceError

        if isinstance(error, InputError):
            raise error
        said = (str(error).strip().splitlines() or [""])[-1]  # a Ray worker's: frames before it
        if isinstance(error, OSError):
            raise InputError(f"{said} at {self._where()}; {self._left()}") from error
        if isinstance(error, DivergenceError | EnvironmentFaultError):
            self._report_stop(said)
            return FAILED
        what = f"{described(error)} at {self._where()}; {self._left()}"
        raise RuntimeError(what) from error

    def _report_stop(self, why: str) -> None:
        """Say why and where the run stopped, what is left and how to continue it."""
        from rich.console import Console

        Console(stderr=True, highlight=False).print(
            f"edge-marl: {why} at {self._where()}; {self._left()}", soft_wrap=True, markup=False
        )

    def _left(self) -> str:
        kept = numbered_checkpoints(self.folder / CHECKPOINTS)
        if not kept:
            return "no checkpoint yet"
        return f"last checkpoint {kept[-1]}; continue with: edge-marl train --resume {self.folder}"


def _last_evaluation_s(limits: Limits) -> float | None:
    """Return when evaluations have to end, past the limit of time; None without that limit."""
    if limits.time_s is None:
        return None
    return limits.time_s + max(_LAST_EVALUATION_S, _LAST_EVALUATION * limits.time_s)


_DAMAGED = (
    OSError, EOFError, LookupError, ValueError, TypeError, AttributeError, ImportError,
    MemoryError, OverflowError, pickle.UnpicklingError,
)  # fmt: skip
"""What unpickling damaged bytes may raise."""


def _restore(algorithm: Any, source: Path) -> None:
    """Load a checkpoint, which has to fit the environment as it is now."""
    checkpoint = read_checkpoint(source)
    check_fit(checkpoint.actor, algorithm.actor().spec)
    folder, card = source / ALGORITHM, checkpoint.card
    try:
        algorithm.restore_from_path(str(folder.resolve()))
    except RuntimeError as error:
        # The agents are the same: what remains is the state that the critic or the mixer looks at.
        what = str(error).strip().splitlines()[-1].strip()
        raise InputError(f"{folder}: of another environment or of other options: {what}") from error
    except _DAMAGED as error:
        if card.format_version < FORMAT_VERSION:
            raise InputError(
                f"{folder}: written by edge-marl {card.edge_marl_version} in format "
                f"{card.format_version}: this version (format {FORMAT_VERSION}) cannot go on with "
                "the training; evaluate and export read what was learned"
            ) from error
        raise InputError(f"{folder}: damaged checkpoint: {error!r}") from error
