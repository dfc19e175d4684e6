"""Search ordered subsets of jobs by exact branch and bound (tandem paper, section 2.2).

Ordered subsets are enough. Take any feasible preemptive schedule that keeps the jobs S, with uplink
completions ``c_j`` and compute deadlines ``D_j = d_j - t_prop``.

1. *Uplink.* Earliest due date is optimal on one preemptive machine with release dates, so
   serving S by the fixed priority "order of ``c_j``" completes every j by ``c_j``, and the
   compute stage loses nothing.
2. *Compute.* With releases ``c_j``, earliest deadline first meets all ``D_j`` if anything does,
   and every work-conserving order has the same makespan.

A schedule is therefore the set kept and its order on the uplink: 1,957 candidates for six
jobs. Along an order consistent with its completions, ``c_j`` is the time ``F`` at which the
work of the prefix that ends in j is done; for other orders ``F`` overestimates, which is safe
as the consistent order of the same schedule is searched too. Compute deadlines hold iff

    c_i + sum(b_k : c_k >= c_i, D_k <= D_j) <= D_j        for all i, j of S,

and the makespan follows ``M = max(M, c_j) + b_j``. Both only get worse as a prefix grows: a job
that cannot follow a prefix cannot follow any extension of it.

Jobs already in the compute queue (``comm == 0``) have no place in the order; they are kept or
dropped first. So the search starts from any state of the system, not only from an empty one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_marl.compiled import compiled

IntArray = NDArray[np.int64]

_EPS = 1e-6
EXACT_BUDGET = 2_000_000
"""Nodes that a search from scratch may visit, about a second."""


class SearchResult(NamedTuple):
    """Hold what the search found.

    Attributes:
        objective: ``C_max + drop_penalty * dropped`` of the best order, downlink included.
        bound: a valid lower bound of the optimum; equals ``objective`` when ``exact``.
        exact: whether the whole tree was searched or bounded away.
        order: kept jobs in order of uplink completion (compute-queue jobs first).
        nodes: prefixes visited.
    """

    objective: float
    bound: float
    exact: bool
    order: IntArray
    nodes: int


@compiled
def _sort_by(keys: Any, order: Any, n: Any) -> None:
    """Sort ``order[:n]`` stably by ``keys[order]``, by insertion, which allocates nothing."""
    for i in range(1, n):
        job = order[i]
        k = i - 1
        while k >= 0 and keys[order[k]] > keys[job]:
            order[k + 1] = order[k]
            k -= 1
        order[k + 1] = job


@compiled(entry=True)
def _johnson(comm: Any, comp: Any, keys: Any, order: Any, n: Any) -> None:
    """Put ``order[:n]`` into Johnson's order: short uplink first, then short compute last."""
    for i in range(n):
        j = order[i]
        keys[j] = comm[j] - (1 << 40) if comm[j] < comp[j] else -comp[j]
    _sort_by(keys, order, n)


@compiled
def _finish(release: Any, comm: Any, by_release: Any, n_up: Any, inside: Any, extra: Any) -> Any:
    """Return F, when the uplink has done the work of the jobs ``inside`` and of ``extra``."""
    t = 0
    for i in range(n_up):
        k = by_release[i]
        if inside[k] or k == extra:
            t = max(t, release[k]) + comm[k]
    return t


@compiled
def _johnson_tail(
    release: Any, comm: Any, comp: Any, by_release: Any, by_johnson: Any, n: Any, n_up: Any,
    inside: Any, candidate: Any, end: Any, span: Any,
) -> Any:  # fmt: skip
    """Return the least makespan with all candidates behind the prefix, constraints relaxed.

    Without releases and deadlines, Johnson's rule with machines free at ``end`` and ``span`` is
    exact. It bounds the makespan only if no candidate could use an idle slot of the prefix; where
    one could, the result is 0.
    """
    block = 0
    t = 0
    first = -1
    for i in range(n_up):
        k = by_release[i]
        if inside[k]:
            if release[k] > t:
                block = release[k]
                t = block
            t += comm[k]
        elif candidate[k] and first < 0:
            first = release[k]
    if first < 0 or (end > 0 and first < block):
        return 0
    c = max(end, first)
    for i in range(n):
        k = by_johnson[i]
        if candidate[k]:
            c += comm[k]
            span = max(span, c) + comp[k]
    return span


@compiled
def _fits(done: Any, comp: Any, due: Any, prefix: Any, m: Any, j: Any, c: Any) -> Any:
    """Return whether the compute stage meets all deadlines when j, sent by c, joins the prefix."""
    if c + comp[j] > due[j]:
        return False
    for x in range(m):
        limit = due[prefix[x]]
        if limit < due[j]:
            continue
        load = comp[j]
        for i in range(m - 1, -1, -1):
            k = prefix[i]
            if due[k] <= limit:
                load += comp[k]
                if done[i] + load > limit:
                    return False
    load = comp[j]
    for i in range(m - 1, -1, -1):
        k = prefix[i]
        if due[k] <= due[j]:
            load += comp[k]
            if done[i] + load > due[j]:
                return False
    return True


@compiled
def _root_bound(
    n: Any, alive: Any, release: Any, comm: Any, comp: Any, downlink: Any, penalty: Any,
    work: Any,
) -> Any:  # fmt: skip
    """Return a lower bound of the objective.

    It is Johnson's makespan from the earliest release, less what dropping each job could save at
    most (a job appended at the end costs at most comm + comp), or the cost of dropping all jobs if
    that is lower.
    """
    order, keys = work[0], work[1]
    m = 0
    start = 0
    for j in range(n):
        if alive[j]:
            start = release[j] if m == 0 else min(start, release[j])
            order[m] = j
            m += 1
    forced = penalty * (n - m)
    if m == 0:
        return forced
    _johnson(comm, comp, keys, order, m)
    c = start
    span = start
    for i in range(m):
        c += comm[order[i]]
        span = max(span, c) + comp[order[i]]
    saving = 0.0
    for i in range(m):
        j = order[i]
        saving += max(0.0, comm[j] + comp[j] - penalty)
    return min(penalty * n, forced + span + downlink - saving)


@compiled
def _greedy(
    sequence: Any, length: Any, n: Any, alive: Any, release: Any, comm: Any, comp: Any,
    due: Any, by_release: Any, n_up: Any, work: Any,
) -> Any:  # fmt: skip
    """Keep each job of ``sequence`` that still fits, in order; return how many, and their span.

    Jobs of the compute queue come first. The jobs kept are in ``work[2]``.
    """
    prefix, done, inside = work[2], work[3], work[4]
    for j in range(n):
        inside[j] = 0
    m = 0
    span = 0
    for upstream in range(2):
        for x in range(length):
            j = sequence[x]
            if not alive[j] or inside[j] or (comm[j] > 0) != (upstream == 1):
                continue
            c = release[j]
            if upstream == 1:
                c = _finish(release, comm, by_release, n_up, inside, j)
                if m > 0:
                    c = max(c, done[m - 1])
            if _fits(done, comp, due, prefix, m, j, c):
                prefix[m] = j
                done[m] = c
                inside[j] = 1
                span = max(span, c) + comp[j]
                m += 1
    return m, span


@compiled(entry=True, allocates=True)
def search_kernel(
    n: Any, release: Any, comm: Any, comp: Any, due: Any, downlink: Any, penalty: Any,
    hint: Any, hint_length: Any, budget: Any, work: Any, levels: Any, best: Any,
) -> Any:  # fmt: skip
    """Search depth-first by branch and bound; see the module for the mathematics.

    Args:
        n: jobs in use of the arrays that follow.
        release, comm, comp, due: ``[N]`` slots; ``comm == 0`` for jobs in the compute queue.
        hint, hint_length: an order tried first; ties keep it.
        work, levels: ``[9, N]`` and ``[4, N + 1, max(N, 7)]`` scratch.
        best: ``[N]`` the result.

    Returns:
        objective, bound, exact, number of kept jobs in ``best``, nodes.
    """
    prefix, done, inside = work[2], work[3], work[4]
    by_release, by_due, alive, trial = work[5], work[6], work[7], work[8]
    candidate = work[0]
    jobs, ends, spans, cursor = levels[0], levels[1], levels[2], levels[3]
    savings = np.empty(n + 1)
    # Jobs that no schedule can keep; EDF and release orders of the others.
    n_up = 0
    for j in range(n):
        alive[j] = 1 if release[j] + comm[j] + comp[j] <= due[j] else 0
        by_due[j] = j
        if comm[j] > 0:
            by_release[n_up] = j
            n_up += 1
    _sort_by(release, by_release, n_up)
    _sort_by(due, by_due, n)
    bound = _root_bound(n, alive, release, comm, comp, downlink, penalty, work)
    # Incumbents: nothing kept, the hint, EDF, Johnson's order.
    best_value = penalty * n
    best_m = 0
    for attempt in range(3):
        if attempt == 0:
            length = hint_length
            for i in range(length):
                trial[i] = hint[i]
        else:
            length = n
            for i in range(n):
                trial[i] = by_due[i]
            if attempt == 2:
                _johnson(comm, comp, work[1], trial, n)
        if length == 0:
            continue
        m, span = _greedy(trial, length, n, alive, release, comm, comp, due, by_release, n_up, work)
        value = penalty * (n - m) + (span + downlink if m > 0 else 0)
        if value < best_value - _EPS:
            best_value = value
            best_m = m
            for i in range(m):
                best[i] = prefix[i]
        if best_value <= bound + _EPS:
            return best_value, best_value, True, best_m, 0
    # From here on ``trial`` stays Johnson's order.
    for j in range(n):
        inside[j] = 0
        candidate[j] = 0
    # The tree. Level m holds the jobs that may follow the prefix of length m, compute-queue
    # jobs first, each part in EDF order: [jobs, completion if next, makespan if next].
    nodes = 0
    open_bound = best_value
    m = 0
    span = 0
    uplink_end = 0
    entering = True
    count = n
    head = 0
    for upstream in range(2):
        for i in range(n):
            j = by_due[i]
            if (comm[j] > 0) == (upstream == 1) and alive[j]:
                jobs[0, head] = j
                head += 1
    count = head
    while True:
        if entering:
            nodes += 1
            # Keep only the candidates that fit behind the prefix.
            kept = 0
            for x in range(count):
                j = jobs[m, x]
                c = release[j]
                if comm[j] > 0:
                    c = _finish(release, comm, by_release, n_up, inside, j)
                if _fits(done, comp, due, prefix, m, j, c):
                    jobs[m, kept] = j
                    ends[m, kept] = c
                    spans[m, kept] = max(span, c) + comp[j]
                    kept += 1
            cursor[m, 0] = 0
            value = penalty * (n - m) + (span + downlink if m > 0 else 0)
            if value < best_value - _EPS:
                best_value = value
                best_m = m
                for i in range(m):
                    best[i] = prefix[i]
            # Sums over the candidates for the bounds of the children. Dropping one saves at
            # most its work and the wait for its release.
            first_up = kept
            load = 0
            saving = 0.0
            for x in range(kept):
                j = jobs[m, x]
                if comm[j] > 0 and first_up == kept:
                    first_up = x
                inside[j] = 1
                late = release[j] - uplink_end
                saving += max(0.0, comm[j] + comp[j] + max(0, late) - penalty)
            for x in range(first_up, kept):
                load += comp[jobs[m, x]]
            finish_all = _finish(release, comm, by_release, n_up, inside, -1)
            for x in range(kept):
                inside[jobs[m, x]] = 0
            cursor[m, 1] = kept
            cursor[m, 2] = first_up
            cursor[m, 3] = load
            cursor[m, 4] = finish_all
            cursor[m, 5] = span
            cursor[m, 6] = uplink_end
            savings[m] = saving
            if first_up == 0 and kept > 1:
                for x in range(kept):
                    candidate[jobs[m, x]] = 1
                tail = _johnson_tail(
                    release, comm, comp, by_release, trial, n, n_up, inside, candidate,
                    uplink_end, span,
                )  # fmt: skip
                for x in range(kept):
                    candidate[jobs[m, x]] = 0
                value = penalty * (n - m - kept) + tail + downlink - saving
                if value >= best_value - _EPS:
                    cursor[m, 1] = 0
            entering = False
        x = cursor[m, 0]
        kept = cursor[m, 1]
        if x >= kept:
            if m == 0:
                break
            m -= 1
            inside[prefix[m]] = 0
            span = cursor[m, 5]
            uplink_end = cursor[m, 6]
            continue
        cursor[m, 0] = x + 1
        j = jobs[m, x]
        if comm[j] > 0 and ends[m, x] == cursor[m, 6]:
            continue  # done in a gap before its predecessor: that order is searched itself
        first_up = cursor[m, 2]
        # Bound: all remaining candidates kept, or fewer, each drop saving what it can at most.
        start = x if x < first_up else first_up
        others = kept - start - 1
        rest = cursor[m, 3]
        if x < first_up:
            for y in range(x + 1, first_up):
                rest += comp[jobs[m, y]]
        else:
            rest -= comp[j]
        lower = spans[m, x] + rest
        tail = -1
        for y in range(first_up, kept):
            if y != x and (tail < 0 or comp[jobs[m, y]] < tail):
                tail = comp[jobs[m, y]]
        if tail >= 0:
            lower = max(lower, cursor[m, 4] + tail)
        drops = n - m - others - 1
        value = penalty * drops + lower + downlink
        if others > 0:
            one_more = penalty * (drops + 1) + spans[m, x] + downlink
            value = max(min(value, one_more), value - savings[m])
        if value >= best_value - _EPS:
            continue
        if nodes >= budget:
            # Not exact: everything still open counts into the lower bound.
            open_bound = min(open_bound, value)
            continue
        prefix[m] = j
        done[m] = ends[m, x]
        inside[j] = 1
        span = spans[m, x]
        if comm[j] > 0:
            uplink_end = ends[m, x]
        head = 0
        for y in range(start, kept):
            if y != x:
                jobs[m + 1, head] = jobs[m, y]
                head += 1
        count = head
        m += 1
        entering = True
    exact = nodes < budget or open_bound >= best_value - _EPS
    if exact:
        return best_value, best_value, True, best_m, nodes
    return best_value, max(bound, open_bound), False, best_m, nodes


def search(
    release: IntArray,
    comm: IntArray,
    comp: IntArray,
    due: IntArray,
    *,
    drop_penalty: float,
    downlink: int = 0,
    hint: IntArray | None = None,
    budget: int = EXACT_BUDGET,
) -> SearchResult:
    """Find which of n jobs are best kept, and in which uplink order, from any state of the system.

    Args:
        release: ``[n]`` first slot in which a job can be served; the present one for all jobs
            of the compute queue.
        comm: ``[n]`` uplink slots left, 0 for jobs in the compute queue.
        comp: ``[n]`` compute slots left.
        due: ``[n]`` latest end of computing, deadline minus downlink.
        drop_penalty: cost of a dropped job in slots.
        downlink: added to the makespan if any job is kept.
        hint: an order to start from, such as the previous plan.
        budget: the most prefixes to visit.
    """
    n = len(comm)
    first = np.zeros(0, dtype=np.int64) if hint is None else np.asarray(hint, dtype=np.int64)
    width = max(n, 1)
    best = np.zeros(width, dtype=np.int64)
    objective, bound, exact, kept, nodes = search_kernel(
        n,
        np.ascontiguousarray(release, dtype=np.int64),
        np.ascontiguousarray(comm, dtype=np.int64),
        np.ascontiguousarray(comp, dtype=np.int64),
        np.ascontiguousarray(due, dtype=np.int64),
        int(downlink),
        float(drop_penalty),
        first,
        len(first),
        int(budget),
        np.zeros((9, width), dtype=np.int64),
        np.zeros((4, width + 1, max(width, 7)), dtype=np.int64),
        best,
    )
    return SearchResult(float(objective), float(bound), bool(exact), best[:kept].copy(), int(nodes))
