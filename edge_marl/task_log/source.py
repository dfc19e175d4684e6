"""Define how a task log is read, wherever it is stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from edge_marl.task_log.checks import EpisodeRow
from edge_marl.task_log.records import EpisodeRecord, Run


class TaskLog(ABC):
    """Read a log, and check it row by row as it is read."""

    name: str
    """Path, or URL without its password."""
    runs: dict[int, Run]
    """By id."""
    episodes: list[EpisodeRow]
    """By ascending id."""

    @property
    @abstractmethod
    def size_bytes(self) -> int:
        """Return the number of bytes that the log takes on disk."""

    def count(self) -> tuple[int, int]:
        """Return the numbers of decisions and of tasks that the log holds.

        Raises:
            InputError: naming the first that belongs to no episode, or the first bad row if there
                are not as many decisions as the episodes have slots and nodes, so that nothing
                is sized by what episodes say of themselves.
        """
        decisions, tasks = self._count_rows()
        if decisions != sum(row.slots * self.runs[row.run].nodes for row in self.episodes):
            for _ in self.records(self.episodes):
                pass
        return decisions, tasks

    @abstractmethod
    def _count_rows(self) -> tuple[int, int]:
        """Count decisions and tasks, and refuse one that belongs to no episode."""

    @abstractmethod
    def records(self, episodes: Sequence[EpisodeRow]) -> Iterator[EpisodeRecord]:
        """Yield some of the log's episodes, one at a time.

        Raises:
            InputError: naming the first bad row.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
