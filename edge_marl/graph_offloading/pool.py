"""Move tasks between the lists that hold them: free places, queues, inboxes and calendars.

Every operation takes constant time, but for an inbox, which is kept in order of arrival: it holds
what reaches one node in one tick.
"""

from __future__ import annotations

from typing import Any

from edge_marl.compiled import compiled
from edge_marl.graph_offloading.records import BUCKETS, NOBODY

_BUCKETS, _NOBODY = BUCKETS, NOBODY


@compiled
def empty(episode: Any) -> None:
    """Free all places of an episode, and empty its calendars."""
    tasks, decisions, lists = episode.tasks, episode.decisions, episode.lists
    P, H = len(tasks), len(decisions)
    for place in range(P):
        tasks.after[place] = place + 1 if place + 1 < P else _NOBODY
    for place in range(H):
        decisions.before[place] = place + 1 if place + 1 < H else _NOBODY
    lists.free_task, lists.free_decision = 0, 0
    lists.arriving[:] = _NOBODY
    lists.ending[:] = _NOBODY
    episode.link_free[:] = 0.0
    episode.due[:] = 0.0


@compiled
def take_task(tasks: Any, lists: Any) -> Any:
    """Return a free place for a task, or -1."""
    task = lists.free_task
    if task != _NOBODY:
        lists.free_task = tasks[task].after
    return task


@compiled
def note_decision(
    t: Any, task: Any, node: Any, link: Any, tasks: Any, decisions: Any, lists: Any
) -> Any:
    """Remember a decision in tick t on a task and return whether there was a place for it."""
    place = lists.free_decision
    if place == _NOBODY:
        return False
    decision, this = decisions[place], tasks[task]
    lists.free_decision = decision.before
    decision.node, decision.link = node, link
    decision.tick = t
    decision.before = this.decision
    this.decision = place
    return True


@compiled
def free(task: Any, tasks: Any, decisions: Any, lists: Any) -> None:
    """Give back the places of a task and of all decisions on it."""
    this = tasks[task]
    place = this.decision
    while place != _NOBODY:
        before = decisions[place].before
        decisions[place].before = lists.free_decision
        lists.free_decision = place
        place = before
    this.after = lists.free_task
    lists.free_task = task


@compiled
def schedule_arrival(task: Any, tick: Any, entries: Any, lists: Any) -> None:
    """Put a task on its way into the bucket of the tick in which it arrives."""
    entry, place = entries[task], tick % _BUCKETS
    entry.due, entry.later = tick, lists.arriving[place]
    lists.arriving[place] = task


@compiled
def schedule_end(task: Any, tick: Any, entries: Any, lists: Any) -> None:
    """Put a task into the bucket of the tick in which it is lost unless something happens."""
    entry, place = entries[task], tick % _BUCKETS
    after = lists.ending[place]
    entry.due = tick
    entry.earlier, entry.later = _NOBODY, after
    if after != _NOBODY:
        entries[after].earlier = task
    lists.ending[place] = task


@compiled
def unschedule_end(task: Any, entries: Any, lists: Any) -> None:
    """Take a task out of that bucket."""
    entry = entries[task]
    earlier, later = entry.earlier, entry.later
    if later != _NOBODY:
        entries[later].earlier = earlier
    if earlier != _NOBODY:
        entries[earlier].later = later
    else:
        lists.ending[entry.due % _BUCKETS] = later


@compiled
def append(n: Any, task: Any, first: Any, last: Any, tasks: Any) -> None:
    """Put a task at the end of the queue of node n that goes from ``first`` to ``last``."""
    this, end = tasks[task], last[n]
    this.before, this.after = end, _NOBODY
    if end != _NOBODY:
        tasks[end].after = task
    else:
        first[n] = task
    last[n] = task


@compiled
def remove(n: Any, task: Any, first: Any, last: Any, tasks: Any) -> None:
    """Take a task out of that queue, wherever in it."""
    this = tasks[task]
    before, after = this.before, this.after
    if before != _NOBODY:
        tasks[before].after = after
    else:
        first[n] = after
    if after != _NOBODY:
        tasks[after].before = before
    else:
        last[n] = before


@compiled
def next_decided(here: Any, rules: Any) -> Any:
    """Return which of its kept tasks a node executes next, or -1; it stays in its queue."""
    return here.last_decided if rules.last_first else here.first_decided


@compiled
def post(task: Any, tasks: Any, nodes: Any) -> None:
    """Put a task into the inbox of the node that it reaches: by moment, then by number."""
    this = tasks[task]
    here = nodes[this.node]
    before, after = _NOBODY, here.inbox
    while after != _NOBODY:
        other = tasks[after]
        if other.moment > this.moment or (
            other.moment == this.moment and other.number > this.number
        ):
            break
        before, after = after, other.after
    this.after = after
    if before == _NOBODY:
        here.inbox = task
    else:
        tasks[before].after = task
