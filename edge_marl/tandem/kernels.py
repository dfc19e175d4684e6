"""Compiled physics of the tandem system: scalar loops over a batch of episodes.

Layout shared by every kernel here (B episodes, J jobs a trace, Q jobs observed):

- ``jobs [K, J, 4]``: arrival, uplink time, compute time, deadline of trace k; ``row [B]``
  says which trace episode b plays, ``n_jobs [K]`` how many jobs it has;
- ``remaining, waiting [B, 2, J]``: ``u`` and ``w`` of each job in each stage;
- ``queue [B, 2, J]``, ``length [B, 2]``: jobs waiting in each stage, in order of entry;
- ``clock [B, 8]``: the counters named below;
- ``outcome [B, 2, J]``: completion time (with downlink) and slot of dropping, -1 while open.
"""

from __future__ import annotations

from numba import njit

COMM, COMP = 0, 1
ARRIVAL, P_COMM, P_COMP, DEADLINE = 0, 1, 2, 3
T, NEXT_JOB, FINISHED, DROPPED, MAKESPAN, STARVED, BUSY_COMM, BUSY_COMP = range(8)
COMPLETION, DROPPED_AT = 0, 1


@njit(cache=True, inline="always")
def _admit_arrivals(b, trace, n_jobs, queue, length, clock):  # type: ignore[no-untyped-def]
    """Queue at the uplink every job that has arrived by now."""
    j = clock[b, NEXT_JOB]
    while j < n_jobs and trace[j, ARRIVAL] <= clock[b, T]:
        queue[b, COMM, length[b, COMM]] = j
        length[b, COMM] += 1
        j += 1
    clock[b, NEXT_JOB] = j


@njit(cache=True, inline="always")
def _late(b, j, trace, remaining, clock, downlink):  # type: ignore[no-untyped-def]
    """Whether ``e_j = t + u_comm + u_comp + t_prop > d_j`` (section 3.3)."""
    earliest = clock[b, T] + remaining[b, COMM, j] + remaining[b, COMP, j] + downlink
    return earliest > trace[j, DEADLINE]


@njit(cache=True, inline="always")
def _drop_late(b, trace, remaining, queue, length, clock, outcome, downlink):  # type: ignore[no-untyped-def]
    """Early dropping: remove every job that can no longer meet its deadline."""
    for stage in range(2):
        kept = 0
        for i in range(length[b, stage]):
            j = queue[b, stage, i]
            if _late(b, j, trace, remaining, clock, downlink):
                outcome[b, DROPPED_AT, j] = clock[b, T]
                clock[b, DROPPED] += 1
            else:
                queue[b, stage, kept] = j
                kept += 1
        length[b, stage] = kept


@njit(cache=True, inline="always")
def _serve(b, stage, action, remaining, waiting, queue, length, clock):  # type: ignore[no-untyped-def]
    """One slot of one stage; returns the job that finished the stage, or -1.

    An action outside the queue (the idle action) serves nobody.
    """
    n = length[b, stage]
    for i in range(n):
        if i != action:
            waiting[b, stage, queue[b, stage, i]] += 1
    if action >= n:
        return -1
    clock[b, BUSY_COMM + stage] += 1
    j = queue[b, stage, action]
    remaining[b, stage, j] -= 1
    if remaining[b, stage, j] > 0:
        return -1
    for i in range(action, n - 1):
        queue[b, stage, i] = queue[b, stage, i + 1]
    length[b, stage] = n - 1
    return j


@njit(cache=True, inline="always")
def _observe(b, trace, remaining, waiting, queue, length, clock, features, mask, seen):  # type: ignore[no-untyped-def]
    """Write ``[d - t, u_comm, u_comp, w_comm, w_comp]`` of the first Q jobs of each queue."""
    n_seen = features.shape[2]
    t = clock[b, T]
    for stage in range(2):
        n = min(length[b, stage], n_seen)
        for i in range(n):
            j = queue[b, stage, i]
            features[b, stage, i, 0] = trace[j, DEADLINE] - t
            features[b, stage, i, 1] = remaining[b, COMM, j]
            features[b, stage, i, 2] = remaining[b, COMP, j]
            features[b, stage, i, 3] = waiting[b, COMM, j]
            features[b, stage, i, 4] = waiting[b, COMP, j]
            mask[b, stage, i] = True
            seen[b, stage, i] = j
        for i in range(n, n_seen):
            for f in range(5):
                features[b, stage, i, f] = 0.0
            mask[b, stage, i] = False
            seen[b, stage, i] = -1
        mask[b, stage, n_seen] = n == 0


@njit(cache=True)
def reset_kernel(  # type: ignore[no-untyped-def]
    where, jobs, row, n_jobs, downlink, remaining, waiting, queue, length, clock, outcome,
    done, features, mask, seen,
):  # fmt: skip
    """Put the episodes of ``where [B]`` at slot 0 of their traces."""
    for b in range(len(where)):
        if not where[b]:
            continue
        trace = jobs[row[b]]
        n = n_jobs[row[b]]
        for j in range(n):
            remaining[b, COMM, j] = trace[j, P_COMM]
            remaining[b, COMP, j] = trace[j, P_COMP]
            waiting[b, COMM, j] = 0
            waiting[b, COMP, j] = 0
        for j in range(outcome.shape[2]):
            outcome[b, COMPLETION, j] = -1
            outcome[b, DROPPED_AT, j] = -1
        for c in range(clock.shape[1]):
            clock[b, c] = 0
        length[b, COMM] = 0
        length[b, COMP] = 0
        _admit_arrivals(b, trace, n, queue, length, clock)
        _drop_late(b, trace, remaining, queue, length, clock, outcome, downlink)
        done[b] = clock[b, DROPPED] == n
        _observe(b, trace, remaining, waiting, queue, length, clock, features, mask, seen)


@njit(cache=True)
def first_illegal(actions, done, length, n_seen):  # type: ignore[no-untyped-def]
    """``2 b + stage`` of the first action that names no queued job and is not idle, or -1."""
    for b in range(actions.shape[0]):
        if done[b]:
            continue
        for stage in range(2):
            action = actions[b, stage]
            if action < 0 or action > n_seen or length[b, stage] <= action < n_seen:
                return 2 * b + stage
    return -1


@njit(cache=True)
def step_kernel(  # type: ignore[no-untyped-def]
    actions, jobs, row, n_jobs, downlink, horizon, weights, at_events, remaining, waiting, queue,
    length, clock, outcome, done, features, mask, seen, reward, terminated, truncated,
):  # fmt: skip
    """One slot of every episode that is not done, or all slots until there is a choice to make.

    ``weights`` are alpha_1, alpha_2, alpha_3, beta_1, beta_2 of section 3.3. With ``at_events``
    the stages go on with the same jobs until a job has joined or left a queue and one of the
    queues then holds two jobs or more; rewards add up.
    """
    n_seen = features.shape[2]
    for b in range(actions.shape[0]):
        reward[b, COMM] = 0.0
        reward[b, COMP] = 0.0
        terminated[b] = False
        truncated[b] = False
        if done[b]:
            continue
        trace = jobs[row[b]]
        n = n_jobs[row[b]]
        # An idle action must not point behind the window into a longer queue.
        idle = len(trace)
        comm_action = actions[b, COMM] if actions[b, COMM] < n_seen else idle
        comp_action = actions[b, COMP] if actions[b, COMP] < n_seen else idle
        while True:
            changed = _slot(
                b, comm_action, comp_action, trace, n, downlink, horizon, weights, remaining,
                waiting, queue, length, clock, outcome, reward, terminated, truncated,
            )  # fmt: skip
            if terminated[b] or truncated[b] or not at_events:
                break
            if changed:
                if length[b, COMM] >= 2 or length[b, COMP] >= 2:
                    break
                # What is left to do is forced.
                comm_action = 0 if length[b, COMM] > 0 else idle
                comp_action = 0 if length[b, COMP] > 0 else idle
        done[b] = terminated[b] or truncated[b]
        _observe(b, trace, remaining, waiting, queue, length, clock, features, mask, seen)


@njit(cache=True, inline="always")
def _slot(  # type: ignore[no-untyped-def]
    b, comm_action, comp_action, trace, n_jobs, downlink, horizon, weights, remaining, waiting,
    queue, length, clock, outcome, reward, terminated, truncated,
):  # fmt: skip
    """One slot of episode b; returns whether a job joined or left a queue."""
    alpha1, alpha2, alpha3, beta1, beta2 = weights
    arrived, dropped = clock[b, NEXT_JOB], clock[b, DROPPED]
    compute_empty = length[b, COMP] == 0
    busy_before = clock[b, BUSY_COMM]
    # The compute stage goes first: what the uplink finishes now is computed from t + 1.
    computed = _serve(b, COMP, comp_action, remaining, waiting, queue, length, clock)
    received = _serve(b, COMM, comm_action, remaining, waiting, queue, length, clock)
    if compute_empty and clock[b, BUSY_COMM] > busy_before:
        clock[b, STARVED] += 1
    clock[b, T] += 1
    if computed >= 0:
        completion = clock[b, T] + downlink
        outcome[b, COMPLETION, computed] = completion
        clock[b, FINISHED] += 1
        clock[b, MAKESPAN] = max(clock[b, MAKESPAN], completion)
    if received >= 0:
        queue[b, COMP, length[b, COMP]] = received
        length[b, COMP] += 1
    _admit_arrivals(b, trace, n_jobs, queue, length, clock)

    for stage in range(2):
        penalty = 0.0
        for i in range(length[b, stage]):
            j = queue[b, stage, i]
            late = _late(b, j, trace, remaining, clock, downlink)
            penalty += alpha1 * waiting[b, stage, j]
            if late:
                penalty += alpha2
                if stage == COMP:
                    reward[b, COMM] -= alpha3
        reward[b, stage] -= penalty

    _drop_late(b, trace, remaining, queue, length, clock, outcome, downlink)
    if clock[b, FINISHED] + clock[b, DROPPED] == n_jobs:
        terminated[b] = True
        episodic = beta1 * clock[b, MAKESPAN] + beta2 * clock[b, DROPPED]
        reward[b, COMM] -= episodic
        reward[b, COMP] -= episodic
    elif clock[b, T] >= horizon:
        truncated[b] = True
    changed = computed >= 0 or received >= 0
    return changed or clock[b, NEXT_JOB] > arrived or clock[b, DROPPED] > dropped
