"""Turn logged episodes into transitions, with rewards from the fates of their tasks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_marl.errors import InputError
from edge_marl.files import put_back
from edge_marl.json_files import parse_json
from edge_marl.peer_offloading.records import Status
from edge_marl.peer_offloading.simulator import Reward
from edge_marl.task_log.checks import ROUNDING, EpisodeRow
from edge_marl.task_log.database import DatabaseLog, is_url
from edge_marl.task_log.parquet import ParquetLog
from edge_marl.task_log.records import TIMES, TaskColumns, json_text
from edge_marl.task_log.source import TaskLog
from edge_marl.validation import shown


class LoggedEpisode(NamedTuple):
    """Hold an episode of T slots; step t + 1 follows step t, and none follows the last."""

    features: NDArray[np.float32]
    """``[T, N, F]``"""
    action_mask: NDArray[np.bool_]
    """``[T, N, A]``"""
    actions: NDArray[np.int16]
    """``[T, N]``"""
    rewards: NDArray[np.float32]
    """``[T, N]``: of the team, or own."""


def task_rewards(
    tasks: TaskColumns, slots: int, nodes: int, slot_s: float, reward: Reward = "team"
) -> NDArray[np.float32]:
    """Return the feedback ``[T, N]``, in the slot in which it becomes known (section IV-B3).

    It is +1 for a task that succeeded and -1 for one that did not. It becomes known once the four
    times of equation 7 are over: in slot t when that is within ``(t, t + 1]`` slots. A node gets
    that of its own tasks, or with ``reward="team"`` that of all nodes' tasks.
    """
    spent_s = sum(getattr(tasks, name) for name in TIMES)
    known = tasks.status != Status.IN_FLIGHT
    finished = tasks.slot[known] + spent_s[known] / slot_s
    slot = np.maximum(np.ceil(finished - ROUNDING).astype(np.int64) - 1, tasks.slot[known])
    within = slot < slots
    feedback = np.where(tasks.status[known] == Status.SUCCEEDED, 1, -1)
    own = np.zeros((slots, nodes), dtype=np.float32)
    np.add.at(own, (slot[within], tasks.source[known][within]), feedback[within])
    if reward == "own":
        return own
    return np.broadcast_to(own.sum(axis=1, keepdims=True), own.shape).copy()


def open_log(place: str | Path) -> TaskLog:
    """Open a log for reading; close it after use, or use it as a context.

    Args:
        place: path of a SQLite file, URL of a database, or folder of Parquet files.

    Raises:
        InputError: for a place that holds no log, or naming the first bad row of the tables of
            runs and episodes.
    """
    if is_url(place):
        return DatabaseLog(place)
    put_back(Path(place))
    return ParquetLog(place) if os.path.isdir(place) else DatabaseLog(place)


def select_episodes(
    log: TaskLog,
    *,
    environment: str | None = None,
    configuration: Mapping[str, Any] | None = None,
    policy: str | None = None,
) -> list[EpisodeRow]:
    """Return the episodes of a log to learn from together.

    Args:
        log: an open log.
        environment: the name that every run must have; None: all the same.
        configuration: the fields that the environment's configuration of every run must have.
        policy: leave out the runs of others.

    Raises:
        InputError: naming the first run of another environment or with other sizes, or when
            there is no episode.
    """
    runs = {id_: run for id_, run in log.runs.items() if policy in (None, run.policy)}
    episodes = [row for row in log.episodes if row.run in runs]
    if not episodes:
        raise InputError(f"{log.name}: expected episodes" + (f" of {policy}" if policy else ""))
    wanted = dict(zip(_ALIKE, attrgetter(*_ALIKE)(runs[episodes[0].run]), strict=True))
    if environment is not None:
        wanted["environment"] = environment
    for id_ in sorted({row.run for row in episodes}):
        place, run = f"{log.name}: runs: row id {id_}", runs[id_]
        for name, value in wanted.items():
            if getattr(run, name) != value:
                raise InputError(f"{place}: {name}: expected {value}, found {getattr(run, name)}")
        found = parse_json(run.configuration, place)
        # Compare what JSON makes of it, as in the log: a tuple is a list there.
        for name, value in parse_json(json_text(configuration or {}), place).items():
            if name not in found or found[name] != value:
                raise InputError(
                    f"{place}: configuration: expected {name} = {shown(value)}, "
                    f"found {shown(found[name]) if name in found else 'none'}"
                )
    return episodes


def read_episodes(
    place: str | Path,
    *,
    reward: Reward = "team",
    environment: str | None = None,
    configuration: Mapping[str, Any] | None = None,
    policy: str | None = None,
) -> Iterator[LoggedEpisode]:
    """Rebuild the transitions of a log, episode by episode, never all in memory (section VI-B).

    Args:
        place: path of a SQLite file, URL of a database, or folder of Parquet files.
        reward: whose feedback a node is rewarded with.
        environment, configuration, policy: as for :func:`select_episodes`.

    Raises:
        InputError: for a place that holds no log, a log of another environment, or naming the
            first bad row.
    """
    with open_log(place) as log:
        log.count()
        episodes = select_episodes(
            log, environment=environment, configuration=configuration, policy=policy
        )
        yield from logged_episodes(log, episodes, reward)


def logged_episodes(
    log: TaskLog, episodes: Sequence[EpisodeRow], reward: Reward = "team"
) -> Iterator[LoggedEpisode]:
    """Yield some episodes of an open log, as :func:`read_episodes` does."""
    for row, record in zip(episodes, log.records(episodes), strict=True):
        run = log.runs[row.run]
        yield LoggedEpisode(
            record.features,
            record.action_mask,
            record.actions,
            task_rewards(record.tasks, row.slots, run.nodes, run.slot_s, reward),
        )


_ALIKE = ("environment", "nodes", "features", "actions", "slot_s")
"""What runs whose episodes are learnt from together have in common."""
