"""Implement ``edge-marl evaluate``: compare checkpoints and heuristics on the same episodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_marl.errors import InputError
from edge_marl.experiments.evaluate import report
from edge_marl.experiments.evaluate.comparison import Comparison
from edge_marl.experiments.evaluate.episodes import CUT, cut_note
from edge_marl.experiments.progress import stdout
from edge_marl.experiments.systems import system_of, systems
from edge_marl.experiments.training.checkpoints import Checkpoint, read_checkpoint
from edge_marl.files import check_apart, check_output
from edge_marl.locks import sole_writer


def evaluate(
    sources: Sequence[Path],
    overrides: Sequence[str] = (),
    *,
    on: str | None = None,
    env: str | None = None,
    episodes: int | None = None,
    max_steps: int | None = None,
    out: Path | None = None,
) -> Path:
    """Compare checkpoints of one environment.

    Args:
        sources: folders of checkpoints or of runs.
        overrides: ``env.key=value``, options of the environment to play them in instead of those
            that they were trained with.
        on: a set of episodes, where the system has several: in tandem a split or a trace file.
        env: the environment of the checkpoints; has to be named if it is not one of this project,
            because its code, to which the checkpoint points, is then run.
        episodes: how many; by default as many as is usual in the system.
        max_steps: see :func:`edge_marl.algorithms.playing.longest_episode`.
        out: folder for the results; by default ``results/evaluate`` and the environment's name.

    Returns:
        The folder.

    Raises:
        InputError: for a checkpoint that is damaged, newer than this program, or of another
            environment, and for a folder that cannot be written or that another process writes to.
    """
    from edge_marl.algorithms.playing import longest_episode

    checkpoints = [read_checkpoint(source) for source in sources]
    name = _environment(checkpoints, env)
    longest = longest_episode(name, max_steps)
    _refuse_twice(checkpoints)
    checkpoints = [checkpoint.elsewhere(overrides) for checkpoint in checkpoints]
    folder = out or Path("results/evaluate") / "-".join(name.replace(":", ".").split("/"))
    check_apart(folder, *(checkpoint.folder for checkpoint in checkpoints))
    with sole_writer(folder):
        comparison = Comparison(
            system_of(name), checkpoints, on=on, episodes=episodes, longest=longest
        )
        _compare(comparison, folder)
    return folder


def _compare(comparison: Comparison, folder: Path) -> None:
    """Play the comparison, then print and write the results."""
    episodes, summary = folder / "episodes.parquet", folder / "summary.json"
    picture = folder / f"{comparison.goal.metric}.png"
    for file in (episodes, summary, picture):
        check_output(file)
    title, longest = comparison.title, comparison.longest
    played, headline = comparison.play(folder)
    pictures = comparison.draw_worst(played, headline, folder)
    rows = report.summarise(played, headline)
    console = stdout()
    console.print(report.table(title, rows, headline))
    for one in played:
        if CUT in one.metrics:
            cut = one.metrics[CUT]
            console.print(cut_note(one.name, cut.sum(), len(cut), longest), soft_wrap=True)
    report.write_episodes(played, episodes)
    report.write_summary(title, rows, played, headline, summary)
    report.draw(rows, headline, title, picture)
    drawn = f", {len(pictures)} pictures of the worst episodes" if pictures else ""
    console.print(
        f"{folder}: summary.json, episodes.parquet, {headline.metric}.png{drawn}",
        soft_wrap=True,
    )


def _environment(checkpoints: Sequence[Checkpoint], expected: str | None) -> str:
    """Return the one environment of all checkpoints, and refuse those of another."""
    name = expected or checkpoints[0].card.recipe.env
    for checkpoint in checkpoints:
        found = checkpoint.card.recipe.env
        if found != name:
            raise InputError(f"{checkpoint.folder}: environment: expected {name}, found {found}")
    if name not in systems() and expected is None:
        raise InputError(
            f"{checkpoints[0].folder}: of the environment {name}, which is not of this project; "
            f"to run its code, say --env {name}"
        )
    return name


def _refuse_twice(checkpoints: Sequence[Checkpoint]) -> None:
    names = [checkpoint.name for checkpoint in checkpoints]
    for checkpoint in checkpoints:
        if names.count(checkpoint.name) > 1:
            raise InputError(f"{checkpoint.folder}: {checkpoint.name}: given twice")
