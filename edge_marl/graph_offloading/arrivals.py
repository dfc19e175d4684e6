"""Put tasks and results on their way, and let clients create tasks."""

from __future__ import annotations

import math
from typing import Any

from edge_marl.compiled import compiled
from edge_marl.graph_offloading import pool
from edge_marl.graph_offloading.records import FULL_OF_TASKS, NOBODY, Status
from edge_marl.random_stream import uniform

_NOBODY, _FULL_OF_TASKS = NOBODY, FULL_OF_TASKS
_MOVING, _RETURNING, _DOOMED = int(Status.MOVING), int(Status.RETURNING), int(Status.DOOMED)
_DRAWS = 4  # random numbers set apart for every task of a stream
_LONGEST = 1e9  # in ticks: what takes longer is beyond every episode too


@compiled
def send(
    b: Any, t: Any, task: Any, link: Any, moment: Any, status: Any, parameters: Any,
    episodes: Any, tasks: Any, pools: Any,
) -> None:  # fmt: skip
    """Send a task or its result over a link, from ``moment`` on."""
    network = parameters.network
    duration = tasks.size_mb[b, task] * network.ticks_per_mb[link]
    if parameters.rules.contention:
        moment = max(moment, pools.link_free[b, link])
        pools.link_free[b, link] = moment + duration
    episodes.traffic_mb[b] += tasks.size_mb[b, task]
    tasks.node[b, task] = network.neighbour[link]
    arrival = moment + duration + network.latency_ticks[link]
    be_on_the_way(b, t, task, arrival, status, parameters, tasks, pools)


@compiled
def be_on_the_way(
    b: Any, t: Any, task: Any, arrival: Any, status: Any, parameters: Any, tasks: Any, pools: Any
) -> None:
    """Schedule an arrival, no earlier than the next tick; or the deadline that passes before it."""
    deadline = tasks.deadline[b, task]
    in_time = arrival < deadline or (status == _RETURNING and arrival == deadline)
    if parameters.rules.deadline_ends_all and not in_time:
        tasks.status[b, task] = _DOOMED
        pool.schedule(b, task, max(last_tick(deadline), t), tasks, pools)
    else:
        tasks.status[b, task], tasks.moment[b, task] = status, arrival
        pool.schedule(b, task, max(math.ceil(min(arrival, _LONGEST)), t + 1), tasks, pools)


@compiled
def last_tick(moment: Any) -> Any:
    """Return the tick at whose end a moment has come."""
    return math.ceil(moment) - 1


@compiled
def create(b: Any, t: Any, parameters: Any, episodes: Any, tasks: Any, pools: Any) -> None:
    """Let the clients create the tasks of tick t."""
    load = parameters.load
    seed = episodes.seeds[b]
    for j in range(episodes.next_arrival.shape[1]):
        while episodes.next_arrival[b, j] == t:
            counter = _counter(b, j, episodes)
            draw = uniform(seed, counter + 1)
            if len(load.arrival_ticks) > 0:
                stream = int(draw * len(load.target))
                job = (_first_recorded(seed, load) + episodes.n_arrivals[b, j]) % len(load.size_mb)
            else:
                stream = j
                job = load.first_job[j] + int(draw * load.n_jobs[j])
            late = uniform(seed, counter + 2)
            if not _new_task(b, t, stream, job, late, parameters, episodes, tasks, pools):
                episodes.full[b] = _FULL_OF_TASKS
                return
            episodes.n_arrivals[b, j] += 1
            await_next(b, j, parameters, episodes)


@compiled
def _new_task(
    b: Any, t: Any, j: Any, job: Any, late: Any, parameters: Any, episodes: Any, tasks: Any,
    pools: Any,
) -> Any:  # fmt: skip
    """Create a task of stream j and return whether there was a place for it.

    Its deadline is the share ``late`` of the way from the earliest to the latest.
    """
    load = parameters.load
    task = pool.take_task(b, tasks, pools)
    if task == _NOBODY:
        return False
    low, high = parameters.rules.deadline_ticks
    tasks.number[b, task] = episodes.created[b]
    tasks.instructions[b, task] = tasks.remaining[b, task] = load.instructions[job]
    tasks.size_mb[b, task] = load.size_mb[job]
    tasks.created[b, task] = t
    tasks.deadline[b, task] = t + low + (high - low) * late
    tasks.decision[b, task] = tasks.way_back[b, task] = _NOBODY
    tasks.link[b, task] = load.link[j]
    episodes.created[b] += 1
    episodes.work[b] += load.instructions[job]
    if load.link[j] == _NOBODY:
        tasks.node[b, task] = load.target[j]
        be_on_the_way(b, t, task, t + 1.0, _MOVING, parameters, tasks, pools)
    else:
        send(b, t, task, load.link[j], float(t), _MOVING, parameters, episodes, tasks, pools)
    return True


@compiled
def _counter(b: Any, j: Any, episodes: Any) -> Any:
    """Return the first of the random numbers of the next task of stream j."""
    return _DRAWS * (episodes.n_arrivals[b, j] * episodes.n_arrivals.shape[1] + j)


@compiled
def await_next(b: Any, j: Any, parameters: Any, episodes: Any) -> None:
    """Set the tick of the next task of stream j.

    Drawn gaps are exponential, in whole ticks, at least one. Recorded jobs begin with one of them
    at random and come in their order, again and again.
    """
    load = parameters.load
    seed = episodes.seeds[b]
    if len(load.arrival_ticks) > 0:
        n_jobs = len(load.size_mb)
        first = _first_recorded(seed, load)
        rounds, job = divmod(first + episodes.n_arrivals[b, j], n_jobs)
        moment = load.arrival_ticks[job] + rounds * load.arrival_ticks[n_jobs]
        moment -= load.arrival_ticks[first]
        episodes.next_arrival[b, j] = math.ceil(min(moment, _LONGEST))
    else:
        gap = -math.log(1.0 - uniform(seed, _counter(b, j, episodes))) * load.gap_ticks[j]
        episodes.next_arrival[b, j] += max(1, int(min(gap, _LONGEST) + 0.5))


@compiled
def _first_recorded(seed: Any, load: Any) -> Any:
    """Return the recorded job that an episode begins with."""
    return int(uniform(seed, 3) * len(load.size_mb))
