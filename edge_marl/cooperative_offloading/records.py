"""Define the records that hold the state of a batch of episodes for the kernels."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NOBODY = -1
"""No part, no task."""

ALLOCATION = ("offload", "compute", "bandwidth")
"""Numbers of an allocation, each from 0 to 1: the share of the task that leaves, and the shares
that each part asks for of what remains of its server's compute and of its link's bandwidth."""


class Stage(IntEnum):
    """Tell what a part is doing, which ends with the event that it has scheduled."""

    SENDING = 0
    """Its input holds bandwidth of the link to its server."""
    ARRIVING = 1
    """Its input is on its way, for the latency of the link."""
    COMPUTING = 2
    """It holds compute and memory of its server."""
    RETURNING = 3
    """Its output holds bandwidth of the link back."""
    COMING = 4
    """Its output is on its way."""


class Parameters(NamedTuple):
    """Hold the constants that the kernels read: of the scenario, the reward and the features.

    A *resource* r is the compute of server r below M, or the bandwidth of the link from server j
    to k as ``M + M j + k``.
    """

    capacity: NDArray[np.float64]
    """``[R]``: gigacycles/s of a server, MB/s of a link."""
    smallest: NDArray[np.float64]
    """``[R]``: what is granted at least."""
    memory_gb: NDArray[np.float64]
    """``[M]``"""
    latency_s: NDArray[np.float64]
    """``[M, M]``"""
    power_w: NDArray[np.float64]
    """``[M, M]``: of transmissions."""
    joule: float
    """``kappa_e`` in joules per gigacycle and (gigacycle/s)²."""
    limiting_factor: float
    """``kappa``"""
    subsets: NDArray[np.int32]
    """``[A, T]``: others that help by the number of the choice, :data:`NOBODY` behind the last."""
    latency_weight: float
    """``lambda``"""
    typical_latency_s: float
    """Expected ``L*`` of a task."""
    typical_energy_j: float
    """Expected ``E*`` of a task."""
    pays_ratio: bool
    """Rewards of the paper; otherwise those of what accrues."""
    pays_saving: bool
    """What accrues, and what tasks cost alone beside it."""
    extended: bool
    """More features than the paper's."""
    typical_gcycles: float
    typical_mb: float
    """Of an input."""
    largest_gb: float
    largest_gcycles_per_s: float
    mttf_s: float
    """Mean time until a server fails, infinite if none does."""
    mttr_s: float
    """Mean time until it is repaired."""


class Workload(NamedTuple):
    """Hold the K tasks of B episodes in the order of their arrivals, ``[B, K]`` each."""

    arrival_s: NDArray[np.float64]
    home: NDArray[np.int32]
    gcycles: NDArray[np.float64]
    memory_gb: NDArray[np.float64]
    input_mb: NDArray[np.float64]
    output_mb: NDArray[np.float64]


class Tasks(NamedTuple):
    """Track what becomes of the tasks, ``[B, K]`` each."""

    compute_share: NDArray[np.float64]
    """Of what remains of a server's compute, for each of its parts."""
    bandwidth_share: NDArray[np.float64]
    """Of what remains of a link's bandwidth."""
    latency_s: NDArray[np.float64]
    """From its arrival to the end of its last part; 0 until then."""
    projected_s: NDArray[np.float64]
    """The same, as far as it is known: that all which was not asked for yet is granted at
    once, of idle servers and links."""
    energy_j: NDArray[np.float64]
    """Of all that its parts have begun."""
    open: NDArray[np.int32]
    """Parts that are not done."""


class Parts(NamedTuple):
    """Track the parts of the tasks, ``[B, K (T + 1)]`` each: of each task, home's part first."""

    share: NDArray[np.float64]
    """Of the task's demands."""
    grant: NDArray[np.float64]
    """What it holds of the resource, or will when its turn comes."""
    stage_end_s: NDArray[np.float64]
    """When it gives that back, as far as it is known."""
    energy_j: NDArray[np.float64]
    """What it takes until then, as far as it is known."""
    later: NDArray[np.int32]
    """The part that gives back its share of the same resource after it."""
    server: NDArray[np.int32]
    stage: NDArray[np.int32]
    """A :class:`Stage`, the next one while it waits."""
    next: NDArray[np.int32]
    """The part behind it in the same line."""
    since_s: NDArray[np.float64]
    """When it joined the line."""
    end_s: NDArray[np.float64]
    """When it is done, as far as it is known; 0 of no part."""


class Resources(NamedTuple):
    """Track the resources, ``[B, R]`` each, and their lines of parts that wait."""

    left: NDArray[np.float64]
    """In the unit of the capacity."""
    n_holders: NDArray[np.int32]
    n_waiting: NDArray[np.int32]
    first: NDArray[np.int32]
    last: NDArray[np.int32]
    soonest: NDArray[np.int32]
    """The part that ends first of those that hold a share of it, or wait for one."""
    free: NDArray[np.float64]
    """The capacity without the shares of all of these: less than nothing where parts wait."""
    turn_s: NDArray[np.float64]
    """When the turn of the last one that waits comes, as far as it is known."""


class Events(NamedTuple):
    """Hold what is to happen, as a heap per episode: by moment, then by part."""

    moment_s: NDArray[np.float64]
    """``[B, K (T + 1) + M]``"""
    part: NDArray[np.int32]
    """``[B, K (T + 1) + M]``: whose stage ends; ``-1 - m`` for the repair of server m."""
    n: NDArray[np.int32]
    """``[B]``"""


class Homes(NamedTuple):
    """Track each server's memory, its outages, and what it earns as a home, ``[B, M]`` each."""

    memory_left_gb: NDArray[np.float64]
    """Of the server itself."""
    earned: NDArray[np.float64]
    """Since the last decision."""
    fails_s: NDArray[np.float64]
    """When the outage that is under way, or else the next one, begins; infinite if none will."""
    repaired_s: NDArray[np.float64]
    """When it ends."""
    n_outages: NDArray[np.int64]
    """Outages that were drawn."""


class Progress(NamedTuple):
    """Track where the episodes are, ``[B]`` each: their clocks, counts and sums."""

    seed: NDArray[np.int64]
    now_s: NDArray[np.float64]
    task: NDArray[np.int32]
    """To be decided on; K at the end."""
    n_completed: NDArray[np.int32]
    n_alone: NDArray[np.int32]
    """Tasks that nobody helped with."""
    latency_s: NDArray[np.float64]
    """Sum over completed tasks."""
    energy_j: NDArray[np.float64]
    """Sum over all that has begun."""
    alone_latency_s: NDArray[np.float64]
    """Sum of ``L*`` over tasks decided on."""
    alone_energy_j: NDArray[np.float64]
    """Sum of ``E*``."""
    waiting_s: NDArray[np.float64]
    """Sum over parts of the time in lines."""
    offloaded: NDArray[np.float64]
    """Sum over tasks of the share that left."""


class Observation(NamedTuple):
    """Hold what the agents observe, in buffers of the simulator that the next step overwrites."""

    features: NDArray[np.float32]
    """``[B, M, F]``, each in [0, 1]; zeros for those who have nothing to decide. Of the task: its
    cycles, memory, input and output. Of the own server: shares of its compute (none during an
    outage) and of its memory that are left. Of each other one, in their order: the shares of the
    bandwidth to it and from it that are left. ``extended`` adds, of the own server and behind the
    bandwidth of each other one, the columns of a server: compute left, memory left, parts that wait
    for compute, how long a small part that asked now would wait, and capacity as a share of the
    largest. Of cycles and data x over their mean it is ``l / (1 + l)`` with ``l = log(1 + x)``, of
    a count x, and of a wait x over the mean ``L*``, ``x / (1 + x)``. Agents that foresee have nine
    columns more, those of their own server that a predictor adds to the state."""
    action_mask: NDArray[np.bool_]
    """``[B, M, A]``: the home of the task that has arrived may choose any, the others none."""
    state: NDArray[np.float32]
    """``[B, 4 + 5 M + M^2]``, each in [0, 1]: the task as above; of every server, whether it is the
    home, compute left, memory left, parts that wait, and for how long one would; of every link,
    bandwidth left, in rows of its sender. With a predictor ``9 M`` columns more: of every server
    the predicted time to its next task, cycles and memory, of each the lowest quantile, the median
    and the highest."""
