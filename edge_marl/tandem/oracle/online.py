"""Re-run the exact search at every arrival with the jobs known by then: the online oracle."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_marl.compiled import compiled
from edge_marl.errors import InputError
from edge_marl.simulation import Policy
from edge_marl.tandem.oracle.search import search_kernel
from edge_marl.tandem.simulator import DROP_PENALTY, TandemSimulator
from edge_marl.tandem.traces import IntArray

View = Literal["global", "local"]
VIEWS: tuple[View, ...] = ("global", "local")

NODE_BUDGET = 20_000
"""Prefixes per decision: every state of up to six jobs is exact, longer queues get the best
order found within a few milliseconds."""

_DROPPED = 1 << 30


@compiled(entry=True, allocates=True)
def _act_kernel(
    features: Any, jobs: Any, t: Any, whole: Any, downlink: Any, penalty: Any, budget: Any,
    plan: Any, kept: Any, size: Any, actions: Any, solved: Any,
) -> None:  # fmt: skip
    """Decide for every episode; see :class:`OnlineOracle`.

    ``plan[b, :size[b]]`` holds the jobs of the last planning of episode b in uplink order,
    first the ``kept[b]`` kept ones, then the others by deadline.
    """
    queue = features.shape[2]
    width = 2 * queue
    state = np.zeros((4, width), dtype=np.int64)
    ids = np.zeros(width, dtype=np.int64)
    hint = np.zeros(width, dtype=np.int64)
    work = np.zeros((9, width), dtype=np.int64)
    levels = np.zeros((4, width + 1, max(width, 7)), dtype=np.int64)
    best = np.zeros(width, dtype=np.int64)
    rank = np.zeros(width, dtype=np.int64)
    zero = np.int64(0)  # a literal would have code of its own
    for b in range(features.shape[0]):
        if t[b] == 0:
            size[b] = 0
        # The jobs in view, and whether the plan knows all of them.
        n = zero
        known = True
        for stage in range(2 if whole else 1):
            for q in range(queue):
                if jobs[b, stage, q] < 0:
                    break
                ids[n] = jobs[b, stage, q]
                state[1, n] = int(features[b, stage, q, 1])
                state[2, n] = int(features[b, stage, q, 2])
                state[3, n] = int(features[b, stage, q, 0]) - downlink
                rank[n] = _DROPPED
                for i in range(size[b]):
                    if plan[b, i] == ids[n]:
                        rank[n] = i
                        break
                if rank[n] == _DROPPED:
                    known = False
                n += 1
        if not known:
            # The previous order with each newcomer before the first job due after it.
            length = zero
            for i in range(kept[b] if size[b] > 0 else 0):
                for x in range(n):
                    if ids[x] == plan[b, i]:
                        hint[length] = x
                        length += 1
            for x in range(n):
                if rank[x] == _DROPPED:
                    place = 0
                    while place < length and state[3, hint[place]] <= state[3, x]:
                        place += 1
                    for y in range(length, place, -1):
                        hint[y] = hint[y - 1]
                    hint[place] = x
                    length += 1
            _, _, _, kept[b], _ = search_kernel(
                n, state[0], state[1], state[2], state[3], zero, penalty, hint, length, budget,
                work, levels, best,
            )  # fmt: skip
            solved[b] += 1
            rank[:n] = _DROPPED
            for i in range(kept[b]):
                rank[best[i]] = i
            place = kept[b]
            for i in range(n):
                x = work[6, i]  # all jobs by deadline
                if rank[x] == _DROPPED:
                    rank[x] = place
                    place += 1
            for x in range(n):
                plan[b, rank[x]] = ids[x]
            size[b] = n
        # Uplink: the plan's order.
        actions[b, 0] = queue
        lowest = _DROPPED
        for q in range(queue):
            if jobs[b, 0, q] < 0:
                break
            if rank[q] < lowest:
                lowest = rank[q]
                actions[b, 0] = q
        # Compute: EDF, in the global view the kept jobs first.
        actions[b, 1] = queue
        nearest = np.inf
        late = True
        offset = 0
        while offset < queue and jobs[b, 0, offset] >= 0:
            offset += 1
        for q in range(queue):
            if jobs[b, 1, q] < 0:
                break
            given_up = whole and rank[offset + q] >= kept[b]
            due = features[b, 1, q, 0]
            if actions[b, 1] == queue or (late and not given_up) or (
                late == given_up and due < nearest
            ):  # fmt: skip
                actions[b, 1] = q
                nearest = due
                late = given_up


class OnlineOracle(Policy[TandemSimulator]):
    """Re-plan from the current state whenever a job comes into view, and follow the plan otherwise.

    Between arrivals the plan needs no new search: the system is deterministic, so the rest of
    an optimal plan stays optimal. A new search starts from the previous order with the newcomer
    inserted by its deadline. Ties keep that order, so plans do not flutter.

    With ``view="global"`` a plan covers the jobs of both queues, and the compute stage serves
    the jobs kept by deadline. With ``view="local"`` the uplink plans from its own queue alone,
    as if the compute stage were empty, and the compute stage serves by deadline: a
    decentralised policy (section 3.1). Jobs a plan gives up are served when nothing else waits.

    Time counts from the present: what completed before is sunk. Plans are optimal for the jobs
    in view for six jobs and as far as :data:`NODE_BUDGET` reaches beyond.

    Args:
        view: ``"global"`` or ``"local"``.
        downlink: the constant downlink delay of the traces in slots, not part of observations.
        drop_penalty: λ of the objective.

    Attributes:
        solved: ``[B]`` plans made since the last reset.

    Raises:
        InputError: for another view or a negative downlink or penalty.
    """

    def __init__(
        self, view: View = "global", *, downlink: int, drop_penalty: float = DROP_PENALTY
    ) -> None:
        if view not in VIEWS:
            raise InputError(f"online oracle: view: expected global or local, found {view!r}")
        for name, value in (("downlink", downlink), ("drop_penalty", drop_penalty)):
            if not value >= 0:
                raise InputError(f"online oracle: {name}: expected at least 0, found {value}")
        self.name = f"online_oracle_{view}"
        self.view = view
        self.downlink = downlink
        self.drop_penalty = drop_penalty
        self._plan: NDArray[np.int64] = np.zeros((0, 0), dtype=np.int64)

    def reset(self, simulator: TandemSimulator) -> None:
        """Forget all plans, as B new episodes begin."""
        batch_size = simulator.batch_size
        self._plan = np.zeros((batch_size, 2 * simulator.max_queue), dtype=np.int64)
        self._kept: NDArray[np.int64] = np.zeros(batch_size, dtype=np.int64)
        self._size: NDArray[np.int64] = np.zeros(batch_size, dtype=np.int64)
        self.solved: NDArray[np.int64] = np.zeros(batch_size, dtype=np.int64)

    def act(self, simulator: TandemSimulator) -> IntArray:
        """Choose positions in the queues, ``[B, 2]``, Q to idle on an empty queue.

        An episode at slot 0 starts without a plan, so episodes may be reset one by one.
        """
        observation = simulator.observation
        actions = np.empty((len(self._size), 2), dtype=np.int32)
        _act_kernel(
            observation.features, observation.jobs, observation.t, self.view == "global",
            int(self.downlink), float(self.drop_penalty), NODE_BUDGET,
            self._plan, self._kept, self._size, actions, self.solved,
        )  # fmt: skip
        return actions
