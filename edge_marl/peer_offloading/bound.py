"""Bound the success rate of an episode of peer offloading from above, with all luck known.

The success rate is equation 9 of the O2O-DRL paper. Arrivals, sizes and the outcome of every
failure draw do not depend on decisions, so a clairvoyant controller knows them. The best that
it could reach is bounded by a linear programme with a column ``x_kj`` for every task k and node j
that k would succeed at **if it were alone**: transmission and execution end by its deadline, and
neither fails. A task that can succeed nowhere has no column. The rows are:

- *one place*: ``sum_j x_kj <= 1``;
- *capacity* of node j in a window of time ``[a, b]``: a task that succeeds is executed without a
  break between its release r (arrival and transmission) and its deadline D, so that at least
  ``u = min(|[r, r + e] ∩ [a, b]|, |[D - e, D] ∩ [a, b]|)`` of its execution time e lies in the
  window (energetic reasoning; Baptiste, Le Pape and Nuijten, 2001), and ``sum_k u x_kj <= b - a``.

The programme ignores integrality, the capacity of links, the order of queues, masks, and whatever
is occupied by tasks that do not succeed.

*Windows.* Each node starts with one, the whole episode; then each round adds to each node the
window that the solution violates most, until none is violated (``optimal``) or rounds gain less
than a ten-thousandth; large programmes are allowed fewer such rounds, two at 20 nodes. Any set of
windows gives a bound. Small episodes need the added ones; on the default scenario the first window
alone is within 0.8 % of a far larger programme (columns by task, node and start, rows by node and
slot: 15 to 130 s an episode), 1,080 fixed windows of several lengths took 2 s for a hundredth of a
percent, and 30 rounds took up to 30 s. As it is, an episode of 100 slots takes 0.2 to 0.9 s at 20
nodes and 2 to 6 s at 50.

*Ratio.* Tasks whose deadline is after the end of the episode count only if they are decided
before it. With M tasks due by the end, ``S_e`` successes of those and ``S_l`` of the others, the
rate is at most ``(S_e + S_l) / (M + S_l)``. Its maximum q is found by Dinkelbach's method (1967):
if ``S_e + (1 - q) S_l <= v`` then the rate is at most ``(v + q S_l) / (M + S_l)``, monotone in
``S_l``. Finally, the rate is rounded down to a ratio of whole numbers.

*Proof.* Every v is computed here from the prices of the windows, for which any non-negative
numbers do (Lagrange), so that it holds despite a stop at the time limit and the solver's
tolerances.
"""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_marl.compiled import compiled
from edge_marl.errors import InputError
from edge_marl.peer_offloading import OffloadingScenario, PeerOffloadingSimulator, Status

_STALE_EFFORT = 30_000  # columns times rounds without gain
_STALE = 1e-4  # of the value: what a round has to gain
_CLOSE = 1e-4  # steps of the rate below this end the search for its maximum
_SLACK = 1e-9  # seconds and probability that rounding may cost; always given to the bound


class Bound(NamedTuple):
    """Hold the values that no policy can exceed in one episode."""

    success_rate: float
    """Equation 9; NaN when no task arrives."""
    succeeded: int
    """Tasks that succeed by the end of the episode."""
    optimal: bool
    """Whether the relaxation was solved with every window; False leaves a bound all the same."""
    solve_s: float
    """Processor time, the drawing of the episode included."""


class _Options(NamedTuple):
    """List the pairs of a task and a node at which it succeeds if alone, ``[V]``, by task."""

    task: NDArray[np.int64]
    node: NDArray[np.int64]
    release_s: NDArray[np.float64]
    execution_s: NDArray[np.float64]
    latest_s: NDArray[np.float64]
    """Deadline, or the end of the episode if that is earlier."""
    undue: NDArray[np.bool_]
    """Whether the deadline is after the end of the episode."""


def success_bound(scenario: OffloadingScenario, seed: int, *, time_limit: float = 60.0) -> Bound:
    """Bound the success rate of one episode.

    Args:
        scenario: what the episode is drawn from.
        seed: of the episode.
        time_limit: seconds. What is proven by then is returned.

    Raises:
        InputError: for a negative seed or a time limit that is not above 0.
    """
    if not (math.isfinite(time_limit) and time_limit > 0):
        raise InputError(
            f"bound: time_limit: expected a number of seconds above 0, found {time_limit}"
        )
    started, until = time.process_time(), time.monotonic() + time_limit
    options, arrived, due = _options(scenario, seed)
    undue = len(np.unique(options.task[options.undue]))
    if len(options.task) == 0 or due == 0:
        # Without a task that is due the rate is that of the others, or there is none.
        rate = math.nan if arrived == 0 else float(undue > 0)
        return Bound(rate, undue, True, time.process_time() - started)

    relaxation = _Relaxation(options, scenario.nodes, scenario.slots * scenario.slot_s, until)
    succeeded = math.floor(relaxation.maximise(0.0) + 1e-6)
    rate, guess = 1.0, relaxation.rate(due)
    while True:
        value = relaxation.maximise(guess)
        rate = min(rate, max((value + guess * s) / (due + s) for s in (0, undue)))
        if relaxation.stopped or relaxation.rate(due) <= guess + _CLOSE:
            break
        guess = relaxation.rate(due)
    counted = due + np.arange(undue + 1)
    rate = float((np.floor(rate * counted + 1e-6) / counted).max())
    return Bound(rate, succeeded, relaxation.optimal, time.process_time() - started)


def _options(scenario: OffloadingScenario, seed: int) -> tuple[_Options, int, int]:
    """Return an episode's options, how many tasks arrive in it and how many are due by its end."""
    simulator = PeerOffloadingSimulator(scenario, 1)
    simulator.reset(np.array([seed]))
    own = np.arange(scenario.nodes, dtype=np.int32)
    while not simulator.done[0]:
        has_task = simulator.tasks.status[0, simulator.slot[0]] != Status.NONE
        simulator.step(np.where(has_task, own, scenario.nodes)[None])
    tasks, network = simulator.records(), simulator.networks
    slot, source = np.nonzero(tasks.status[0] != Status.NONE)

    def column(name: str) -> NDArray[np.float64]:
        values: NDArray[np.float64] = getattr(tasks, name)[0, slot, source][:, None]
        return values

    arrival_s = slot[:, None].astype(np.float64) * scenario.slot_s
    deadline_s = arrival_s + column("deadline_s")
    end_s = scenario.slots * scenario.slot_s
    local = source[:, None] == own
    rate = network.rate_mb_per_s[0, source]
    with np.errstate(divide="ignore"):
        transmission_s = np.where(local, 0.0, column("size_kb") / 1000 / rate)  # equation 2
    execution_s = column("cycles") / network.capacity_hz[0]  # equation 1
    release_s = arrival_s + transmission_s
    latest_s = np.broadcast_to(np.minimum(deadline_s, end_s), release_s.shape)
    in_time = release_s + execution_s <= latest_s + _SLACK
    # Equations 4 and 5; a draw this close to its threshold counts as lucky.
    sent = column("transmission_luck") - _SLACK < _reliability(
        transmission_s, network.link_failure_rate[0, source]
    )
    executed = column("execution_luck") - _SLACK < _reliability(
        execution_s, network.failure_rate[0]
    )
    k, j = np.nonzero(in_time & (local | sent) & executed)
    undue = deadline_s[:, 0] > end_s + _SLACK
    options = _Options(k, j, release_s[k, j], execution_s[k, j], latest_s[k, j], undue[k])
    return options, len(slot), int((~undue).sum())


def _reliability(
    duration_s: NDArray[np.float64], failure_rate: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the reliability of equations 4 and 5; it is 0 for what never ends."""
    finite = np.isfinite(duration_s)
    return np.where(finite, np.exp(-np.where(finite, duration_s, 0.0) * failure_rate), 0.0)


class _Relaxation:
    """Solve the linear programme of the module's docstring, adding windows as it goes."""

    def __init__(self, options: _Options, nodes: int, end_s: float, until: float) -> None:
        import highspy

        self._options, self._nodes, self._until = options, nodes, until
        V = len(options.task)
        self._first = np.flatnonzero(np.diff(options.task, prepend=-1))
        self._values = np.zeros(V)
        self._x = np.zeros(V)
        self._window_of: list[NDArray[np.int32]] = []
        self._share_of: list[NDArray[np.float64]] = []
        self.optimal = False
        self.stopped = False
        self._infinity = highspy.kHighsInf
        self._solver = highspy.Highs()  # type: ignore[no-untyped-call]
        self._solver.setOptionValue("output_flag", False)
        self._solver.setOptionValue("threads", 1)
        self._solver.changeObjectiveSense(highspy.ObjSense.kMaximize)
        none = np.zeros(0, dtype=np.int32)
        self._solver.addCols(
            V, np.zeros(V), np.zeros(V), np.ones(V), 0, np.zeros(V, dtype=np.int32), none,
            np.zeros(0),
        )  # fmt: skip
        self._tasks = len(self._first)
        self._solver.addRows(
            self._tasks, np.full(self._tasks, -self._infinity), np.ones(self._tasks), V,
            self._first.astype(np.int32), np.arange(V, dtype=np.int32), np.ones(V),
        )  # fmt: skip
        for j in range(nodes):
            self._add_window(j, 0.0, end_s)

    def maximise(self, guess: float) -> float:
        """Return a proven upper bound on ``S_e + (1 - guess) S_l``."""
        self._values = np.where(self._options.undue, 1.0 - guess, 1.0)
        V = len(self._values)
        self._solver.changeColsCost(V, np.arange(V, dtype=np.int32), self._values)
        best, stale = math.inf, 0
        while True:
            value = self._solve()
            stale = 0 if value < best * (1 - _STALE) else stale + 1
            best = min(best, value)
            self.optimal = not self.stopped and not self._add_violated_windows()
            if self.optimal or self.stopped or stale * V >= _STALE_EFFORT:
                return best

    def rate(self, due: int) -> float:
        """Return the success rate (equation 9) of the last solution."""
        successes = self._x.sum()
        return float(successes / (due + self._x[self._options.undue].sum()))

    def _solve(self) -> float:
        """Solve with the windows there are, and return the bound that their prices prove."""
        left_s = max(0.0, self._until - time.monotonic())
        self._solver.setOptionValue("time_limit", self._solver.getRunTime() + left_s)
        self._solver.run()
        self.stopped = time.monotonic() >= self._until
        solution = self._solver.getSolution()
        if solution.value_valid:
            self._x = np.array(solution.col_value)
        prices = np.zeros(len(self._window_of))
        if solution.dual_valid:
            prices = np.maximum(0.0, np.array(solution.row_dual)[self._tasks :])
        worth = self._values.copy()
        for price, columns, share in zip(prices, self._window_of, self._share_of, strict=True):
            if price > 0:
                worth[columns] -= price * share
        best_of_task = np.maximum.reduceat(worth, self._first)
        return float(prices.sum() + np.maximum(best_of_task, 0.0).sum())

    def _add_violated_windows(self) -> int:
        """Add to each node the window that the last solution violates most; return how many."""
        options = self._options
        found = np.zeros((self._nodes, 3))
        _most_violated(
            options.node, options.release_s, options.execution_s, options.latest_s, self._x, found
        )
        violated = np.flatnonzero(found[:, 2] > 1e-6)
        for j in violated:
            self._add_window(int(j), found[j, 0], found[j, 1])
        return len(violated)

    def _add_window(self, node: int, a: float, b: float) -> None:
        """Add the row of a window, divided by its length."""
        options = self._options
        columns = np.flatnonzero(options.node == node)
        inside = _least_inside(
            options.release_s[columns], options.execution_s[columns], options.latest_s[columns],
            a, b,
        )  # fmt: skip
        some = inside > 0
        columns, share = columns[some].astype(np.int32), inside[some] / (b - a)
        self._window_of.append(columns)
        self._share_of.append(share)
        self._solver.addRow(-self._infinity, 1.0, len(columns), columns, share)


def _least_inside(release: Any, execution: Any, latest: Any, a: float, b: float) -> Any:
    """Return the least execution time of tasks in ``[a, b]``, whenever they are executed."""
    first = np.minimum(b, release + execution) - np.maximum(a, release)
    last = np.minimum(b, latest) - np.maximum(a, latest - execution)
    return np.maximum(0.0, np.minimum(first, last))


@compiled(entry=True, allocates=True)
def _most_violated(
    node: Any, release: Any, execution: Any, latest: Any, x: Any, found: Any
) -> None:
    """Find for every node the window with the largest overload, and write it to ``found [N, 3]``.

    Windows begin and end where a task's earliest or latest execution does. Long ones are left out,
    as they say little that the whole episode does not.
    """
    longest = 4.0 * (latest - release).max()
    used = np.flatnonzero(x > 1e-9)
    for j in range(len(found)):
        own = used[node[used] == j]
        for p in range(len(own)):
            for kind in range(2):
                a = release[own[p]] if kind == 0 else latest[own[p]] - execution[own[p]]
                for q in range(len(own)):
                    for end in range(2):
                        b = latest[own[q]] if end == 0 else release[own[q]] + execution[own[q]]
                        if b <= a + 1e-6 or b - a > longest:
                            continue
                        load = 0.0
                        for o in own:
                            first = min(b, release[o] + execution[o]) - max(a, release[o])
                            last = min(b, latest[o]) - max(a, latest[o] - execution[o])
                            load += x[o] * max(0.0, min(first, last))
                        excess = load / (b - a) - 1.0
                        if excess > found[j, 2]:
                            found[j] = a, b, excess
