"""Offloading on a graph once more, slow and plain: objects, lists, one task at a time.

There is no calendar and no pool: in every tick everything that is under way is looked at. All tasks
of an episode are made beforehand. A node knows the moment at which it will be done with a task, and
a task all nodes that it has come to.

Tick t lasts from moment t to moment t + 1. At t agents decide and clients' new tasks leave them;
until t + 1 nodes execute. At t + 1 what is overdue is lost, queue lengths are told, arrivals are
handed out in the order of their moments, and idle nodes may start a task.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from edge_marl.graph_offloading.scenario import GraphScenario
from edge_marl.random_stream import uniform
from edge_marl.seeds import FAILURE_DRAWS, START_DRAWS

OVER = ("finished", "refused", "expired", "failed")
"""Fates of tasks."""


@dataclass(eq=False)
class Task:
    """A task and its story."""

    number: int
    client: int
    """The node that its client is at."""
    first: int
    """The node that it is for."""
    created: int
    deadline: float
    instructions: float
    size_mb: float
    status: str = "moving"
    """Or undecided, decided, running, returning, doomed (on the way, but too late), finished,
    refused, expired, failed."""
    node: int = -1
    """Where it is, or where it is on its way to."""
    moment: float = math.nan
    """At which it, or its result, arrives."""
    came_to: list[int] = field(default_factory=list)
    """Nodes, again and again where it was sent back."""
    way_back: list[int] = field(default_factory=list)
    """What its result has yet to come to, the client's node last."""
    decisions: list[tuple[int, int, int]] = field(default_factory=list)
    """Tick, node, and where to: the node itself if kept."""
    executed_at: list[int] = field(default_factory=list)
    start: float = math.nan
    finish: float = math.nan
    response: float = math.nan
    ended: int | None = None
    """Tick in which its fate became known."""
    executed: int | None = None
    """Tick in which it was."""
    lost_at: int | None = None
    """Node that had no place or no time for it."""


@dataclass(eq=False)
class Node:
    """A node, its queue, and what it has done."""

    name: int
    capacity: float
    limit: int
    has_agent: bool
    undecided: list[Task] = field(default_factory=list)
    decided: list[Task] = field(default_factory=list)
    running: Task | None = None
    shown: int = 0
    busy: float = 0.0
    occupied: float = 0.0
    count: Counter[str] = field(default_factory=Counter)
    outages: list[tuple[int, int]] = field(default_factory=list)
    """Moments at which it fails, and is repaired."""

    @property
    def to_execute(self) -> list[Task]:
        """All tasks that it is to execute, the running one first."""
        return ([self.running] if self.running else []) + self.decided

    @property
    def queue(self) -> list[Task]:
        """All tasks at the node."""
        return self.to_execute + self.undecided


class Reference:
    """Play one episode of a scenario."""

    def __init__(self, scenario: GraphScenario, seed: int) -> None:
        graph = scenario.graph()
        network = scenario.network(graph)
        self.scenario, self.seed = scenario, seed
        self.t = 0
        self.nodes = [
            Node(n, float(network.capacity[n]), one.queue_limit, one.has_agent)
            for n, one in enumerate(graph.nodes)
        ]
        self.agents = [node for node in self.nodes if node.has_agent]
        self.neighbours: list[list[int]] = [[] for _ in self.nodes]
        self.ticks_per_mb: dict[tuple[int, int], float] = {}
        self.latency: dict[tuple[int, int], float] = {}
        for k, link in enumerate(graph.links):
            self.neighbours[link.source].append(link.target)
            self.ticks_per_mb[link.source, link.target] = float(network.ticks_per_mb[k])
            self.latency[link.source, link.target] = float(network.latency_ticks[k])
        self.link_free = dict.fromkeys(self.ticks_per_mb, 0.0)
        self.link_outages: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self._foresee_failures()
        self.traffic_mb = 0.0
        self.coming = all_tasks(scenario, seed)
        self.tasks: list[Task] = []
        """All tasks so far, in order of creation."""
        self.on_the_way: list[Task] = []

    def step(self, actions: Sequence[int]) -> None:
        """Play one tick; actions are as the simulator takes them."""
        t, end = self.t, self.t + 1
        for node, action in zip(self.agents, actions, strict=True):
            if node.undecided:
                self._decide(node, int(action))
        for node in self.nodes:
            self._execute(node)
        while self.coming and self.coming[0].created == t:
            self.tasks.append(self.coming.pop(0))
            self._leave_client(self.tasks[-1])
        for task in self.tasks:
            self._check_deadline(task, end)
        told = end % self.scenario.broadcast_ticks == 0
        before = {node.name: len(node.queue) for node in self.nodes}
        self.t = end
        arrived = [k for k in self.on_the_way if k.status != "doomed" and k.moment <= end]
        self.on_the_way = [k for k in self.on_the_way if k not in arrived]
        for node in self.nodes:
            if end in [fails for fails, _ in node.outages]:
                self._lose_all(node)
        for task in sorted(arrived, key=lambda task: (task.moment, task.number)):
            outages = self.nodes[task.node].outages
            at_work = repaired(outages, t), repaired(outages, end)
            if at_work == (t, end):
                self._arrive(task)
            else:  # it waits for the node
                self._travel(task, task.node, max(task.moment, *at_work), task.status)
        for node in self.nodes:
            if repaired(node.outages, end) > end:
                node.shown = node.limit
            elif told:
                node.shown = before[node.name]
            node.occupied += len(node.queue) / node.limit
            if node.running is None and node.undecided:
                draw = uniform(self.seed, START_DRAWS.start + end * len(self.nodes) + node.name)
                if draw < self.scenario.start_undecided:
                    self._start_next(node, end)
        for task in self.tasks:
            if task.ended is None and task.status in OVER:
                task.ended = t

    def under_way(self) -> dict[int, tuple[str, int]]:
        """Status and node of all tasks in flight, by number."""
        return {task.number: (task.status, task.node) for task in self.tasks
                if task.status not in OVER}  # fmt: skip

    def own_outcomes(self, delay: int, gamma: float) -> list[list[float]]:
        """What the agents earn in each tick by own outcomes, given all that has happened."""
        safe = self.scenario.deadline_ends == "waiting"  # once executed
        earned = [[0.0] * len(self.agents) for _ in range(self.t)]
        place = {node.name: a for a, node in enumerate(self.agents)}
        for task in self.tasks:
            finishes = task.status == "finished" or (safe and task.executed is not None)
            certain = task.executed if safe and finishes else task.ended
            if certain is None:
                continue
            responsible = {node: tick for tick, node, _ in task.decisions}
            if not task.decisions and task.lost_at is not None:
                responsible = {task.lost_at: certain}
            for node, tick in responsible.items():
                when = tick + delay if delay else certain
                if node in place and (not delay or certain < when) and when < self.t:
                    worth = gamma ** (certain - tick) if delay else 1
                    earned[when][place[node]] += worth if finishes else -worth
        return earned

    def fates(self) -> Counter[str]:
        """How many tasks have which status."""
        return Counter(task.status for task in self.tasks)

    # What fails

    def _foresee_failures(self) -> None:
        """Draw all outages of nodes and links up to the end of the episode."""
        own, links = self.scenario, list(self.ticks_per_mb)
        if own.node_mttf_s is None and own.link_mttf_s is None:
            return
        n_parts = len(self.nodes) + len(links)
        for node in self.nodes:
            node.outages = self._outages(node.name, n_parts, own.node_mttf_s, own.node_mttr_s)
        for k, (source, target) in enumerate(links):
            if links.index((target, source)) > k:
                part = len(self.nodes) + k
                found = self._outages(part, n_parts, own.link_mttf_s, own.link_mttr_s)
                self.link_outages[source, target] = self.link_outages[target, source] = found

    def _outages(
        self, part: int, n_parts: int, mttf_s: float | None, mttr_s: float
    ) -> list[tuple[int, int]]:
        changes, moment = [], 0
        while mttf_s is not None and (moment <= self.scenario.ticks or len(changes) % 2):
            u = uniform(self.seed, FAILURE_DRAWS.start + len(changes) * n_parts + part)
            mean = (mttr_s if len(changes) % 2 else mttf_s) / self.scenario.tick_s
            moment += max(1, math.floor(-math.log(1.0 - u) * mean + 0.5))
            changes.append(moment)
        return list(zip(changes[::2], changes[1::2], strict=False))

    def _lose_all(self, node: Node) -> None:
        for task in node.queue:
            task.status, task.lost_at = "failed", None
        node.undecided, node.decided, node.running = [], [], None

    def may_send(self, source: int, target: int) -> bool:
        """Whether an agent can send over a link now."""
        parts = self.link_outages.get((source, target), []), self.nodes[target].outages
        return all(repaired(outages, self.t) == self.t for outages in parts)

    # What happens at nodes

    def _decide(self, node: Node, action: int) -> None:
        task = node.undecided.pop(0)
        target = self.neighbours[node.name][action - 1] if action else node.name
        task.decisions.append((self.t, node.name, target))
        if action == 0:
            node.count["kept"] += 1
            task.status = "decided"
            node.decided.append(task)
        else:
            node.count["sent"] += 1
            self._send(task, node.name, target, self.t, "moving")

    def _start_next(self, node: Node, moment: float) -> None:
        """Start the next task, if there is one that may be started."""
        if node.decided:
            task = node.decided.pop(-1 if self.scenario.queue_order == "lifo" else 0)
        elif node.undecided and self.scenario.start_undecided > 0:
            task = node.undecided.pop(0)
        else:
            return
        node.running = task
        task.status, task.start = "running", moment
        task.executed_at.append(node.name)

    def _execute(self, node: Node) -> None:
        """Execute until the end of the tick."""
        now, end = float(self.t), float(self.t + 1)
        while True:
            if node.running is None:
                self._start_next(node, now)
            task = node.running
            if task is None:
                break
            finish = task.start + task.instructions / node.capacity
            if finish > end:
                now = end
                break
            now = task.finish = finish
            task.executed = self.t
            node.running = None
            node.count["processed"] += 1
            task.way_back = way_back(task)
            self._return(task, node.name, finish)
        node.busy += now - self.t

    def _arrive(self, task: Task) -> None:
        node = self.nodes[task.node]
        if task.status == "returning":
            if task.way_back:
                self._return(task, node.name, task.moment)
            else:
                task.status, task.response = "finished", task.moment - task.created
            return
        node.count["received"] += 1
        if len(node.queue) == node.limit:
            task.status, task.lost_at = "refused", node.name
            node.count["refused"] += 1
            return
        task.came_to.append(node.name)
        task.status = "undecided" if node.has_agent else "decided"
        getattr(node, task.status).append(task)

    def _check_deadline(self, task: Task, end: int) -> None:
        """Lose a task for which it is too late when the tick ends."""
        node = self.nodes[task.node]
        ends_running = self.scenario.deadline_ends == "everything"
        at_node = task.status in ("undecided", "decided") or (
            task.status == "running" and ends_running
        )
        if at_node and task.deadline + self.scenario.grace_ticks <= end:
            task.lost_at = node.name
            if task.status == "running":
                node.running = None
            else:
                getattr(node, task.status).remove(task)
        elif task.status == "doomed" and task.deadline <= end:
            self.on_the_way.remove(task)
        else:
            return
        task.status = "expired"
        node.count["expired"] += 1

    # What happens between them

    def _leave_client(self, task: Task) -> None:
        if task.client == task.first:
            self._travel(task, task.first, task.created + 1.0, "moving")
        else:
            self._send(task, task.client, task.first, task.created, "moving")

    def _return(self, task: Task, here: int, moment: float) -> None:
        """Send a result on from a node."""
        target = task.way_back.pop(0)
        if target == here:
            self._travel(task, here, moment + 1.0, "returning")
        else:
            self._send(task, here, target, moment, "returning")

    def _send(self, task: Task, source: int, target: int, moment: float, status: str) -> None:
        link = source, target
        duration = task.size_mb * self.ticks_per_mb[link]
        for outages in self.link_outages.get(link, []), self.nodes[source].outages:
            if repaired(outages, self.t) > self.t:
                moment = max(moment, repaired(outages, self.t))
        if self.scenario.contention:  # a link goes by the order in which it is given things
            moment = max(moment, self.link_free[link])
            self.link_free[link] = moment + duration
        self.traffic_mb += task.size_mb
        self._travel(task, target, moment + duration + self.latency[link], status)

    def _travel(self, task: Task, target: int, moment: float, status: str) -> None:
        """Be on the way, or doomed: a task has to be there before its deadline, a result at it."""
        in_time = moment < task.deadline or (status == "returning" and moment == task.deadline)
        doomed = self.scenario.deadline_ends == "everything" and not in_time
        task.node, task.moment, task.status = target, moment, "doomed" if doomed else status
        self.on_the_way.append(task)


def repaired(outages: Sequence[tuple[int, int]], moment: int) -> int:
    """From when on something works that is looked at in this moment: the moment itself if it does.

    What fails in a moment, or is repaired in it, has done so.
    """
    return next((end for begin, end in outages if begin <= moment < end), moment)


def way_back(task: Task) -> list[int]:
    """Where the result of a task comes to from the last node, the client's node last.

    At each node it goes to the one from which the task first came there. Where the client is, it
    stays, for one more tick; only from the task's first node it goes to a client elsewhere.
    """
    here, way = task.came_to[-1], []
    while here != task.client:
        visit = task.came_to.index(here)
        if visit == 0:
            return [*way, task.client]
        here = task.came_to[visit - 1]
        way.append(here)
    return [*way, task.client]


def all_tasks(scenario: GraphScenario, seed: int) -> list[Task]:
    """Make all tasks of an episode, in order of creation: by tick, then by stream."""
    graph = scenario.graph()
    load, rules = scenario.streams(graph), scenario.rules()
    links = graph.links
    streams = [
        (links[at].source if at >= 0 else int(target), int(target))
        for at, target in zip(load.link, load.target, strict=True)
    ]
    jobs = list(zip(load.instructions.tolist(), load.size_mb.tolist(), strict=True))
    low, high = rules.deadline_ticks
    found: list[tuple[int, int, int, float]] = []  # tick, stream, job, place between deadlines
    if scenario.arrivals == "recorded":
        at = load.arrival_ticks.tolist()
        begin = int(uniform(seed, 3) * len(jobs))
        for k in count():
            rounds, job = divmod(begin + k, len(jobs))
            tick = math.ceil(at[job] + rounds * at[-1] - at[begin])
            if tick >= scenario.ticks:
                break
            found.append(
                (tick, int(uniform(seed, 4 * k + 1) * len(streams)), job, uniform(seed, 4 * k + 2))
            )
    else:
        for j in range(len(streams)):
            tick = 0
            for k in count():
                draws = [uniform(seed, 4 * (k * len(streams) + j) + i) for i in range(3)]
                gap = -math.log(1.0 - draws[0]) * float(load.gap_ticks[j])
                tick += max(1, math.floor(gap + 0.5))
                if tick >= scenario.ticks:
                    break
                job = int(load.first_job[j]) + int(draws[1] * int(load.n_jobs[j]))
                found.append((tick, j, job, draws[2]))
        found.sort(key=lambda one: one[:2])
    return [
        Task(number, *streams[j], tick, tick + low + (high - low) * late, *jobs[job])
        for number, (tick, j, job, late) in enumerate(found)
    ]
