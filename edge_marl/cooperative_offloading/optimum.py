"""Find the shortest time in which tasks that are all there at once can be done, by HiGHS.

In the fluid model, servers and links may give any share to anybody at any time. A helper set and a
share of each task that leaves, ``beta_i``, then decide how much each server and link has to do, and
the programme below is exact for servers: work W of a server of capacity F can end at T if and only
if ``W <= F T``, for constant shares do it. With ``z_ia`` for "set a helps task i" and
``w_ia = beta_i z_ia``:

    minimise  T
    sum_a z_ia = 1,  0 <= w_ia <= z_ia                                         for all tasks
    cycles of server m  <= F_m T,    data of link j to k  <= B_jk T            (loads)
    c_i (1 - sum_a w_ia) / F_h  <= T                                           (home's part)
    w_ia / |a| (d_i / B_hm + c_i / F_m + o_i / B_mh) + l_hm z_ia + l_mh z_ia <= T    (helper's part)

Where tasks have data or links a latency, a part has to be sent before it is executed, which the
loads leave out: T is then a lower bound. It is one on what the simulator can do, too, in which one
allocation holds for all parts of a task, and grants are fixed when a part begins.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_marl.cooperative_offloading.records import NOBODY, Parameters, Workload
from edge_marl.errors import InputError

FloatArray = NDArray[np.float64]

_MOST_BINARIES = 20_000


class FluidOptimum(NamedTuple):
    """Hold the best plan for K tasks in the fluid model."""

    makespan_s: float
    """T of the plan."""
    bound_s: float
    """What no plan falls below; the same where the plan is optimal."""
    choices: NDArray[np.int32]
    """``[K]`` rows of the subsets."""
    offload: FloatArray
    """``[K]``: ``beta``."""


def least_makespan(
    parameters: Parameters, workload: Workload, *, time_limit: float = 60.0
) -> FluidOptimum:
    """Solve the static instance of an episode's tasks, as if all arrived at once.

    Args:
        parameters: of the scenario.
        workload: of one episode, ``[1, K]``.
        time_limit: seconds; at the limit the best plan so far is returned, with its bound.

    Raises:
        InputError: for more tasks and helper sets than can be solved.
    """
    import highspy

    K, A = workload.home.shape[1], len(parameters.subsets)
    if K * A > _MOST_BINARIES:
        raise InputError(
            f"tasks: expected at most {_MOST_BINARIES} pairs of a task and a helper set, "
            f"found {K} x {A}"
        )
    M = len(parameters.memory_gb)
    capacity = parameters.capacity
    model = highspy.Highs()  # type: ignore[no-untyped-call]
    for option, value in (
        ("output_flag", False), ("threads", 1), ("time_limit", float(time_limit)),
        ("mip_rel_gap", 0.0), ("mip_abs_gap", 0.0),
    ):  # fmt: skip
        model.setOptionValue(option, value)
    end = model.addVariable(lb=0.0, obj=1.0)
    chosen = [[model.addBinary() for _ in range(A)] for _ in range(K)]
    leaves = [[model.addVariable(lb=0.0, ub=float(a > 0)) for a in range(A)] for _ in range(K)]
    load = [model.expr() for _ in capacity]
    for i in range(K):
        home, gcycles = int(workload.home[0, i]), float(workload.gcycles[0, i])
        input_mb, output_mb = float(workload.input_mb[0, i]), float(workload.output_mb[0, i])
        model.addConstr(model.qsum(chosen[i]) == 1.0)
        stays = 1.0 - model.qsum(leaves[i])
        load[home] += gcycles * stays
        model.addConstr(gcycles / capacity[home] * stays <= end)
        for a in range(1, A):
            share = leaves[i][a]
            model.addConstr(share <= chosen[i][a])
            helpers = [h + (h >= home) for h in parameters.subsets[a] if h != NOBODY]
            for server in helpers:
                there, back = M + M * home + server, M + M * server + home
                load[server] += gcycles / len(helpers) * share
                load[there] += input_mb / len(helpers) * share
                load[back] += output_mb / len(helpers) * share
                each_s = (
                    input_mb / capacity[there]
                    + gcycles / capacity[server]
                    + output_mb / capacity[back]
                ) / len(helpers)
                fixed_s = parameters.latency_s[home, server] + parameters.latency_s[server, home]
                model.addConstr(each_s * share + fixed_s * chosen[i][a] <= end)
    for r, work in enumerate(load):
        model.addConstr(work <= float(capacity[r]) * end)
    model.run()
    solution, info = np.array(model.getSolution().col_value), model.getInfo()
    z = solution[1 : 1 + K * A].reshape(K, A)
    w = solution[1 + K * A :].reshape(K, A)
    choices = z.argmax(axis=1)
    return FluidOptimum(
        makespan_s=float(info.objective_function_value),
        bound_s=float(info.mip_dual_bound),
        choices=choices.astype(np.int32),
        offload=w[np.arange(K), choices],
    )
