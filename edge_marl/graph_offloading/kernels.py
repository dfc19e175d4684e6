"""Compute the physics of offloading on a graph in compiled scalar loops over a batch of episodes.

A task's fate is open while it waits, for it may be sent on. So what happens is worked out tick by
tick, but at exact moments: a calendar holds what arrives or expires in each tick, and the cost of
a tick is linear in nodes, links and events.
"""

from __future__ import annotations

from typing import Any

from edge_marl.compiled import compiled
from edge_marl.graph_offloading import failures, mail, outcomes, pool
from edge_marl.graph_offloading.arrivals import (
    await_next,
    be_on_the_way,
    create,
    last_tick,
    send,
)
from edge_marl.graph_offloading.layout import Episode
from edge_marl.graph_offloading.observing import describe, observe
from edge_marl.graph_offloading.records import BUCKETS, FULL_OF_DECISIONS, NOBODY, Status
from edge_marl.graph_offloading.rewards import SPARSE, delay_and_overload, potential
from edge_marl.random_stream import uniform
from edge_marl.seeds import START_DRAWS

(
    _MOVING, _RETURNING, _DOOMED, _UNDECIDED, _DECIDED, _RUNNING, _FINISHED, _REFUSED, _EXPIRED,
    _FAILED,
) = (int(status) for status in Status)  # fmt: skip
_NOBODY, _BUCKETS = NOBODY, BUCKETS
_SPARSE = SPARSE
_AT_CLIENT = -2  # in place of the link from the client: the result is on the last part of its way
_START_DRAWS = START_DRAWS.start
_FULL_OF_DECISIONS = FULL_OF_DECISIONS


@compiled(inline=True)  # compiled functions cannot return records
def _episode(b: Any, state: Any) -> Any:
    """Return the rows of episode b."""
    return Episode(
        state.seeds[b], state.counts[b], state.streams[b], state.tasks[b], state.entries[b],
        state.decisions[b], state.nodes[b], state.lists[b], state.parts[b], state.messages[b],
        state.link_free[b], state.due[b], state.reward[b],
    )  # fmt: skip


@compiled(entry=True)
def reset_kernel(where: Any, parameters: Any, state: Any, observation: Any) -> None:
    """Empty the episodes ``where`` and draw when their first tasks come."""
    for b in range(len(where)):
        if not where[b]:
            continue
        episode = _episode(b, state)
        counts, nodes, streams = episode.counts, episode.nodes, episode.streams
        state.tick[b], state.done[b] = 0, False
        counts.full, counts.created = 0, 0
        counts.work, counts.response_ticks, counts.traffic_mb = 0.0, 0.0, 0.0
        counts.outcomes[:] = 0
        pool.empty(episode)
        for n in range(len(nodes)):
            here = nodes[n]
            here.running, here.inbox = _NOBODY, _NOBODY
            here.first_decided, here.last_decided = _NOBODY, _NOBODY
            here.first_undecided, here.last_undecided = _NOBODY, _NOBODY
            here.length, here.shown = 0, 0
            here.instructions, here.local = 0.0, 0.0
            here.started, here.remaining = 0.0, 0.0
            here.busy, here.occupied, here.delay = 0.0, 0.0, 0.0
            here.received, here.processed = 0, 0
            here.refused, here.expired = 0, 0
            here.sent, here.kept = 0, 0
            here.credited = _NOBODY
            here.changed, here.told = True, True
            here.potential = potential(here, parameters.nodes[n].queue_limit, parameters.rewards)
        for j in range(len(streams)):
            streams[j].n_arrivals, streams[j].next_arrival = 0, 0
            await_next(j, parameters, episode)
        failures.begin(parameters, episode)
        mail.forget(episode)
        describe(b, parameters, observation)
        for n in range(len(nodes)):
            observe(b, 0, n, parameters, episode, observation)


@compiled(entry=True)
def first_illegal(actions: Any, parameters: Any, state: Any) -> Any:
    """Return ``b * A + a`` of the first action that is impossible, or -1."""
    B, A = actions.shape
    for b in range(B):
        if state.done[b]:
            continue
        for a in range(A):
            n = parameters.node[a]
            action, node, most = actions[b, a], parameters.nodes[n], 0
            if state.nodes[b, n].first_undecided != _NOBODY:
                most = node.end - node.first
            if action < 0 or action > most:
                return b * A + a
            link = node.first + action - 1
            if action > 0 and not failures.is_open(link, parameters, state.parts[b]):
                return b * A + a
    return -1


@compiled(entry=True)
def step_kernel(
    actions: Any, parameters: Any, state: Any, truncated: Any, observation: Any
) -> None:
    """Play one tick of every episode under way.

    An episode that runs out of places for tasks or decisions is marked as full.
    """
    rules = parameters.rules
    for b in range(actions.shape[0]):
        truncated[b] = False
        state.reward[b] = 0.0
        if state.done[b]:
            continue
        t = state.tick[b]
        episode = _episode(b, state)
        _play(t, actions[b], parameters, episode)
        t += 1
        state.tick[b] = t
        if t == rules.ticks:
            state.done[b] = truncated[b] = True
        # A large graph does not fit into the processor's cache: one walk over its nodes is enough.
        for n in range(len(episode.nodes)):
            _end_tick(t, n, parameters, episode)
            observe(b, t, n, parameters, episode, observation)
        if parameters.rewards.kind == _SPARSE:
            _pay_potential(parameters, episode)


@compiled
def _play(t: Any, actions: Any, parameters: Any, episode: Any) -> None:
    """Play tick t of an episode, up to what has arrived by its end."""
    nodes, rewards = episode.nodes, parameters.rewards
    mail.carry(t, parameters, episode)
    if rewards.delay > 0:
        place = t % rewards.delay
        for a in range(len(actions)):
            episode.reward[a] = episode.due[place, a]
            episode.due[place, a] = 0.0
    for a in range(len(actions)):
        n = parameters.node[a]
        if nodes[n].first_undecided != _NOBODY:
            _decide(t, a, n, actions[a], parameters, episode)
    for n in range(len(nodes)):
        _execute(t, n, parameters, episode)
    create(t, parameters, episode)
    _expire(t, parameters, episode)
    _bring(t + 1, parameters, episode)
    _fail_and_repair(t + 1, parameters, episode)


@compiled
def _end_tick(t: Any, n: Any, parameters: Any, episode: Any) -> None:
    """Let node n tell its neighbours its queue, hand out what has come by moment t, and start."""
    here, rules = episode.nodes[n], parameters.rules
    tells = t % rules.broadcast_ticks == 0 and failures.is_up(n, episode.parts)
    if tells and here.shown != here.length:
        here.shown = here.length
        here.told = True
    _hand_out(t, n, parameters, episode)
    here.occupied += here.length / parameters.nodes[n].queue_limit
    if here.running == _NOBODY and here.first_undecided != _NOBODY:
        draw = uniform(episode.seed, _START_DRAWS + t * len(episode.nodes) + n)
        if draw < rules.start_undecided:
            _start(n, _next(n, parameters, episode), parameters, episode)


@compiled
def _pay_potential(parameters: Any, episode: Any) -> None:
    """Pay each agent the change of its node's potential (equation 28)."""
    rewards = parameters.rewards
    for n in range(len(episode.nodes)):
        here, before = episode.nodes[n], episode.nodes[n].potential
        here.potential = potential(here, parameters.nodes[n].queue_limit, rewards)
        outcomes.pay(n, rewards.discount * here.potential - before, parameters, episode)


# Decisions ----------------------------------------------------------------------------------


@compiled
def _decide(t: Any, a: Any, n: Any, action: Any, parameters: Any, episode: Any) -> None:
    """Keep the oldest undecided task of node n, or send it over one of the node's links."""
    tasks, lists, here = episode.tasks, episode.lists, episode.nodes[n]
    task = here.first_undecided
    link = _NOBODY if action == 0 else parameters.nodes[n].first + action - 1
    episode.reward[a] += delay_and_overload(n, task, link, parameters, episode)
    _leave_undecided(n, task, episode)
    if not pool.note_decision(t, task, n, link, tasks, episode.decisions, lists):
        episode.counts.full = _FULL_OF_DECISIONS
    if action == 0:
        _keep(n, task, episode)
        here.kept += 1
        return
    pool.unschedule_end(task, episode.entries, lists)
    _forget(here, tasks[task])
    here.sent += 1
    send(t, task, link, float(t), _MOVING, parameters, episode)


@compiled
def _keep(n: Any, task: Any, episode: Any) -> None:
    """Let a task wait to be executed at node n."""
    tasks, nodes = episode.tasks, episode.nodes
    tasks[task].status = _DECIDED
    pool.append(n, task, nodes.first_decided, nodes.last_decided, tasks)
    nodes[n].local += tasks[task].instructions
    nodes[n].changed = True


@compiled
def _leave_undecided(n: Any, task: Any, episode: Any) -> None:
    nodes = episode.nodes
    pool.remove(n, task, nodes.first_undecided, nodes.last_undecided, episode.tasks)


@compiled
def _leave_decided(n: Any, task: Any, episode: Any) -> None:
    nodes = episode.nodes
    pool.remove(n, task, nodes.first_decided, nodes.last_decided, episode.tasks)


# Execution ----------------------------------------------------------------------------------


@compiled
def _next(n: Any, parameters: Any, episode: Any) -> Any:
    """Take the task out of its queue that node n is to execute next, or return -1.

    Where a node may start what nobody has decided on, it does so whenever it runs out of other
    work. The agent comes first in a tick, unless the node was idle and a draw has gone against it.
    """
    here, rules = episode.nodes[n], parameters.rules
    task = pool.next_decided(here, rules)
    if task != _NOBODY:
        _leave_decided(n, task, episode)
    elif rules.start_undecided > 0.0:
        task = here.first_undecided
        if task != _NOBODY:
            _leave_undecided(n, task, episode)
            here.local += episode.tasks[task].instructions
    return task


@compiled
def _start(n: Any, task: Any, parameters: Any, episode: Any) -> None:
    """Begin to execute a task that has left its queue."""
    this, here = episode.tasks[task], episode.nodes[n]
    this.status = _RUNNING
    here.running = task
    here.started = here.remaining = this.instructions
    here.changed = True
    if not parameters.rules.deadline_ends_all:
        pool.unschedule_end(task, episode.entries, episode.lists)


@compiled
def _execute(t: Any, n: Any, parameters: Any, episode: Any) -> None:
    """Execute for one tick what has been decided on, one task after the other."""
    here, capacity = episode.nodes[n], parameters.nodes[n].capacity
    now, end = float(t), t + 1.0
    while True:
        task = here.running
        if task == _NOBODY:
            task = _next(n, parameters, episode)
            if task == _NOBODY:
                break
            _start(n, task, parameters, episode)
        this = episode.tasks[task]
        finish = now + here.remaining / capacity
        if finish > end:
            here.remaining -= (end - now) * capacity
            now = end
            break
        now = finish
        here.running = _NOBODY
        _forget(here, this)
        here.local -= this.instructions
        here.processed += 1
        here.delay += now - this.created
        if parameters.rewards.kind == _SPARSE:
            outcomes.pay(n, parameters.rewards.utility, parameters, episode)
        if parameters.rules.deadline_ends_all:
            pool.unschedule_end(task, episode.entries, episode.lists)
        else:  # its result will not be lost
            outcomes.credit_all(t, task, 1.0, parameters, episode)
        _return(t, n, task, now, parameters, episode)
    here.busy += now - t


@compiled
def _forget(here: Any, this: Any) -> None:
    """Count a task out of a node."""
    here.length -= 1
    here.instructions -= this.instructions
    here.changed = True


@compiled
def _return(t: Any, n: Any, task: Any, moment: Any, parameters: Any, episode: Any) -> None:
    """Send a result from node n one link back along the way of its task, without detours.

    That is the link by which the task first came to this node. A client that is here has its result
    in one tick, as any message within a node.
    """
    this, decisions, links = episode.tasks[task], episode.decisions, parameters.links
    way = decision = this.decision
    while decision != _NOBODY:
        if decisions[decision].node == n:
            way = decisions[decision].before
        decision = decisions[decision].before
    client = this.link
    link = client if way == _NOBODY else decisions[way].link
    if link != _NOBODY:
        link = links[link].back
    here = client != _NOBODY and links[links[client].back].neighbour == n
    if here or link == _NOBODY:
        this.link = _AT_CLIENT
        this.node = n
        be_on_the_way(t, task, moment + 1.0, _RETURNING, parameters, episode)
        return
    if way == _NOBODY:
        this.link = _AT_CLIENT
    send(t, task, link, moment, _RETURNING, parameters, episode)


# Losses -------------------------------------------------------------------------------------


@compiled
def _expire(t: Any, parameters: Any, episode: Any) -> None:
    """Lose the tasks whose time ends in tick t."""
    task = episode.lists.ending[t % _BUCKETS]
    while task != _NOBODY:
        later = episode.entries[task].later
        if episode.entries[task].due == t:
            this = episode.tasks[task]
            n, status = this.node, this.status
            here = episode.nodes[n]
            pool.unschedule_end(task, episode.entries, episode.lists)
            if status == _UNDECIDED:
                _leave_undecided(n, task, episode)
            elif status == _DECIDED:
                _leave_decided(n, task, episode)
            elif status == _RUNNING:
                here.running = _NOBODY
            if status >= _DECIDED:
                here.local -= this.instructions
            if status != _DOOMED:
                _forget(here, this)
            here.expired += 1
            outcomes.lose(t, n, task, _EXPIRED, parameters, episode)
        task = later


# Failures -----------------------------------------------------------------------------------


@compiled
def _fail_and_repair(t: Any, parameters: Any, episode: Any) -> None:
    """Let nodes and links fail at moment t, or be repaired.

    Action masks follow by themselves: they matter where there is a task to decide on, and in every
    tick there is another.
    """
    parts = episode.parts
    for part in range(len(parts)):
        if parts[part].changes_at == t:
            failures.change(part, parameters, episode)
            if part < len(episode.nodes) and not parts[part].is_up:
                _lose_all(t, part, parameters, episode)


@compiled
def _lose_all(t: Any, n: Any, parameters: Any, episode: Any) -> None:
    """Lose the tasks at a node that fails at moment t; its neighbours notice at once."""
    here, tasks = episode.nodes[n], episode.tasks
    ends_running = parameters.rules.deadline_ends_all
    for first in (here.running, here.first_decided, here.first_undecided):
        task = first
        while task != _NOBODY:
            following = tasks[task].after if task != here.running else _NOBODY
            if task != here.running or ends_running:
                pool.unschedule_end(task, episode.entries, episode.lists)
            outcomes.lose(t - 1, n, task, _FAILED, parameters, episode)
            task = following
    here.running = _NOBODY
    here.first_decided, here.last_decided = _NOBODY, _NOBODY
    here.first_undecided, here.last_undecided = _NOBODY, _NOBODY
    here.length, here.instructions, here.local = 0, 0.0, 0.0
    here.shown = parameters.nodes[n].queue_limit
    here.changed, here.told = True, True
    task = here.inbox
    here.inbox = _NOBODY
    while task != _NOBODY:
        following = tasks[task].after
        _await_repair(t, task, parameters, episode)
        task = following


@compiled
def _await_repair(t: Any, task: Any, parameters: Any, episode: Any) -> None:
    """Let a task, or its result, arrive when the node is repaired that it has come to."""
    this = episode.tasks[task]
    moment = max(this.moment, failures.up_from(this.node, episode.parts))
    be_on_the_way(t, task, moment, this.status, parameters, episode)


# Arrivals -----------------------------------------------------------------------------------


@compiled
def _bring(t: Any, parameters: Any, episode: Any) -> None:
    """Put what arrives by moment t into the inboxes of the nodes that are up."""
    entries, lists = episode.entries, episode.lists
    task = lists.arriving[t % _BUCKETS]
    lists.arriving[t % _BUCKETS] = _NOBODY
    while task != _NOBODY:
        later, due = entries[task].later, entries[task].due
        if due != t:
            pool.schedule_arrival(task, due, entries, lists)
        elif failures.is_up(episode.tasks[task].node, episode.parts):
            pool.post(task, episode.tasks, episode.nodes)
        else:
            _await_repair(t, task, parameters, episode)
        task = later


@compiled
def _hand_out(t: Any, n: Any, parameters: Any, episode: Any) -> None:
    """Hand out what has arrived at node n by moment t, in the order of its arrival."""
    here, tasks = episode.nodes[n], episode.tasks
    task = here.inbox
    here.inbox = _NOBODY
    while task != _NOBODY:
        this = tasks[task]
        following = this.after
        if this.status == _MOVING:
            _receive(t, n, task, parameters, episode)
        elif this.link == _AT_CLIENT:
            episode.counts.response_ticks += this.moment - this.created
            outcomes.end(t - 1, task, _FINISHED, parameters, episode)
        else:
            _return(t, n, task, this.moment, parameters, episode)
        task = following


@compiled
def _receive(t: Any, n: Any, task: Any, parameters: Any, episode: Any) -> None:
    """Let a task join the queue of node n, or lose it if the queue is full."""
    this, here, node = episode.tasks[task], episode.nodes[n], parameters.nodes[n]
    here.received += 1
    if here.length >= node.queue_limit:
        here.refused += 1
        outcomes.lose(t - 1, n, task, _REFUSED, parameters, episode)
        return
    here.length += 1
    here.instructions += this.instructions
    here.changed = True
    if node.agent == _NOBODY:  # nobody decides here
        _keep(n, task, episode)
    else:
        this.status = _UNDECIDED
        nodes = episode.nodes
        pool.append(n, task, nodes.first_undecided, nodes.last_undecided, episode.tasks)
    ends = last_tick(this.deadline + parameters.rules.grace_ticks)
    pool.schedule_end(task, max(ends, t), episode.entries, episode.lists)
