"""Write and read the log that a deployed policy leaves and offline learning starts from.

It holds every task with its fate, and the decision behind it (O2O-DRL paper, section VI-A).
"""

from edge_marl.task_log.database import shown
from edge_marl.task_log.episodes import LoggedEpisode, open_log, read_episodes
from edge_marl.task_log.parquet import write_parquet
from edge_marl.task_log.records import EpisodeRecord, Run, TaskColumns, run_of
from edge_marl.task_log.writer import TaskLogWriter, import_log

__all__ = [
    "EpisodeRecord",
    "LoggedEpisode",
    "Run",
    "TaskColumns",
    "TaskLogWriter",
    "import_log",
    "open_log",
    "read_episodes",
    "run_of",
    "shown",
    "write_parquet",
]
