"""Solve the full-information integer programme (tandem paper, section 2.2) without a time index.

The paper's model has a binary per job, stage and slot. Its optimum is the same as that of the
model below: an optimal schedule is given by the jobs kept and their order of completion on the
uplink (proved in :mod:`edge_marl.tandem.oracle.search`). With ``a, b`` the times on the two stages,
``r`` the arrival and ``D = d - t_prop``, the variables are ``keep_j``, ``p_ij`` (both kept, i
leaves the uplink before j; ``p_jj`` stands for ``keep_j``), completions ``c_j`` and ``C``:

    minimise  C + t_prop * any + drop_penalty * sum(1 - keep_j)
    c_j >= r_k p_kj + sum(a_i p_ij : r_i >= r_k)              for all j, k          (uplink)
    c_k + sum(b_i p_ki : D_i <= D_j) <= D_j                   for all D_k <= D_j    (deadlines)
    C   >= c_k + sum(b_i p_ki)                                for all k             (makespan)

*Uplink*: the work of a prefix ends at ``max_k r_k + sum(a_i : r_i >= r_k)`` over its members
k; for k outside the prefix the row asks for less, as the work of its members released after
``r_k`` cannot end before its sum. *Deadlines*: the exact condition of preemptive EDF with
releases; rows of jobs not kept are implied by those of kept ones. The rows
``C >= L - sum((a_i + b_i)(1 - keep_i))``, L from Johnson's rule, and loads of either stage cut
the relaxation. There are O(n^2) binaries, whatever the slot length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.integer]


class IlpResult(NamedTuple):
    """Hold the best order found, its objective, the proved lower bound, and whether they meet."""

    objective: float
    bound: float
    optimal: bool
    order: tuple[int, ...]


class _Rows:
    """Collect rows of the constraint matrix in the compressed form that HiGHS takes."""

    def __init__(self) -> None:
        self.lower: list[float] = []
        self.upper: list[float] = []
        self.starts: list[int] = []
        self.columns: list[int] = []
        self.values: list[float] = []

    def add(self, lower: float, upper: float, terms: dict[int, float]) -> None:
        self.lower.append(lower)
        self.upper.append(upper)
        self.starts.append(len(self.columns))
        self.columns.extend(terms)
        self.values.extend(terms.values())


def _johnson_makespan(start: int, comm: Times, comp: Times) -> int:
    def rank(j: int) -> tuple[int, int]:
        first = comm[j] < comp[j]
        return (0, int(comm[j])) if first else (1, -int(comp[j]))

    end = span = start
    for j in sorted(range(len(comm)), key=rank):
        end += int(comm[j])
        span = max(span, end) + int(comp[j])
    return span


def solve_ilp(
    arrival: Times,
    comm: Times,
    comp: Times,
    due: Times,
    *,
    downlink: int,
    drop_penalty: float,
    time_limit: float,
    start: Sequence[int] = (),
) -> IlpResult:
    """Solve one trace with HiGHS on one thread, to a gap of zero.

    Args:
        arrival, comm, comp, due: ``[n]`` slots; due is the deadline minus the downlink.
        downlink: added to the makespan if any job is kept.
        drop_penalty: cost of a dropped job in slots.
        time_limit: seconds; at the limit the incumbent and the bound are returned.
        start: a feasible uplink order of kept jobs, the first incumbent.
    """
    import highspy

    possible = np.flatnonzero(arrival + comm + comp <= due)
    n = len(possible)
    forced = drop_penalty * (len(comm) - n)
    if n == 0:
        return IlpResult(forced, forced, True, ())
    r, a, b, dd = (x[possible].astype(np.int64) for x in (arrival, comm, comp, due))
    horizon = int(dd.max())
    total_work = int(a.sum() + b.sum() + r.max())
    latest = min(horizon, total_work)

    # Columns: p_ij with p_jj = keep_j, then c_j, then C, then any.
    def p(i: int, j: int) -> int:
        return i * n + j

    first_c, span, some = n * n, n * n + n, n * n + n + 1
    columns = n * n + n + 2
    cost = np.zeros(columns)
    upper = np.ones(columns)
    for j in range(n):
        cost[p(j, j)] = -drop_penalty
        upper[first_c + j] = dd[j] - b[j]
    cost[span] = 1.0
    cost[some] = downlink
    upper[span] = latest
    rows = _model(n, r, a, b, dd, first_c, span, some)

    model = highspy.Highs()  # type: ignore[no-untyped-call]
    model.setOptionValue("output_flag", False)
    model.setOptionValue("threads", 1)
    model.setOptionValue("time_limit", float(time_limit))
    model.setOptionValue("mip_rel_gap", 0.0)
    model.setOptionValue("mip_abs_gap", 1e-6)
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = columns, len(rows.lower)
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = cost, np.zeros(columns), upper
    lp.row_lower_ = np.where(np.isneginf(rows.lower), -highspy.kHighsInf, rows.lower)
    lp.row_upper_ = np.where(np.isposinf(rows.upper), highspy.kHighsInf, rows.upper)
    lp.offset_ = drop_penalty * n
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.array([*rows.starts, len(rows.columns)], dtype=np.int32)
    lp.a_matrix_.index_ = np.array(rows.columns, dtype=np.int32)
    lp.a_matrix_.value_ = np.array(rows.values)
    whole, real = highspy.HighsVarType.kInteger, highspy.HighsVarType.kContinuous
    lp.integrality_ = [whole] * (n * n) + [real] * (n + 1) + [whole]
    model.passModel(lp)

    place = {int(job): k for k, job in enumerate(possible)}
    incumbent = [place[j] for j in start]
    solution = highspy.HighsSolution()
    solution.col_value = list(_point(incumbent, n, r, a, b, first_c, span, some, columns))
    model.setSolution(solution)
    model.run()

    info = model.getInfo()
    optimal = model.getModelStatus() == highspy.HighsModelStatus.kOptimal
    values = np.array(model.getSolution().col_value)
    known = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    if known and len(values) == columns:
        before = np.rint(values[: n * n]).reshape(n, n)
        kept = [j for j in range(n) if before[j, j] == 1]
        order = sorted(kept, key=lambda j: int(before[:, j].sum()))
        point = _point(order, n, r, a, b, first_c, span, some, columns)
    else:  # stopped before HiGHS took the start
        order = incumbent
        point = np.array(solution.col_value)
    objective = math.fsum(cost * point) + drop_penalty * n  # the same on every processor
    bound = float(info.mip_dual_bound)
    bound = objective if optimal else min(objective, max(bound, 0.0))
    if not math.isfinite(bound):
        bound = 0.0
    jobs = tuple(int(possible[j]) for j in order)
    return IlpResult(objective + forced, bound + forced, optimal, jobs)


def _model(
    n: int, r: Times, a: Times, b: Times, dd: Times, first_c: int, span: int, some: int
) -> _Rows:
    """Return all rows of the model; ``_point`` gives the matching columns of an order."""
    rows = _Rows()
    inf = math.inf

    def p(i: int, j: int) -> int:
        return i * n + j

    for i in range(n):
        rows.add(0, inf, {some: 1, p(i, i): -1})
        for j in range(n):
            if i == j:
                continue
            rows.add(-inf, 0, {p(i, j): 1, p(i, i): -1})
            rows.add(-inf, 0, {p(i, j): 1, p(j, j): -1})
            if i < j:
                rows.add(-1, inf, {p(i, j): 1, p(j, i): 1, p(i, i): -1, p(j, j): -1})
                rows.add(-inf, 1, {p(i, j): 1, p(j, i): 1})
            for k in range(n):
                if k not in (i, j):
                    rows.add(-1, inf, {p(i, k): 1, p(i, j): -1, p(j, k): -1})
    for j in range(n):
        c_j = first_c + j
        for k in range(n):
            terms = {p(i, j): -float(a[i]) for i in range(n) if r[i] >= r[k]}
            terms[p(k, j)] = terms.get(p(k, j), 0.0) - float(r[k])
            rows.add(0, inf, {c_j: 1, **terms})
    for k in range(n):
        c_k = first_c + k
        rows.add(0, inf, {span: 1, c_k: -1, **{p(k, i): -float(b[i]) for i in range(n)}})
        for limit in np.unique(dd[dd >= dd[k]]):
            terms = {p(k, i): float(b[i]) for i in range(n) if dd[i] <= limit}
            rows.add(-inf, float(limit), {c_k: 1, **terms})
    # Cuts: load of the uplink behind each release, of the compute stage, Johnson's bound.
    for k in range(n):
        terms = {p(i, i): -float(a[i]) for i in range(n) if r[i] >= r[k]}
        terms[p(k, k)] -= float(r[k] + b.min())
        rows.add(0, inf, {span: 1, **terms})
    first = float((r + a).min())
    rows.add(0, inf, {span: 1, some: -first, **{p(i, i): -float(b[i]) for i in range(n)}})
    work = a + b
    johnson = _johnson_makespan(int(r.min()), a, b)
    terms = {p(i, i): -float(work[i]) for i in range(n)}
    rows.add(float(johnson - work.sum()), inf, {span: 1, **terms})
    return rows


def _point(
    order: Sequence[int],
    n: int,
    r: Times,
    a: Times,
    b: Times,
    first_c: int,
    span: int,
    some: int,
    columns: int,
) -> NDArray[np.float64]:
    """Return the values that the model's columns have for an uplink order."""
    point = np.zeros(columns)
    makespan = 0
    for m, j in enumerate(order):
        prefix = sorted(order[: m + 1], key=lambda i: int(r[i]))
        end = 0
        for i in prefix:
            end = max(end, int(r[i])) + int(a[i])
            point[i * n + j] = 1.0
        point[first_c + j] = end
        makespan = max(makespan, end) + int(b[j])
    point[span] = makespan
    point[some] = 1.0 if len(order) else 0.0
    return point
