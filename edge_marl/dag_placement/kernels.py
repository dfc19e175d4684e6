"""Compiled physics of DAG placement: scalar loops over a batch of episodes.

What happens to a primitive is known when it is placed, unless its server fails. Between decisions
the clock jumps from event to event: arrivals, completions, departures and returns of servers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edge_marl.compiled import kernel
from edge_marl.dag_placement.observing import delay_s, inputs_s, next_event_s, observe, takes
from edge_marl.dag_placement.records import AWAY, HERE, LEAVING, NOBODY
from edge_marl.dag_placement.workload import CHANGE_DRAWS, Status
from edge_marl.random_stream import uniform

_TO_COME, _BLOCKED, _READY, _SET_ASIDE, _PLACED, _DONE = (int(status) for status in Status)
_DRAWS_PER_SERVER = 2**24

# Of an invalid action (section 4.1.3).
_INVALID = -0.001


@kernel  # type: ignore[untyped-decorator]
def reset_kernel(
    where: Any, seeds: Any, done: Any, law: Any, load: Any, tasks: Any, servers: Any, at: Any,
    lists: Any, features: Any, mask: Any,
) -> None:  # fmt: skip
    """Empty the episodes ``where`` and go to their first decision."""
    for b in range(len(where)):
        if not where[b]:
            continue
        n_tasks = load.first[b, load.n_workflows[b]]
        for task in range(n_tasks):
            tasks.status[b, task] = _TO_COME
            tasks.server[b, task] = NOBODY
            tasks.source[b, task] = NOBODY
            tasks.waiting_for[b, task] = load.n_predecessors[b, task]
            tasks.finish_s[b, task] = np.nan
        for w in range(load.n_workflows[b]):
            lists.left[b, w] = load.first[b, w + 1] - load.first[b, w]
        for j in range(servers.state.shape[1]):
            servers.state[b, j] = HERE
            servers.running[b, j] = NOBODY
            servers.free_s[b, j] = servers.busy_s[b, j] = 0.0
            servers.n_changes[b, j] = 0
            servers.change_s[b, j] = np.inf
            if law.mean_up_s < np.inf:
                _plan_change(b, j, 0.0, law.mean_up_s, seeds[b], servers)
        at.now_s[b], at.task[b], at.n_arrived[b], at.n_ready[b] = 0.0, NOBODY, 0, 0
        at.n_running[b], at.n_unplaced[b], at.n_completed[b], at.n_workflows_done[b] = 0, 0, 0, 0
        at.response_s[b], at.workflow_response_s[b], at.ratio[b] = 0.0, 0.0, 0.0
        at.n_decisions[b], at.n_invalid[b], at.n_waits[b], at.n_lost[b] = 0, 0, 0, 0
        at.communication_s[b], at.energy_j[b], at.n_selected[b] = 0.0, 0.0, 0
        _go_on(b, seeds[b], law, load, tasks, servers, at, lists)
        done[b] = at.task[b] == NOBODY and at.n_selected[b] == 0
        observe(b, law, load, tasks, servers, at, lists, features, mask)


@kernel  # type: ignore[untyped-decorator]
def first_illegal(
    actions: Any, done: Any, mask: Any, law: Any, load: Any, tasks: Any, at: Any
) -> Any:
    """``b * agents + i`` of the first action that is not legal, or -1."""
    B, n_agents = actions.shape
    for b in range(B):
        if done[b]:
            continue
        for i in range(n_agents):
            action = actions[b, i]
            if action >= mask.shape[2]:
                legal = i == 0 and _may_await(b, action - mask.shape[2], law, load, tasks, at, mask)
            else:
                legal = action >= 0 and mask[b, i, action]
            if not legal:
                return b * n_agents + i
    return -1


@kernel  # type: ignore[untyped-decorator]
def _may_await(b: Any, awaited: Any, law: Any, load: Any, tasks: Any, at: Any, mask: Any) -> Any:
    """Whether the primitive to place may wait for the end of another one.

    Where nothing is to happen it may while there is another to decide on, so the last is placed.
    """
    if not law.event or at.task[b] in (NOBODY, awaited):
        return False
    if awaited >= load.first[b, at.n_arrived[b]] or tasks.status[b, awaited] == _DONE:
        return False
    return mask[b, 0, mask.shape[2] - 1] or at.n_open[b] > 1


@kernel  # type: ignore[untyped-decorator]
def step_kernel(
    actions: Any, seeds: Any, done: Any, law: Any, load: Any, tasks: Any, servers: Any, at: Any,
    lists: Any, features: Any, mask: Any, reward: Any, terminated: Any, truncated: Any,
) -> None:  # fmt: skip
    """Carry out one decision in every episode under way, and go to the next."""
    N = servers.state.shape[1]
    for b in range(len(done)):
        terminated[b] = truncated[b] = False
        if done[b]:
            reward[b] = 0.0
            continue
        gain = 0.0
        if at.n_selected[b] > 0:
            at.task[b] = lists.offered[b, actions[b, 1]]
            at.n_selected[b] = 0
        else:
            at.n_decisions[b] += 1
            task, j = at.task[b], actions[b, 0]
            at.task[b] = NOBODY
            passed = False
            if j >= N:
                tasks.status[b, task] = _SET_ASIDE
                tasks.awaits[b, task] = j - (N + 1)
                tasks.asked_s[b, task] = at.now_s[b]
                at.n_waits[b] += 1
            elif takes(b, j, task, law, load, servers):
                _place(b, task, j, law, load, tasks, servers, at, lists)
                if law.paper_reward:
                    gain += _equation_2(b, task, law, load, tasks)
            else:
                at.n_invalid[b] += 1
                if law.paper_reward:
                    gain += _INVALID
                until_s = at.now_s[b] + law.step_s
                next_s = next_event_s(b, law, load, servers, at)
                while next_s <= until_s:
                    _happen(b, next_s, seeds[b], law, load, tasks, servers, at, lists)
                    next_s = next_event_s(b, law, load, servers, at)
                at.now_s[b] = until_s
                passed = True
            passed = _go_on(b, seeds[b], law, load, tasks, servers, at, lists) or passed
            if law.response_reward:
                gain -= _delay_s(b, task, passed, load, tasks, at, lists) * law.per_server
            if at.task[b] == NOBODY and at.n_selected[b] == 0:
                finished = at.n_arrived[b] == load.n_workflows[b] and (
                    at.n_unplaced[b] + at.n_running[b] == 0
                )
                terminated[b], truncated[b] = finished, not finished
                done[b] = True
            elif not law.event and at.n_decisions[b] >= law.decisions:
                truncated[b] = done[b] = True
        reward[b] = gain
        observe(b, law, load, tasks, servers, at, lists, features, mask)


@kernel  # type: ignore[untyped-decorator]
def _place(
    b: Any, task: Any, j: Any, law: Any, load: Any, tasks: Any, servers: Any, at: Any, lists: Any
) -> None:
    """Assign a primitive to a server."""
    now_s = at.now_s[b]
    tau_s = load.compute_gflop[b, task] / law.capacity_gflops[j]
    finish_s = now_s + inputs_s(b, task, j, law, load, tasks) + tau_s
    tasks.status[b, task] = _PLACED
    tasks.server[b, task] = j
    tasks.finish_s[b, task] = finish_s
    servers.running[b, j] = task
    servers.free_s[b, j] = finish_s
    servers.busy_s[b, j] += finish_s - now_s
    for k in range(at.n_ready[b]):
        if lists.ready[b, k] == task:
            at.n_ready[b] -= 1
            lists.ready[b, k] = lists.ready[b, at.n_ready[b]]
            break
    at.n_running[b] += 1
    at.n_unplaced[b] -= 1
    at.communication_s[b] += _sent_s(b, task, law, load, tasks)
    at.energy_j[b] += law.power_w[j] * tau_s


@kernel  # type: ignore[untyped-decorator]
def _sent_s(b: Any, task: Any, law: Any, load: Any, tasks: Any) -> Any:
    """Delay of equation 2 of a primitive that has been placed."""
    source = tasks.source[b, task]
    return 0.0 if source == NOBODY else delay_s(b, source, tasks.server[b, task], law, load, tasks)


@kernel  # type: ignore[untyped-decorator]
def _equation_2(b: Any, task: Any, law: Any, load: Any, tasks: Any) -> Any:
    """What a primitive earns that has been placed."""
    j = tasks.server[b, task]
    tau_s = load.compute_gflop[b, task] / law.capacity_gflops[j]
    return (
        law.w_tau * math.exp(-tau_s / law.s_tau_s)
        - law.alpha * _sent_s(b, task, law, load, tasks) / law.largest_delay_s
        - law.beta * law.power_w[j] * tau_s / law.largest_energy_j
    )


@kernel  # type: ignore[untyped-decorator]
def _go_on(
    b: Any, seed: Any, law: Any, load: Any, tasks: Any, servers: Any, at: Any, lists: Any
) -> Any:
    """Let time pass until there is something to decide; returns whether any did.

    At the end of the episode there is neither a primitive to place nor one to select.
    """
    passed = False
    while True:
        _offer(b, law, load, tasks, servers, at, lists)
        if at.task[b] != NOBODY or at.n_selected[b] > 0:
            return passed
        if at.n_arrived[b] == load.n_workflows[b] and at.n_unplaced[b] + at.n_running[b] == 0:
            return passed
        passed = True
        next_s = next_event_s(b, law, load, servers, at)
        if next_s > law.time_limit_s:
            at.now_s[b] = max(law.time_limit_s, at.now_s[b])
            return passed
        _happen(b, next_s, seed, law, load, tasks, servers, at, lists)


@kernel  # type: ignore[untyped-decorator]
def _offer(b: Any, law: Any, load: Any, tasks: Any, servers: Any, at: Any, lists: Any) -> None:
    """First level: by longest hop count to the end of the workflow (section 4.1).

    Ties: the earlier workflow, then the lower number; both are the lower number.
    """
    at.n_open[b] = 0
    if at.n_ready[b] == 0:
        return
    idle_gb = new_gb = -1.0  # memory of what is idle, and of what has got idle just now
    for j in range(servers.state.shape[1]):
        if servers.state[b, j] == HERE and (not law.event or servers.running[b, j] == NOBODY):
            idle_gb = max(idle_gb, law.memory_gb[j])
            if servers.free_s[b, j] == at.now_s[b]:
                new_gb = max(new_gb, law.memory_gb[j])
    if idle_gb < 0.0:
        return
    if not law.event:
        idle_gb = np.inf
    n, most = 0, servers.state.shape[1] if law.selects else 1
    offered = lists.offered[b]
    for k in range(at.n_ready[b]):
        task = lists.ready[b, k]
        room_gb = idle_gb
        if tasks.status[b, task] == _SET_ASIDE:
            # What got idle earlier and still is, it has been offered if it has the memory.
            again = tasks.awaits[b, task] == NOBODY and tasks.asked_s[b, task] < at.now_s[b]
            room_gb = new_gb if again else -1.0
        if load.memory_gb[b, task] > room_gb:
            continue
        at.n_open[b] += 1
        hops = load.hops[b, task]
        place = n
        while place > 0:
            other = offered[place - 1]
            ahead = load.hops[b, other] - hops
            if ahead > 0 or (ahead == 0 and other < task):
                break
            if place < most:
                offered[place] = other
            place -= 1
        if place < most:
            offered[place] = task
            n = min(n + 1, most)
    if n == 1:
        at.task[b] = offered[0]
    else:
        at.n_selected[b] = n


@kernel  # type: ignore[untyped-decorator]
def _delay_s(b: Any, decided: Any, passed: Any, load: Any, tasks: Any, at: Any, lists: Any) -> Any:
    """By how much response times have grown at least since the last decision.

    While time passes those grow that depend on ready primitives. Every workflow is gone through
    once, however many of its primitives are ready.
    """
    sum_s = 0.0
    if passed:
        for k in range(at.n_ready[b]):
            w = load.workflow[b, lists.ready[b, k]]
            if lists.valued[b, w] < at.n_decisions[b]:
                lists.valued[b, w] = at.n_decisions[b]
                sum_s += _foresee(b, load.first[b, w], load, tasks, at)
    w = load.workflow[b, decided]
    if tasks.status[b, decided] >= _PLACED and lists.valued[b, w] < at.n_decisions[b]:
        sum_s += _foresee(b, decided, load, tasks, at)
    return sum_s


@kernel  # type: ignore[untyped-decorator]
def _foresee(b: Any, first: Any, load: Any, tasks: Any, at: Any) -> Any:
    """Find out what is possible now from a primitive to the end of its workflow.

    Returns:
        by how much later they can be done than was known before, summed up.
    """
    sum_s = 0.0
    for task in range(first, load.first[b, load.workflow[b, first] + 1]):
        if tasks.status[b, task] < _PLACED:
            start_s = at.now_s[b]
            edge = load.first_predecessor[b, task]
            for e in range(edge, edge + load.n_predecessors[b, task]):
                start_s = max(start_s, tasks.earliest_s[b, load.predecessor[b, e]])
            earliest_s = start_s + load.fastest_s[b, task]
        else:
            earliest_s = tasks.finish_s[b, task]
        sum_s += earliest_s - tasks.earliest_s[b, task]
        tasks.earliest_s[b, task] = earliest_s
    return sum_s


@kernel  # type: ignore[untyped-decorator]
def _happen(
    b: Any, now_s: Any, seed: Any, law: Any, load: Any, tasks: Any, servers: Any, at: Any,
    lists: Any,
) -> None:  # fmt: skip
    """Go to the moment of the next event, let all happen that is due."""
    at.now_s[b] = now_s
    N = servers.state.shape[1]
    completes = changes = False
    for j in range(N):
        if servers.running[b, j] != NOBODY and servers.free_s[b, j] <= now_s:
            _complete(b, j, load, tasks, servers, at, lists)
            completes = True
    while at.n_arrived[b] < load.n_workflows[b] and (load.arrival_s[b, at.n_arrived[b]] <= now_s):
        _arrive(b, law, load, tasks, at, lists)
    if law.mean_up_s < np.inf:
        for j in range(N):
            if servers.change_s[b, j] <= now_s:
                _change(b, j, seed, law, load, tasks, servers, at, lists)
                changes = True
    if at.n_waits[b] > 0 and (completes or changes):
        everyone = changes or at.n_running[b] == 0
        for k in range(at.n_ready[b]):
            task = lists.ready[b, k]
            if tasks.status[b, task] == _SET_ASIDE:
                awaited = tasks.awaits[b, task]
                if everyone or (awaited != NOBODY and tasks.status[b, awaited] == _DONE):
                    tasks.status[b, task] = _READY


@kernel  # type: ignore[untyped-decorator]
def _arrive(b: Any, law: Any, load: Any, tasks: Any, at: Any, lists: Any) -> None:
    """Let the next workflow in."""
    w = at.n_arrived[b]
    at.n_arrived[b] += 1
    for task in range(load.first[b, w], load.first[b, w + 1]):
        at.n_unplaced[b] += 1
        tasks.status[b, task] = _BLOCKED
        if tasks.waiting_for[b, task] == 0:
            _make_ready(b, task, tasks, at, lists)
    if law.response_reward:
        lists.valued[b, w] = 0
        _foresee(b, load.first[b, w], load, tasks, at)


@kernel  # type: ignore[untyped-decorator]
def _make_ready(b: Any, task: Any, tasks: Any, at: Any, lists: Any) -> None:
    tasks.status[b, task] = _READY
    lists.ready[b, at.n_ready[b]] = task
    at.n_ready[b] += 1


@kernel  # type: ignore[untyped-decorator]
def _complete(b: Any, j: Any, load: Any, tasks: Any, servers: Any, at: Any, lists: Any) -> None:
    """A primitive is done."""
    task = servers.running[b, j]
    servers.running[b, j] = NOBODY
    at.n_running[b] -= 1
    if servers.state[b, j] == LEAVING:
        servers.state[b, j] = AWAY
    tasks.status[b, task] = _DONE
    w = load.workflow[b, task]
    response_s = tasks.finish_s[b, task] - load.arrival_s[b, w]
    at.n_completed[b] += 1
    at.response_s[b] += response_s
    lists.left[b, w] -= 1
    if lists.left[b, w] == 0:
        at.n_workflows_done[b] += 1
        at.workflow_response_s[b] += response_s
        at.ratio[b] += response_s / load.bound_s[b, w]
    edge = load.first_successor[b, task]
    for e in range(edge, edge + load.n_successors[b, task]):
        after = load.successor[b, e]
        if tasks.source[b, after] == NOBODY:
            tasks.source[b, after] = task
        tasks.waiting_for[b, after] -= 1
        if tasks.waiting_for[b, after] == 0:
            _make_ready(b, after, tasks, at, lists)


@kernel  # type: ignore[untyped-decorator]
def _plan_change(b: Any, j: Any, now_s: Any, mean_s: Any, seed: Any, servers: Any) -> None:
    """Draw when a server goes, or is back."""
    counter = CHANGE_DRAWS + j * _DRAWS_PER_SERVER + 2 * servers.n_changes[b, j]
    servers.change_s[b, j] = now_s - math.log(1.0 - uniform(seed, counter)) * mean_s
    servers.n_changes[b, j] += 1


@kernel  # type: ignore[untyped-decorator]
def _change(
    b: Any, j: Any, seed: Any, law: Any, load: Any, tasks: Any, servers: Any, at: Any, lists: Any
) -> None:
    """A server fails, leaves or comes back."""
    now_s = at.now_s[b]
    if servers.state[b, j] == HERE:
        luck = uniform(seed, CHANGE_DRAWS + j * _DRAWS_PER_SERVER + 2 * servers.n_changes[b, j] + 1)
        _plan_change(b, j, now_s, law.mean_away_s, seed, servers)
        task = servers.running[b, j]
        if task == NOBODY:
            servers.state[b, j] = AWAY
        elif luck < law.failure_share:
            servers.state[b, j] = AWAY
            servers.running[b, j] = NOBODY
            rest_s = servers.free_s[b, j] - now_s
            servers.busy_s[b, j] -= rest_s
            unused_s = min(rest_s, load.compute_gflop[b, task] / law.capacity_gflops[j])
            at.energy_j[b] -= law.power_w[j] * unused_s
            at.n_running[b] -= 1
            at.n_unplaced[b] += 1
            at.n_lost[b] += 1
            tasks.finish_s[b, task] = np.nan
            _make_ready(b, task, tasks, at, lists)
        else:
            servers.state[b, j] = LEAVING
    else:
        servers.state[b, j] = HERE
        _plan_change(b, j, now_s, law.mean_up_s, seed, servers)
