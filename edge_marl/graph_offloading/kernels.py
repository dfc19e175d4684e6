"""Compute the physics of offloading on a graph in compiled scalar loops over a batch of episodes.

A task's fate is open while it waits, for it may be sent on. So what happens is worked out tick by
tick, but at exact moments: a calendar holds what arrives or expires in each tick, and the cost of
a tick is linear in nodes, links and events.
"""

from __future__ import annotations

from typing import Any

from edge_marl.compiled import compiled
from edge_marl.graph_offloading import pool
from edge_marl.graph_offloading.arrivals import (
    await_next,
    be_on_the_way,
    create,
    last_tick,
    send,
)
from edge_marl.graph_offloading.observing import describe, observe
from edge_marl.graph_offloading.records import BUCKETS, FULL_OF_DECISIONS, NOBODY, Status
from edge_marl.graph_offloading.rewards import OWN, SPARSE, delay_and_overload, potential
from edge_marl.random_stream import uniform
from edge_marl.seeds import START_DRAWS

(
    _MOVING, _RETURNING, _DOOMED, _UNDECIDED, _DECIDED, _RUNNING, _FINISHED, _REFUSED, _EXPIRED,
) = (int(status) for status in Status)  # fmt: skip
_NOBODY, _BUCKETS = NOBODY, BUCKETS
_OWN, _SPARSE = OWN, SPARSE
_AT_CLIENT = -2  # in place of the link from the client: the result is on the last part of its way
_START_DRAWS = START_DRAWS.start
_FULL_OF_DECISIONS = FULL_OF_DECISIONS


@compiled(entry=True)
def reset_kernel(
    where: Any, parameters: Any, episodes: Any, tasks: Any, decisions: Any, nodes: Any,
    pools: Any, observation: Any,
) -> None:  # fmt: skip
    """Empty the episodes ``where`` and draw when their first tasks come."""
    for b in range(len(where)):
        if not where[b]:
            continue
        episodes.tick[b], episodes.done[b], episodes.full[b] = 0, False, 0
        episodes.created[b], episodes.outcomes[b] = 0, 0
        episodes.work[b], episodes.response_ticks[b], episodes.traffic_mb[b] = 0.0, 0.0, 0.0
        pool.empty(b, tasks, decisions, pools)
        for n in range(len(parameters.network.capacity)):
            nodes.running[b, n], nodes.inbox[b, n] = _NOBODY, _NOBODY
            nodes.first_decided[b, n], nodes.last_decided[b, n] = _NOBODY, _NOBODY
            nodes.first_undecided[b, n], nodes.last_undecided[b, n] = _NOBODY, _NOBODY
            nodes.length[b, n], nodes.shown[b, n] = 0, 0
            nodes.instructions[b, n], nodes.local[b, n] = 0.0, 0.0
            nodes.busy[b, n], nodes.occupied[b, n], nodes.delay[b, n] = 0.0, 0.0, 0.0
            nodes.received[b, n], nodes.processed[b, n] = 0, 0
            nodes.refused[b, n], nodes.expired[b, n] = 0, 0
            nodes.sent[b, n], nodes.kept[b, n] = 0, 0
            nodes.credited[b, n] = _NOBODY
            nodes.potential[b, n] = potential(b, n, parameters, nodes)
        for j in range(episodes.n_arrivals.shape[1]):
            episodes.n_arrivals[b, j], episodes.next_arrival[b, j] = 0, 0
            await_next(b, j, parameters, episodes)
        describe(b, parameters, observation)
        observe(b, parameters, episodes, tasks, nodes, observation)


@compiled(entry=True)
def first_illegal(actions: Any, parameters: Any, episodes: Any, nodes: Any) -> Any:
    """Return ``b * A + a`` of the first action that is impossible, or -1."""
    B, A = actions.shape
    network = parameters.network
    for b in range(B):
        if episodes.done[b]:
            continue
        for a in range(A):
            n = network.node[a]
            most = 0
            if nodes.first_undecided[b, n] != _NOBODY:
                most = network.first[n + 1] - network.first[n]
            if actions[b, a] < 0 or actions[b, a] > most:
                return b * A + a
    return -1


@compiled(entry=True)
def step_kernel(
    actions: Any, parameters: Any, episodes: Any, tasks: Any, decisions: Any, nodes: Any,
    pools: Any, transition: Any,
) -> None:  # fmt: skip
    """Play one tick of every episode under way.

    An episode that runs out of places for tasks or decisions is marked as full.
    """
    network, rules = parameters.network, parameters.rules
    N = len(network.capacity)
    reward = transition.reward
    for b in range(actions.shape[0]):
        transition.truncated[b] = False
        reward[b] = 0.0
        if episodes.done[b]:
            continue
        t = episodes.tick[b]
        if parameters.rewards.delay > 0:
            place = t % parameters.rewards.delay
            for a in range(actions.shape[1]):
                reward[b, a] = pools.due[b, place, a]
                pools.due[b, place, a] = 0.0
        for a in range(actions.shape[1]):
            n = network.node[a]
            if nodes.first_undecided[b, n] != _NOBODY:
                _decide(b, t, a, n, actions[b, a], parameters, episodes, tasks, decisions, nodes,
                        pools, reward)  # fmt: skip
        for n in range(N):
            _execute(b, t, n, parameters, episodes, tasks, decisions, nodes, pools, reward)
        create(b, t, parameters, episodes, tasks, pools)
        _expire(b, t, parameters, episodes, tasks, decisions, nodes, pools, reward)
        if (t + 1) % rules.broadcast_ticks == 0:
            for n in range(N):
                nodes.shown[b, n] = nodes.length[b, n]
        t += 1
        episodes.tick[b] = t
        _deliver(b, t, parameters, episodes, tasks, decisions, nodes, pools, reward)
        for n in range(N):
            nodes.occupied[b, n] += nodes.length[b, n] / network.queue_limit[n]
            if nodes.running[b, n] == _NOBODY and nodes.first_undecided[b, n] != _NOBODY:
                draw = uniform(episodes.seeds[b], _START_DRAWS + t * N + n)
                if draw < rules.start_undecided:
                    task = _next(b, n, parameters, tasks, nodes)
                    _start(b, n, task, parameters, tasks, nodes, pools)
        if parameters.rewards.kind == _SPARSE:
            for a in range(actions.shape[1]):
                n = network.node[a]
                before = nodes.potential[b, n]
                nodes.potential[b, n] = potential(b, n, parameters, nodes)
                reward[b, a] += parameters.rewards.discount * nodes.potential[b, n] - before
        if t == rules.ticks:
            episodes.done[b] = transition.truncated[b] = True
        observe(b, parameters, episodes, tasks, nodes, transition.observation)


# Decisions ----------------------------------------------------------------------------------


@compiled
def _decide(
    b: Any, t: Any, a: Any, n: Any, action: Any, parameters: Any, episodes: Any, tasks: Any,
    decisions: Any, nodes: Any, pools: Any, reward: Any,
) -> None:  # fmt: skip
    """Keep the oldest undecided task of node n, or send it over one of the node's links."""
    task = nodes.first_undecided[b, n]
    link = _NOBODY if action == 0 else parameters.network.first[n] + action - 1
    reward[b, a] += delay_and_overload(b, n, task, link, parameters, tasks, nodes)
    _leave_undecided(b, n, task, tasks, nodes)
    if not pool.note_decision(b, t, task, n, link, tasks, decisions, pools):
        episodes.full[b] = _FULL_OF_DECISIONS
    if action == 0:
        _keep(b, n, task, tasks, nodes)
        nodes.kept[b, n] += 1
        return
    pool.unschedule(b, task, tasks, pools)
    _forget(b, n, task, tasks, nodes)
    nodes.sent[b, n] += 1
    send(b, t, task, link, float(t), _MOVING, parameters, episodes, tasks, pools)


@compiled
def _keep(b: Any, n: Any, task: Any, tasks: Any, nodes: Any) -> None:
    """Let a task wait to be executed at node n."""
    tasks.status[b, task] = _DECIDED
    pool.append(b, n, task, nodes.first_decided, nodes.last_decided, tasks)
    nodes.local[b, n] += tasks.instructions[b, task]


@compiled
def _leave_undecided(b: Any, n: Any, task: Any, tasks: Any, nodes: Any) -> None:
    pool.remove(b, n, task, nodes.first_undecided, nodes.last_undecided, tasks)


# Execution ----------------------------------------------------------------------------------


@compiled
def _next(b: Any, n: Any, parameters: Any, tasks: Any, nodes: Any) -> Any:
    """Take the task out of its queue that node n is to execute next, or return -1.

    Where a node may start what nobody has decided on, it does so whenever it runs out of other
    work. The agent comes first in a tick, unless the node was idle and a draw has gone against it.
    """
    task = pool.next_decided(b, n, parameters, nodes)
    if task != _NOBODY:
        pool.remove(b, n, task, nodes.first_decided, nodes.last_decided, tasks)
    elif parameters.rules.start_undecided > 0.0:
        task = nodes.first_undecided[b, n]
        if task != _NOBODY:
            _leave_undecided(b, n, task, tasks, nodes)
            nodes.local[b, n] += tasks.instructions[b, task]
    return task


@compiled
def _start(b: Any, n: Any, task: Any, parameters: Any, tasks: Any, nodes: Any, pools: Any) -> None:
    """Begin to execute a task that has left its queue."""
    tasks.status[b, task] = _RUNNING
    nodes.running[b, n] = task
    if not parameters.rules.deadline_ends_all:
        pool.unschedule(b, task, tasks, pools)


@compiled
def _execute(
    b: Any, t: Any, n: Any, parameters: Any, episodes: Any, tasks: Any, decisions: Any,
    nodes: Any, pools: Any, reward: Any,
) -> None:  # fmt: skip
    """Execute for one tick what has been decided on, one task after the other."""
    capacity = parameters.network.capacity[n]
    now, end = float(t), t + 1.0
    while True:
        task = nodes.running[b, n]
        if task == _NOBODY:
            task = _next(b, n, parameters, tasks, nodes)
            if task == _NOBODY:
                break
            _start(b, n, task, parameters, tasks, nodes, pools)
        finish = now + tasks.remaining[b, task] / capacity
        if finish > end:
            tasks.remaining[b, task] -= (end - now) * capacity
            now = end
            break
        now = finish
        tasks.remaining[b, task] = 0.0
        nodes.running[b, n] = _NOBODY
        _forget(b, n, task, tasks, nodes)
        nodes.local[b, n] -= tasks.instructions[b, task]
        nodes.processed[b, n] += 1
        nodes.delay[b, n] += now - tasks.created[b, task]
        if parameters.rewards.kind == _SPARSE:
            _pay(b, n, parameters.rewards.utility, parameters, reward)
        if parameters.rules.deadline_ends_all:
            pool.unschedule(b, task, tasks, pools)
        else:  # its result will not be lost
            _credit_all(b, t, task, 1.0, parameters, tasks, decisions, nodes, pools, reward)
        tasks.way_back[b, task] = tasks.decision[b, task]
        _return(b, t, n, task, now, parameters, episodes, tasks, decisions, pools)
    nodes.busy[b, n] += now - t


@compiled
def _forget(b: Any, n: Any, task: Any, tasks: Any, nodes: Any) -> None:
    """Count a task out of a node."""
    nodes.length[b, n] -= 1
    nodes.instructions[b, n] -= tasks.instructions[b, task]


@compiled
def _return(
    b: Any, t: Any, n: Any, task: Any, moment: Any, parameters: Any, episodes: Any, tasks: Any,
    decisions: Any, pools: Any,
) -> None:  # fmt: skip
    """Send a result from node n one link back along the way of its task, without detours.

    That is the link by which the task first came to this node. A client that is here has its result
    in one tick, as any message within a node.
    """
    back, neighbour = parameters.network.back, parameters.network.neighbour
    way = decision = tasks.way_back[b, task]
    while decision != _NOBODY:
        if decisions.node[b, decision] == n:
            way = decisions.before[b, decision]
        decision = decisions.before[b, decision]
    tasks.way_back[b, task] = way
    if way != _NOBODY:
        link = back[decisions.link[b, way]]
    else:
        link = tasks.link[b, task]
        if link != _NOBODY:
            link = back[link]
    client = tasks.link[b, task]
    here = client != _NOBODY and neighbour[back[client]] == n
    if here or link == _NOBODY:
        tasks.link[b, task] = _AT_CLIENT
        tasks.node[b, task] = n
        be_on_the_way(b, t, task, moment + 1.0, _RETURNING, parameters, tasks, pools)
        return
    if way == _NOBODY:
        tasks.link[b, task] = _AT_CLIENT
    send(b, t, task, link, moment, _RETURNING, parameters, episodes, tasks, pools)


# Losses -------------------------------------------------------------------------------------


@compiled
def _expire(
    b: Any, t: Any, parameters: Any, episodes: Any, tasks: Any, decisions: Any, nodes: Any,
    pools: Any, reward: Any,
) -> None:  # fmt: skip
    """Lose the tasks whose time ends in tick t."""
    task = pools.bucket[b, t % _BUCKETS]
    while task != _NOBODY:
        later = tasks.later[b, task]
        status = tasks.status[b, task]
        if tasks.due[b, task] == t and status >= _DOOMED:
            n = tasks.node[b, task]
            pool.unschedule(b, task, tasks, pools)
            if status == _UNDECIDED:
                _leave_undecided(b, n, task, tasks, nodes)
            elif status == _DECIDED:
                pool.remove(b, n, task, nodes.first_decided, nodes.last_decided, tasks)
            elif status == _RUNNING:
                nodes.running[b, n] = _NOBODY
            if status >= _DECIDED:
                nodes.local[b, n] -= tasks.instructions[b, task]
            if status != _DOOMED:
                _forget(b, n, task, tasks, nodes)
            nodes.expired[b, n] += 1
            _lose(b, t, n, task, _EXPIRED, parameters, episodes, tasks, decisions, nodes, pools,
                  reward)  # fmt: skip
        task = later


@compiled
def _lose(
    b: Any, t: Any, n: Any, task: Any, status: Any, parameters: Any, episodes: Any, tasks: Any,
    decisions: Any, nodes: Any, pools: Any, reward: Any,
) -> None:  # fmt: skip
    """Lose a task in tick t at node n, or on its way to it.

    Where nobody has decided on it, the node is to blame that had no place or no time for it.
    """
    if parameters.rewards.kind == _SPARSE:
        _pay(b, n, -parameters.rewards.utility, parameters, reward)
    undecided = tasks.decision[b, task] == _NOBODY and tasks.status[b, task] != _DOOMED
    if parameters.rewards.kind == _OWN and undecided:
        _credit(b, t, t, n, -1.0, parameters, pools, reward)
    _end(b, t, task, status, parameters, episodes, tasks, decisions, nodes, pools, reward)


@compiled
def _end(
    b: Any, t: Any, task: Any, status: Any, parameters: Any, episodes: Any, tasks: Any,
    decisions: Any, nodes: Any, pools: Any, reward: Any,
) -> None:  # fmt: skip
    """Count the fate of a task, tell everyone who decided on it, and free its place."""
    episodes.outcomes[b, status] += 1
    if status != _FINISHED:
        _credit_all(b, t, task, -1.0, parameters, tasks, decisions, nodes, pools, reward)
    elif parameters.rules.deadline_ends_all:
        _credit_all(b, t, task, 1.0, parameters, tasks, decisions, nodes, pools, reward)
    pool.free(b, task, tasks, decisions, pools)


@compiled
def _credit_all(
    b: Any, t: Any, task: Any, amount: Any, parameters: Any, tasks: Any, decisions: Any,
    nodes: Any, pools: Any, reward: Any,
) -> None:  # fmt: skip
    """Credit the outcome of a task, certain in tick t, to everyone who decided on it."""
    if parameters.rewards.kind != _OWN:
        return
    number = tasks.number[b, task]
    decision = tasks.decision[b, task]
    while decision != _NOBODY:
        n = decisions.node[b, decision]
        if nodes.credited[b, n] != number:  # its last decision on the task
            nodes.credited[b, n] = number
            tick = decisions.tick[b, decision]
            _credit(b, t, tick, n, amount, parameters, pools, reward)
        decision = decisions.before[b, decision]


@compiled
def _credit(
    b: Any, t: Any, tick: Any, n: Any, amount: Any, parameters: Any, pools: Any, reward: Any
) -> None:
    """Pay in tick t for what an agent did in an earlier tick: at once, or a fixed time after it."""
    delay = parameters.rewards.delay
    if delay == 0:
        _pay(b, n, amount, parameters, reward)
    elif t - tick < delay:
        a = parameters.network.agent[n]
        if a != _NOBODY:
            pools.due[b, tick % delay, a] += amount * parameters.rewards.discount ** (t - tick)


@compiled
def _pay(b: Any, n: Any, amount: Any, parameters: Any, reward: Any) -> None:
    """Add to the reward of the agent of node n, if it has one."""
    a = parameters.network.agent[n]
    if a != _NOBODY:
        reward[b, a] += amount


# Arrivals -----------------------------------------------------------------------------------


@compiled
def _deliver(
    b: Any, t: Any, parameters: Any, episodes: Any, tasks: Any, decisions: Any, nodes: Any,
    pools: Any, reward: Any,
) -> None:  # fmt: skip
    """Hand out what has arrived since the last tick, to each node in the order of its arrival."""
    task = pools.bucket[b, t % _BUCKETS]
    while task != _NOBODY:
        later = tasks.later[b, task]
        status = tasks.status[b, task]
        if tasks.due[b, task] == t and status <= _RETURNING:
            pool.unschedule(b, task, tasks, pools)
            pool.post(b, task, tasks, nodes)
        task = later
    for n in range(len(parameters.network.capacity)):
        task = nodes.inbox[b, n]
        nodes.inbox[b, n] = _NOBODY
        while task != _NOBODY:
            following = tasks.after[b, task]
            if tasks.status[b, task] == _MOVING:
                _receive(b, t, n, task, parameters, episodes, tasks, decisions, nodes, pools,
                         reward)  # fmt: skip
            elif tasks.link[b, task] == _AT_CLIENT:
                response = tasks.moment[b, task] - tasks.created[b, task]
                episodes.response_ticks[b] += response
                _end(b, t - 1, task, _FINISHED, parameters, episodes, tasks, decisions, nodes,
                     pools, reward)  # fmt: skip
            else:
                _return(b, t, n, task, tasks.moment[b, task], parameters, episodes, tasks,
                        decisions, pools)  # fmt: skip
            task = following


@compiled
def _receive(
    b: Any, t: Any, n: Any, task: Any, parameters: Any, episodes: Any, tasks: Any,
    decisions: Any, nodes: Any, pools: Any, reward: Any,
) -> None:  # fmt: skip
    """Let a task join the queue of node n, or lose it if the queue is full."""
    nodes.received[b, n] += 1
    if nodes.length[b, n] >= parameters.network.queue_limit[n]:
        nodes.refused[b, n] += 1
        _lose(b, t - 1, n, task, _REFUSED, parameters, episodes, tasks, decisions, nodes, pools,
              reward)  # fmt: skip
        return
    nodes.length[b, n] += 1
    nodes.instructions[b, n] += tasks.instructions[b, task]
    if parameters.network.agent[n] == _NOBODY:  # nobody decides here
        _keep(b, n, task, tasks, nodes)
    else:
        tasks.status[b, task] = _UNDECIDED
        pool.append(b, n, task, nodes.first_undecided, nodes.last_undecided, tasks)
    ends = last_tick(tasks.deadline[b, task] + parameters.rules.grace_ticks)
    pool.schedule(b, task, max(ends, t), tasks, pools)
