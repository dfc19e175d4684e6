"""Decide by heuristics where the offered primitive goes, or that it waits.

These place it at once, on one of the servers that are idle and have the memory:

- ``random``: any of them.
- ``round_robin``: the next one after the server that was used last.
- ``least_loaded``: the one that has been occupied least so far. A server has one primitive at a
  time and no queue, so its load can only be its past.
- ``fastest_idle``: the one with the largest ``C_j``.
- ``locality``: of those that hold the output of a predecessor, the one that would finish first;
  where none does, of all of them.

These may wait for a busy server:

- ``earliest_finish``: the idle server that would finish first, unless a busy one would in less than
  half that time, counting what it executes and what waits for it and is offered first (or
  everything would wait for the same fast server). It is half because longer paths overtake what
  waits: if it waited for any gain, response times would be longer by a fifth to a third. It decides
  anew as soon as one of the servers that are faster than the idle ones is done: if it waited only
  for the one that it prefers, response times would be up to 4% longer.
- ``heft``, ``cpop``: every workflow is planned when it arrives, into the gaps of what is planned
  already (:mod:`edge_marl.dag_placement.list_scheduling`); a primitive waits for the end of the one
  before it on its server. When a server comes or goes, all that is not placed is planned anew, in
  the order of arrival. With ``time="paper"`` primitives are offered in one order only, so
  that there they wait for their server alone.

With ``time="event"`` a wait names the primitive whose end is waited for. With ``time="paper"`` it
names a server that is busy or too small, and those that place at once wait if they cannot place.
Ties go to the lower server. As ``selector`` all take the first primitive, the one with the longest
path.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_marl.compiled import compiled
from edge_marl.dag_placement.list_scheduling import (
    RULES,
    Dependencies,
    Plan,
    Rule,
    Scratch,
    add_kernel,
)
from edge_marl.dag_placement.observing import inputs_s, takes
from edge_marl.dag_placement.records import (
    HERE,
    NOBODY,
    Parameters,
    Progress,
    Queues,
    Servers,
    Tasks,
)
from edge_marl.dag_placement.simulator import BoolArray, DagPlacementSimulator, IntArray
from edge_marl.dag_placement.workload import Status, Workload
from edge_marl.errors import InputError
from edge_marl.random_stream import uniform
from edge_marl.seeds import ACTION_DRAWS
from edge_marl.simulation import Policy

FloatArray = NDArray[np.float64]

_PATIENCE = 2.0  # how many times as fast a busy server has to be
_DRAWS = ACTION_DRAWS.start
_SET_ASIDE, _PLACED = int(Status.SET_ASIDE), int(Status.PLACED)
_PLACING = ("random", "round_robin", "least_loaded", "fastest_idle", "locality", "earliest_finish")
_RANDOM, _ROUND_ROBIN, _LEAST_LOADED, _FASTEST_IDLE, _LOCALITY, _EARLIEST_FINISH = range(6)


class _View(NamedTuple):
    """Hand a simulator's records to the kernels, which do not read what is still to come."""

    seeds: NDArray[np.int64]
    done: BoolArray
    mask: BoolArray
    parameters: Parameters
    workload: Workload
    tasks: Tasks
    servers: Servers
    progress: Progress
    queues: Queues


class _Memory(NamedTuple):
    """Hold what a :class:`PlacingHeuristic` keeps in mind."""

    last: IntArray
    """``[B]``: server used last, -1 before."""
    target: IntArray
    """``[B, P]``: server that a primitive which is set aside is meant for."""
    reserved_s: FloatArray
    """``[N]``: how long those that go first will occupy each server."""


class _Plans(NamedTuple):
    """Hold what a :class:`PlanningHeuristic` keeps in mind, and room for planning a workflow."""

    of: Plan
    """``[B, P]`` each."""
    order: IntArray
    """``[B, P]``: primitives that are planned and not placed, by start."""
    n_planned: IntArray
    """``[B]``"""
    n_known: IntArray
    """``[B]``: workflows that are planned."""
    here: BoolArray
    """``[B, N]``: servers that were there."""
    # Room for one workflow.
    execution_s: FloatArray
    transfer_s: FloatArray
    free_s: FloatArray
    scratch: Scratch


def _view(simulator: DagPlacementSimulator) -> _View:
    return _View(
        seeds=simulator.seeds,
        done=simulator.done,
        mask=simulator.observation.action_mask,
        parameters=simulator.parameters,
        workload=simulator.workload,
        tasks=simulator.tasks,
        servers=simulator.servers,
        progress=simulator.progress,
        queues=simulator.queues,
    )


class PlacingHeuristic(Policy[DagPlacementSimulator]):
    """Decide on one primitive after the other, without a plan."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._rule = _PLACING.index(name)

    def reset(self, simulator: DagPlacementSimulator) -> None:
        """Forget which servers were used."""
        B, N = simulator.servers.state.shape
        self._memory = _Memory(
            last=np.full(B, NOBODY, dtype=np.int32),
            target=np.zeros(simulator.workload.hops.shape, dtype=np.int32),
            reserved_s=np.zeros(N),
        )

    def act(self, simulator: DagPlacementSimulator) -> IntArray:
        """Return the actions ``[B, agents]`` that the rule takes."""
        actions = np.empty(simulator.observation.action_mask.shape[:2], dtype=np.int32)
        _place_one(self._rule, _view(simulator), self._memory, actions)
        return actions


class PlanningHeuristic(Policy[DagPlacementSimulator]):
    """Plan every workflow as a whole when it arrives, by HEFT or CPOP, and follow the plans."""

    def __init__(self, name: Rule) -> None:
        self.name: str = name
        self._rule = RULES.index(name)

    def reset(self, simulator: DagPlacementSimulator) -> None:
        """Forget all plans."""
        self._plans = _empty_plans(simulator)

    def act(self, simulator: DagPlacementSimulator) -> IntArray:
        """Return the actions ``[B, agents]`` that follow the plans."""
        actions = np.empty(simulator.observation.action_mask.shape[:2], dtype=np.int32)
        _follow_plans(self._rule, _view(simulator), self._plans, actions)
        return actions


def _empty_plans(simulator: DagPlacementSimulator) -> _Plans:
    B, N = simulator.servers.state.shape
    tasks = simulator.workload.hops.shape
    n = tasks[1] // simulator.workload.arrival_s.shape[1]  # primitives of the largest workflow
    return _Plans(
        of=Plan(np.zeros(tasks, dtype=np.int32), np.zeros(tasks), np.zeros(tasks)),
        order=np.zeros(tasks, dtype=np.int32),
        n_planned=np.zeros(B, dtype=np.int32),
        n_known=np.zeros(B, dtype=np.int32),
        here=np.zeros((B, N), dtype=np.bool_),
        execution_s=np.zeros((n, N)),
        transfer_s=np.zeros(simulator.workload.predecessor.shape[1]),
        free_s=np.zeros(N),
        scratch=Scratch.of(n, N),
    )


HEURISTICS: dict[str, Callable[[], Policy[DagPlacementSimulator]]] = {
    **{name: partial(PlacingHeuristic, name) for name in _PLACING},
    **{rule: partial(PlanningHeuristic, rule) for rule in RULES},
}


def heuristic(name: str) -> Policy[DagPlacementSimulator]:
    """Return a new heuristic by its name.

    Raises:
        InputError: for a name that is not in :data:`HEURISTICS`.
    """
    if name not in HEURISTICS:
        raise InputError(f"heuristic: expected one of {', '.join(HEURISTICS)}, found {name!r}")
    return HEURISTICS[name]()


@compiled(entry=True)
def _place_one(rule: Any, view: Any, memory: Any, actions: Any) -> None:
    for b in range(len(actions)):
        if not _places(b, view, actions):
            continue
        task = view.progress.task[b]
        if view.progress.n_decisions[b] == 0:
            memory.last[b] = NOBODY
        if rule == _EARLIEST_FINISH:
            _reserve(b, task, view, memory)
            j = _earliest_finish(b, task, view, memory)
        else:
            j = _at_once(rule, b, task, view, memory)
        actions[b, 0] = j


@compiled
def _places(b: Any, view: Any, actions: Any) -> Any:
    """Return whether there is a primitive to place, after writing all actions but its server.

    Agents with nothing to decide take the action N, and a selector takes the first primitive.
    """
    N = view.mask.shape[2] - 1
    for i in range(actions.shape[1]):
        actions[b, i] = N
    if view.done[b]:
        return False
    if view.progress.task[b] == NOBODY:
        actions[b, 1] = 0
        return False
    return True


@compiled
def _takes(b: Any, j: Any, task: Any, view: Any) -> Any:
    return takes(b, j, task, view.parameters, view.workload, view.servers)


@compiled
def _occupied_s(b: Any, task: Any, j: Any, view: Any) -> Any:
    """Return how long a primitive would occupy a server, with the wait for its inputs."""
    sent_s = inputs_s(b, task, j, view.parameters, view.workload, view.tasks)
    return sent_s + view.workload.compute_gflop[b, task] / view.parameters.capacity_gflops[j]


@compiled
def _at_once(rule: Any, b: Any, task: Any, view: Any, memory: Any) -> Any:
    """Return the server that the rule prefers of those that take the primitive, or a wait."""
    N = len(memory.reserved_s)
    n_open = 0
    for j in range(N):
        n_open += _takes(b, j, task, view)
    if n_open == 0:
        return _refusing(b, view)
    place = 0
    if rule == _RANDOM:
        place = int(uniform(view.seeds[b], _DRAWS + view.progress.n_decisions[b]) * n_open)
    best, least = NOBODY, np.inf
    seen = 0
    for j in range(N):
        if not _takes(b, j, task, view):
            continue
        if rule == _RANDOM:
            cost = 0.0 if seen == place else 1.0
        elif rule == _ROUND_ROBIN:
            cost = float((j - memory.last[b] - 1) % N)
        elif rule == _LEAST_LOADED:
            cost = view.servers.busy_s[b, j]
        elif rule == _FASTEST_IDLE:
            cost = -view.parameters.capacity_gflops[j]
        else:
            cost = _occupied_s(b, task, j, view)
            if not _holds_input(b, task, j, view):
                cost += 1e18  # after all that do
        seen += 1
        if cost < least:
            best, least = j, cost
    memory.last[b] = best  # a refusal uses no server
    return best


@compiled
def _holds_input(b: Any, task: Any, j: Any, view: Any) -> Any:
    """Return whether a predecessor was executed on server j."""
    edge = view.workload.first_predecessor[b, task]
    for e in range(edge, edge + view.workload.n_predecessors[b, task]):
        if view.tasks.server[b, view.workload.predecessor[b, e]] == j:
            return True
    return False


@compiled
def _refusing(b: Any, view: Any) -> Any:
    """Return an action that waits where no server takes the primitive.

    With ``time="paper"`` it names a server that does not take it, otherwise it is N.
    """
    N = view.mask.shape[2] - 1
    for j in range(N):
        if view.mask[b, 0, j]:
            return j
    return N


@compiled
def _reserve(b: Any, task: Any, view: Any, memory: Any) -> None:
    """Add up how long each server will be occupied by what waits for it and is offered first."""
    for j in range(len(memory.reserved_s)):
        memory.reserved_s[j] = 0.0
    for k in range(view.progress.n_ready[b]):
        other = view.queues.ready[b, k]
        if view.tasks.status[b, other] == _SET_ASIDE:
            ahead = view.workload.hops[b, other] - view.workload.hops[b, task]
            if ahead > 0 or (ahead == 0 and other < task):
                j = memory.target[b, other]
                memory.reserved_s[j] += _occupied_s(b, other, j, view)


@compiled
def _earliest_finish(b: Any, task: Any, view: Any, memory: Any) -> Any:
    N = len(memory.reserved_s)
    now_s = view.progress.now_s[b]
    idle, idle_s = NOBODY, np.inf
    busy, busy_s = NOBODY, np.inf
    for j in range(N):
        fits = view.workload.memory_gb[b, task] <= view.parameters.memory_gb[j]
        if view.servers.state[b, j] != HERE or not fits:
            continue
        occupied_s = _occupied_s(b, task, j, view)
        if view.servers.running[b, j] == NOBODY:
            if occupied_s < idle_s:
                idle, idle_s = j, occupied_s
            continue
        rest_s = view.servers.free_s[b, j] - now_s
        finish_s = rest_s + memory.reserved_s[j] + occupied_s
        if finish_s < busy_s:
            busy, busy_s = j, finish_s
    if busy == NOBODY and idle == NOBODY:
        return _refusing(b, view)
    if busy == NOBODY or idle_s <= _PATIENCE * busy_s:
        return idle
    if not view.parameters.event:
        return busy
    memory.target[b, task] = busy
    first = busy
    for j in range(N):
        if view.servers.state[b, j] == HERE and view.servers.running[b, j] != NOBODY:
            fits = view.workload.memory_gb[b, task] <= view.parameters.memory_gb[j]
            sooner = view.servers.free_s[b, j] < view.servers.free_s[b, first]
            if fits and sooner and _occupied_s(b, task, j, view) < idle_s:
                first = j
    return N + 1 + view.servers.running[b, first]


@compiled(entry=True)
def _follow_plans(rule: Any, view: Any, plans: Any, actions: Any) -> None:
    N = plans.here.shape[1]
    for b in range(len(actions)):
        if not _places(b, view, actions):
            continue
        task = view.progress.task[b]
        if view.progress.n_decisions[b] == 0:
            plans.n_planned[b] = plans.n_known[b] = 0
        anew = view.progress.n_decisions[b] == 0 or not _drop_placed(b, task, view, plans)
        for j in range(N):
            here = view.servers.state[b, j] == HERE
            anew = anew or here != plans.here[b, j]
            plans.here[b, j] = here
        if anew:
            plans.n_planned[b] = plans.n_known[b] = 0
        if plans.n_known[b] < view.progress.n_arrived[b]:
            _plan_workflows(rule, b, view, plans)
        actions[b, 0] = _as_planned(b, task, view, plans)


@compiled
def _drop_placed(b: Any, offered: Any, view: Any, plans: Any) -> Any:
    """Take placed primitives off the plan; return whether the offered one is or will be on it.

    It is not if its execution was lost.
    """
    planned, n = False, 0
    for k in range(plans.n_planned[b]):
        task = plans.order[b, k]
        if view.tasks.status[b, task] >= _PLACED:
            plans.of.server[b, task] = view.tasks.server[b, task]
            plans.of.finish_s[b, task] = view.tasks.finish_s[b, task]
        else:
            planned = planned or task == offered
            plans.order[b, n] = task
            n += 1
    plans.n_planned[b] = n
    # A primitive of a workflow that has just arrived is planned next.
    return planned or view.workload.workflow[b, offered] >= plans.n_known[b]


@compiled
def _plan_workflows(rule: Any, b: Any, view: Any, plans: Any) -> None:
    """Plan the workflows that have arrived since, behind and between what is planned already."""
    workload, parameters, servers, own = view.workload, view.parameters, view.servers, plans.of
    N = plans.here.shape[1]
    for j in range(N):
        plans.free_s[j] = view.progress.now_s[b]
        if not plans.here[b, j]:
            plans.free_s[j] = np.inf
        elif servers.running[b, j] != NOBODY:
            plans.free_s[j] = servers.free_s[b, j]
    _retime(b, view, plans)
    dependencies = Dependencies(
        workload.first_predecessor[b],
        workload.n_predecessors[b],
        workload.predecessor[b],
        plans.transfer_s,
    )
    of = Plan(own.server[b], own.start_s[b], own.finish_s[b])
    for w in range(plans.n_known[b], view.progress.n_arrived[b]):
        if view.queues.left[b, w] == 0:
            continue
        first, last = workload.first[b, w], workload.first[b, w + 1]
        for task in range(first, last):
            of.server[task] = NOBODY
            if view.tasks.status[b, task] >= _PLACED:
                of.server[task] = view.tasks.server[b, task]
                of.finish_s[task] = view.tasks.finish_s[b, task]
            for j in range(N):
                fits = plans.here[b, j] and workload.memory_gb[b, task] <= parameters.memory_gb[j]
                needed_s = workload.compute_gflop[b, task] / parameters.capacity_gflops[j]
                plans.execution_s[task - first, j] = needed_s if fits else np.inf
            edge = workload.first_predecessor[b, task]
            for e in range(edge, edge + workload.n_predecessors[b, task]):
                before = workload.predecessor[b, e]
                sent_s = (
                    workload.output_gb[b, before] / parameters.bandwidth_gb_per_s
                    + parameters.latency_s
                )
                plans.transfer_s[e] = sent_s if parameters.physical else 0.0
        plans.n_planned[b] = add_kernel(
            rule, first, last, dependencies, plans.execution_s[: last - first], True, plans.free_s,
            of, plans.order[b], plans.n_planned[b], plans.scratch,
        )  # fmt: skip
    plans.n_known[b] = view.progress.n_arrived[b]


@compiled
def _retime(b: Any, view: Any, plans: Any) -> None:
    """Move planned primitives to their earliest starts, in the same order on every server."""
    workload, own, order = view.workload, plans.of, plans.order[b]
    gap_s = plans.scratch.gap_s
    for j in range(len(gap_s)):
        gap_s[j] = plans.free_s[j]
    for k in range(plans.n_planned[b]):
        task = order[k]
        j = own.server[b, task]
        start_s = gap_s[j]
        edge = workload.first_predecessor[b, task]
        for e in range(edge, edge + workload.n_predecessors[b, task]):
            start_s = max(start_s, own.finish_s[b, workload.predecessor[b, e]])
        own.finish_s[b, task] += start_s - own.start_s[b, task]
        own.start_s[b, task] = start_s
        gap_s[j] = own.finish_s[b, task]
        place = k
        while place > 0 and own.start_s[b, order[place - 1]] > start_s:
            order[place] = order[place - 1]
            place -= 1
        order[place] = task


@compiled
def _as_planned(b: Any, task: Any, view: Any, plans: Any) -> Any:
    """Return the planned server if it is idle and it is the primitive's turn, or a wait."""
    N = plans.here.shape[1]
    server = plans.of.server[b, task]
    if server == NOBODY:
        return _refusing(b, view)
    if not view.parameters.event:
        return server
    before = view.servers.running[b, server]
    for k in range(plans.n_planned[b]):
        other = plans.order[b, k]
        if other == task:
            break
        if plans.of.server[b, other] == server:
            before = other
    return server if before == NOBODY else N + 1 + before
