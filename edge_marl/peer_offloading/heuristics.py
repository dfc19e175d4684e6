"""Offload by heuristics: those of the paper's section V-B, and two with global knowledge.

- ``random``: any node that the mask leaves open, itself included.
- ``local``: the node itself.
- ``ratc``: "reliability-aware two choices". The node probes two open nodes, perhaps itself. If both
  meet the deadline, it takes the one at which success is likelier (equation 4 times equation 5),
  otherwise the one that is done earlier.
- ``rda``: "reactive distributed algorithm". The node takes itself while its tasks are below its
  queue limit; otherwise, of two other open nodes, the one that is done earlier.
- ``greedy``: of all open nodes, the one that is done earliest.
- ``reliable``: of all open nodes that meet the deadline, the one at which success is likeliest; if
  there is none, the one that is done earliest.

A probe answers with the moment at which the task would be done: after the tasks on the link, its
transmission, the tasks now in the execution queue, and its execution (equation 7). ``greedy`` and
``reliable`` also see what is on its way to a node, and nodes decide one after the other, each
knowing what those before it in the slot have decided. Ties go to the node of the lower number.

Variant ``testbed`` follows the authors' public code where it departs from their text:

- ``ratc`` estimates the time a task needs by the execution times of the task and of those waiting
  at the node, without the task in execution and without links; of two nodes that meet the
  deadline, it takes the one with the lower failure rate.
- ``rda`` compares numbers of waiting tasks, without those in execution, with the limit and with
  each other.

In both variants, overloaded neighbours do not answer probes. Random choices depend on the
episode's seed, slot and node alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_marl.compiled import compiled
from edge_marl.errors import InputError
from edge_marl.peer_offloading.records import Status, TaskRecords
from edge_marl.peer_offloading.scenario import EdgeNetworks
from edge_marl.peer_offloading.simulator import IntArray, PeerOffloadingSimulator
from edge_marl.random_stream import uniform
from edge_marl.seeds import PROBE_DRAWS
from edge_marl.simulation import Policy

Variant = Literal["paper", "testbed"]
"""The heuristic as its text describes it, or as the authors' code has it."""

_DRAWS = PROBE_DRAWS.start
_NONE = int(Status.NONE)
_RANDOM, _LOCAL, _RATC, _RATC_TESTBED, _RDA, _RDA_TESTBED = range(6)


class _View(NamedTuple):
    """Hold what the nodes of a batch may ask for."""

    seeds: NDArray[np.int64]
    slot: IntArray
    done: NDArray[np.bool_]
    slot_s: float
    deadline_slots: int
    mask: NDArray[np.bool_]
    networks: EdgeNetworks
    tasks: TaskRecords
    node_free_s: NDArray[np.float64]
    link_free_s: NDArray[np.float64]
    queue_length: IntArray
    incoming_work_s: NDArray[np.float64]


def _view(simulator: PeerOffloadingSimulator) -> _View:
    return _View(
        seeds=simulator.seeds,
        slot=simulator.slot,
        done=simulator.done,
        slot_s=simulator.scenario.slot_s,
        deadline_slots=simulator.scenario.deadline_slots,
        mask=simulator.observation.action_mask,
        networks=simulator.networks,
        tasks=simulator.tasks,
        node_free_s=simulator.node_free_s,
        link_free_s=simulator.link_free_s,
        queue_length=simulator.queue_length,
        incoming_work_s=simulator.incoming_work_s,
    )


class ProbingHeuristic(Policy[PeerOffloadingSimulator]):
    """Let each node decide on its own, from the answers of at most two nodes that it probes."""

    def __init__(self, name: str, rule: int) -> None:
        self.name = name
        self._rule = rule

    def act(self, simulator: PeerOffloadingSimulator) -> IntArray:
        """Choose the actions ``[B, N]``, N for a node without a task."""
        actions = np.empty(simulator.queue_length.shape, dtype=np.int32)
        _probe_and_decide(self._rule, _view(simulator), actions)
        return actions


class GlobalHeuristic(Policy[PeerOffloadingSimulator]):
    """Let nodes decide in turn, knowing all queues, links and tasks under way."""

    def __init__(self, name: str, *, by_reliability: bool) -> None:
        self.name = name
        self._by_reliability = by_reliability

    def act(self, simulator: PeerOffloadingSimulator) -> IntArray:
        """Choose the actions ``[B, N]``, N for a node without a task."""
        actions = np.empty(simulator.queue_length.shape, dtype=np.int32)
        _decide_in_turn(self._by_reliability, _view(simulator), actions)
        return actions


HEURISTICS: dict[str, Callable[[], Policy[PeerOffloadingSimulator]]] = {
    "random": lambda: ProbingHeuristic("random", _RANDOM),
    "local": lambda: ProbingHeuristic("local", _LOCAL),
    "ratc": lambda: ProbingHeuristic("ratc", _RATC),
    "rda": lambda: ProbingHeuristic("rda", _RDA),
    "greedy": lambda: GlobalHeuristic("greedy", by_reliability=False),
    "reliable": lambda: GlobalHeuristic("reliable", by_reliability=True),
}

_TESTBED: dict[str, Callable[[], Policy[PeerOffloadingSimulator]]] = {
    "ratc": lambda: ProbingHeuristic("ratc-testbed", _RATC_TESTBED),
    "rda": lambda: ProbingHeuristic("rda-testbed", _RDA_TESTBED),
}


def heuristic(name: str, variant: Variant = "paper") -> Policy[PeerOffloadingSimulator]:
    """Return a heuristic by name and variant.

    Raises:
        InputError: for a name that is not in :data:`HEURISTICS`, or a variant it does not have.
    """
    if variant not in ("paper", "testbed"):
        raise InputError(f"variant: expected paper or testbed, found {variant!r}")
    known = HEURISTICS if variant == "paper" else _TESTBED
    if name not in known:
        of_variant = "" if variant == "paper" else " with variant testbed"
        raise InputError(
            f"heuristic{of_variant}: expected one of {', '.join(known)}, found {name!r}"
        )
    return known[name]()


@compiled(entry=True)
def _probe_and_decide(rule: Any, view: Any, actions: Any) -> None:
    B, N = actions.shape
    for b in range(B):
        for i in range(N):
            t = view.slot[b]
            if view.done[b] or view.tasks.status[b, t, i] == _NONE:
                actions[b, i] = N
            elif rule in (_RANDOM, _RATC, _RATC_TESTBED):
                actions[b, i] = _of_two(rule, view, b, i, True)
            elif rule in (_RDA, _RDA_TESTBED) and (
                _length(rule, view, b, i) >= view.networks.queue_limit[b, i]
            ):
                actions[b, i] = _of_two(rule, view, b, i, False)
            else:
                actions[b, i] = i


@compiled
def _of_two(rule: Any, view: Any, b: Any, i: Any, with_itself: Any) -> Any:
    """Return the better of two random open nodes, the only open one, or i if there is none.

    With the rule ``random``, it is any one of the open nodes.
    """
    N = view.mask.shape[2] - 1
    open_nodes = 0
    for j in range(N):
        open_nodes += view.mask[b, i, j] and (with_itself or j != i)
    if open_nodes == 0:
        return i
    counter = _DRAWS + 2 * (view.slot[b] * N + i)
    one = int(uniform(view.seeds[b], counter) * open_nodes)
    other = one
    if rule != _RANDOM and open_nodes > 1:
        other = int(uniform(view.seeds[b], counter + 1) * (open_nodes - 1))
        other += other >= one
    low, high = min(one, other), max(one, other)
    first, second, place = -1, -1, -1
    for j in range(N):
        place += view.mask[b, i, j] and (with_itself or j != i)
        if first < 0 and place == low:
            first = j
        if second < 0 and place == high:
            second = j
    return second if _better(rule, view, b, i, second, first) else first


@compiled
def _better(rule: Any, view: Any, b: Any, i: Any, j: Any, k: Any) -> Any:
    """Return whether the rule prefers node j to node k for the task of node i."""
    t = view.slot[b]
    due_s = view.tasks.deadline_s[b, t, i]
    now_s = t * view.slot_s
    if rule in (_RATC, _RDA):
        time_j = _done_s(view, b, i, j, view.node_free_s[b, j]) - now_s
        time_k = _done_s(view, b, i, k, view.node_free_s[b, k]) - now_s
        if rule == _RATC and time_j <= due_s and time_k <= due_s:
            return _failures(view, b, i, j) < _failures(view, b, i, k)
        return time_j < time_k
    if rule == _RATC_TESTBED:
        cycles = view.tasks.cycles[b, t, i]
        time_j = cycles / view.networks.capacity_hz[b, j] + _waiting_work_s(view, b, j)
        time_k = cycles / view.networks.capacity_hz[b, k] + _waiting_work_s(view, b, k)
        if time_j <= due_s and time_k <= due_s:
            return view.networks.failure_rate[b, j] < view.networks.failure_rate[b, k]
        return time_j < time_k
    return _length(rule, view, b, j) < _length(rule, view, b, k)


@compiled
def _done_s(view: Any, b: Any, i: Any, j: Any, ready_s: Any) -> Any:
    """Return when node j, busy until ``ready_s``, is done with the task of node i."""
    t = view.slot[b]
    joins_s = t * view.slot_s
    if j != i:
        joins_s = max(joins_s, view.link_free_s[b, i, j])
        joins_s += view.tasks.size_kb[b, t, i] / 1000.0 / view.networks.rate_mb_per_s[b, i, j]
    return max(joins_s, ready_s) + view.tasks.cycles[b, t, i] / view.networks.capacity_hz[b, j]


@compiled
def _failures(view: Any, b: Any, i: Any, j: Any) -> Any:
    """Return the expected failures: minus the logarithm of equation 4 times equation 5."""
    t = view.slot[b]
    expected = (
        view.tasks.cycles[b, t, i] / view.networks.capacity_hz[b, j]
        * view.networks.failure_rate[b, j]
    )  # fmt: skip
    if j != i:
        transmission_s = view.tasks.size_kb[b, t, i] / 1000.0 / view.networks.rate_mb_per_s[b, i, j]
        expected += transmission_s * view.networks.link_failure_rate[b, i, j]
    return expected


@compiled
def _length(rule: Any, view: Any, b: Any, j: Any) -> Any:
    """Return the number of tasks at node j, less the one in execution for the testbed's ``rda``."""
    return view.queue_length[b, j] - (rule == _RDA_TESTBED and view.queue_length[b, j] > 0)


@compiled
def _waiting_work_s(view: Any, b: Any, j: Any) -> Any:
    """Return the execution time of the tasks at node j that are not in execution."""
    t = view.slot[b]
    now_s = t * view.slot_s
    tasks = view.tasks
    work_s = 0.0
    for arrived in range(max(0, t - view.deadline_slots), t):
        for i in range(tasks.status.shape[2]):
            if tasks.status[b, arrived, i] == _NONE or tasks.destination[b, arrived, i] != j:
                continue
            joined_s = (
                arrived * view.slot_s
                + tasks.transmission_wait_s[b, arrived, i]
                + tasks.transmission_s[b, arrived, i]
            )
            ends_s = tasks.finished_s[b, arrived, i]  # NaN while on its way
            if joined_s <= now_s < ends_s and ends_s - tasks.execution_s[b, arrived, i] > now_s:
                work_s += tasks.cycles[b, arrived, i] / view.networks.capacity_hz[b, j]
    return work_s


@compiled(entry=True, allocates=True)
def _decide_in_turn(by_reliability: Any, view: Any, actions: Any) -> None:
    B, N = actions.shape
    ready_s = np.empty(N)
    for b in range(B):
        t = view.slot[b]
        now_s = t * view.slot_s
        for j in range(N):
            ready_s[j] = max(now_s, view.node_free_s[b, j]) + view.incoming_work_s[b, j]
        for i in range(N):
            actions[b, i] = N
            if view.done[b] or view.tasks.status[b, t, i] == _NONE:
                continue
            due_s = now_s + view.tasks.deadline_s[b, t, i]
            chosen, in_time, done_s, failures = -1, False, np.inf, np.inf
            for j in range(N):
                if not view.mask[b, i, j]:
                    continue
                its_done_s = _done_s(view, b, i, j, ready_s[j])
                its_in_time = by_reliability and its_done_s <= due_s
                its_failures = _failures(view, b, i, j) if its_in_time else np.inf
                if its_in_time == in_time:
                    better = its_failures < failures or (
                        its_failures == failures and its_done_s < done_s
                    )
                else:
                    better = its_in_time
                if better:
                    chosen, in_time, done_s, failures = j, its_in_time, its_done_s, its_failures
            actions[b, i] = chosen
            # Dropped at its deadline it takes no longer; started too late it takes nothing.
            ready_s[chosen] = max(ready_s[chosen], min(done_s, due_s))
