"""Simulate DAG placement in compiled scalar loops over a batch of episodes.

What happens to a primitive is known when it is placed, unless its server fails. Between decisions
the clock jumps from event to event: arrivals, completions, departures and returns of servers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edge_marl.compiled import compiled
from edge_marl.dag_placement.observing import delay_s, inputs_s, next_event_s, observe, takes
from edge_marl.dag_placement.records import AWAY, HERE, LEAVING, NOBODY
from edge_marl.dag_placement.workload import Status
from edge_marl.random_stream import uniform
from edge_marl.seeds import SERVER_CHANGE_DRAWS

_TO_COME, _BLOCKED, _READY, _SET_ASIDE, _PLACED, _DONE = (int(status) for status in Status)
_CHANGE_DRAWS = SERVER_CHANGE_DRAWS.start
_DRAWS_PER_SERVER = 2**24

# Reward of an invalid action (section 4.1.3).
_INVALID = -0.001


@compiled(entry=True)
def reset_kernel(
    where: Any, seeds: Any, done: Any, parameters: Any, workload: Any, tasks: Any, servers: Any,
    progress: Any, queues: Any, observation: Any,
) -> None:  # fmt: skip
    """Reset the episodes ``where [B]`` and let them go on to their first decision."""
    for b in range(len(where)):
        if not where[b]:
            continue
        n_tasks = workload.first[b, workload.n_workflows[b]]
        for task in range(n_tasks):
            tasks.status[b, task] = _TO_COME
            tasks.server[b, task] = NOBODY
            tasks.source[b, task] = NOBODY
            tasks.waiting_for[b, task] = workload.n_predecessors[b, task]
            tasks.finish_s[b, task] = np.nan
        for w in range(workload.n_workflows[b]):
            queues.left[b, w] = workload.first[b, w + 1] - workload.first[b, w]
        for j in range(servers.state.shape[1]):
            servers.state[b, j] = HERE
            servers.running[b, j] = NOBODY
            servers.free_s[b, j] = servers.busy_s[b, j] = 0.0
            servers.n_changes[b, j] = 0
            servers.change_s[b, j] = np.inf
            if parameters.mean_up_s < np.inf:
                _plan_change(b, j, 0.0, parameters.mean_up_s, seeds[b], servers)
        progress.now_s[b], progress.task[b], progress.n_selected[b] = 0.0, NOBODY, 0
        progress.n_arrived[b], progress.n_ready[b], progress.n_running[b] = 0, 0, 0
        progress.n_unplaced[b], progress.n_completed[b] = 0, 0
        progress.n_workflows_done[b], progress.n_decisions[b] = 0, 0
        progress.n_invalid[b], progress.n_waits[b], progress.n_lost[b] = 0, 0, 0
        progress.response_s[b], progress.workflow_response_s[b], progress.ratio[b] = 0.0, 0.0, 0.0
        progress.communication_s[b], progress.energy_j[b] = 0.0, 0.0
        _go_on(b, seeds[b], parameters, workload, tasks, servers, progress, queues)
        done[b] = progress.task[b] == NOBODY and progress.n_selected[b] == 0
        observe(b, parameters, workload, tasks, servers, progress, queues, observation)


@compiled(entry=True)
def first_illegal(
    actions: Any, done: Any, mask: Any, parameters: Any, workload: Any, tasks: Any, progress: Any
) -> Any:
    """Return ``b * agents + i`` of the first illegal action in an episode under way, or -1."""
    B, n_agents = actions.shape
    for b in range(B):
        if done[b]:
            continue
        for i in range(n_agents):
            action = actions[b, i]
            if action >= mask.shape[2]:
                legal = i == 0 and _may_await(
                    b, action - mask.shape[2], parameters, workload, tasks, progress, mask
                )
            else:
                legal = action >= 0 and mask[b, i, action]
            if not legal:
                return b * n_agents + i
    return -1


@compiled
def _may_await(
    b: Any, awaited: Any, parameters: Any, workload: Any, tasks: Any, progress: Any, mask: Any
) -> Any:
    """Return whether the primitive to place may wait for the end of primitive ``awaited``.

    Where nothing runs and no server is away, it may do so only while another primitive is open to
    a decision: the last one has to be placed.
    """
    if not parameters.event or progress.task[b] in (NOBODY, awaited):
        return False
    if awaited >= workload.first[b, progress.n_arrived[b]] or tasks.status[b, awaited] == _DONE:
        return False
    return mask[b, 0, mask.shape[2] - 1] or progress.n_open[b] > 1


@compiled(entry=True)
def step_kernel(
    actions: Any, seeds: Any, done: Any, parameters: Any, workload: Any, tasks: Any, servers: Any,
    progress: Any, queues: Any, transition: Any,
) -> None:  # fmt: skip
    """Carry out one decision in every episode under way, and go on to the next."""
    N = servers.state.shape[1]
    for b in range(len(done)):
        transition.terminated[b] = transition.truncated[b] = False
        if done[b]:
            transition.reward[b] = 0.0
            continue
        gain = 0.0
        if progress.n_selected[b] > 0:
            progress.task[b] = queues.offered[b, actions[b, 1]]
            progress.n_selected[b] = 0
        else:
            progress.n_decisions[b] += 1
            task, j = progress.task[b], actions[b, 0]
            progress.task[b] = NOBODY
            passed = False
            if j >= N:
                tasks.status[b, task] = _SET_ASIDE
                tasks.awaits[b, task] = j - (N + 1)
                tasks.asked_s[b, task] = progress.now_s[b]
                progress.n_waits[b] += 1
            elif takes(b, j, task, parameters, workload, servers):
                _place(b, task, j, parameters, workload, tasks, servers, progress, queues)
                if parameters.paper_reward:
                    gain += _equation_2(b, task, parameters, workload, tasks)
            else:
                progress.n_invalid[b] += 1
                if parameters.paper_reward:
                    gain += _INVALID
                until_s = progress.now_s[b] + parameters.step_s
                next_s = next_event_s(b, parameters, workload, servers, progress)
                while next_s <= until_s:
                    _happen(
                        b, next_s, seeds[b], parameters, workload, tasks, servers, progress, queues
                    )
                    next_s = next_event_s(b, parameters, workload, servers, progress)
                progress.now_s[b] = until_s
                passed = True
            if _go_on(b, seeds[b], parameters, workload, tasks, servers, progress, queues):
                passed = True
            if parameters.response_reward:
                delayed_s = _delay_s(b, task, passed, workload, tasks, progress, queues)
                gain -= delayed_s * parameters.per_server
            if progress.task[b] == NOBODY and progress.n_selected[b] == 0:
                finished = progress.n_arrived[b] == workload.n_workflows[b] and (
                    progress.n_unplaced[b] + progress.n_running[b] == 0
                )
                transition.terminated[b], transition.truncated[b] = finished, not finished
                done[b] = True
            elif not parameters.event and progress.n_decisions[b] >= parameters.decisions:
                transition.truncated[b] = done[b] = True
        transition.reward[b] = gain
        observe(b, parameters, workload, tasks, servers, progress, queues, transition.observation)


@compiled
def _place(
    b: Any, task: Any, j: Any, parameters: Any, workload: Any, tasks: Any, servers: Any,
    progress: Any, queues: Any,
) -> None:  # fmt: skip
    """Assign a primitive to a server."""
    now_s = progress.now_s[b]
    tau_s = workload.compute_gflop[b, task] / parameters.capacity_gflops[j]
    finish_s = now_s + inputs_s(b, task, j, parameters, workload, tasks) + tau_s
    tasks.status[b, task] = _PLACED
    tasks.server[b, task] = j
    tasks.finish_s[b, task] = finish_s
    servers.running[b, j] = task
    servers.free_s[b, j] = finish_s
    servers.busy_s[b, j] += finish_s - now_s
    for k in range(progress.n_ready[b]):
        if queues.ready[b, k] == task:
            progress.n_ready[b] -= 1
            queues.ready[b, k] = queues.ready[b, progress.n_ready[b]]
            break
    progress.n_running[b] += 1
    progress.n_unplaced[b] -= 1
    progress.communication_s[b] += _sent_s(b, task, parameters, workload, tasks)
    progress.energy_j[b] += parameters.power_w[j] * tau_s


@compiled
def _sent_s(b: Any, task: Any, parameters: Any, workload: Any, tasks: Any) -> Any:
    """Return the communication delay in equation 2 of a placed primitive, in seconds."""
    source = tasks.source[b, task]
    if source == NOBODY:
        return 0.0
    return delay_s(b, source, tasks.server[b, task], parameters, workload, tasks)


@compiled
def _equation_2(b: Any, task: Any, parameters: Any, workload: Any, tasks: Any) -> Any:
    """Return the reward of equation 2 for a primitive that has been placed."""
    j = tasks.server[b, task]
    tau_s = workload.compute_gflop[b, task] / parameters.capacity_gflops[j]
    sent_s = _sent_s(b, task, parameters, workload, tasks)
    return (
        parameters.w_tau * math.exp(-tau_s / parameters.s_tau_s)
        - parameters.alpha * sent_s / parameters.largest_delay_s
        - parameters.beta * parameters.power_w[j] * tau_s / parameters.largest_energy_j
    )


@compiled
def _go_on(
    b: Any, seed: Any, parameters: Any, workload: Any, tasks: Any, servers: Any,
    progress: Any, queues: Any,
) -> Any:  # fmt: skip
    """Let time pass until there is something to decide; return whether any has passed.

    At the end of the episode there is neither a primitive to place nor one to select.
    """
    passed = False
    while True:
        _offer(b, parameters, workload, tasks, servers, progress, queues)
        if progress.task[b] != NOBODY or progress.n_selected[b] > 0:
            return passed
        if (
            progress.n_arrived[b] == workload.n_workflows[b]
            and progress.n_unplaced[b] + progress.n_running[b] == 0
        ):
            return passed
        passed = True
        next_s = next_event_s(b, parameters, workload, servers, progress)
        if next_s > parameters.time_limit_s:
            progress.now_s[b] = max(parameters.time_limit_s, progress.now_s[b])
            return passed
        _happen(b, next_s, seed, parameters, workload, tasks, servers, progress, queues)


@compiled
def _offer(
    b: Any, parameters: Any, workload: Any, tasks: Any, servers: Any, progress: Any, queues: Any
) -> None:
    """Offer the ready primitive with the most hops to the end of its workflow (section 4.1).

    A selector is offered up to N of them. Ties go to the earlier workflow, then to the lower
    number; as earlier workflows have lower numbers, comparing numbers settles both.
    """
    progress.n_open[b] = 0
    if progress.n_ready[b] == 0:
        return
    idle_gb = new_gb = -1.0  # memory of what is idle, and of what has got idle just now
    for j in range(servers.state.shape[1]):
        if servers.state[b, j] == HERE and (
            not parameters.event or servers.running[b, j] == NOBODY
        ):
            idle_gb = max(idle_gb, parameters.memory_gb[j])
            if servers.free_s[b, j] == progress.now_s[b]:
                new_gb = max(new_gb, parameters.memory_gb[j])
    if idle_gb < 0.0:
        return
    if not parameters.event:
        idle_gb = np.inf
    n, most = 0, servers.state.shape[1] if parameters.selects else 1
    offered = queues.offered[b]
    for k in range(progress.n_ready[b]):
        task = queues.ready[b, k]
        room_gb = idle_gb
        if tasks.status[b, task] == _SET_ASIDE:
            # It has been offered already to what became idle earlier, if the memory suffices.
            again = tasks.awaits[b, task] == NOBODY and tasks.asked_s[b, task] < progress.now_s[b]
            room_gb = new_gb if again else -1.0
        if workload.memory_gb[b, task] > room_gb:
            continue
        progress.n_open[b] += 1
        hops = workload.hops[b, task]
        place = n
        while place > 0:
            other = offered[place - 1]
            ahead = workload.hops[b, other] - hops
            if ahead > 0 or (ahead == 0 and other < task):
                break
            if place < most:
                offered[place] = other
            place -= 1
        if place < most:
            offered[place] = task
            n = min(n + 1, most)
    if n == 1:
        progress.task[b] = offered[0]
    else:
        progress.n_selected[b] = n


@compiled
def _delay_s(
    b: Any, decided: Any, passed: Any, workload: Any, tasks: Any, progress: Any, queues: Any
) -> Any:
    """Return by how much response times must have grown since the last decision, in seconds.

    While time passes, the response times of ready primitives grow, and those of primitives that
    depend on them. Every workflow is gone through once, however many of its primitives are ready.
    """
    sum_s = 0.0
    if passed:
        for k in range(progress.n_ready[b]):
            w = workload.workflow[b, queues.ready[b, k]]
            if queues.valued[b, w] < progress.n_decisions[b]:
                queues.valued[b, w] = progress.n_decisions[b]
                sum_s += _foresee(b, workload.first[b, w], workload, tasks, progress)
    w = workload.workflow[b, decided]
    if tasks.status[b, decided] >= _PLACED and queues.valued[b, w] < progress.n_decisions[b]:
        sum_s += _foresee(b, decided, workload, tasks, progress)
    return sum_s


@compiled
def _foresee(b: Any, first: Any, workload: Any, tasks: Any, progress: Any) -> Any:
    """Update the earliest possible finish of a primitive and all later ones of its workflow.

    Returns:
        the sum of the changes in seconds: how much later they can be done than was known before.
    """
    sum_s = 0.0
    for task in range(first, workload.first[b, workload.workflow[b, first] + 1]):
        if tasks.status[b, task] < _PLACED:
            start_s = progress.now_s[b]
            edge = workload.first_predecessor[b, task]
            for e in range(edge, edge + workload.n_predecessors[b, task]):
                start_s = max(start_s, tasks.earliest_s[b, workload.predecessor[b, e]])
            earliest_s = start_s + workload.fastest_s[b, task]
        else:
            earliest_s = tasks.finish_s[b, task]
        sum_s += earliest_s - tasks.earliest_s[b, task]
        tasks.earliest_s[b, task] = earliest_s
    return sum_s


@compiled
def _happen(
    b: Any, now_s: Any, seed: Any, parameters: Any, workload: Any, tasks: Any, servers: Any,
    progress: Any, queues: Any,
) -> None:  # fmt: skip
    """Move the clock to the next event, at ``now_s``, and let everything happen that is due."""
    progress.now_s[b] = now_s
    N = servers.state.shape[1]
    completes = changes = False
    for j in range(N):
        if servers.running[b, j] != NOBODY and servers.free_s[b, j] <= now_s:
            _complete(b, j, workload, tasks, servers, progress, queues)
            completes = True
    while progress.n_arrived[b] < workload.n_workflows[b] and (
        workload.arrival_s[b, progress.n_arrived[b]] <= now_s
    ):
        _arrive(b, parameters, workload, tasks, progress, queues)
    if parameters.mean_up_s < np.inf:
        for j in range(N):
            if servers.change_s[b, j] <= now_s:
                _change(b, j, seed, parameters, workload, tasks, servers, progress, queues)
                changes = True
    if progress.n_waits[b] > 0 and (completes or changes):
        everyone = changes or progress.n_running[b] == 0
        for k in range(progress.n_ready[b]):
            task = queues.ready[b, k]
            if tasks.status[b, task] == _SET_ASIDE:
                awaited = tasks.awaits[b, task]
                if everyone or (awaited != NOBODY and tasks.status[b, awaited] == _DONE):
                    tasks.status[b, task] = _READY


@compiled
def _arrive(b: Any, parameters: Any, workload: Any, tasks: Any, progress: Any, queues: Any) -> None:
    """Let the next workflow in."""
    w = progress.n_arrived[b]
    progress.n_arrived[b] += 1
    for task in range(workload.first[b, w], workload.first[b, w + 1]):
        progress.n_unplaced[b] += 1
        tasks.status[b, task] = _BLOCKED
        if tasks.waiting_for[b, task] == 0:
            _make_ready(b, task, tasks, progress, queues)
    if parameters.response_reward:
        queues.valued[b, w] = 0
        _foresee(b, workload.first[b, w], workload, tasks, progress)


@compiled
def _make_ready(b: Any, task: Any, tasks: Any, progress: Any, queues: Any) -> None:
    tasks.status[b, task] = _READY
    queues.ready[b, progress.n_ready[b]] = task
    progress.n_ready[b] += 1


@compiled
def _complete(
    b: Any, j: Any, workload: Any, tasks: Any, servers: Any, progress: Any, queues: Any
) -> None:
    """Complete the primitive on server j and make the successors ready that waited for it alone."""
    task = servers.running[b, j]
    servers.running[b, j] = NOBODY
    progress.n_running[b] -= 1
    if servers.state[b, j] == LEAVING:
        servers.state[b, j] = AWAY
    tasks.status[b, task] = _DONE
    w = workload.workflow[b, task]
    response_s = tasks.finish_s[b, task] - workload.arrival_s[b, w]
    progress.n_completed[b] += 1
    progress.response_s[b] += response_s
    queues.left[b, w] -= 1
    if queues.left[b, w] == 0:
        progress.n_workflows_done[b] += 1
        progress.workflow_response_s[b] += response_s
        progress.ratio[b] += response_s / workload.bound_s[b, w]
    edge = workload.first_successor[b, task]
    for e in range(edge, edge + workload.n_successors[b, task]):
        after = workload.successor[b, e]
        if tasks.source[b, after] == NOBODY:
            tasks.source[b, after] = task
        tasks.waiting_for[b, after] -= 1
        if tasks.waiting_for[b, after] == 0:
            _make_ready(b, after, tasks, progress, queues)


@compiled
def _plan_change(b: Any, j: Any, now_s: Any, mean_s: Any, seed: Any, servers: Any) -> None:
    """Draw when a server leaves, or when it is back."""
    counter = _CHANGE_DRAWS + j * _DRAWS_PER_SERVER + 2 * servers.n_changes[b, j]
    servers.change_s[b, j] = now_s - math.log(1.0 - uniform(seed, counter)) * mean_s
    servers.n_changes[b, j] += 1


@compiled
def _change(
    b: Any, j: Any, seed: Any, parameters: Any, workload: Any, tasks: Any, servers: Any,
    progress: Any, queues: Any,
) -> None:  # fmt: skip
    """Let a server fail, leave or come back."""
    now_s = progress.now_s[b]
    if servers.state[b, j] == HERE:
        luck = uniform(
            seed, _CHANGE_DRAWS + j * _DRAWS_PER_SERVER + 2 * servers.n_changes[b, j] + 1
        )
        _plan_change(b, j, now_s, parameters.mean_away_s, seed, servers)
        task = servers.running[b, j]
        if task == NOBODY:
            servers.state[b, j] = AWAY
        elif luck < parameters.failure_share:
            servers.state[b, j] = AWAY
            servers.running[b, j] = NOBODY
            rest_s = servers.free_s[b, j] - now_s
            servers.busy_s[b, j] -= rest_s
            unused_s = min(rest_s, workload.compute_gflop[b, task] / parameters.capacity_gflops[j])
            progress.energy_j[b] -= parameters.power_w[j] * unused_s
            progress.n_running[b] -= 1
            progress.n_unplaced[b] += 1
            progress.n_lost[b] += 1
            tasks.finish_s[b, task] = np.nan
            _make_ready(b, task, tasks, progress, queues)
        else:
            servers.state[b, j] = LEAVING
    else:
        servers.state[b, j] = HERE
        _plan_change(b, j, now_s, parameters.mean_up_s, seed, servers)
