"""``edge-marl evaluate``: checkpoints and what they are compared with, on the same episodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_marl.envs import ENVIRONMENTS
from edge_marl.errors import InputError
from edge_marl.experiments.evaluate import report
from edge_marl.experiments.evaluate.episodes import (
    BATCH,
    RETURN,
    evaluation_seeds,
    play,
)
from edge_marl.experiments.evaluate.report import Headline, Played
from edge_marl.experiments.progress import progress_bar, stdout
from edge_marl.experiments.training.checkpoints import Checkpoint, read_checkpoint
from edge_marl.experiments.training.recipe import register_environment
from edge_marl.experiments.training.validation import TANDEM

EPISODES = 100


def evaluate(
    sources: Sequence[Path],
    *,
    on: str | None = None,
    env: str | None = None,
    episodes: int | None = None,
    out: Path | None = None,
) -> Path:
    """Compare checkpoints of one environment.

    Args:
        sources: folders of checkpoints or of runs.
        on: tandem only: a split or a trace file, see
            :class:`edge_marl.experiments.evaluate.tandem.TandemEvaluation`.
        env: the environment that the checkpoints are of; has to be said for one that is not of
            this project, because its code, named in the checkpoint, is then run.
        episodes: how many; by default 300 in tandem and 100 elsewhere.
        out: folder for the results; by default ``results/evaluate`` and the environment's name.

    Returns:
        The folder.

    Raises:
        InputError: for a checkpoint that is damaged, newer than this program, or of another
            environment.
    """
    checkpoints = [read_checkpoint(source) for source in sources]
    name = _environment(checkpoints, env)
    if name != TANDEM and on is not None:
        raise InputError(f"--on: expected a checkpoint of {TANDEM}, found one of {name}")
    _refuse_twice(checkpoints)
    folder = out or Path("results/evaluate") / "-".join(name.replace(":", ".").split("/"))
    folder.mkdir(parents=True, exist_ok=True)
    if name == TANDEM:
        from edge_marl.experiments.evaluate.tandem import TandemEvaluation

        tandem = TandemEvaluation(checkpoints, on, episodes)
        title, played = tandem.title, tandem.play(folder)
        headline, pictures = tandem.headline, tandem.draw_worst(played, folder)
    else:
        title, played = _play_elsewhere(name, checkpoints, episodes or EPISODES)
        headline, pictures = Headline(RETURN, True, played[0].name), []
    rows = report.summarise(played, headline)
    console = stdout()
    console.print(report.table(title, rows, headline))
    report.write_episodes(played, folder / "episodes.parquet")
    report.write_summary(title, rows, played, headline, folder / "summary.json")
    report.draw(rows, headline, title, folder / f"{headline.metric}.png")
    timelines = f", {len(pictures)} timelines of the worst episodes" if pictures else ""
    console.print(
        f"{folder}: summary.json, episodes.parquet, {headline.metric}.png{timelines}",
        soft_wrap=True,
    )
    return folder


def _environment(checkpoints: Sequence[Checkpoint], expected: str | None) -> str:
    """The one environment of all checkpoints."""
    name = expected or checkpoints[0].card.recipe.env
    for checkpoint in checkpoints:
        found = checkpoint.card.recipe.env
        if found != name:
            raise InputError(f"{checkpoint.folder}: environment: expected {name}, found {found}")
    if name not in ENVIRONMENTS and expected is None:
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


def _play_elsewhere(
    name: str, checkpoints: Sequence[Checkpoint], episodes: int
) -> tuple[str, list[Played]]:
    """Seeded episodes of any environment; the others are tested against the first checkpoint."""
    from edge_marl.envs.batched import make_batched

    register_environment(name)
    first = checkpoints[0].card.recipe
    env = make_batched(name, first.env_config, min(BATCH, episodes))
    played = []
    with progress_bar() as bar:
        for checkpoint in bar.track(checkpoints, description="evaluate"):
            if checkpoint.card.recipe.env_config != first.env_config:
                raise InputError(
                    f"{checkpoint.folder}: options of the environment: expected those of "
                    f"{checkpoints[0].folder}, {first.env_config}, "
                    f"found {checkpoint.card.recipe.env_config}"
                )
            metrics = play(checkpoint.actor, env, evaluation_seeds(episodes))
            played.append(Played(checkpoint.name, "learned", metrics, checkpoint))
    return f"{episodes} episodes of {name}", played
