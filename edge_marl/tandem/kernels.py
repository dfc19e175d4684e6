"""Compute the physics of the tandem system in compiled scalar loops over a batch of episodes.

The records that they work on are described in :mod:`edge_marl.tandem.records`.
"""

from __future__ import annotations

from typing import Any

from edge_marl.compiled import compiled
from edge_marl.tandem.observing import observe
from edge_marl.tandem.records import COMM, COMP


@compiled(inline=True)
def _admit_arrivals(b: Any, k: Any, traces: Any, stages: Any) -> None:
    """Queue at the uplink every job that has arrived by now."""
    j = stages.next_job[b]
    while j < traces.n_jobs[k] and traces.arrival[k, j] <= stages.t[b]:
        stages.queue[b, COMM, stages.length[b, COMM]] = j
        stages.length[b, COMM] += 1
        j += 1
    stages.next_job[b] = j


@compiled(inline=True)
def _late(b: Any, j: Any, k: Any, traces: Any, parameters: Any, stages: Any) -> Any:
    """Return whether ``e_j = t + u_comm + u_comp + t_prop > d_j`` (section 3.3)."""
    earliest = (
        stages.t[b]
        + stages.remaining[b, COMM, j]
        + stages.remaining[b, COMP, j]
        + parameters.downlink
    )
    return earliest > traces.deadline[k, j]


@compiled(inline=True)
def _drop_late(b: Any, k: Any, traces: Any, parameters: Any, stages: Any) -> None:
    """Drop every job that can no longer meet its deadline (early dropping)."""
    for stage in range(2):
        kept = 0
        for i in range(stages.length[b, stage]):
            j = stages.queue[b, stage, i]
            if _late(b, j, k, traces, parameters, stages):
                stages.dropped_at[b, j] = stages.t[b]
                stages.dropped[b] += 1
            else:
                stages.queue[b, stage, kept] = j
                kept += 1
        stages.length[b, stage] = kept


@compiled(inline=True)
def _serve(b: Any, stage: Any, action: Any, stages: Any) -> Any:
    """Serve one slot at one stage and return the job that finished the stage, or -1.

    An action outside the queue (the idle action) serves no job.
    """
    n = stages.length[b, stage]
    for i in range(n):
        if i != action:
            stages.waiting[b, stage, stages.queue[b, stage, i]] += 1
    if action >= n:
        return -1
    stages.busy[b, stage] += 1
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
        k = traces.row[b]
        n = traces.n_jobs[k]
        for j in range(n):
            stages.remaining[b, COMM, j] = traces.comm[k, j]
            stages.remaining[b, COMP, j] = traces.comp[k, j]
            stages.waiting[b, COMM, j] = 0
            stages.waiting[b, COMP, j] = 0
        for j in range(stages.completion.shape[1]):
            stages.completion[b, j] = -1
            stages.dropped_at[b, j] = -1
        for stage in range(2):
            stages.length[b, stage] = 0
            stages.busy[b, stage] = 0
        stages.t[b] = 0
        stages.next_job[b] = 0
        stages.finished[b] = 0
        stages.dropped[b] = 0
        stages.makespan[b] = 0
        stages.starved[b] = 0
        _admit_arrivals(b, k, traces, stages)
        _drop_late(b, k, traces, parameters, stages)
        done[b] = False  # also if no job is left: an episode ends with a step
        observe(b, k, traces, stages, observation)


@compiled(entry=True)
def first_illegal(actions: Any, done: Any, length: Any, n_seen: Any) -> Any:
    """Return ``2 b + stage`` of the first action that is neither a queued job nor idle, or -1."""
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
    """Play one slot of every episode that is not done, or all slots up to the next choice.

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
        k = traces.row[b]
        # An idle action must not point behind the window into a longer queue.
        idle = traces.arrival.shape[1]
        comm_action = actions[b, COMM] if actions[b, COMM] < n_seen else idle
        comp_action = actions[b, COMP] if actions[b, COMP] < n_seen else idle
        while True:
            changed = _slot(b, k, comm_action, comp_action, parameters, traces, stages, transition)
            if transition.terminated[b] or transition.truncated[b] or not parameters.at_events:
                break
            if changed:
                if stages.length[b, COMM] >= 2 or stages.length[b, COMP] >= 2:
                    break
                # What is left to do is forced.
                comm_action = 0 if stages.length[b, COMM] > 0 else idle
                comp_action = 0 if stages.length[b, COMP] > 0 else idle
        done[b] = transition.terminated[b] or transition.truncated[b]
        observe(b, k, traces, stages, transition.observation)


@compiled(inline=True)
def _slot(
    b: Any, k: Any, comm_action: Any, comp_action: Any, parameters: Any, traces: Any, stages: Any,
    transition: Any,
) -> Any:  # fmt: skip
    """Play one slot of episode b and return whether a job joined or left a queue."""
    reward = transition.reward
    arrived, dropped = stages.next_job[b], stages.dropped[b]
    compute_empty = stages.length[b, COMP] == 0
    busy_before = stages.busy[b, COMM]
    # The compute stage goes first: what the uplink finishes now is computed from t + 1.
    computed = _serve(b, COMP, comp_action, stages)
    received = _serve(b, COMM, comm_action, stages)
    if compute_empty and stages.busy[b, COMM] > busy_before:
        stages.starved[b] += 1
    stages.t[b] += 1
    if computed >= 0:
        completion = stages.t[b] + parameters.downlink
        stages.completion[b, computed] = completion
        stages.finished[b] += 1
        stages.makespan[b] = max(stages.makespan[b], completion)
    if received >= 0:
        stages.queue[b, COMP, stages.length[b, COMP]] = received
        stages.length[b, COMP] += 1
    _admit_arrivals(b, k, traces, stages)

    for stage in range(2):
        penalty = 0.0
        for i in range(stages.length[b, stage]):
            j = stages.queue[b, stage, i]
            late = _late(b, j, k, traces, parameters, stages)
            penalty += parameters.alpha1 * stages.waiting[b, stage, j]
            if late:
                penalty += parameters.alpha2
                if stage == COMP:
                    reward[b, COMM] -= parameters.alpha3
        reward[b, stage] -= penalty

    _drop_late(b, k, traces, parameters, stages)
    if stages.finished[b] + stages.dropped[b] == traces.n_jobs[k]:
        transition.terminated[b] = True
        episodic = parameters.beta1 * stages.makespan[b] + parameters.beta2 * stages.dropped[b]
        reward[b, COMM] -= episodic
        reward[b, COMP] -= episodic
    elif stages.t[b] >= parameters.horizon:
        transition.truncated[b] = True
    changed = computed >= 0 or received >= 0
    return changed or stages.next_job[b] > arrived or stages.dropped[b] > dropped
