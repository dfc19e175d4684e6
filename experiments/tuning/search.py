"""Search options with Ray Tune, by ASHA or population-based training; resume what was stopped.

The folder of a search::

    search.json     settings, enough to continue it
    space.yaml      what is searched
    trials/         Ray Tune's: results, logs for TensorBoard and checkpoints of every trial
    results.csv     one row per trial, the best first
    best/           the best checkpoint, as ``edge-marl train`` writes them
"""

from __future__ import annotations

import csv
import functools
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import AsyncHyperBandScheduler, PopulationBasedTraining, TrialScheduler
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from edge_marl.errors import InputError
from edge_marl.experiments.parallel import all_cores, built
from edge_marl.experiments.progress import stdout
from edge_marl.experiments.publish import number
from edge_marl.experiments.training.checkpoints import BEST, PARTS, copy_checkpoint, read_card
from edge_marl.experiments.training.recipe import Recipe
from edge_marl.experiments.training.runtime import ray_for_training
from edge_marl.experiments.training.validation import Validation
from edge_marl.experiments.tuning.errors import errors_in_a_line, terminated_as_interrupted
from edge_marl.experiments.tuning.space import SearchSpace, explore, read_space
from edge_marl.experiments.tuning.trial import CHECKPOINT, SCORE, Trial
from edge_marl.files import aside, check_output, write_aside
from edge_marl.json_files import read_model, write_json
from edge_marl.locks import sole_writer
from edge_marl.options import Count, Episodes, Options, Positive, Steps

SETTINGS, SPACE, TRIALS, RESULTS = "search.json", "space.yaml", "trials", "results.csv"
FAILED, INTERRUPTED = 1, 130

_SHOWN = 10
"""Rows of the table; the file has them all."""


class SearchSettings(Options):
    """Configure a search, as stored in ``search.json``."""

    recipe: Recipe
    space: Path
    samples: Count = 16
    scheduler: Literal["asha", "pbt"] = "asha"
    iterations: Count = Field(400, description="training iterations of a whole trial")
    evaluate_every: Count = Field(20, description="training iterations")
    episodes: Episodes = Field(100, description="of each evaluation")
    max_episode_steps: Steps | None = Field(None, description="of evaluation episodes")
    time_s: Positive | None = None

    @property
    def turns(self) -> int:
        """Return the steps of a whole trial, each of which ends with an evaluation."""
        return math.ceil(self.iterations / self.evaluate_every)


def start(settings: SearchSettings, folder: Path, *, address: str | None = None) -> int:
    """Begin a search in a folder that holds none.

    Returns:
        The exit code: 0, 1 if no trial left a checkpoint, 130 if the search was stopped.

    Raises:
        InputError: for a folder that is in use, or an invalid recipe or space.
    """
    with sole_writer(folder):
        if (folder / SETTINGS).exists():
            raise InputError(
                f"{folder}: holds a search already; continue it with --resume {folder} or choose "
                "another folder with --out"
            )
        for name in (TRIALS, RESULTS, BEST, SPACE):
            path = folder / name
            if path.exists() and path.resolve() != settings.space:
                raise InputError(f"{folder}: expected a new folder, found one with {name}")
        settings.recipe.check_sizes()
        return _search(settings, folder, address, space=settings.space, restore=False)


def resume(folder: Path, *, address: str | None = None) -> int:
    """Continue a search: unfinished trials from their last checkpoints, failed ones anew.

    Returns:
        The exit code, as :func:`start`.

    Raises:
        InputError: if the folder holds no search, or another process writes to it.
    """
    settings = read_settings(folder)
    with sole_writer(folder):
        check_output(folder / BEST, parts=PARTS)
        begun = tune.Tuner.can_restore(str((folder / TRIALS).resolve()))
        return _search(settings, folder, address, space=folder / SPACE, restore=begun)


def read_settings(folder: Path) -> SearchSettings:
    """Read the settings of the search in a folder.

    Raises:
        InputError: if the folder holds no search, or the settings are damaged.
    """
    path = folder / SETTINGS
    if not os.path.lexists(path):
        raise InputError(f"{folder}: expected the folder of a search ({SETTINGS})")
    return read_model(path, SearchSettings)


def _search(
    settings: SearchSettings, folder: Path, address: str | None, *, space: Path, restore: bool
) -> int:
    found = read_space(space, settings.recipe)
    for note in found.notes:
        print(f"edge-marl: {note}", file=sys.stderr)
    recipe = settings.recipe.with_options(found.fixed)
    scheduler = _scheduler(settings, found)
    trainable = tune.with_parameters(
        tune.with_resources(Trial, {"cpu": 1}),
        recipe=recipe.model_dump(mode="json"),
        turn=settings.evaluate_every,
        iterations=settings.iterations,
        episodes=settings.episodes,
        max_steps=settings.max_episode_steps,
    )
    place = folder.resolve() / TRIALS
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the other one cannot be silenced
    with ray_for_training(all_cores(), address):
        if restore:
            tuner = tune.Tuner.restore(
                str(place), trainable, resume_unfinished=True, restart_errored=True
            )
        else:
            _try_out(recipe, settings)
            write_aside(folder / SPACE, space.read_bytes())
            write_json(folder / SETTINGS, settings)
            tuner = tune.Tuner(
                trainable,
                param_space={name: d.domain() for name, d in found.searched.items()},
                tune_config=tune.TuneConfig(
                    metric=SCORE,
                    mode="max",
                    num_samples=settings.samples,
                    scheduler=scheduler,
                    time_budget_s=settings.time_s,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    name=TRIALS,
                    storage_path=str(folder.resolve()),
                    stop={"training_iteration": settings.turns},
                    verbose=0,
                    callbacks=[_LiveLine()],
                    checkpoint_config=tune.CheckpointConfig(
                        checkpoint_frequency=1,
                        num_to_keep=3,
                        checkpoint_score_attribute=SCORE,
                    ),
                ),
            )
        with errors_in_a_line(), terminated_as_interrupted():
            results = tuner.fit()
        trials: Sequence[TuneTrial] = results._experiment_analysis.trials
    return _conclude(settings, folder, trials)


def _try_out(recipe: Recipe, settings: SearchSettings) -> None:
    """Make once what every trial makes, so that a search that cannot begin claims no folder."""
    Validation(recipe, settings.episodes, settings.max_episode_steps)
    with built(recipe.config()) as algorithm:
        algorithm.prepare()


def _scheduler(settings: SearchSettings, space: SearchSpace) -> TrialScheduler:
    if settings.scheduler == "asha":
        return AsyncHyperBandScheduler(
            time_attr="training_iteration",
            max_t=settings.turns,
            grace_period=max(1, settings.turns // 8),
            reduction_factor=3,
        )
    ranges = {name: d.domain() for name, d in space.searched.items() if d.is_range}
    if not ranges:
        raise InputError("pbt: expected a range to move options in, found none")
    return PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=max(1, settings.turns // 8),
        hyperparam_mutations=ranges,
        custom_explore_fn=functools.partial(explore, space),
    )


class _LiveLine(tune.Callback):
    """Show on standard error how many trials are over, and the best score.

    Ray Tune writes its callbacks to a file, to restore a search from, so the console is made only
    when there is something to show.
    """

    unfinished: ClassVar[bool] = False
    """Whether trials were under way when the last search ended. Ray Tune makes the callbacks of a
    continued search itself, and calls trials terminated after an interrupt too."""

    def __init__(self) -> None:
        self._best = float("-inf")
        self._console: Console | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_best": self._best, "_console": None}

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any],
        **info: Any,
    ) -> None:  # fmt: skip
        """Update the line after an evaluation of a trial."""
        if self._console is None:
            self._start()
        assert self._console is not None
        over = sum(trial.is_finished() for trial in trials)
        better = result[SCORE] > self._best
        self._best = max(self._best, result[SCORE])
        text = f"tune: {over} of {len(trials)} trials over, best score {self._best:.4g}"
        if better and not self._console.is_terminal:
            self._console.print(text, soft_wrap=True)
        self._progress.update(self._task, description=text, completed=over, total=len(trials))

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Note whether trials are still under way."""
        _LiveLine.unfinished = any(not trial.is_finished() for trial in trials)

    def on_experiment_end(self, trials: list[TuneTrial], **info: Any) -> None:
        """Stop the live line when the search has ended or was stopped."""
        if self._console is not None:
            self._progress.stop()

    def _start(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(),
            TimeElapsedColumn(), console=self._console, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._task = self._progress.add_task("tune", total=None)
        self._progress.start()


def _conclude(settings: SearchSettings, folder: Path, trials: Sequence[TuneTrial]) -> int:
    """Print and write the results, copy the best checkpoint and return the exit code."""
    rows = sorted(map(_row, trials), key=lambda row: row[SCORE], reverse=True)
    _write_results(rows, folder / RESULTS)
    console = stdout()
    console.print(_table(rows[:_SHOWN], len(rows)))
    best = _best_checkpoint(trials)
    if best is not None:
        copy_checkpoint(best, folder / BEST)
        console.print(f"best checkpoint: {folder / BEST}", soft_wrap=True)
    if _LiveLine.unfinished:
        Console(stderr=True, highlight=False).print(
            f"edge-marl: stopped; continue with: edge-marl tune --resume {folder}", soft_wrap=True
        )
        return INTERRUPTED
    failed = sum(trial.status == TuneTrial.ERROR for trial in trials)
    if failed:
        Console(stderr=True, highlight=False).print(
            f"edge-marl: {failed} of {len(trials)} trials failed; begin them anew with: "
            f"edge-marl tune --resume {folder}", soft_wrap=True,
        )  # fmt: skip
    return 0 if best is not None else FAILED


def _row(trial: TuneTrial) -> dict[str, Any]:
    """Return a trial's row of the table, with its best evaluation and its options at the end."""
    scores = trial.metric_analysis.get(SCORE, {})
    last = trial.last_result or {}
    return {
        "trial": trial.trial_id,
        SCORE: scores.get("max", float("-inf")),
        "last": scores.get("last", float("nan")),
        "iterations": last.get("iterations", 0),
        "env_steps": last.get("env_steps", 0),
        "status": trial.status.lower(),
        **trial.config,
    }


def _best_checkpoint(trials: Sequence[TuneTrial]) -> Path | None:
    """Return the best checkpoint that any trial has kept, or None if there is none."""
    found: list[tuple[float, Path]] = []
    for trial in trials:
        for kept in trial.run_metadata.checkpoint_manager.best_checkpoint_results:
            score = kept.metrics.get(SCORE)
            folder = Path(kept.checkpoint.path) / CHECKPOINT
            if score is not None and folder.is_dir():
                found.append((score, folder))
    if not found:
        return None
    best = max(found, key=lambda item: item[0])[1]
    read_card(best)
    return best


def _write_results(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with aside(path) as place, place.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows(rows)


def _table(rows: Sequence[Mapping[str, Any]], n_trials: int) -> Table:
    title = f"The best of {n_trials} trials (score: the evaluation, turned so that more is better)"
    table = Table(title=title, title_justify="left", title_style="bold")
    about = ("trial", SCORE, "last", "iterations", "env_steps", "status")
    for name in about:
        numeric = name not in ("trial", "status")
        table.add_column(name.replace("_", " "), justify="right" if numeric else "left")
    table.add_column("options", overflow="fold")
    for row in rows:
        options = ", ".join(f"{name}={_short(v)}" for name, v in row.items() if name not in about)
        table.add_row(*(_short(row[name]) for name in about), options)
    return table


def _short(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    return str(value)
