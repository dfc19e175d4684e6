"""Compute what each decision costs: the oracle's objective after serving a given job in this slot.

For every job of a scheduler's queue the best objective is computed under the condition that the
stage serves this job in the present slot and that everything after (and the other stage) is
optimal. The *regret* of the job is this objective less the least of them: it is zero for every
optimal choice, whereas a label names only one. A model that regresses the regret under
clairvoyance on the local observation estimates its mean over the arrivals and the other queue that
it cannot see, which is what a decision under partial information should minimise.

Time counts from the present, as for the online oracle: what completed before is sunk. If it were
counted from the start of the episode, dropping all remaining jobs would save a makespan that grows
with the slot number.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from edge_marl.compiled import compiled
from edge_marl.tandem.oracle.search import search_kernel
from edge_marl.tandem.records import COMM, COMP
from edge_marl.tandem.simulator import BoolArray, FloatArray, TandemSimulator

VIEWS = ("clairvoyant", "global", "local")
View = Literal["clairvoyant", "global", "local"]

_BUDGET = 20_000  # prefixes; hundreds suffice for six jobs


@compiled(entry=True, allocates=True)
def _regret_kernel(
    view: Any, where: Any, parameters: Any, traces: Any, stages: Any, penalty: Any, regret: Any
) -> None:
    J = stages.remaining.shape[2]
    release, comm = np.zeros(J, dtype=np.int64), np.zeros(J, dtype=np.int64)
    comp, due = np.zeros(J, dtype=np.int64), np.zeros(J, dtype=np.int64)
    work = np.zeros((9, J), dtype=np.int64)
    levels = np.zeros((4, J + 1, max(J, 7)), dtype=np.int64)
    best, hint = np.zeros(J, dtype=np.int64), np.zeros(0, dtype=np.int64)
    objective = np.zeros(regret.shape[2])
    zero, budget = np.int64(0), np.int64(_BUDGET)  # literals would have code of their own
    for b in range(len(where)):
        regret[b] = 0.0
        if not where[b]:
            continue
        k = traces.row[b]
        t = stages.t[b]
        for stage in range(2):
            seen = min(stages.length[b, stage], regret.shape[2])
            if seen < 2:
                continue
            least = np.inf
            for i in range(seen):
                served = stages.queue[b, stage, i]
                n = zero
                for j in range(traces.n_jobs[k]):
                    arrived = j < stages.next_job[b]
                    if stages.completion[b, j] >= 0 or stages.dropped_at[b, j] >= 0:
                        continue
                    if not arrived and view > 0:
                        continue
                    in_comp = arrived and stages.remaining[b, COMM, j] == 0
                    if view == 2 and in_comp != (stage == COMP):
                        continue
                    release[n] = max(0, traces.arrival[k, j] - t)
                    comm[n], comp[n] = stages.remaining[b, COMM, j], stages.remaining[b, COMP, j]
                    due[n] = traces.deadline[k, j] - t - parameters.downlink
                    if in_comp == (stage == COMP):
                        # This stage spends the slot on the served job.
                        release[n] = max(1, release[n])
                        if j == served and stage == COMM:
                            comm[n] -= 1
                        elif j == served:
                            comp[n] -= 1
                    if comp[n] > 0:
                        n += 1
                value, _, _, _, _ = search_kernel(
                    n, release, comm, comp, due, parameters.downlink, penalty, hint, zero, budget,
                    work, levels, best,
                )  # fmt: skip
                objective[i] = value
                least = min(least, value)
            for i in range(seen):
                regret[b, stage, i] = objective[i] - least


def regrets(
    simulator: TandemSimulator, view: View = "clairvoyant", where: BoolArray | None = None
) -> FloatArray:
    """Return the regret in slots of serving each queued job now, in the simulator's present state.

    Args:
        simulator: B episodes anywhere in their traces.
        view: which jobs count: ``clairvoyant`` all of the trace, ``global`` those that have
            arrived, ``local`` those of the stage's own queue.
        where: ``[B]`` episodes to look at; all that have not ended when None.

    Returns:
        ``[B, 2, Q]``; zero on padding, on queues of fewer than two jobs and in other episodes.
    """
    regret = np.zeros((simulator.batch_size, 2, simulator.max_queue), dtype=np.float32)
    _regret_kernel(
        VIEWS.index(view),
        ~simulator.done if where is None else where,
        simulator.parameters,
        simulator.in_play,
        simulator.stages,
        simulator.drop_penalty,
        regret,
    )
    return regret
