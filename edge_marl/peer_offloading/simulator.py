"""Simulate nodes that execute each other's tasks, and that fail (O2O-DRL paper, section III).

A step plays one slot, in this order: every node with a task sends it to a node, perhaps itself;
links and nodes work through their queues, first in, first out, to the end of the slot, at exact
moments in continuous time; feedback on what was decided in the slot is handed out; the tasks of
the next slot arrive and are observed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_marl.errors import InputError
from edge_marl.memory import check_memory
from edge_marl.peer_offloading import kernels
from edge_marl.peer_offloading.observing import n_features
from edge_marl.peer_offloading.records import (
    N_STATUS,
    Episodes,
    Observation,
    Parameters,
    Queues,
    Scales,
    Status,
    TaskRecords,
)
from edge_marl.peer_offloading.scenario import CYCLES_PER_KB, EdgeNetworks, OffloadingScenario
from edge_marl.simulation import Simulator, Transition

Reward = Literal["team", "own"]
"""Feedback on the tasks of all nodes, as in the paper, or on those of the node alone."""

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int32]


@dataclass
class EpisodeResults:
    """Hold the results of the episodes so far, ``[B]`` each.

    ``utilisation`` includes work that nodes have yet to do; it is exact once an episode is done.
    """

    success_rate: NDArray[np.float64]
    """Equation 9: of the tasks whose fate is known; NaN if there are none."""
    arrived: NDArray[np.int64]
    succeeded: NDArray[np.int64]
    dropped: NDArray[np.int64]
    transmission_failed: NDArray[np.int64]
    execution_failed: NDArray[np.int64]
    in_flight: NDArray[np.int64]
    """The rest of those that arrived."""
    delay_p50_s: NDArray[np.float64]
    """Percentiles of the completion time (equation 7) of tasks that succeeded; NaN without any."""
    delay_p95_s: NDArray[np.float64]
    delay_p99_s: NDArray[np.float64]
    utilisation: NDArray[np.float64]
    """Share of the time that nodes compute, mean over nodes."""
    offloaded: NDArray[np.float64]
    """Share of the tasks sent to another node; NaN without tasks."""


METRICS = (
    "success_rate", "arrived", "succeeded", "dropped", "transmission_failed", "execution_failed",
    "in_flight", "delay_p50_s", "delay_p95_s", "delay_p99_s", "utilisation", "offloaded",
)  # fmt: skip
"""Numbers of :class:`EpisodeResults` that are reported of every episode."""


_TASK = np.dtype(
    [(name, np.float64) for name in (*TaskRecords._fields[2:], "moment_s")]
    + [("following", np.int32), ("destination", np.int16), ("status", np.int8)],
    align=True,
)
_LINK = np.dtype(
    [(name, np.float64) for name in ("link_free_s", "rate_mb_per_s", "link_failure_rate")]
)


class PeerOffloadingSimulator(Simulator[Observation, EpisodeResults]):
    """Play B episodes of N nodes that send each other tasks, slot by slot.

    A task joins the execution queue of its own node at the start of its slot, or the sending
    queue to another node and, once it is there, that node's execution queue; it is never forwarded.
    Links and nodes serve one task at a time, in order of joining (ties: lower source first).
    A task is dropped from wherever it is at the moment its deadline passes, and what it occupied
    is free again. Transmission and execution fail with the probabilities of equations 3 to 5;
    a failure is found out at their end, so that it changes the delay of no other task.

    Random numbers of a task do not depend on decisions: the same seed has the same tasks, and a
    task the same luck, under every policy.

    Actions ``[B, N]`` are the node that each node's task goes to, N where there is no task. Sending
    to a node that the mask closes because it is overloaded is physically possible.

    Rewards ``[B, N]`` are those of section IV-B3. Episodes are truncated after their last slot and
    never terminate, because the network goes on.

    Args:
        scenario: what episodes are drawn from.
        batch_size: B.
        reward: "team" or "own", see :data:`Reward`.

    Raises:
        InputError: for a batch size below 1.
    """

    def __init__(
        self, scenario: OffloadingScenario, batch_size: int, *, reward: Reward = "team"
    ) -> None:
        super().__init__(batch_size, agents_of(scenario))
        self.scenario = scenario
        self.parameters = _parameters(scenario, reward)
        B, N, T = batch_size, scenario.nodes, scenario.slots
        W = scenario.deadline_slots + 1
        per_episode = (
            (T + 1) * N * _TASK.itemsize
            + N * N * (_LINK.itemsize + 2)
            + W * (12 * N + 4 * N_STATUS)
            + N * (4 * n_features(N) + N + 1)
        )
        check_memory(
            float(B) * per_episode,
            f"{B} episodes of {N} nodes and {T} slots (nodes, slots, deadline_s over slot_s)",
        )
        self.slot = np.zeros(B, dtype=np.int32)
        """``[B]``: the slot to decide for next."""
        self._episodes = Episodes(self.seeds, self.slot, self.done)
        link = np.zeros((B, N, N), dtype=_LINK)
        self.networks: EdgeNetworks = scenario.networks(self.seeds)._replace(
            rate_mb_per_s=link["rate_mb_per_s"], link_failure_rate=link["link_failure_rate"]
        )
        # The last row holds the tasks that are seen at the end but are not part of the episode.
        # The data of a task lie together: what a step costs is mostly the memory that it touches.
        task = np.zeros((B, T + 1, N), dtype=_TASK)
        self.tasks = TaskRecords(*(task[name] for name in TaskRecords._fields))
        """As the kernels hold them, ``[B, T + 1, N]``: fates appear before they are known. What is
        known is in :meth:`records`; of the slot to decide for, sizes and deadlines are here."""
        self._queues = Queues(
            node_free_s=np.zeros((B, N)),
            link_free_s=link["link_free_s"],
            queue_length=np.zeros((B, N), dtype=np.int32),
            incoming=np.zeros((B, N, N), dtype=np.int16),
            on_the_way=np.zeros((B, N), dtype=np.int32),
            incoming_work_s=np.zeros((B, N)),
            busy_s=np.zeros((B, N)),
            head=np.full((B, W, N), -1, dtype=np.int32),
            following=task["following"].reshape(B, -1),
            moment_s=task["moment_s"].reshape(B, -1),
            departures=np.zeros((B, W, N), dtype=np.int32),
            feedback=np.zeros((B, W, N), dtype=np.int32),
            decided=np.zeros((B, W, N_STATUS), dtype=np.int32),
            totals=np.zeros((B, N_STATUS), dtype=np.int64),
        )
        self.observation = Observation(
            features=np.zeros((B, N, n_features(N)), dtype=np.float32),
            action_mask=np.zeros((B, N, N + 1), dtype=np.bool_),
            state=np.zeros((B, 8 * N), dtype=np.float32),
            t=self.slot,
        )
        self.transition = Transition(
            self.observation,
            reward=np.zeros((B, N), dtype=np.float32),
            terminated=np.zeros(B, dtype=np.bool_),  # never: the network goes on
            truncated=np.zeros(B, dtype=np.bool_),
            elapsed=None,
        )

    def _start(self, where: BoolArray) -> None:
        drawn = self.scenario.networks(self.seeds[where])
        for name in EdgeNetworks._fields:
            getattr(self.networks, name)[where] = getattr(drawn, name)
        kernels.reset_kernel(
            where, self.parameters, self._episodes, self.networks, self.tasks, self._queues,
            self.observation,
        )  # fmt: skip

    def _check(self, actions: NDArray[np.integer[Any]]) -> None:
        N = self.scenario.nodes
        illegal = kernels.first_illegal(actions, self._episodes, self.networks, self.tasks)
        if illegal >= 0:
            b, i = divmod(illegal, N)
            idle = self.tasks.status[b, self.slot[b], i] == Status.NONE
            expected = f"{N}, for there is no task" if idle else "itself or a neighbour"
            raise InputError(
                f"action of node {i} in episode {b}: expected {expected}, found {actions[b, i]}"
            )

    def _advance(self, actions: NDArray[np.int32]) -> None:
        kernels.step_kernel(
            actions, self.parameters, self._episodes, self.networks, self.tasks, self._queues,
            self.transition,
        )  # fmt: skip

    @property
    def node_free_s(self) -> NDArray[np.float64]:
        """Return when each node is done with all that has reached it so far, ``[B, N]``."""
        return self._queues.node_free_s

    @property
    def link_free_s(self) -> NDArray[np.float64]:
        """Return when the link from i to j is done with all sent so far, ``[B, N, N]``."""
        return self._queues.link_free_s

    @property
    def queue_length(self) -> IntArray:
        """Return the number of tasks at each node, waiting or in execution, ``l_i [B, N]``."""
        return self._queues.queue_length

    @property
    def incoming(self) -> NDArray[np.int16]:
        """Return the number of tasks on their way to node i from j, ``l^r_ij [B, N, N]``."""
        return self._queues.incoming

    @property
    def incoming_work_s(self) -> NDArray[np.float64]:
        """Return the execution time of the tasks that are on their way to a node, ``[B, N]``.

        Those that will be lost on the link are not counted.
        """
        return self._queues.incoming_work_s

    def records(self) -> TaskRecords:
        """Return the tasks of the slots played, ``[B, T, N]`` each, as far as their fate is known.

        In rows of slots to come, every status is NONE. The times of tasks in flight and the moment
        at which they finish are NaN.
        """
        T = self.scenario.slots
        records = TaskRecords(
            **{name: getattr(self.tasks, name)[:, :T].copy() for name in TaskRecords._fields}
        )
        to_come = np.arange(T) >= self.slot[:, None]
        records.status[to_come] = Status.NONE
        now_s = (self.slot * self.scenario.slot_s)[:, None, None]
        arrived = records.status != Status.NONE
        with np.errstate(invalid="ignore"):
            in_flight = arrived & ~(records.finished_s <= now_s * (1 + 1e-12))
        records.status[in_flight] = Status.IN_FLIGHT
        for column in records[5:10]:
            column[in_flight] = np.nan
        return records

    @property
    def results(self) -> EpisodeResults:
        """Return the metrics of every episode up to now (copies)."""
        totals = self._queues.totals
        arrived = totals[:, Status.IN_FLIGHT].copy()
        known = totals[:, Status.SUCCEEDED :].sum(axis=1)
        with np.errstate(invalid="ignore"):
            success_rate = totals[:, Status.SUCCEEDED] / known
        records = self.records()
        delays = sum(records[6:9], start=records[5])
        delays[records.status != Status.SUCCEEDED] = np.nan
        percentiles = np.full((3, self.batch_size), np.nan)
        some = totals[:, Status.SUCCEEDED] > 0
        if some.any():
            flat = delays[some].reshape(some.sum(), -1)
            percentiles[:, some] = np.nanpercentile(flat, (50, 95, 99), axis=1)
        own = np.arange(self.scenario.nodes)
        sent = (records.status != Status.NONE) & (records.destination != own)
        with np.errstate(invalid="ignore"):
            offloaded = sent.sum(axis=(1, 2)) / arrived
        played_s = np.maximum(self.slot, 1) * self.scenario.slot_s
        return EpisodeResults(
            success_rate=success_rate,
            arrived=arrived,
            succeeded=totals[:, Status.SUCCEEDED].copy(),
            dropped=totals[:, Status.DROPPED].copy(),
            transmission_failed=totals[:, Status.TRANSMISSION_FAILED].copy(),
            execution_failed=totals[:, Status.EXECUTION_FAILED].copy(),
            in_flight=arrived - known,
            delay_p50_s=percentiles[0],
            delay_p95_s=percentiles[1],
            delay_p99_s=percentiles[2],
            utilisation=self._queues.busy_s.mean(axis=1) / played_s,
            offloaded=offloaded,
        )

    def _records(self) -> Mapping[str, Mapping[str, NDArray[Any]]]:
        return {
            "episodes": self._episodes._asdict(),
            "networks": self.networks._asdict(),
            "tasks": self.tasks._asdict(),
            "queues": self._queues._asdict(),
            "observation": self.observation._asdict(),
        }


def agents_of(scenario: OffloadingScenario) -> tuple[str, ...]:
    """Return the names of the nodes."""
    return tuple(f"node_{i}" for i in range(scenario.nodes))


def _parameters(scenario: OffloadingScenario, reward: Reward) -> Parameters:
    def largest(value: float) -> float:
        return value if value > 0 else 1.0

    return Parameters(
        slots=scenario.slots,
        slot_s=scenario.slot_s,
        deadline_slots=scenario.deadline_slots,
        adjacency=scenario.adjacency,
        size_kb=scenario.size_kb,
        cycles_per_bit=scenario.cycles_per_bit,
        deadline_s=scenario.deadline_s,
        team_reward=reward == "team",
        scales=Scales(
            arrival_probability=largest(scenario.arrival_probability[1]),
            failure_rate=largest(scenario.failure_rate[1]),
            capacity_hz=max(scenario.cores) * scenario.core_hz,
            queue_length=scenario.largest_queue_limit,
            incoming=scenario.deadline_slots,
            rate_mb_per_s=scenario.rate_mb_per_s[1],
            size_kb=scenario.size_kb[1],
            cycles=scenario.size_kb[1] * CYCLES_PER_KB * scenario.cycles_per_bit[1],
            deadline_s=scenario.deadline_s[1],
        ),
    )
