"""Show the progress of everything that takes more than a few seconds."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_PIPED_WIDTH = 150  # a file or a pipe has no width of its own: room for the widest table

_LINE_EVERY_S = 30.0
"""Where a bar cannot move, in a job's log for one."""

_ESTIMATED_OVER_S = 600.0
"""Longer than a unit of a study, or nothing would be known of its speed."""


def stdout() -> Console:
    """Return the console for tables: as wide as the terminal or, in a file, as the widest table."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=_PIPED_WIDTH, highlight=False)


class _Progress(Progress):
    """Show a bar in a terminal, and now and then a line in a file or a pipe."""

    def __init__(self, *columns: Any, **options: Any) -> None:
        super().__init__(*columns, **options)
        self._last_s = self.get_time()

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._show_line()

    def update(self, task_id: TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        self._show_line()

    def _show_line(self) -> None:
        if self.disable or self.console.is_terminal:
            return
        if self.get_time() - self._last_s > _LINE_EVERY_S and not self.finished:
            self._last_s = self.get_time()
            self.console.print(self.get_renderable())


def progress_bar(*, visible: bool = True) -> Progress:
    """Return a bar on standard error, so that piped tables stay clean.

    Where that is not a terminal, it prints lines instead.
    """
    return _Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not visible,
        speed_estimate_period=_ESTIMATED_OVER_S,
    )
