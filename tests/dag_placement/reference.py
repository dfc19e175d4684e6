"""DAG placement once more, as slow and plain as it gets: a heap of events, one object for each.

Events of one moment happen in this order: primitives complete (lower server first), workflows
arrive, servers go or come back (lower server first).
"""

import heapq
import math
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from edge_marl.dag_placement.scenario import DagScenario
from edge_marl.dag_placement.simulator import DagPlacementSimulator
from edge_marl.random_stream import uniform
from edge_marl.seeds import SERVER_CHANGE_DRAWS

COMPLETION, ARRIVAL, CHANGE = range(3)

_CHANGE_DRAWS = SERVER_CHANGE_DRAWS.start


@dataclass(eq=False)
class Primitive:
    """A primitive and what has become of it."""

    number: int
    workflow: int
    compute: float
    memory: float
    output: float
    before: list["Primitive"] = field(default_factory=list)
    after: list["Primitive"] = field(default_factory=list)
    state: str = "to come"  # blocked, ready, set aside, running, done
    server: int | None = None
    finish: float = math.nan
    placement: int = 0  # number of its last one
    source: "Primitive | None" = None  # the predecessor that finished first
    # Of one that is set aside: what it waits for, if it knows, and since which event.
    awaits: "Primitive | None" = None
    since: int = 0

    @property
    def hops(self) -> int:
        return max((1 + other.hops for other in self.after), default=0)


@dataclass(eq=False)
class Server:
    """A server: in its presence "here", "away" or "leaving"."""

    capacity: float
    memory: float
    power: float
    idle_power: float
    presence: str = "here"
    running: Primitive | None = None
    n_changes: int = 0
    idle_since: int = 0  # number of the event


class Reference:
    """One episode, at its first decision.

    Args:
        scenario: what is played.
        arrivals: of each workflow, ascending.
        workflows: primitives of each, numbered through.
        seed: of the comings and goings of servers.
        reward: "response" or "paper".
        learned: whether an agent selects the primitive.
    """

    def __init__(
        self, scenario: DagScenario, arrivals: list[float], workflows: list[list[Primitive]],
        seed: int = 0, reward: str = "response", learned: bool = False,
    ) -> None:  # fmt: skip
        self.scenario, self.arrivals, self.workflows = scenario, arrivals, workflows
        self.seed, self.reward, self.learned = seed, reward, learned
        columns = ("capacity_gflops", "memory_gb", "power_w", "idle_power_w")
        values = zip(*(scenario.of_servers(name).tolist() for name in columns), strict=True)
        self.servers = [Server(*row) for row in values]
        self.now = 0.0
        self.decisions = self.placements = self.waits = self.lost = self.happened = 0
        self.offered: Primitive | None = None
        self.choices: list[Primitive] = []
        self.over = self.cut_off = False
        self.events: list[tuple[float, int, int, int]] = []
        for k, arrival in enumerate(arrivals):
            heapq.heappush(self.events, (arrival, ARRIVAL, k, 0))
        if scenario.mean_up_s is not None:
            for j in range(len(self.servers)):
                self.plan_change(j, scenario.mean_up_s)
        self.gain = 0.0
        self.least: dict[int, float] = {}
        self.go_on()
        self.settle()

    # What is where.

    def primitives(self, *states: str) -> list[Primitive]:
        return [p for workflow in self.workflows for p in workflow if p.state in states]

    def here(self) -> list[Server]:
        return [server for server in self.servers if server.presence == "here"]

    def delay(self, before: Primitive, j: int) -> float:
        if before.server == j:
            return 0.0
        return before.output / self.scenario.bandwidth_gb_per_s + self.scenario.latency_s

    def inputs(self, primitive: Primitive, j: int) -> float:
        if self.scenario.communication == "reward":
            return 0.0
        return max((self.delay(before, j) for before in primitive.before), default=0.0)

    def takes(self, j: int, primitive: Primitive) -> bool:
        server = self.servers[j]
        idle = server.presence == "here" and server.running is None
        return idle and primitive.memory <= server.memory

    # Time.

    def next_event(self) -> float:
        """Moment of the next event that has not lost its meaning; inf without one."""
        while self.events and self.events[0][1] == COMPLETION:
            _, _, j, placement = self.events[0]
            running = self.servers[j].running
            if running is not None and running.placement == placement:
                break
            heapq.heappop(self.events)
        return self.events[0][0] if self.events else math.inf

    def happen(self) -> None:
        """All that happens at the moment of the next event."""
        moment = self.now = self.next_event()
        self.happened += 1
        kinds = set()
        while self.next_event() == moment:
            _, kind, index, _ = heapq.heappop(self.events)
            kinds.add(kind)
            if kind == COMPLETION:
                self.complete(self.servers[index])
            elif kind == ARRIVAL:
                for primitive in self.workflows[index]:
                    primitive.state = "blocked" if primitive.before else "ready"
                self.least[index] = self.possible(index)
            else:
                self.change(index)
        for primitive in self.primitives("set aside"):
            awaited = primitive.awaits is not None and primitive.awaits.state == "done"
            over = COMPLETION in kinds and not self.primitives("running")
            if awaited or over or CHANGE in kinds:
                primitive.state = "ready"

    def complete(self, server: Server) -> None:
        done = server.running
        assert done is not None
        server.running, server.idle_since = None, self.happened
        if server.presence == "leaving":
            server.presence = "away"
        done.state = "done"
        for primitive in done.after:
            primitive.source = primitive.source or done
            if all(before.state == "done" for before in primitive.before):
                primitive.state = "ready"

    def plan_change(self, j: int, mean: float) -> None:
        draw = uniform(self.seed, _CHANGE_DRAWS + j * 2**24 + 2 * self.servers[j].n_changes)
        moment = self.now - math.log(1.0 - draw) * mean
        self.servers[j].n_changes += 1
        heapq.heappush(self.events, (moment, CHANGE, j, 0))

    def change(self, j: int) -> None:
        server = self.servers[j]
        assert self.scenario.mean_up_s is not None
        if server.presence != "here":
            server.presence = "here"
            self.plan_change(j, self.scenario.mean_up_s)
            return
        luck = uniform(self.seed, _CHANGE_DRAWS + j * 2**24 + 2 * server.n_changes + 1)
        self.plan_change(j, self.scenario.mean_away_s)
        if server.running is None:
            server.presence = "away"
        elif luck < self.scenario.failure_share:
            server.presence = "away"
            lost, server.running = server.running, None
            self.lost += 1
            lost.state, lost.finish = "ready", math.nan
        else:
            server.presence = "leaving"

    # Decisions.

    def candidates(self) -> list[Primitive]:
        ready = self.primitives("ready")
        ready += [p for p in self.primitives("set aside") if self.is_offered_more(p)]
        if self.scenario.time == "event":
            every = range(len(self.servers))
            ready = [p for p in ready if any(self.takes(j, p) for j in every)]
        elif not self.here():
            ready = []
        arrival = self.arrivals
        return sorted(ready, key=lambda p: (-p.hops, arrival[p.workflow], p.workflow, p.number))

    def is_offered_more(self, waiting: Primitive) -> bool:
        """Whether a server has got idle since that it could have."""
        if waiting.awaits is not None:
            return False
        pairs = enumerate(self.servers)
        return any(self.takes(j, waiting) and it.idle_since > waiting.since for j, it in pairs)

    def all_done(self) -> bool:
        return all(p.state == "done" for workflow in self.workflows for p in workflow)

    def go_on(self) -> None:
        """Let time pass until there is something to decide, or nothing any more."""
        while True:
            found = self.candidates()
            if self.learned and min(len(found), len(self.servers)) > 1:
                self.choices = found[: len(self.servers)]
                return
            if found:
                self.offered = found[0]
                return
            if self.all_done():
                self.over = True
                return
            if self.next_event() > self.scenario.time_limit_s:
                self.now = max(self.now, self.scenario.time_limit_s)
                self.cut_off = True
                return
            self.happen()

    def legal(self) -> list[list[int]]:
        """Legal actions of the placer and, if there is one, of the selector."""
        N = len(self.servers)
        if self.offered is None:
            placer = [N]
        elif self.scenario.time == "event":
            placer = [j for j in range(N) if self.takes(j, self.offered)]
            somewhere_else = len(self.here()) < N
            placer += [N] if somewhere_else or self.primitives("running") else []
        else:
            placer = [j for j in range(N) if self.servers[j].presence == "here"]
        selector = list(range(len(self.choices))) or [N]
        return [placer, selector] if self.learned else [placer]

    def awaitable(self) -> list[int]:
        """Primitives for whose end the one that is offered may wait."""
        if self.offered is None or self.scenario.time == "paper":
            return []
        if len(self.servers) not in self.legal()[0] and len(self.candidates()) == 1:
            return []
        known = self.primitives("blocked", "ready", "set aside", "running")
        return [p.number for p in known if p is not self.offered]

    def step(self, actions: list[int]) -> float:
        """Carry out a decision; returns the reward."""
        self.gain = 0.0
        if self.choices:
            self.offered, self.choices = self.choices[actions[1]], []
            return 0.0
        primitive, self.offered = self.offered, None
        assert primitive is not None
        self.decisions += 1
        j = actions[0]
        if j >= len(self.servers):
            self.set_aside(primitive, j - len(self.servers) - 1)
        elif self.takes(j, primitive):
            self.place(primitive, j)
        else:
            self.waits += 1
            if self.reward == "paper":
                self.gain -= 0.001
            until = self.now + self.scenario.step_s
            while self.next_event() <= until:
                self.happen()
            self.now = until
        self.go_on()
        self.settle()
        if self.scenario.time == "paper" and self.decisions == self.scenario.decisions:
            self.cut_off = not self.over
        return self.gain

    def set_aside(self, primitive: Primitive, awaited: int) -> None:
        everything = [p for workflow in self.workflows for p in workflow]
        primitive.state, primitive.since = "set aside", self.happened
        primitive.awaits = everything[awaited] if awaited >= 0 else None
        self.waits += 1

    def place(self, primitive: Primitive, j: int) -> None:
        server = self.servers[j]
        execution = primitive.compute / server.capacity
        primitive.state, primitive.server = "running", j
        primitive.finish = self.now + self.inputs(primitive, j) + execution
        self.placements += 1
        primitive.placement = self.placements
        server.running = primitive
        heapq.heappush(self.events, (primitive.finish, COMPLETION, j, self.placements))
        if self.reward == "paper":
            source = primitive.source
            delay = 0.0 if source is None else self.delay(source, j)
            self.gain += math.exp(-execution) - 0.1 * delay / self.largest_delay()

    def settle(self) -> None:
        """Pay for what has made response times longer than they had to be."""
        for k, before in self.least.items():
            self.least[k] = self.possible(k)
            if self.reward == "response":
                self.gain -= (self.least[k] - before) / len(self.servers)

    def possible(self, k: int) -> float:
        """Least sum of response times of workflow k, as if servers were free and inputs there."""
        earliest: dict[int, float] = {}
        for p in self.workflows[k]:
            earliest[p.number] = p.finish
            if p.state not in ("running", "done"):
                start = max([self.now, *(earliest[before.number] for before in p.before)])
                fits = [server for server in self.servers if p.memory <= server.memory]
                earliest[p.number] = start + min(p.compute / server.capacity for server in fits)
        return sum(end - self.arrivals[k] for end in earliest.values())

    def largest_delay(self) -> float:
        source = self.scenario.workflows
        assert source.kind == "random"
        mean, deviation, _, most = source.output_gb
        largest = min(mean + 3 * deviation, most)
        return largest / self.scenario.bandwidth_gb_per_s + self.scenario.latency_s

    # What agents see.

    def observe(self, extended: bool) -> list[np.ndarray]:
        """Rows ``[1 + N, F]`` of the placer and, if there is one, of the selector."""
        N = len(self.servers)
        width = 10 if extended else 5
        placer = np.zeros((1 + N, 10))
        if self.offered is not None:
            placer[0] = self.describe(self.offered, extended)
            placer[1:], placer[0, 7] = self.see_servers(self.offered)
            if extended:
                placer[1:, 2] = np.log1p(placer[1:, 2])
        seen = [placer[:, :width]]
        if self.learned:
            selector = np.zeros((1 + N, 10))
            if self.choices:
                here = max(1, len(self.here()))
                idle = sum(server.running is None for server in self.here())
                waiting = len(self.primitives("ready", "set aside"))
                selector[0, :3] = waiting, idle, len(self.primitives("running"))
                selector[0] /= here
                for k, primitive in enumerate(self.choices):
                    selector[1 + k] = self.describe(primitive, extended)
            seen.append(selector[:, :width])
        return seen

    def describe(self, primitive: Primitive, extended: bool) -> list[float]:
        workflow = self.workflows[primitive.workflow]
        left = sum(other.state != "done" for other in workflow)
        here = max(1, len(self.here()))
        fastest = primitive.compute / max(server.capacity for server in self.servers)
        memory = primitive.memory / max(server.memory for server in self.servers)
        after, done = len(primitive.after), 1 - left / len(workflow)
        if not extended:
            return [fastest, memory, after / 5, done, primitive.output, 0, 0, 0, 0, 0]
        ready = len(self.primitives("ready", "set aside"))
        unplaced = len(self.primitives("blocked", "ready", "set aside"))
        return [
            math.log(1 + fastest),
            memory,
            after / (after + 5),
            done,
            primitive.output,
            primitive.hops / (primitive.hops + 5),
            left / (left + 5),
            0.0,
            ready / (ready + here),
            unplaced / (unplaced + here),
        ]

    def see_servers(self, primitive: Primitive) -> tuple[np.ndarray, float]:
        """Rows ``[N, F]`` and how much later than elsewhere it is finished on an idle server."""
        rows = np.zeros((len(self.servers), 10))
        rests, occupied = {}, {}
        for j, server in enumerate(self.servers):
            if server.presence != "here":
                continue
            running = server.running
            rests[j] = 0.0 if running is None else running.finish - self.now
            occupied[j] = self.inputs(primitive, j) + primitive.compute / server.capacity
            power = server.idle_power if running is None else server.power
            rows[j, :9] = [
                server.capacity / max(other.capacity for other in self.servers),
                server.memory / max(other.memory for other in self.servers),
                rests[j],
                power / max(other.power for other in self.servers),
                0.0 if primitive.source is None else self.delay(primitive.source, j),
                running is None,
                primitive.memory <= server.memory,
                math.log(1 + occupied[j]),
                math.log(1 + rests[j] + occupied[j]),
            ]
        fitting = [j for j in rests if primitive.memory <= self.servers[j].memory]
        if not fitting:
            return rows, 0.0
        best = min(rests[j] + occupied[j] for j in fitting)
        for j in rests:
            rows[j, 9] = math.log((rests[j] + occupied[j]) / best)
        idle = [occupied[j] for j in fitting if self.takes(j, primitive)]
        return rows, math.log(min(idle) / best) if idle else 0.0


def arrived(
    simulator: DagPlacementSimulator, b: int = 0
) -> tuple[list[float], list[list[Primitive]]]:
    """Arrivals and workflows of an episode of the simulator, for the reference."""
    load = simulator.workload
    count = int(load.n_workflows[b])
    everything = [
        Primitive(
            i, int(load.workflow[b, i]), float(load.compute_gflop[b, i]),
            float(load.memory_gb[b, i]), float(load.output_gb[b, i]),
        )
        for i in range(int(load.first[b, count]))
    ]  # fmt: skip
    for i, primitive in enumerate(everything):
        edges = int(load.first_predecessor[b, i])
        for e in range(edges, edges + int(load.n_predecessors[b, i])):
            before = everything[int(load.predecessor[b, e])]
            primitive.before.append(before)
            before.after.append(primitive)
    firsts = load.first[b, : count + 1].tolist()
    workflows = [everything[i:k] for i, k in pairwise(firsts)]
    return load.arrival_s[b, :count].tolist(), workflows
