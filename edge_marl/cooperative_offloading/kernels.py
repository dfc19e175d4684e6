"""Simulate cooperative offloading in compiled scalar loops over a batch of episodes.

There is no time step: the clock goes from event to event, and stops where a task arrives.
"""

from __future__ import annotations

from typing import Any

from edge_marl.compiled import compiled
from edge_marl.cooperative_offloading.events import pop, push
from edge_marl.cooperative_offloading.observing import observe
from edge_marl.cooperative_offloading.outages import await_failure, execution_end_s, is_down
from edge_marl.cooperative_offloading.records import NOBODY, Stage
from edge_marl.cooperative_offloading.sharing import (
    computing_j,
    equal_share,
    granted,
    helper,
    link,
    n_helpers,
    share_asked,
)
from edge_marl.cooperative_offloading.turns import (
    amount_of,
    fits,
    insert,
    memory_gb,
    release,
    task_of,
    turn,
)

_NOBODY = NOBODY
_SENDING, _ARRIVING, _COMPUTING = int(Stage.SENDING), int(Stage.ARRIVING), int(Stage.COMPUTING)
_RETURNING, _COMING = int(Stage.RETURNING), int(Stage.COMING)


@compiled(entry=True)
def reset_kernel(
    where: Any, seeds: Any, done: Any, parameters: Any, workload: Any, parts: Any, resources: Any,
    events: Any, homes: Any, progress: Any, observation: Any,
) -> None:  # fmt: skip
    """Reset the episodes ``where [B]`` and let their first task arrive."""
    for b in range(len(where)):
        if not where[b]:
            continue
        done[b] = False
        progress.seed[b] = seeds[b]
        for r in range(len(parameters.capacity)):
            resources.left[b, r] = parameters.capacity[r]
            resources.n_holders[b, r] = resources.n_waiting[b, r] = 0
            resources.first[b, r] = resources.last[b, r] = resources.soonest[b, r] = _NOBODY
            resources.free[b, r] = parameters.capacity[r]
        for h in range(len(parameters.memory_gb)):
            homes.memory_left_gb[b, h] = parameters.memory_gb[h]
            homes.earned[b, h] = 0.0
            await_failure(b, h, parameters, homes, progress)
        events.n[b] = 0
        progress.now_s[b], progress.task[b] = workload.arrival_s[b, 0], 0
        progress.n_completed[b] = progress.n_alone[b] = 0
        progress.latency_s[b] = progress.energy_j[b] = 0.0
        progress.alone_latency_s[b] = progress.alone_energy_j[b] = 0.0
        progress.waiting_s[b] = progress.offloaded[b] = 0.0
        observation.features[b] = 0.0
        observation.action_mask[b] = False
        observe(b, _NOBODY, parameters, workload, parts, resources, homes, progress, observation)


@compiled(entry=True)
def first_illegal(actions: Any, done: Any, workload: Any, progress: Any, n_choices: Any) -> Any:
    """Return ``b * M + home`` of the first decision that is none of the choices, or -1."""
    for b in range(len(done)):
        if not done[b]:
            home = workload.home[b, progress.task[b]]
            if not 0 <= actions[b, home] < n_choices:
                return b * actions.shape[1] + home
    return -1


@compiled(entry=True)
def allocate_kernel(
    full: Any, actions: Any, done: Any, parameters: Any, workload: Any, progress: Any, vectors: Any
) -> None:
    """Write the allocations that go with choices where they are made by a rule.

    Args:
        full: whether parts ask for all that is left, instead of in proportion to the task.
        actions: ``[B, M]``: who helps.
        vectors: ``[B, M, 3]``: the allocations.
    """
    for b in range(len(done)):
        if not done[b]:
            task = progress.task[b]
            home = workload.home[b, task]
            row = vectors[b, home]
            row[0] = equal_share(n_helpers(actions[b, home], parameters))
            row[1] = row[2] = share_asked(full, workload.gcycles[b, task], parameters)


@compiled(entry=True)
def step_kernel(
    actions: Any, vectors: Any, done: Any, parameters: Any, workload: Any, tasks: Any,
    parts: Any, resources: Any, events: Any, homes: Any, progress: Any, transition: Any,
) -> None:  # fmt: skip
    """Carry out one decision in every episode under way, and let the next task arrive.

    Args:
        actions: ``[B, M]``: who helps.
        vectors: ``[B, M, 3]``: the allocations, see :data:`.records.ALLOCATION`.
    """
    M, K = len(parameters.memory_gb), workload.home.shape[1]
    for b in range(len(done)):
        transition.terminated[b] = False
        transition.elapsed[b] = 0.0
        transition.reward[b] = 0.0
        if done[b]:
            continue
        task = progress.task[b]
        home = workload.home[b, task]
        decided_s = progress.now_s[b]
        _decide(
            b, task, actions[b, home], vectors[b, home], parameters, workload, tasks, parts,
            resources, events, homes, progress,
        )  # fmt: skip
        ends = task + 1 == K
        while events.n[b] > 0:
            moment_s = events.moment_s[b, 0]
            if not ends and moment_s > workload.arrival_s[b, task + 1]:
                break
            progress.now_s[b] = moment_s
            _happen(
                b, pop(b, events), parameters, workload, tasks, parts, resources, events, homes,
                progress,
            )  # fmt: skip
        if not ends:
            progress.now_s[b] = workload.arrival_s[b, task + 1]
        progress.task[b] = task + 1
        done[b] = transition.terminated[b] = ends
        transition.elapsed[b] = progress.now_s[b] - decided_s
        for h in range(M):
            transition.reward[b, h] = homes.earned[b, h]
            homes.earned[b, h] = 0.0
        observe(
            b, home, parameters, workload, parts, resources, homes, progress,
            transition.observation,
        )  # fmt: skip


@compiled
def _decide(
    b: Any, task: Any, choice: Any, allocation: Any, parameters: Any, workload: Any, tasks: Any,
    parts: Any, resources: Any, events: Any, homes: Any, progress: Any,
) -> None:  # fmt: skip
    """Split a task over its home and those that help, and let its parts begin."""
    T = parameters.subsets.shape[1]
    home = workload.home[b, task]
    n = n_helpers(choice, parameters)
    leaves = allocation[0] if n > 0 else 0.0
    tasks.compute_share[b, task], tasks.bandwidth_share[b, task] = allocation[1], allocation[2]
    tasks.energy_j[b, task] = tasks.latency_s[b, task] = 0.0
    tasks.open[b, task] = (leaves < 1.0) + (n if leaves > 0.0 else 0)
    alone_s = workload.gcycles[b, task] / parameters.capacity[home]
    alone_j = computing_j(workload.gcycles[b, task], parameters.capacity[home], parameters)
    progress.alone_latency_s[b] += alone_s
    progress.alone_energy_j[b] += alone_j
    if parameters.pays_saving:
        homes.earned[b, home] += (
            parameters.latency_weight * alone_s / parameters.typical_latency_s
            + (1.0 - parameters.latency_weight) * alone_j / parameters.typical_energy_j
        )
    progress.offloaded[b] += leaves
    progress.n_alone[b] += leaves == 0.0
    first = task * (1 + T)
    for k in range(1 + T):
        part = first + k
        parts.share[b, part] = 1.0 - leaves if k == 0 else leaves / n if k <= n else 0.0
        parts.end_s[b, part] = 0.0
        if parts.share[b, part] == 0.0:
            continue
        parts.server[b, part], parts.stage[b, part] = home, _COMPUTING
        if k > 0:
            parts.server[b, part] = helper(choice, k - 1, home, parameters)
            parts.stage[b, part] = _SENDING
        parts.end_s[b, part] = progress.now_s[b] + _rest_s(
            b, part, True, parameters, workload, tasks, parts, homes
        )
        for stage in (_SENDING, _COMPUTING, _RETURNING):
            if k > 0 or stage == _COMPUTING:
                idle_j = _idle_j(b, part, stage, parameters, workload, tasks, parts, homes)
                _charge_energy(b, home, idle_j, parameters, homes)
    tasks.projected_s[b, task] = 0.0
    _project(b, task, parameters, workload, tasks, parts, homes)
    for k in range(1 + T):
        part = first + k
        if parts.share[b, part] > 0.0:
            server = parts.server[b, part]
            r = server if k == 0 else link(home, server, parameters)
            _ask(b, part, r, parameters, workload, tasks, parts, resources, events, homes, progress)


@compiled
def _idle_j(
    b: Any, part: Any, stage: Any, parameters: Any, workload: Any, tasks: Any, parts: Any,
    homes: Any,
) -> Any:  # fmt: skip
    """Return the energy that a stage of a part takes of an idle resource."""
    task, server = task_of(part, parts, workload), parts.server[b, part]
    home, amount = workload.home[b, task], amount_of(b, part, stage, workload, parts)
    if stage == _COMPUTING:
        most = _most(b, task, server, parameters, tasks, homes)
        return computing_j(amount, most, parameters)
    sender, receiver = (home, server) if stage == _SENDING else (server, home)
    most = _most(b, task, link(sender, receiver, parameters), parameters, tasks, homes)
    return parameters.power_w[sender, receiver] * amount / most


@compiled
def _charge_energy(b: Any, home: Any, energy_j: Any, parameters: Any, homes: Any) -> None:
    if not parameters.pays_ratio:
        rho = 1.0 - parameters.latency_weight
        homes.earned[b, home] -= rho * energy_j / parameters.typical_energy_j


@compiled
def _rest_s(
    b: Any, part: Any, begins: Any, parameters: Any, workload: Any, tasks: Any, parts: Any,
    homes: Any,
) -> Any:  # fmt: skip
    """Return the least time that a part needs behind its stage, or with it if that begins."""
    task, rest_s = task_of(part, parts, workload), 0.0
    home, server, stage = workload.home[b, task], parts.server[b, part], parts.stage[b, part]
    if stage == _SENDING:
        if begins:
            most = _most(b, task, link(home, server, parameters), parameters, tasks, homes)
            rest_s += amount_of(b, part, _SENDING, workload, parts) / most
        rest_s += parameters.latency_s[home, server]
    if stage == _SENDING or begins:
        most = _most(b, task, server, parameters, tasks, homes)
        rest_s += amount_of(b, part, _COMPUTING, workload, parts) / most
    if server != home:
        if stage != _RETURNING:
            most = _most(b, task, link(server, home, parameters), parameters, tasks, homes)
            rest_s += amount_of(b, part, _RETURNING, workload, parts) / most
        rest_s += parameters.latency_s[server, home]
    return rest_s


@compiled
def _most(b: Any, task: Any, r: Any, parameters: Any, tasks: Any, homes: Any) -> Any:
    """Return what a part of a task would be granted of an idle resource."""
    return granted(_asked(b, task, r, tasks, homes), parameters.capacity[r], r, parameters)


@compiled
def _asked(b: Any, task: Any, r: Any, tasks: Any, homes: Any) -> Any:
    """Return the share of what is left of a resource that parts of a task ask for."""
    if r < homes.earned.shape[1]:
        return tasks.compute_share[b, task]
    return tasks.bandwidth_share[b, task]


@compiled
def _project(
    b: Any, task: Any, parameters: Any, workload: Any, tasks: Any, parts: Any, homes: Any
) -> None:
    """Project when a task is done from its parts, and charge what has become known."""
    n = parts.share.shape[1] // workload.home.shape[1]
    end_s = 0.0
    for part in range(task * n, (task + 1) * n):
        end_s = max(end_s, parts.end_s[b, part])
    later_s = end_s - workload.arrival_s[b, task] - tasks.projected_s[b, task]
    tasks.projected_s[b, task] += later_s
    if not parameters.pays_ratio:
        homes.earned[b, workload.home[b, task]] -= (
            parameters.latency_weight * later_s / parameters.typical_latency_s
        )


@compiled
def _ask(
    b: Any, part: Any, r: Any, parameters: Any, workload: Any, tasks: Any, parts: Any,
    resources: Any, events: Any, homes: Any, progress: Any,
) -> None:  # fmt: skip
    """Let a part have its share of a resource, or wait for it behind those that wait already."""
    parts.since_s[b, part] = progress.now_s[b]
    parts.energy_j[b, part] = _idle_j(
        b, part, parts.stage[b, part], parameters, workload, tasks, parts, homes
    )
    if resources.n_waiting[b, r] == 0 and fits(
        b, part, r, parameters, workload, parts, resources, homes, progress
    ):
        _grant(b, part, r, parameters, workload, tasks, parts, resources, events, homes, progress)
        return
    needed_gb = memory_gb(b, part, workload, parts) if r < homes.earned.shape[1] else 0.0
    turn_s, left = turn(b, needed_gb, r, parameters, workload, parts, resources, homes, progress)
    _schedule(
        b, part, r, turn_s, left, parameters, workload, tasks, parts, resources, homes, progress
    )
    resources.turn_s[b, r] = turn_s
    parts.next[b, part] = _NOBODY
    if resources.n_waiting[b, r] == 0:
        resources.first[b, r] = part
        if r < homes.earned.shape[1] and is_down(b, r, parameters, homes, progress):
            push(b, homes.repaired_s[b, r], _repair(r), events)
    else:
        parts.next[b, resources.last[b, r]] = part
    resources.last[b, r] = part
    resources.n_waiting[b, r] += 1


@compiled
def _schedule(
    b: Any, part: Any, r: Any, start_s: Any, left: Any, parameters: Any, workload: Any, tasks: Any,
    parts: Any, resources: Any, homes: Any, progress: Any,
) -> None:  # fmt: skip
    """Note what a part has of a resource from a moment on, and charge what that makes known."""
    M = homes.earned.shape[1]
    task = task_of(part, parts, workload)
    grant = granted(_asked(b, task, r, tasks, homes), left, r, parameters)
    amount = amount_of(b, part, parts.stage[b, part], workload, parts)
    duration_s = amount / grant
    end_s = start_s + duration_s
    if r < M:
        energy_j = computing_j(amount, grant, parameters)
        if start_s == progress.now_s[b]:  # what outages delay before a turn comes is known then
            end_s = execution_end_s(b, r, duration_s, parameters, homes, progress)
    else:
        energy_j = parameters.power_w[(r - M) // M, (r - M) % M] * duration_s
    home = workload.home[b, task]
    _charge_energy(b, home, energy_j - parts.energy_j[b, part], parameters, homes)
    parts.energy_j[b, part] = energy_j
    parts.grant[b, part], parts.stage_end_s[b, part] = grant, end_s
    resources.free[b, r] -= grant
    insert(b, part, r, parts, resources)
    rest_s = _rest_s(b, part, False, parameters, workload, tasks, parts, homes)
    parts.end_s[b, part] = end_s + rest_s
    _project(b, task, parameters, workload, tasks, parts, homes)


@compiled
def _repair(server: Any) -> Any:
    """Return the number of a server's repair among the events, or the server of that number."""
    return -1 - server


@compiled
def _grant(
    b: Any, part: Any, r: Any, parameters: Any, workload: Any, tasks: Any, parts: Any,
    resources: Any, events: Any, homes: Any, progress: Any,
) -> None:  # fmt: skip
    """Grant a part what it asked for of what is left, and let it begin."""
    task, now_s, left = task_of(part, parts, workload), progress.now_s[b], resources.left[b, r]
    _schedule(
        b, part, r, now_s, left, parameters, workload, tasks, parts, resources, homes, progress
    )
    progress.waiting_s[b] += now_s - parts.since_s[b, part]
    resources.left[b, r] = left - parts.grant[b, part]
    resources.n_holders[b, r] += 1
    if r < homes.earned.shape[1]:
        homes.memory_left_gb[b, r] -= memory_gb(b, part, workload, parts)
    tasks.energy_j[b, task] += parts.energy_j[b, part]
    progress.energy_j[b] += parts.energy_j[b, part]
    push(b, parts.stage_end_s[b, part], part, events)


@compiled
def _give_back(
    b: Any, part: Any, r: Any, parameters: Any, workload: Any, tasks: Any, parts: Any,
    resources: Any, events: Any, homes: Any, progress: Any,
) -> None:  # fmt: skip
    """Return what a part holds to those that wait for it."""
    M = homes.earned.shape[1]
    resources.left[b, r] += parts.grant[b, part]
    release(b, part, r, parts, resources)
    resources.n_holders[b, r] -= 1
    if r < M:
        homes.memory_left_gb[b, r] += memory_gb(b, part, workload, parts)
    if resources.n_holders[b, r] == 0:
        # What was taken and returned in parts need not sum up to the bit.
        resources.left[b, r] = parameters.capacity[r]
        if resources.n_waiting[b, r] == 0:
            resources.free[b, r] = parameters.capacity[r]
        if r < M:
            homes.memory_left_gb[b, r] = parameters.memory_gb[r]
    _serve(b, r, parameters, workload, tasks, parts, resources, events, homes, progress)


@compiled
def _serve(
    b: Any, r: Any, parameters: Any, workload: Any, tasks: Any, parts: Any, resources: Any,
    events: Any, homes: Any, progress: Any,
) -> None:  # fmt: skip
    """Let those go on that wait for a resource, as far as there is room for the first of them."""
    while resources.n_waiting[b, r] > 0:
        first = resources.first[b, r]
        if not fits(b, first, r, parameters, workload, parts, resources, homes, progress):
            break
        resources.first[b, r] = parts.next[b, first]
        resources.n_waiting[b, r] -= 1
        # At the moment that was known, unless servers have failed.
        release(b, first, r, parts, resources)
        _grant(b, first, r, parameters, workload, tasks, parts, resources, events, homes, progress)


@compiled
def _happen(
    b: Any, part: Any, parameters: Any, workload: Any, tasks: Any, parts: Any, resources: Any,
    events: Any, homes: Any, progress: Any,
) -> None:  # fmt: skip
    """Let a part go on from the end of its stage, or a server serve again that is repaired."""
    if part < 0:
        _serve(
            b, _repair(part), parameters, workload, tasks, parts, resources, events, homes, progress
        )
        return
    task = task_of(part, parts, workload)
    home, server, stage = workload.home[b, task], parts.server[b, part], parts.stage[b, part]
    if stage == _COMPUTING:
        parts.stage[b, part] = _RETURNING
        _give_back(
            b, part, server, parameters, workload, tasks, parts, resources, events, homes, progress
        )
        if server == home:
            _end(b, task, parameters, workload, tasks, homes, progress)
        else:
            back = link(server, home, parameters)
            _ask(
                b, part, back, parameters, workload, tasks, parts, resources, events, homes,
                progress,
            )  # fmt: skip
    elif stage == _ARRIVING:
        parts.stage[b, part] = _COMPUTING
        _ask(
            b, part, server, parameters, workload, tasks, parts, resources, events, homes, progress
        )
    elif stage == _COMING:
        _end(b, task, parameters, workload, tasks, homes, progress)
    else:
        sends = stage == _SENDING
        sender, receiver = (home, server) if sends else (server, home)
        parts.stage[b, part] = stage + 1
        # Before those that wait are let in: the order of events of one moment is that of parts.
        push(b, progress.now_s[b] + parameters.latency_s[sender, receiver], part, events)
        sent_over = link(sender, receiver, parameters)
        _give_back(
            b, part, sent_over, parameters, workload, tasks, parts, resources, events, homes,
            progress,
        )  # fmt: skip


@compiled
def _end(
    b: Any, task: Any, parameters: Any, workload: Any, tasks: Any, homes: Any, progress: Any
) -> None:
    """End a part, and with the last one its task."""
    tasks.open[b, task] -= 1
    if tasks.open[b, task] > 0:
        return
    home = workload.home[b, task]
    latency_s = progress.now_s[b] - workload.arrival_s[b, task]
    progress.n_completed[b] += 1
    progress.latency_s[b] += latency_s
    tasks.latency_s[b, task] = latency_s
    if parameters.pays_ratio:
        gcycles, capacity = workload.gcycles[b, task], parameters.capacity[home]
        alone_s, alone_j = gcycles / capacity, computing_j(gcycles, capacity, parameters)
        homes.earned[b, home] += (
            parameters.latency_weight * alone_s / latency_s
            + (1.0 - parameters.latency_weight) * alone_j / tasks.energy_j[b, task]
        )
