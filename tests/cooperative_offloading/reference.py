"""Simulate one episode of cooperative offloading in plain Python, as an independent reference.

Every server and every link is an object with a queue, and events lie in a heap. Nothing is shared
with the kernels but the numbers of the scenario and the tasks.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from edge_marl.cooperative_offloading import CooperativeScenario
from edge_marl.random_stream import uniform
from edge_marl.seeds import FAILURE_DRAWS
from tests.cooperative_offloading.by_hand import Task

Decide = Callable[[int], tuple[int, float, float, float]]


@dataclass
class Fate:
    """What was decided on a task, and what has become of it."""

    compute: float
    bandwidth: float
    open: int = 0
    energy_j: float = 0.0
    end_s: float | None = None


@dataclass
class Part:
    task: Task
    fate: Fate
    number: int
    share: float
    server: int


@dataclass
class Resource:
    """What grants shares of a capacity, first come, first served."""

    capacity: float
    memory_gb: float = float("inf")
    outages: list[tuple[float, float]] = field(default_factory=list)
    waiting: deque[tuple[Part, float, float, Callable[[float], None]]] = field(
        default_factory=deque
    )
    held: dict[int, tuple[float, float]] = field(default_factory=dict)

    @property
    def left(self) -> float:
        return self.capacity - sum(grant for grant, _ in self.held.values())

    @property
    def memory_left_gb(self) -> float:
        return self.memory_gb - sum(memory for _, memory in self.held.values())

    def is_up(self, moment_s: float) -> bool:
        return not any(begin <= moment_s < end for begin, end in self.outages)

    def end_of(self, work_s: float, begin_s: float) -> float:
        """When so many seconds of work are done from ``begin_s`` on, during outages none."""
        now_s = begin_s
        for fails_s, repaired_s in self.outages:
            if repaired_s <= now_s:
                continue
            if now_s + work_s <= fails_s:
                break
            work_s -= fails_s - now_s
            now_s = repaired_s
        return now_s + work_s


class Reference:
    """Play the tasks of an episode by ``decide(i)``: target, offload, compute, bandwidth."""

    def __init__(self, scenario: CooperativeScenario, tasks: list[Task], seed: int = 0) -> None:
        self.scenario, self.tasks, self.seed = scenario, tasks, seed
        self.fates: list[Fate] = []
        M = scenario.servers
        bandwidth = scenario.of_links("bandwidth_mb_per_s")
        self.latency_s = scenario.of_links("latency_s")
        self.power_w = scenario.of_links("transmission_power_w")
        self.joule = scenario.joule_per_gcycle_at_1ghz
        speed, memory_gb = map(scenario.of_servers, ("capacity_gcycles_per_s", "memory_gb"))
        self.servers = [
            Resource(float(speed[m]), float(memory_gb[m]), [*self._outages(m)]) for m in range(M)
        ]
        self.links = {
            (j, k): Resource(float(bandwidth[j, k])) for j in range(M) for k in range(M) if j != k
        }
        self.now_s = self.last_s = 0.0
        self.most_held = 0.0  # share of a capacity that was ever granted at once
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        for m, server in enumerate(self.servers):
            for _, repaired_s in server.outages:
                event = repaired_s, -1 - m, lambda server=server: self._serve(server)
                heapq.heappush(self._events, event)

    def _outages(self, server: int) -> Iterator[tuple[float, float]]:
        """More outages than any episode here lasts for."""
        mttf_s, mttr_s = self.scenario.server_mttf_s, self.scenario.server_mttr_s
        now_s, n = 0.0, 0
        while mttf_s is not None and now_s < 1e4:
            counter = FAILURE_DRAWS.start + 2 * (n * self.scenario.servers + server)
            fails_s = now_s - math.log(1.0 - uniform(self.seed, counter)) * mttf_s
            now_s = fails_s - math.log(1.0 - uniform(self.seed, counter + 1)) * mttr_s
            n += 1
            yield fails_s, now_s

    def play(self, decide: Decide) -> None:
        parts_each = 1 + max(1, *map(len, self.scenario.subsets))
        for i, task in enumerate(self.tasks):
            self._until(task.arrival_s)
            self.now_s = task.arrival_s
            target, offload, compute, bandwidth = decide(i)
            others = [m for m in range(self.scenario.servers) if m != task.home]
            helpers = [others[k] for k in self.scenario.subsets[target]]
            offload = offload if helpers else 0.0
            fate = Fate(compute, bandwidth)
            self.fates.append(fate)
            shares = [(1.0 - offload, task.home)]
            shares += [(offload / len(helpers), server) for server in helpers]
            parts = [
                Part(task, fate, i * parts_each + k, share, server)
                for k, (share, server) in enumerate(shares)
                if share > 0.0
            ]
            fate.open = len(parts)
            for part in parts:
                if part.server == task.home:
                    self._compute(part)
                else:
                    self._transmit(part, task.home, part.server, task.input_mb, self._compute)
        self._until(float("inf"))

    def _until(self, limit_s: float) -> None:
        while self._events and self._events[0][0] <= limit_s:
            self.now_s, number, happen = heapq.heappop(self._events)
            if number >= 0:
                self.last_s = self.now_s  # of what becomes of tasks
            happen()

    def _later(self, after_s: float, part: Part, happen: Callable[[], None]) -> None:
        self._at(self.now_s + after_s, part, happen)

    def _at(self, moment_s: float, part: Part, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment_s, part.number, happen))

    def _ask(
        self, where: Resource, part: Part, asked: float, memory_gb: float,
        begin: Callable[[float], None],
    ) -> None:  # fmt: skip
        where.waiting.append((part, asked, memory_gb, begin))
        self._serve(where)

    def _serve(self, where: Resource) -> None:
        least = self.scenario.smallest_grant * where.capacity
        while where.waiting:
            part, asked, memory_gb, begin = where.waiting[0]
            if not where.is_up(self.now_s):
                return
            # What is summed up in another order may be off by rounding.
            spare_gb = 1e-9 * where.memory_gb
            if where.left < least * (1 - 1e-9) or memory_gb > where.memory_left_gb + spare_gb:
                return
            where.waiting.popleft()
            grant = max(self.scenario.limiting_factor * asked * where.left, least)
            grant = min(grant, where.left)
            where.held[part.number] = (grant, memory_gb)
            self.most_held = max(self.most_held, 1.0 - where.left / where.capacity)
            begin(grant)

    def _give_back(self, where: Resource, part: Part) -> None:
        del where.held[part.number]
        self._serve(where)

    def _transmit(
        self, part: Part, sender: int, receiver: int, mb: float, then: Callable[[Part], None]
    ) -> None:
        link = self.links[sender, receiver]

        def begin(grant: float) -> None:
            duration_s = part.share * mb / grant
            part.fate.energy_j += float(self.power_w[sender, receiver]) * duration_s
            self._later(duration_s, part, sent)

        def sent() -> None:
            self._later(float(self.latency_s[sender, receiver]), part, lambda: then(part))
            self._give_back(link, part)

        self._ask(link, part, part.fate.bandwidth, 0.0, begin)

    def _compute(self, part: Part) -> None:
        server, task = self.servers[part.server], part.task

        def begin(grant: float) -> None:
            gcycles = part.share * task.gcycles
            part.fate.energy_j += self.joule * grant**2 * gcycles
            self._at(server.end_of(gcycles / grant, self.now_s), part, done)

        def done() -> None:
            self._give_back(server, part)
            if part.server == task.home:
                self._end(part)
            else:
                self._transmit(part, part.server, task.home, task.output_mb, self._end)

        self._ask(server, part, part.fate.compute, part.share * task.memory_gb, begin)

    def _end(self, part: Part) -> None:
        part.fate.open -= 1
        if part.fate.open == 0:
            part.fate.end_s = self.now_s
