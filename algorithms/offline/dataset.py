"""Draw transitions of a task log from memory, or from a Ray Data dataset if there are too many.

A transition belongs to one node and one slot: what the node observed, chose and was rewarded with
in slot t, and what it observed in t + 1. The last slot of an episode has no transition.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_marl.algorithms.replay.columns import AgentTransition
from edge_marl.errors import InputError
from edge_marl.peer_offloading.simulator import Reward
from edge_marl.task_log import LoggedEpisode, open_log
from edge_marl.task_log.database import is_url
from edge_marl.task_log.episodes import logged_episodes, select_episodes

if TYPE_CHECKING:
    from ray.data import Dataset

Array = NDArray[Any]
Columns = dict[str, Array]
Batches = Generator[Columns, None, None]

MEMORY_BYTES = 4 * 2**30
EPISODES_A_BLOCK = 16
_BATCH_ROWS = 4096
_READERS = 2


def as_dataset(
    place: str | Path,
    *,
    reward: Reward = "team",
    environment: str | None = None,
    configuration: Mapping[str, Any] | None = None,
    policy: str | None = None,
    seed: int | None = None,
) -> Dataset:
    """Return the transitions of a log as a dataset, read in blocks of episodes as it is consumed.

    Args:
        place: path of a SQLite file, URL of a database, or folder of Parquet files, that the
            workers of Ray can read.
        reward: whose feedback a node is rewarded with.
        environment, configuration, policy: as of
            :func:`edge_marl.task_log.episodes.select_episodes`.
        seed: of a random order of the blocks; None: as logged.

    Returns:
        rows with the columns of :class:`AgentTransition` but ``discounts`` and ``terminated``.

    Raises:
        InputError: for a place that holds no log, or a log of another environment.
    """
    import ray

    with open_log(place) as log:
        episodes = select_episodes(
            log, environment=environment, configuration=configuration, policy=policy
        )
    blocks = [
        episodes[first : first + EPISODES_A_BLOCK]
        for first in range(0, len(episodes), EPISODES_A_BLOCK)
    ]
    if seed is not None:
        order = np.random.default_rng(seed).permutation(len(blocks))
        blocks = [blocks[k] for k in order]
    place = place if is_url(place) else Path(place).resolve()

    def read(block: Columns) -> Iterator[Columns]:
        with open_log(place) as opened:
            for index in block["block"]:
                for episode in logged_episodes(opened, blocks[index], reward):
                    yield _transitions(episode)

    numbers = [{"block": k} for k in range(len(blocks))]
    # Reading asks for no core of its own: those of a training run are all with its env runners.
    dataset = ray.data.from_items(numbers, override_num_blocks=len(blocks)).map_batches(
        read, batch_size=1, num_cpus=0, compute=ray.data.TaskPoolStrategy(size=_READERS)
    )
    dataset.context.enable_progress_bars = False
    return dataset


def _transitions(episode: LoggedEpisode) -> Columns:
    """Return all transitions of an episode, one row per slot and node."""
    T, N = episode.actions.shape

    def rows(values: Array, first: int) -> Array:
        part = values[first : first + T - 1]
        return part.reshape((T - 1) * N, *values.shape[2:])

    return {
        AgentTransition.FEATURES: rows(episode.features, 0),
        AgentTransition.ACTION_MASK: rows(episode.action_mask, 0),
        AgentTransition.ACTIONS: rows(episode.actions, 0),
        AgentTransition.REWARDS: rows(episode.rewards, 0),
        AgentTransition.NEXT_FEATURES: rows(episode.features, 1),
        AgentTransition.NEXT_ACTION_MASK: rows(episode.action_mask, 1),
        AgentTransition.NODE: np.tile(np.arange(N, dtype=np.int16), T - 1),
    }


class OfflineTransitions:
    """Draw transitions of a log at random.

    A log that fits is held in memory and drawn from uniformly. A larger one streams through a
    Ray Data dataset (which starts Ray if it is not running), again and again, its blocks of
    episodes in a new random order each time; rows are drawn from a pool that replaces each drawn
    row by a new one.

    Args:
        place: path of a SQLite file, URL of a database, or folder of Parquet files.
        reward: whose feedback a node is rewarded with.
        environment, configuration, policy: as of
            :func:`edge_marl.task_log.episodes.select_episodes`.
        memory_bytes: what it may take in memory.

    Raises:
        InputError: for a place that holds no log, for a log of another environment, for bad rows,
            of which it names the first, or if no episode has two slots.
    """

    def __init__(
        self,
        place: str | Path,
        *,
        reward: Reward = "team",
        environment: str | None = None,
        configuration: Mapping[str, Any] | None = None,
        policy: str | None = None,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        with open_log(place) as log:
            log.count()
            episodes = select_episodes(
                log, environment=environment, configuration=configuration, policy=policy
            )
            run = log.runs[episodes[0].run]
            steps = sum(row.slots for row in episodes)
            self.n_rows = (steps - len(episodes)) * run.nodes
            """Transitions in the log."""
            if self.n_rows == 0:
                raise InputError(f"{log.name}: episodes: expected one of at least 2 slots")
            row_bytes = 4 * run.features + run.actions
            self._source: EpisodesInMemory | _Stream
            if steps * run.nodes * (row_bytes + _OTHER_BYTES) <= memory_bytes:
                self._source = EpisodesInMemory(
                    logged_episodes(log, episodes, reward), steps * run.nodes
                )
                return
        pool_rows = min(memory_bytes // (2 * row_bytes + _OTHER_BYTES), self.n_rows)
        self._source = _Stream(
            lambda seed: as_dataset(
                place,
                reward=reward,
                environment=environment,
                configuration=configuration,
                policy=policy,
                seed=seed,
            ),
            pool_rows,
        )

    def draw(self, n_rows: int, rng: np.random.Generator) -> Columns:
        """Draw rows at random: every node and slot but the last of each episode is equally likely.

        Args:
            n_rows: K.
            rng: of the draw.

        Returns:
            the columns of :class:`AgentTransition` but ``discounts``, K rows each.
        """
        drawn = self._source.draw(n_rows, rng)
        return {**drawn, AgentTransition.TERMINATED: np.zeros(n_rows, dtype=np.bool_)}


_OTHER_BYTES = 24
"""Bytes of a row in memory beside observations and masks, rounded up."""


class EpisodesInMemory:
    """Hold all steps of all episodes, a row per slot and node; a row's next step is N rows on."""

    def __init__(self, episodes: Iterable[LoggedEpisode], n_steps: int) -> None:
        self._columns: Columns = {}
        followed = []
        first = 0
        for episode in episodes:
            T, N = episode.actions.shape
            stop = first + T * N
            for name, values in episode._asdict().items():
                if name not in self._columns:
                    self._columns[name] = np.empty((n_steps, *values.shape[2:]), values.dtype)
                self._columns[name][first:stop] = values.reshape(T * N, *values.shape[2:])
            followed.append(np.arange(first, stop - N))
            first, self._nodes = stop, N
        self._followed = np.concatenate(followed)
        self._node = np.tile(np.arange(self._nodes, dtype=np.int16), n_steps // self._nodes)

    def draw(self, n_rows: int, rng: np.random.Generator) -> Columns:
        rows = self._followed[rng.integers(len(self._followed), size=n_rows)]
        following = rows + self._nodes
        # take() is twice as fast as indexing, and draws are once per gradient step.
        features, action_mask, actions, rewards = self._columns.values()
        return {
            AgentTransition.FEATURES: features.take(rows, axis=0),
            AgentTransition.ACTION_MASK: action_mask.take(rows, axis=0),
            AgentTransition.ACTIONS: actions.take(rows),
            AgentTransition.REWARDS: rewards.take(rows),
            AgentTransition.NEXT_FEATURES: features.take(following, axis=0),
            AgentTransition.NEXT_ACTION_MASK: action_mask.take(following, axis=0),
            AgentTransition.NODE: self._node.take(rows),
        }


class _Stream:
    """Draw rows from a pool that replaces them by the next rows of an endless stream."""

    def __init__(self, dataset: Callable[[int], Dataset], pool_rows: int) -> None:
        self._dataset = dataset
        self._pool_rows = max(pool_rows, 1)
        self._pool: Columns = {}
        self._incoming: Batches | None = None
        self._batch: Columns = {}
        self._used = 0  # rows of it

    def draw(self, n_rows: int, rng: np.random.Generator) -> Columns:
        if not self._pool:
            parts = list(self._next(self._pool_rows, rng))
            self._pool = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
        K = min(n_rows, self._pool_rows)
        rows = rng.choice(self._pool_rows, size=K, replace=False)
        drawn = {name: values[rows] for name, values in self._pool.items()}
        first = 0
        for part in self._next(K, rng):
            stop = first + len(part[AgentTransition.NODE])
            for name, values in part.items():
                self._pool[name][rows[first:stop]] = values
            first = stop
        if n_rows > K:
            rest = self.draw(n_rows - K, rng)
            drawn = {name: np.concatenate([values, rest[name]]) for name, values in drawn.items()}
        return drawn

    def _next(self, n_rows: int, rng: np.random.Generator) -> Iterator[Columns]:
        """Yield the next rows of the stream, in parts."""
        if self._incoming is None:
            self._incoming = _endless(self._dataset, rng)
            weakref.finalize(self, self._incoming.close)  # before Ray is torn down at exit
        while n_rows > 0:
            if not self._batch or self._used == len(self._batch[AgentTransition.NODE]):
                self._batch, self._used = next(self._incoming), 0
            part = {name: v[self._used : self._used + n_rows] for name, v in self._batch.items()}
            taken = len(part[AgentTransition.NODE])
            self._used += taken
            n_rows -= taken
            yield part


def _endless(dataset: Callable[[int], Dataset], rng: np.random.Generator) -> Batches:
    while True:
        shuffled = dataset(int(rng.integers(2**32)))
        try:
            yield from shuffled.iter_batches(batch_size=_BATCH_ROWS, batch_format="numpy")
        except InputError as error:  # of a worker, with its traceback: its first line is ours
            raise InputError(str(getattr(error, "cause", error)).splitlines()[0]) from error
