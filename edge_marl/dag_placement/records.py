"""The state of a batch of episodes, as the kernels hold it."""

from __future__ import annotations

from typing import Any, NamedTuple, get_type_hints

import numpy as np
from numpy.typing import NDArray

AWAY, HERE, LEAVING = 0, 1, 2
"""Of a server: not there; there; there, but gone as soon as it is idle."""

NOBODY = -1
"""No primitive, no server."""


class Law(NamedTuple):
    """What kernels read of a scenario."""

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
    """What becomes of the primitives, ``[B, P]``."""

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
    """The servers, ``[B, N]``."""

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
    """Where the episodes are, ``[B]``."""

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


class Lists(NamedTuple):
    """Lists of each episode."""

    ready: NDArray[np.int32]
    """``[B, P]``: primitives ready or set aside, ``n_ready`` of them."""
    valued: NDArray[np.int32]
    """``[B, W]``: decision after which the delays of each workflow were last summed up."""
    left: NDArray[np.int32]
    """``[B, W]``: primitives of each workflow that are not done."""
    offered: NDArray[np.int32]
    """``[B, N]``: primitives to choose from, ``n_selected`` of them."""


def together(record: type, *shape: int) -> Any:
    """A record of zeros, ``shape`` each, all of an item side by side in memory.

    What a step costs is mostly the memory that it touches.
    """
    types = {name: hint.__args__[1].__args__[0] for name, hint in get_type_hints(record).items()}
    whole = np.zeros(shape, dtype=np.dtype(list(types.items()), align=True))
    return record(*(whole[name] for name in types))
