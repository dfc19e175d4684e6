"""Define the records that hold the state of a batch of episodes for the kernels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

AWAY, HERE, LEAVING = 0, 1, 2
"""Of a server: not there; there; there, but gone as soon as it is idle."""

NOBODY = -1
"""No primitive, no server."""


class Parameters(NamedTuple):
    """Hold the constants that the kernels read: of the scenario, the reward and the features."""

    capacity_gflops: NDArray[np.float64]
    """``[N]``: ``C_j``."""
    memory_gb: NDArray[np.float64]
    """``[N]``: ``M_j``."""
    power_w: NDArray[np.float64]
    idle_power_w: NDArray[np.float64]
    largest_gflops: float
    largest_gb: float
    largest_power_w: float
    bandwidth_gb_per_s: float
    latency_s: float
    physical: bool
    """Communication delays."""
    event: bool
    """The clock goes from event to event."""
    step_s: float
    decisions: int
    time_limit_s: float
    mean_up_s: float
    """inf: servers stay."""
    mean_away_s: float
    failure_share: float
    # Equation 2.
    w_tau: float
    s_tau_s: float
    alpha: float
    beta: float
    largest_delay_s: float
    largest_energy_j: float
    paper_reward: bool
    response_reward: bool
    extended: bool
    """More features than the paper's."""
    selects: bool
    """An agent selects the primitive."""
    per_server: float
    """``1 / N``"""


class Tasks(NamedTuple):
    """Track what becomes of the primitives, ``[B, P]`` each."""

    status: NDArray[np.int8]
    """A :class:`Status`."""
    server: NDArray[np.int32]
    """Where it was placed last; -1 before."""
    source: NDArray[np.int32]
    """The predecessor that finished first, -1 without one."""
    awaits: NDArray[np.int32]
    """The primitive for whose end one that is set aside waits, -1: for any server."""
    waiting_for: NDArray[np.int32]
    """Predecessors that are not done."""
    asked_s: NDArray[np.float64]
    """When it was set aside."""
    finish_s: NDArray[np.float64]
    """``f_i``, as soon as it is placed."""
    earliest_s: NDArray[np.float64]
    """No schedule finishes it sooner, after all that is decided; ``f_i`` once it is placed. Kept up
    to date for the response reward only."""


class Servers(NamedTuple):
    """Track the state of the servers, ``[B, N]`` each."""

    state: NDArray[np.int8]
    """:data:`AWAY`, :data:`HERE` or :data:`LEAVING`."""
    running: NDArray[np.int32]
    """The primitive that occupies it, -1 when idle."""
    free_s: NDArray[np.float64]
    """When it is done with that, or was with the last one."""
    change_s: NDArray[np.float64]
    """When it goes or comes back."""
    n_changes: NDArray[np.int32]
    busy_s: NDArray[np.float64]
    """Time it was occupied."""


class Progress(NamedTuple):
    """Track where the episodes are, ``[B]`` each: their clocks, counts and sums."""

    now_s: NDArray[np.float64]
    task: NDArray[np.int32]
    """``v*``, the primitive to place; -1 while one is being selected, and at the end."""
    n_arrived: NDArray[np.int32]
    """Workflows."""
    n_ready: NDArray[np.int32]
    """Primitives ready or set aside."""
    n_open: NDArray[np.int32]
    """Primitives that there is to decide on at this moment."""
    n_running: NDArray[np.int32]
    n_unplaced: NDArray[np.int32]
    """Primitives that have arrived and are not placed."""
    n_completed: NDArray[np.int32]
    n_workflows_done: NDArray[np.int32]
    response_s: NDArray[np.float64]
    """Sum of the response times of completed primitives."""
    workflow_response_s: NDArray[np.float64]
    """Sum of those of completed workflows."""
    ratio: NDArray[np.float64]
    """Sum of the ratios of these to their lower bounds."""
    n_decisions: NDArray[np.int32]
    n_invalid: NDArray[np.int32]
    n_waits: NDArray[np.int32]
    n_lost: NDArray[np.int32]
    """Executions lost to failures."""
    communication_s: NDArray[np.float64]
    """Sum of the delays of equation 2 over placements."""
    energy_j: NDArray[np.float64]
    """Above what idle servers take."""
    n_selected: NDArray[np.int32]
    """Primitives to choose from while one is being selected, 0 otherwise."""


class Queues(NamedTuple):
    """Hold each episode's lists of ready and offered primitives, and counters per workflow."""

    ready: NDArray[np.int32]
    """``[B, P]``: primitives ready or set aside, ``n_ready`` of them."""
    valued: NDArray[np.int32]
    """``[B, W]``: decision after which the delays of each workflow were last summed up."""
    left: NDArray[np.int32]
    """``[B, W]``: primitives of each workflow that are not done."""
    offered: NDArray[np.int32]
    """``[B, N]``: primitives to choose from, ``n_selected`` of them."""


class Observation(NamedTuple):
    """Hold what the agents observe, in buffers of the simulator that the next step overwrites."""

    features: NDArray[np.float32]
    """``[B, agents, 1 + N, F]``. The placer's first row is of the primitive to place, row 1 + j of
    server j; zeros where there is none, such as a server that is away. Columns (section 4.1.1), of
    the primitive: compute as the time it takes the fastest server, memory and successors as shares
    of the largest server's and of 5, share of its workflow that is done, output in GB; of a server:
    capacity, memory and power drawn as shares of the largest, seconds until it is idle (third), and
    delay in seconds from the predecessor that finished first (last). ``extended`` keeps what is
    unbounded from looking far away: seconds s become log(1 + s), counts n become n / (n + 5). It
    adds, of the primitive: hops to the end, primitives left in its workflow (as counts), log of how
    many times longer than on the best server it takes to finish it on the best idle one, primitives
    ready and primitives not placed, x per server, as x / (x + 1); of a server: whether it is idle,
    whether the memory suffices, seconds that the primitive would occupy it, seconds until it would
    be finished there, and log of how many times longer that is than on the best server, idle or
    not.
    The selector's first row is of the cluster (ready primitives, idle servers, busy servers per
    server), row 1 + k of the k-th primitive to choose from, as the placer's first row."""
    action_mask: NDArray[np.bool_]
    """``[B, agents, N + 1]``: the placer's server, or N, wait; the selector's primitive; who is not
    to decide has the one legal action N."""
    state: NDArray[np.float32]
    """``[B, agents * (1 + N) * F]``: all features."""
