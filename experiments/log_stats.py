"""Sum up a task log, run by run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from edge_marl.experiments import statistics
from edge_marl.experiments.progress import stdout
from edge_marl.peer_offloading import Status
from edge_marl.task_log import EpisodeRecord
from edge_marl.task_log.records import TIMES
from edge_marl.task_log.source import TaskLog

_DELAYS = (50, 95, 99)
_FATES = [Status.SUCCEEDED, Status.DROPPED, Status.TRANSMISSION_FAILED, Status.EXECUTION_FAILED,
          Status.IN_FLIGHT]  # fmt: skip


class RunStats:
    """Sum up the episodes of a run."""

    def __init__(self) -> None:
        self.by_status = np.zeros(len(Status), dtype=np.int64)
        self._offloaded = 0
        self._success_rates: list[float] = []
        self._delays_s: list[NDArray[np.float64]] = []
        self.episodes = 0

    def add(self, record: EpisodeRecord) -> None:
        """Count an episode."""
        tasks = record.tasks
        counts = np.bincount(tasks.status, minlength=len(Status))
        self.episodes += 1
        self.by_status += counts
        self._offloaded += int((tasks.destination != tasks.source).sum())
        known = counts[Status.SUCCEEDED :].sum()
        if known:
            self._success_rates.append(counts[Status.SUCCEEDED] / known)
        spent_s = np.sum([getattr(tasks, name) for name in TIMES], axis=0)
        self._delays_s.append(spent_s[tasks.status == Status.SUCCEEDED])

    @property
    def shares(self) -> list[str]:
        """Return the cells of success rate, completion time and local and offloaded shares.

        The success rate (equation 9) is a mean over episodes, with its interval. Completion times
        are percentiles over the tasks that succeeded.
        """
        rates = np.array([self._success_rates])
        delays_s = np.concatenate(self._delays_s)
        percentiles = np.percentile(delays_s, _DELAYS).tolist() if len(delays_s) else []
        offloaded = self._offloaded / max(self.by_status.sum(), 1)
        return [
            statistics.mean(rates).text() if rates.size else "-",
            " / ".join(f"{delay:.2f}" for delay in percentiles) + " s" if len(delays_s) else "-",
            f"{1 - offloaded:.0%} / {offloaded:.0%}",
        ]


def print_stats(log: TaskLog, advance: Callable[[int], None]) -> None:
    """Read all of a log and print tables of its runs.

    Args:
        log: an open log.
        advance: called with the number of episodes just read.

    Raises:
        InputError: naming the first bad row.
    """
    decisions, tasks = log.count()
    by_run = {id_: RunStats() for id_ in log.runs}
    for row, record in zip(log.episodes, log.records(log.episodes), strict=True):
        by_run[row.run].add(record)
        advance(1)
    results = Table("run", "policy", "environment", "nodes", "episodes", "success rate",
                    "delay p50 / p95 / p99", "local / offloaded")  # fmt: skip
    fates = Table("run", "tasks", "succeeded", "dropped", "failed on a link", "failed at a node",
                  "in flight")  # fmt: skip
    for id_, run in log.runs.items():
        of_run = by_run[id_]
        results.add_row(
            str(id_), run.policy, run.environment, str(run.nodes), str(of_run.episodes),
            *(of_run.shares if of_run.episodes else ()),
        )  # fmt: skip
        fates.add_row(str(id_), str(of_run.by_status.sum()), *map(str, of_run.by_status[_FATES]))
    stdout().print(results)
    stdout().print(fates)
    stdout().print(
        f"{log.name}: {len(log.episodes)} episodes, {decisions} decisions, {tasks} tasks, "
        f"{log.size_bytes / 1e6:.1f} MB"
    )
