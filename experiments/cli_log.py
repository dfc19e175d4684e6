"""Define the commands of task logs: collect, import, export, stats.

They import what they need when they run, so that ``--help`` answers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edge_marl.experiments.cli_options import count
from edge_marl.experiments.cli_options import seed as seed_option
from edge_marl.limits import MOST_EPISODES

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from edge_marl.peer_offloading import OffloadingScenario

app = typer.Typer(
    name="log", help="Task logs: what a deployed policy leaves, and offline learning starts from."
)

Log = Annotated[
    str,
    typer.Argument(
        metavar="LOG", help="SQLite file, or URL such as postgresql+psycopg://user@host/name."
    ),
]
Readable = Annotated[
    str, typer.Argument(metavar="LOG", help="SQLite file, database URL or folder of Parquet files.")
]


@app.callback()
def log() -> None:
    """Work with task logs, which deployed policies leave and offline learning starts from."""


@app.command()
def collect(
    place: Log,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Settings of the scenario to change, such as nodes=10 or preset=testbed.",
        ),
    ] = None,
    policy: Annotated[str, typer.Option(help="The heuristic that decides.")] = "ratc",
    variant: Annotated[
        Literal["paper", "testbed"], typer.Option(help="The heuristic as of its text or its code.")
    ] = "paper",
    episodes: Annotated[int, count("How many.", most=MOST_EPISODES)] = 500,
    seed: Annotated[int, seed_option("Of the first episode.")] = 0,
    batch_size: Annotated[int, count("Episodes to play at once.")] = 64,
) -> None:
    """Log a heuristic at work, for example: edge-marl log collect log.sqlite nodes=10 --policy rda

    Episodes that the log holds already are not played again: a run that was stopped goes on.
    """  # fmt: skip
    from edge_marl.peer_offloading.collect import collect as play_and_log
    from edge_marl.peer_offloading.heuristics import heuristic
    from edge_marl.task_log import shown

    chosen, scenario = heuristic(policy, variant), _scenario(overrides or [])
    with _progress(policy, episodes) as advance:
        played = play_and_log(
            chosen,
            scenario,
            range(seed, seed + episodes),
            place,
            batch_size=batch_size,
            advance=advance,
        )
    typer.echo(f"{shown(place)}: {played} episodes added, {episodes - played} were there")


@app.command("import")
def import_(source: Readable, place: Log) -> None:
    """Add the episodes of a log to another: all of them or, if there is a bad row, none."""
    from edge_marl.task_log import import_log, open_log, shown

    with open_log(source) as opened, _progress("import", len(opened.episodes)) as advance:
        added = import_log(opened, place, advance)
        typer.echo(
            f"{shown(place)}: {added} episodes added, {len(opened.episodes) - added} were there"
        )


@app.command()
def export(
    place: Readable,
    folder: Annotated[Path, typer.Argument(help="Folder of Parquet files to write.")],
) -> None:
    """Write a log as Parquet files, to hand over or to train from."""
    from edge_marl.files import check_apart
    from edge_marl.task_log import open_log, write_parquet

    check_apart(folder, place)
    with open_log(place) as opened, _progress("export", len(opened.episodes)) as advance:
        write_parquet(opened, folder, advance)
        typer.echo(f"{folder}: {len(opened.episodes)} episodes")


@app.command()
def stats(place: Readable) -> None:
    """Check every row of a log, and sum it up by run."""
    from edge_marl.experiments.log_stats import print_stats
    from edge_marl.task_log import open_log

    with open_log(place) as opened, _progress("read", len(opened.episodes)) as advance:
        print_stats(opened, advance)


@contextmanager
def _progress(description: str, episodes: int) -> Iterator[Callable[[int], None]]:
    """Provide a function that advances a bar.

    The bar appears with the first call, so that input that is refused before leaves one line.
    """
    from edge_marl.experiments.progress import progress_bar

    with ExitStack() as shown:

        @cache
        def begun() -> tuple[Progress, TaskID]:
            bar = shown.enter_context(progress_bar())
            return bar, bar.add_task(description, total=episodes)

        def advance(done: int) -> None:
            bar, task = begun()
            bar.advance(task, done)

        yield advance


def _scenario(overrides: list[str]) -> OffloadingScenario:
    """Return the scenario of ``preset=``, or of the default preset, with the other changes."""
    from pydantic import ValidationError

    from edge_marl.experiments.overrides import apply_changes, parse_overrides
    from edge_marl.peer_offloading import OffloadingScenario
    from edge_marl.validation import invalid

    changes = parse_overrides(overrides)
    preset = changes.pop("preset", "simulation")
    try:
        scenario = OffloadingScenario(preset=preset)
    except ValidationError as error:
        raise invalid(error) from error
    return apply_changes(scenario, changes)
