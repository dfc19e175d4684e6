"""Represent a schedule of one trace, and derive its slots from an uplink order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

SlotArray = NDArray[np.int32]
Method = Literal["auto", "ilp", "search"]

_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Schedule:
    """Hold what both stages do in every slot, and how good that is.

    Attributes:
        objective: ``C_max + drop_penalty * len(dropped)`` in slots (section 2.2).
        makespan: ``C_max``, downlink included; 0 if every job is dropped.
        dropped: indices of the jobs not completed.
        comm: ``[T]`` job served on the uplink in each slot, -1 for none.
        comp: ``[T]`` job served by the compute stage in each slot, -1 for none.
        optimal: whether ``objective`` is proved to be the optimum.
        gap: ``(objective - bound) / objective``, 0 when optimal.
        bound: proved lower bound of the objective.
        solve_s: CPU seconds spent.
        method: ``"search"`` or ``"ilp"``, whichever gave the last word.
        order: kept jobs in order of uplink completion.
        asked: the method that was asked for, ``""`` if that is not known.
        time_limit: seconds that the integer programme was given.
    """

    objective: float
    makespan: int
    dropped: tuple[int, ...]
    comm: SlotArray
    comp: SlotArray
    optimal: bool
    gap: float
    bound: float
    solve_s: float
    method: str
    order: tuple[int, ...]
    asked: str = ""
    time_limit: float = 0.0

    def settled(self, method: Method, time_limit: float) -> bool:
        """Return whether solving again by this method in this time could give nothing new."""
        if self.optimal:
            return True
        if method == "search":  # does the same in any time, and "auto" begins with it
            return self.asked in ("search", "auto")
        return self.asked == method and self.time_limit >= time_limit

    def improved(self, later: Schedule) -> Schedule:
        """Return the better of this schedule and a later one of its trace, with the better bound.

        It records the method and time limit that the later one was asked for, and the CPU time of
        both.
        """
        best = later if later.objective < self.objective else self
        bound = max(self.bound, later.bound)
        optimal, bound, gap = proved(best.objective, bound)
        return replace(
            best, optimal=optimal, bound=bound, gap=gap, solve_s=self.solve_s + later.solve_s,
            asked=later.asked, time_limit=later.time_limit,
        )  # fmt: skip


def proved(objective: float, bound: float) -> tuple[bool, float, float]:
    """Return whether a lower bound proves an objective optimal, and the resulting bound and gap."""
    if bound >= objective - _ROUNDING * max(1.0, objective):
        return True, objective, 0.0
    return False, bound, (objective - bound) / objective


def simulate_order(
    order: Sequence[int],
    arrival: NDArray[np.integer],
    comm: NDArray[np.integer],
    comp: NDArray[np.integer],
    due: NDArray[np.integer],
) -> tuple[SlotArray, SlotArray, list[int], int]:
    """Serve the jobs of ``order``: fixed priority on the uplink, EDF at the compute stage.

    Args:
        order: jobs to keep, highest uplink priority first.
        arrival, comm, comp, due: ``[n]`` slots; due is the deadline minus the downlink.

    Returns:
        ``[T]`` job per slot of the uplink and of the compute stage (-1 for none), the jobs in
        order of uplink completion, and T, the end of computing.

    Raises:
        RuntimeError: if a job misses its due date, so that the order is not feasible.
    """
    jobs = list(order)
    left_up = {j: int(comm[j]) for j in jobs}
    left_comp = {j: int(comp[j]) for j in jobs}
    received: list[int] = []
    up_slots: list[int] = []
    comp_slots: list[int] = []
    t = 0
    while any(left_comp.values()):
        sender = next((j for j in jobs if left_up[j] and arrival[j] <= t), -1)
        waiting = [j for j in received if left_comp[j]]
        worker = min(waiting, key=lambda j: (int(due[j]), j), default=-1)
        up_slots.append(sender)
        comp_slots.append(worker)
        t += 1
        if sender >= 0:
            left_up[sender] -= 1
            if not left_up[sender]:
                received.append(sender)
        if worker >= 0:
            left_comp[worker] -= 1
            if not left_comp[worker] and t > due[worker]:
                raise RuntimeError(f"job {worker} ends at {t}, due {due[worker]}")
    return (
        np.array(up_slots, dtype=np.int32),
        np.array(comp_slots, dtype=np.int32),
        received,
        t,
    )
