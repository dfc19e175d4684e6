"""Show a person how a run goes: one live line, and a table at the end."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from edge_marl.experiments.publish import number
from edge_marl.experiments.training.validation import Validation

_LINE_EVERY_S = 10.0
"""Where there is no terminal, in a job's log for one."""

_MOVES_EVERY_S = 0.5
"""In a terminal."""

_SHOWN_BASELINES = 2


@dataclass
class Status:
    """Describe how far a run is, how fast it goes and how good it is."""

    iteration: int = 0
    phase: str = ""
    """Of algorithms that have several."""
    env_steps: int = 0
    steps_per_s: float = 0.0
    episode_return: float = float("nan")
    """Of training episodes, exploration included; NaN while none has ended."""
    doing: str = ""
    """What takes its time now."""
    evaluation: Mapping[str, float] | None = None
    """Means over the evaluation episodes, greedy."""
    share_done: float | None = None
    """Of the nearest limit; None without limits."""


class Display:
    """Show a live line on standard error, or plain lines now and then where it is no terminal."""

    def __init__(self, name: str, validation: Validation) -> None:
        self._name = name
        self._validation = validation
        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=20), TimeElapsedColumn(),
            console=self._console, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._task = self._progress.add_task(f"{name}: starting", total=None)
        self._last_s = -math.inf

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @property
    def due(self) -> bool:
        """Return whether the line should be shown again by now."""
        every_s = _MOVES_EVERY_S if self._console.is_terminal else _LINE_EVERY_S
        return time.monotonic() - self._last_s > every_s

    def update(self, status: Status) -> None:
        """Show where the run is, if an update is due."""
        if not self.due:
            return
        self._last_s = time.monotonic()
        text = f"{self._name}: {describe(status, self._validation)}"
        if not self._console.is_terminal:
            self.say(text)
            return
        total = None if status.share_done is None else 1.0
        self._progress.update(
            self._task, description=text, total=total, completed=status.share_done or 0.0
        )

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(text, soft_wrap=True, markup=False)


def describe(status: Status, validation: Validation) -> str:
    """Return a line on how far, fast and good a run is, and how good the best heuristics are."""
    phase = f" ({status.phase})" if status.phase else ""
    parts = [
        f"iteration {status.iteration}{phase}",
        f"{_count(status.env_steps)} steps",
        f"{_count(status.steps_per_s)} steps/s",
    ]
    if not math.isnan(status.episode_return):
        parts.append(f"return {status.episode_return:.3g}")
    goal = validation.goal
    if status.evaluation is not None:
        ranked = sorted(
            validation.baselines.items(), key=lambda item: goal.score(item[1]), reverse=True
        )
        beside = ", ".join(
            f"{name} {number(values[goal.metric])}" for name, values in ranked[:_SHOWN_BASELINES]
        )
        own = f"evaluation {goal.metric} {number(status.evaluation[goal.metric])}"
        parts.append(f"{own} ({beside})" if beside else own)
    if status.doing:
        parts.append(status.doing)
    return " · ".join(parts)


def result_table(rows: Mapping[str, Mapping[str, float]], validation: Validation) -> Table:
    """Tabulate the run's weights and the heuristics on the same evaluation episodes.

    Args:
        rows: name, then means by metric.
        validation: has the means of the heuristics.
    """
    every = {**rows, **validation.baselines}
    names = list(dict.fromkeys(name for values in every.values() for name in values))
    table = Table(title="Means over the evaluation episodes", title_justify="left")
    table.add_column("policy")
    for name in names:
        table.add_column(name, justify="right")
    for policy, values in every.items():
        table.add_row(policy, *(number(values[name]) if name in values else "" for name in names))
    return table


def _count(value: float) -> str:
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.0f}"
