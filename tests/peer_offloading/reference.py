"""Peer offloading once more, as slow and plain as it gets: a queue of events, one task at a time.

Nothing is looked ahead: a task starts when its server is free and is dropped when its deadline
strikes. Events of the same moment happen in this order: services end, deadlines strike, tasks join
queues (lower source first), free servers start their next task.
"""

import heapq
import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from edge_marl.peer_offloading import OffloadingScenario, PeerOffloadingSimulator, Status

END, DEADLINE, JOIN, START = range(4)


@dataclass(eq=False)
class Task:
    """A task of a hand-made or random plan, and what has become of it."""

    slot: int
    source: int
    destination: int
    size_kb: float = 1000.0
    cycles: float = 8e9
    deadline_s: float = 4.0
    transmission_luck: float = 0.0
    execution_luck: float = 0.0
    status: Status = Status.IN_FLIGHT
    joined_link_s: float = math.nan
    link_start_s: float = math.nan
    joined_node_s: float = math.nan
    node_start_s: float = math.nan
    finished_s: float = math.nan


@dataclass(eq=False)
class Server:
    """A link or a node: one task at a time, first in, first out."""

    waiting: deque[Task] = field(default_factory=deque)
    serving: Task | None = None


@dataclass
class Reference:
    """What became of the tasks of a plan, which are changed in place."""

    rewards: np.ndarray
    """``[T, N]`` feedback on the tasks of each node."""
    queue_length: np.ndarray
    """``[T + 1, N]`` at the starts of slots."""
    busy_s: np.ndarray
    """``[N]`` within the episode."""


def play_reference(
    tasks: list[Task], slots: int, slot_s: float, rate_mb_per_s: np.ndarray,
    capacity_hz: np.ndarray, failure_rate: np.ndarray, link_failure_rate: np.ndarray,
) -> Reference:  # fmt: skip
    """Play a plan to the last deadline."""
    N = len(capacity_hz)
    links = {(i, j): Server() for i in range(N) for j in range(N) if i != j}
    nodes = [Server() for _ in range(N)]
    busy_s = np.zeros(N)
    events: list[tuple[float, int, int, int, str, Task | None, Server]] = []
    number = 0

    def at(moment: float, kind: int, source: int, what: str, task: Task | None, server: Server):
        nonlocal number
        number += 1
        heapq.heappush(events, (moment, kind, source, number, what, task, server))

    def finish(task: Task, status: Status, moment: float) -> None:
        task.status, task.finished_s = status, moment

    for task in tasks:
        arrival_s = task.slot * slot_s
        if task.destination == task.source:
            server, what = nodes[task.source], "node"
        else:
            server, what = links[task.source, task.destination], "link"
        at(arrival_s, JOIN, task.source, what, task, server)
        at(arrival_s + task.deadline_s, DEADLINE, task.source, "", task, server)

    while events:
        now, kind, _, _, what, task, server = heapq.heappop(events)
        if kind == START:
            if server.serving is not None or not server.waiting:
                continue
            task = server.serving = server.waiting.popleft()
            if what == "link":
                task.link_start_s = now
                rate = rate_mb_per_s[task.source, task.destination]
                duration_s = task.size_kb / 1000.0 / rate
            else:
                task.node_start_s = now
                duration_s = task.cycles / capacity_hz[task.destination]
            at(now + duration_s, END, task.source, what, task, server)
        elif kind == JOIN:
            assert task is not None
            if task.status != Status.IN_FLIGHT:
                continue
            if what == "link":
                task.joined_link_s = now
            else:
                task.joined_node_s = now
            server.waiting.append(task)
            at(now, START, 0, what, None, server)
        elif kind == END:
            assert task is not None
            if server.serving is not task:
                continue
            server.serving = None
            at(now, START, 0, what, None, server)
            if what == "link":
                duration_s = now - task.link_start_s
                rate = link_failure_rate[task.source, task.destination]
                if task.transmission_luck >= math.exp(-duration_s * rate):
                    finish(task, Status.TRANSMISSION_FAILED, now)
                else:
                    at(now, JOIN, task.source, "node", task, nodes[task.destination])
            else:
                duration_s = now - task.node_start_s
                failed = task.execution_luck >= math.exp(
                    -duration_s * failure_rate[task.destination]
                )
                finish(task, Status.EXECUTION_FAILED if failed else Status.SUCCEEDED, now)
        elif task is not None and task.status == Status.IN_FLIGHT:  # its deadline strikes
            finish(task, Status.DROPPED, now)
            for holder, what in ((server, "link"), (nodes[task.destination], "node")):
                if task in holder.waiting:
                    holder.waiting.remove(task)
                elif holder.serving is task:
                    holder.serving = None
                    kind_of_holder = "node" if holder in nodes else what
                    at(now, START, 0, kind_of_holder, None, holder)

    rewards = np.zeros((slots, N))
    queue_length = np.zeros((slots + 1, N), dtype=int)
    starts_s = np.arange(slots + 1) * slot_s
    for task in tasks:
        # In the slot whose half-open interval (start, end] holds the moment.
        known = math.ceil(task.finished_s / slot_s) - 1
        if known < slots:
            rewards[known, task.source] += 1 if task.status == Status.SUCCEEDED else -1
        local = task.source == task.destination
        # Decisions come before what happens at the same moment.
        queue_length[:, task.destination] += (task.joined_node_s < starts_s) & (
            task.finished_s > starts_s
        )
        if not math.isnan(task.node_start_s):
            end_s = min(task.finished_s, slots * slot_s)
            busy_s[task.destination] += max(0.0, end_s - task.node_start_s)
        assert not local or math.isnan(task.joined_link_s)
    return Reference(rewards, queue_length, busy_s)


def play_plan(
    scenario: OffloadingScenario, tasks: list[Task], **network: np.ndarray
) -> tuple[PeerOffloadingSimulator, np.ndarray, np.ndarray]:
    """Play the tasks of a plan in the simulator, instead of those that it draws.

    Args:
        network: numbers of the network that take the place of the drawn ones.

    Returns:
        the simulator at the end, rewards ``[T, N]`` and queue lengths ``[T + 1, N]`` at the
        starts of slots.
    """
    simulator = PeerOffloadingSimulator(scenario, 1, reward="own")
    simulator.reset([0])
    simulator.networks.arrival_probability[:] = 0.0
    for name, values in network.items():
        getattr(simulator.networks, name)[0] = values
    simulator.tasks.status[0, 0] = Status.NONE
    rewards, queue_length = [], [simulator.queue_length[0].copy()]
    for t in range(scenario.slots):
        actions = np.full((1, scenario.nodes), scenario.nodes)
        for task in tasks:
            if task.slot == t:
                place(simulator, task)
                actions[0, task.source] = task.destination
        rewards.append(simulator.step(actions).reward[0].copy())
        queue_length.append(simulator.queue_length[0].copy())
    return simulator, np.array(rewards), np.array(queue_length)


def place(simulator: PeerOffloadingSimulator, task: Task) -> None:
    """Make the task that of its source in the slot of the simulator's first episode."""
    at = (0, task.slot, task.source)
    simulator.tasks.status[at] = Status.IN_FLIGHT
    for name in ("size_kb", "cycles", "deadline_s", "transmission_luck", "execution_luck"):
        getattr(simulator.tasks, name)[at] = getattr(task, name)
