"""Move tasks between the lists that hold them: free places, queues, inboxes and the calendar.

Every operation takes constant time, but for an inbox, which is kept in order of arrival: it holds
what reaches one node in one tick.
"""

from __future__ import annotations

from typing import Any

from edge_marl.compiled import compiled
from edge_marl.graph_offloading.records import BUCKETS, NOBODY

_BUCKETS, _NOBODY = BUCKETS, NOBODY


@compiled
def empty(b: Any, tasks: Any, decisions: Any, pools: Any) -> None:
    """Free all places of an episode, and empty its calendar."""
    P, H = tasks.after.shape[1], decisions.before.shape[1]
    for place in range(P):
        tasks.after[b, place] = place + 1 if place + 1 < P else _NOBODY
    for place in range(H):
        decisions.before[b, place] = place + 1 if place + 1 < H else _NOBODY
    pools.free_task[b], pools.free_decision[b] = 0, 0
    pools.bucket[b] = _NOBODY
    pools.link_free[b] = 0.0
    pools.due[b] = 0.0


@compiled
def take_task(b: Any, tasks: Any, pools: Any) -> Any:
    """Return a free place for a task, or -1."""
    task = pools.free_task[b]
    if task != _NOBODY:
        pools.free_task[b] = tasks.after[b, task]
    return task


@compiled
def note_decision(
    b: Any, t: Any, task: Any, node: Any, link: Any, tasks: Any, decisions: Any, pools: Any
) -> Any:
    """Remember a decision in tick t on a task and return whether there was a place for it."""
    place = pools.free_decision[b]
    if place == _NOBODY:
        return False
    pools.free_decision[b] = decisions.before[b, place]
    decisions.node[b, place], decisions.link[b, place] = node, link
    decisions.tick[b, place] = t
    decisions.before[b, place] = tasks.decision[b, task]
    tasks.decision[b, task] = place
    return True


@compiled
def free(b: Any, task: Any, tasks: Any, decisions: Any, pools: Any) -> None:
    """Give back the places of a task and of all decisions on it."""
    place = tasks.decision[b, task]
    while place != _NOBODY:
        before = decisions.before[b, place]
        decisions.before[b, place] = pools.free_decision[b]
        pools.free_decision[b] = place
        place = before
    tasks.after[b, task] = pools.free_task[b]
    pools.free_task[b] = task


@compiled
def schedule(b: Any, task: Any, tick: Any, tasks: Any, pools: Any) -> None:
    """Put a task into the bucket of a tick."""
    place = tick % _BUCKETS
    after = pools.bucket[b, place]
    tasks.due[b, task] = tick
    tasks.earlier[b, task], tasks.later[b, task] = _NOBODY, after
    if after != _NOBODY:
        tasks.earlier[b, after] = task
    pools.bucket[b, place] = task


@compiled
def unschedule(b: Any, task: Any, tasks: Any, pools: Any) -> None:
    """Take a task out of its bucket."""
    earlier, later = tasks.earlier[b, task], tasks.later[b, task]
    if later != _NOBODY:
        tasks.earlier[b, later] = earlier
    if earlier != _NOBODY:
        tasks.later[b, earlier] = later
    else:
        pools.bucket[b, tasks.due[b, task] % _BUCKETS] = later


@compiled
def append(b: Any, n: Any, task: Any, first: Any, last: Any, tasks: Any) -> None:
    """Put a task at the end of the queue of node n that goes from ``first`` to ``last``."""
    end = last[b, n]
    tasks.before[b, task], tasks.after[b, task] = end, _NOBODY
    if end != _NOBODY:
        tasks.after[b, end] = task
    else:
        first[b, n] = task
    last[b, n] = task


@compiled
def remove(b: Any, n: Any, task: Any, first: Any, last: Any, tasks: Any) -> None:
    """Take a task out of that queue, wherever in it."""
    before, after = tasks.before[b, task], tasks.after[b, task]
    if before != _NOBODY:
        tasks.after[b, before] = after
    else:
        first[b, n] = after
    if after != _NOBODY:
        tasks.before[b, after] = before
    else:
        last[b, n] = before


@compiled
def next_decided(b: Any, n: Any, parameters: Any, nodes: Any) -> Any:
    """Return which of its kept tasks node n executes next, or -1; it stays in its queue."""
    return nodes.last_decided[b, n] if parameters.rules.last_first else nodes.first_decided[b, n]


@compiled
def post(b: Any, task: Any, tasks: Any, nodes: Any) -> None:
    """Put a task into the inbox of the node that it reaches: by moment, then by number."""
    n = tasks.node[b, task]
    moment, number = tasks.moment[b, task], tasks.number[b, task]
    before, after = _NOBODY, nodes.inbox[b, n]
    while after != _NOBODY:
        other = tasks.moment[b, after]
        if other > moment or (other == moment and tasks.number[b, after] > number):
            break
        before, after = after, tasks.after[b, after]
    tasks.after[b, task] = after
    if before == _NOBODY:
        nodes.inbox[b, n] = task
    else:
        tasks.after[b, before] = task
