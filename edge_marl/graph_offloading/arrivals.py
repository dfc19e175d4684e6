"""Put tasks and results on their way, and let clients create tasks."""

from __future__ import annotations

import math
from typing import Any

from edge_marl.compiled import compiled
from edge_marl.graph_offloading import failures, pool
from edge_marl.graph_offloading.records import FULL_OF_TASKS, NOBODY, Status
from edge_marl.random_stream import exponential_ticks, uniform

_NOBODY, _FULL_OF_TASKS = NOBODY, FULL_OF_TASKS
_MOVING, _RETURNING, _DOOMED = int(Status.MOVING), int(Status.RETURNING), int(Status.DOOMED)
_DRAWS = 4  # random numbers set apart for every task of a stream
_LONGEST = 1e9  # in ticks: what takes longer is beyond every episode too


@compiled
def send(
    t: Any, task: Any, link: Any, moment: Any, status: Any, parameters: Any, episode: Any
) -> None:
    """Send a task or its result over a link, from ``moment`` on, or from when it is repaired."""
    this = episode.tasks[task]
    arrival = give(link, this.size_mb, moment, parameters, episode)
    this.node = parameters.links[link].neighbour
    be_on_the_way(t, task, arrival, status, parameters, episode)


@compiled
def give(link: Any, size_mb: Any, moment: Any, parameters: Any, episode: Any) -> Any:
    """Give something to a link and return when it arrives at the other end."""
    over = parameters.links[link]
    duration = size_mb * over.ticks_per_mb
    moment = max(moment, failures.repaired(link, parameters, episode.parts))
    if parameters.rules.contention:
        moment = max(moment, episode.link_free[link])
        episode.link_free[link] = moment + duration
    episode.counts.traffic_mb += size_mb
    return moment + duration + over.latency_ticks


@compiled
def be_on_the_way(
    t: Any, task: Any, arrival: Any, status: Any, parameters: Any, episode: Any
) -> None:
    """Schedule an arrival, no earlier than the next tick; or the deadline that passes before it."""
    this, entries, lists = episode.tasks[task], episode.entries, episode.lists
    deadline = this.deadline
    in_time = arrival < deadline or (status == _RETURNING and arrival == deadline)
    if parameters.rules.deadline_ends_all and not in_time:
        this.status = _DOOMED
        pool.schedule_end(task, max(last_tick(deadline), t), entries, lists)
    else:
        this.status, this.moment = status, arrival
        tick = max(math.ceil(min(arrival, _LONGEST)), t + 1)
        pool.schedule_arrival(task, tick, entries, lists)


@compiled
def last_tick(moment: Any) -> Any:
    """Return the tick at whose end a moment has come."""
    return math.ceil(moment) - 1


@compiled
def create(t: Any, parameters: Any, episode: Any) -> None:
    """Let the clients create the tasks of tick t."""
    streams = episode.streams
    for j in range(len(streams)):
        while streams[j].next_arrival == t:
            counter = _counter(j, streams)
            draw = uniform(episode.seed, counter + 1)
            if len(parameters.arrival_ticks) > 0:
                stream, n_jobs = int(draw * len(parameters.streams)), len(parameters.jobs)
                job = (_first_recorded(episode.seed, n_jobs) + streams[j].n_arrivals) % n_jobs
            else:
                stream = j
                of_stream = parameters.streams[j]
                job = of_stream.first_job + int(draw * of_stream.n_jobs)
            late = uniform(episode.seed, counter + 2)
            if not _new_task(t, stream, job, late, parameters, episode):
                episode.counts.full = _FULL_OF_TASKS
                return
            streams[j].n_arrivals += 1
            await_next(j, parameters, episode)


@compiled
def _new_task(t: Any, j: Any, job: Any, late: Any, parameters: Any, episode: Any) -> Any:
    """Create a task of stream j and return whether there was a place for it.

    Its deadline is the share ``late`` of the way from the earliest to the latest.
    """
    task = pool.take_task(episode.tasks, episode.lists)
    if task == _NOBODY:
        return False
    this, counts = episode.tasks[task], episode.counts
    stream, of_job = parameters.streams[j], parameters.jobs[job]
    low, high = parameters.rules.deadline_ticks[0], parameters.rules.deadline_ticks[1]
    this.number = counts.created
    this.instructions = of_job.instructions
    this.size_mb = of_job.size_mb
    this.created = t
    this.deadline = t + low + (high - low) * late
    this.decision = _NOBODY
    this.link = stream.link
    counts.created += 1
    counts.work += of_job.instructions
    if stream.link == _NOBODY:
        this.node = stream.target
        be_on_the_way(t, task, t + 1.0, _MOVING, parameters, episode)
    else:
        send(t, task, stream.link, float(t), _MOVING, parameters, episode)
    return True


@compiled
def _counter(j: Any, streams: Any) -> Any:
    """Return the first of the random numbers of the next task of stream j."""
    return _DRAWS * (streams[j].n_arrivals * len(streams) + j)


@compiled
def await_next(j: Any, parameters: Any, episode: Any) -> None:
    """Set the tick of the next task of stream j.

    Drawn gaps are exponential, in whole ticks, at least one. Recorded jobs begin with one of them
    at random and come in their order, again and again.
    """
    stream, arrival_ticks = episode.streams[j], parameters.arrival_ticks
    if len(arrival_ticks) > 0:
        n_jobs = len(parameters.jobs)
        first = _first_recorded(episode.seed, n_jobs)
        rounds, job = divmod(first + stream.n_arrivals, n_jobs)
        moment = arrival_ticks[job] + rounds * arrival_ticks[n_jobs]
        moment -= arrival_ticks[first]
        stream.next_arrival = math.ceil(min(moment, _LONGEST))
    else:
        draw = uniform(episode.seed, _counter(j, episode.streams))
        stream.next_arrival += exponential_ticks(draw, parameters.streams[j].gap_ticks)


@compiled
def _first_recorded(seed: Any, n_jobs: Any) -> Any:
    """Return the recorded job that an episode begins with."""
    return int(uniform(seed, 3) * n_jobs)
