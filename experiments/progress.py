"""The progress bar of everything that takes more than a few seconds."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_PIPED_WIDTH = 150  # a file or a pipe has no width of its own: room for the widest table


def stdout() -> Console:
    """The console for tables: as wide as the terminal, or as a table needs in a file."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=_PIPED_WIDTH, highlight=False)


def progress_bar(*, visible: bool = True) -> Progress:
    """A bar on standard error, so that piped tables stay clean."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not visible,
    )
