"""Compiled physics of the tandem system: scalar loops over a batch of episodes.

What the records hold stands in :mod:`edge_marl.tandem.records`.
"""

from __future__ import annotations

from typing import Any

from edge_marl.compiled import compiled
from edge_marl.tandem.observing import observe
from edge_marl.tandem.records import (
    ARRIVAL,
    BUSY_COMM,
    COMM,
    COMP,
    COMPLETION,
    DEADLINE,
    DROPPED,
    DROPPED_AT,
    FINISHED,
    MAKESPAN,
    NEXT_JOB,
    P_COMM,
    P_COMP,
    STARVED,
    T,
)


@compiled(inline=True)
def _admit_arrivals(b: Any, trace: Any, n_jobs: Any, stages: Any) -> None:
    """Queue at the uplink every job that has arrived by now."""
    j = stages.clock[b, NEXT_JOB]
    while j < n_jobs and trace[j, ARRIVAL] <= stages.clock[b, T]:
        stages.queue[b, COMM, stages.length[b, COMM]] = j
        stages.length[b, COMM] += 1
        j += 1
    stages.clock[b, NEXT_JOB] = j


@compiled(inline=True)
def _late(b: Any, j: Any, trace: Any, parameters: Any, stages: Any) -> Any:
    """Whether ``e_j = t + u_comm + u_comp + t_prop > d_j`` (section 3.3)."""
    earliest = (
        stages.clock[b, T]
        + stages.remaining[b, COMM, j]
        + stages.remaining[b, COMP, j]
        + parameters.downlink
    )
    return earliest > trace[j, DEADLINE]


@compiled(inline=True)
def _drop_late(b: Any, trace: Any, parameters: Any, stages: Any) -> None:
    """Early dropping: remove every job that can no longer meet its deadline."""
    for stage in range(2):
        kept = 0
        for i in range(stages.length[b, stage]):
            j = stages.queue[b, stage, i]
            if _late(b, j, trace, parameters, stages):
                stages.outcome[b, DROPPED_AT, j] = stages.clock[b, T]
                stages.clock[b, DROPPED] += 1
            else:
                stages.queue[b, stage, kept] = j
                kept += 1
        stages.length[b, stage] = kept


@compiled(inline=True)
def _serve(b: Any, stage: Any, action: Any, stages: Any) -> Any:
    """One slot of one stage; returns the job that finished the stage, or -1.

    An action outside the queue (the idle action) serves nobody.
    """
    n = stages.length[b, stage]
    for i in range(n):
        if i != action:
            stages.waiting[b, stage, stages.queue[b, stage, i]] += 1
    if action >= n:
        return -1
    stages.clock[b, BUSY_COMM + stage] += 1
    j = stages.queue[b, stage, action]
    stages.remaining[b, stage, j] -= 1
    if stages.remaining[b, stage, j] > 0:
        return -1
    for i in range(action, n - 1):
        stages.queue[b, stage, i] = stages.queue[b, stage, i + 1]
    stages.length[b, stage] = n - 1
    return j


@compiled(entry=True)
def reset_kernel(
    where: Any, parameters: Any, traces: Any, stages: Any, done: Any, observation: Any
) -> None:
    """Put the episodes of ``where [B]`` at slot 0 of their traces."""
    for b in range(len(where)):
        if not where[b]:
            continue
        trace = traces.jobs[traces.row[b]]
        n = traces.n_jobs[traces.row[b]]
        for j in range(n):
            stages.remaining[b, COMM, j] = trace[j, P_COMM]
            stages.remaining[b, COMP, j] = trace[j, P_COMP]
            stages.waiting[b, COMM, j] = 0
            stages.waiting[b, COMP, j] = 0
        for j in range(stages.outcome.shape[2]):
            stages.outcome[b, COMPLETION, j] = -1
            stages.outcome[b, DROPPED_AT, j] = -1
        for c in range(stages.clock.shape[1]):
            stages.clock[b, c] = 0
        stages.length[b, COMM] = 0
        stages.length[b, COMP] = 0
        _admit_arrivals(b, trace, n, stages)
        _drop_late(b, trace, parameters, stages)
        done[b] = stages.clock[b, DROPPED] == n
        observe(b, trace, stages, observation)


@compiled(entry=True)
def first_illegal(actions: Any, done: Any, length: Any, n_seen: Any) -> Any:
    """``2 b + stage`` of the first action that names no queued job and is not idle, or -1."""
    for b in range(actions.shape[0]):
        if done[b]:
            continue
        for stage in range(2):
            action = actions[b, stage]
            if action < 0 or action > n_seen or length[b, stage] <= action < n_seen:
                return 2 * b + stage
    return -1


@compiled(entry=True)
def step_kernel(
    actions: Any, parameters: Any, traces: Any, stages: Any, done: Any, transition: Any
) -> None:
    """One slot of every episode that is not done, or all slots until there is a choice to make.

    With ``at_events`` the stages go on with the same jobs until a job has joined or left a queue
    and one of the queues then holds two jobs or more; rewards add up.
    """
    n_seen = transition.observation.features.shape[2]
    reward = transition.reward
    for b in range(actions.shape[0]):
        reward[b, COMM] = 0.0
        reward[b, COMP] = 0.0
        transition.terminated[b] = False
        transition.truncated[b] = False
        if done[b]:
            continue
        trace = traces.jobs[traces.row[b]]
        n = traces.n_jobs[traces.row[b]]
        # An idle action must not point behind the window into a longer queue.
        idle = len(trace)
        comm_action = actions[b, COMM] if actions[b, COMM] < n_seen else idle
        comp_action = actions[b, COMP] if actions[b, COMP] < n_seen else idle
        while True:
            changed = _slot(b, comm_action, comp_action, trace, n, parameters, stages, transition)
            if transition.terminated[b] or transition.truncated[b] or not parameters.at_events:
                break
            if changed:
                if stages.length[b, COMM] >= 2 or stages.length[b, COMP] >= 2:
                    break
                # What is left to do is forced.
                comm_action = 0 if stages.length[b, COMM] > 0 else idle
                comp_action = 0 if stages.length[b, COMP] > 0 else idle
        done[b] = transition.terminated[b] or transition.truncated[b]
        observe(b, trace, stages, transition.observation)


@compiled(inline=True)
def _slot(
    b: Any, comm_action: Any, comp_action: Any, trace: Any, n_jobs: Any,
    parameters: Any, stages: Any, transition: Any,
) -> Any:  # fmt: skip
    """One slot of episode b; returns whether a job joined or left a queue."""
    reward = transition.reward
    arrived, dropped = stages.clock[b, NEXT_JOB], stages.clock[b, DROPPED]
    compute_empty = stages.length[b, COMP] == 0
    busy_before = stages.clock[b, BUSY_COMM]
    # The compute stage goes first: what the uplink finishes now is computed from t + 1.
    computed = _serve(b, COMP, comp_action, stages)
    received = _serve(b, COMM, comm_action, stages)
    if compute_empty and stages.clock[b, BUSY_COMM] > busy_before:
        stages.clock[b, STARVED] += 1
    stages.clock[b, T] += 1
    if computed >= 0:
        completion = stages.clock[b, T] + parameters.downlink
        stages.outcome[b, COMPLETION, computed] = completion
        stages.clock[b, FINISHED] += 1
        stages.clock[b, MAKESPAN] = max(stages.clock[b, MAKESPAN], completion)
    if received >= 0:
        stages.queue[b, COMP, stages.length[b, COMP]] = received
        stages.length[b, COMP] += 1
    _admit_arrivals(b, trace, n_jobs, stages)

    for stage in range(2):
        penalty = 0.0
        for i in range(stages.length[b, stage]):
            j = stages.queue[b, stage, i]
            late = _late(b, j, trace, parameters, stages)
            penalty += parameters.alpha1 * stages.waiting[b, stage, j]
            if late:
                penalty += parameters.alpha2
                if stage == COMP:
                    reward[b, COMM] -= parameters.alpha3
        reward[b, stage] -= penalty

    _drop_late(b, trace, parameters, stages)
    if stages.clock[b, FINISHED] + stages.clock[b, DROPPED] == n_jobs:
        transition.terminated[b] = True
        episodic = (
            parameters.beta1 * stages.clock[b, MAKESPAN]
            + parameters.beta2 * stages.clock[b, DROPPED]
        )
        reward[b, COMM] -= episodic
        reward[b, COMP] -= episodic
    elif stages.clock[b, T] >= parameters.horizon:
        transition.truncated[b] = True
    changed = computed >= 0 or received >= 0
    return changed or stages.clock[b, NEXT_JOB] > arrived or stages.clock[b, DROPPED] > dropped
