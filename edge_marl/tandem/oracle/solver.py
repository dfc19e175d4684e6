"""Solve a trace with all its arrivals known, in one call (tandem paper, section 2.2)."""

from __future__ import annotations

import math
import time
from typing import get_args

import numpy as np

from edge_marl.errors import InputError
from edge_marl.tandem.oracle.ilp import solve_ilp
from edge_marl.tandem.oracle.schedule import Method, Schedule, proved, simulate_order
from edge_marl.tandem.oracle.search import EXACT_BUDGET, search
from edge_marl.tandem.simulator import DROP_PENALTY
from edge_marl.tandem.traces import TraceSet

METHODS: tuple[Method, ...] = get_args(Method)


def solve(
    workload: TraceSet,
    *,
    drop_penalty: float = DROP_PENALTY,
    time_limit: float = 60.0,
    method: Method = "auto",
) -> Schedule:
    """Find the best schedule of one trace with all its arrivals known.

    Args:
        workload: a trace set of one trace (``traces[k]``).
        drop_penalty: λ, the cost of a dropped job in slots.
        time_limit: seconds for the integer programme. When it stops there, the schedule is the
            incumbent, with ``optimal=False``, its bound and its gap.
        method: ``"auto"`` searches, and hands what a budget of nodes leaves open to the integer
            programme; ``"search"`` and ``"ilp"`` each run alone, for cross-checks.

    Raises:
        InputError: for another number of traces, a malformed job, or an option out of range.
    """
    if not isinstance(workload, TraceSet):
        raise InputError(f"oracle: expected a TraceSet, found {type(workload).__name__}")
    if len(workload) != 1:
        raise InputError(f"oracle: expected one trace, found {len(workload)}; pass traces[k]")
    check_options(drop_penalty, time_limit, method)
    workload.validate("oracle")

    started = time.process_time()
    n = int(workload.n_jobs[0])
    arrival, comm, comp, deadline = (
        getattr(workload, name)[0, :n].astype(np.int64)
        for name in ("arrival", "comm", "comp", "deadline")
    )
    due = deadline - workload.downlink
    # The integer programme alone starts from a single dive, not from a finished search.
    found = search(
        arrival, comm, comp, due,
        drop_penalty=drop_penalty, downlink=workload.downlink,
        budget=1 if method == "ilp" else EXACT_BUDGET,
    )  # fmt: skip
    kept, bound, used = [int(j) for j in found.order], found.bound, "search"
    if method == "ilp" or (method == "auto" and not found.exact):
        answer = solve_ilp(
            arrival, comm, comp, due,
            downlink=workload.downlink, drop_penalty=drop_penalty, time_limit=time_limit,
            start=kept,
        )  # fmt: skip
        used = "ilp"
        bound = max(bound, answer.bound)
        if answer.objective <= found.objective:
            kept = list(answer.order)

    comm_slots, comp_slots, order, end = simulate_order(kept, arrival, comm, comp, due)
    makespan = end + workload.downlink if order else 0
    dropped = tuple(j for j in range(n) if j not in set(order))
    objective = makespan + drop_penalty * len(dropped)
    optimal, bound, gap = proved(objective, bound)
    return Schedule(
        objective=objective,
        makespan=makespan,
        dropped=dropped,
        comm=comm_slots,
        comp=comp_slots,
        optimal=optimal,
        gap=gap,
        bound=bound,
        solve_s=time.process_time() - started,
        method=used,
        order=tuple(order),
        asked=method,
        time_limit=float(time_limit),
    )


def check_options(drop_penalty: float, time_limit: float, method: str) -> None:
    """Check the options of :func:`solve`.

    Raises:
        InputError: for an unknown method, or a number out of range.
    """
    if method not in METHODS:
        raise InputError(f"oracle: method: expected one of {', '.join(METHODS)}, found {method!r}")
    if not (math.isfinite(drop_penalty) and drop_penalty >= 0):
        raise InputError(f"oracle: drop_penalty: expected at least 0, found {drop_penalty}")
    if not (math.isfinite(time_limit) and time_limit > 0):
        raise InputError(
            f"oracle: time_limit: expected a number of seconds above 0, found {time_limit}"
        )
