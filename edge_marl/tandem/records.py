"""The state of a batch of episodes, as the kernels hold it: B episodes, J jobs a trace."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_marl.tandem.traces import IntArray

COMM, COMP = 0, 1
ARRIVAL, P_COMM, P_COMP, DEADLINE = 0, 1, 2, 3
T, NEXT_JOB, FINISHED, DROPPED, MAKESPAN, STARVED, BUSY_COMM, BUSY_COMP = range(8)
COMPLETION, DROPPED_AT = 0, 1


class Parameters(NamedTuple):
    """What the kernels read of a configuration."""

    downlink: int
    """``t_prop`` in slots."""
    horizon: int
    """Slots after which an episode is truncated."""
    at_events: bool
    """A step lasts until there is a choice to make."""
    # Coefficients of section 3.3.
    alpha1: float
    alpha2: float
    alpha3: float
    beta1: float
    beta2: float


class Traces(NamedTuple):
    """The K traces in play."""

    jobs: IntArray
    """``[K, J, 4]``: arrival, uplink time, compute time, deadline."""
    n_jobs: IntArray
    """``[K]``: jobs of each trace."""
    row: IntArray
    """``[B]``: which trace each episode plays."""


class Stages(NamedTuple):
    """Where the episodes are."""

    remaining: IntArray
    """``[B, 2, J]``: ``u``, slots of each job that are left at each stage."""
    waiting: IntArray
    """``[B, 2, J]``: ``w``, slots that each job has waited at each stage."""
    queue: IntArray
    """``[B, 2, J]``: jobs waiting at each stage, in order of entry."""
    length: IntArray
    """``[B, 2]``: how many."""
    clock: IntArray
    """``[B, 8]``: the counters :data:`T` to :data:`BUSY_COMP`."""
    outcome: IntArray
    """``[B, 2, J]``: completion time, downlink included, and slot of dropping; -1 while open."""


class Observation(NamedTuple):
    """What the schedulers see: views of the simulator's buffers, overwritten by the next step.

    Each agent's part is local: its own queue only, in order of entry.
    """

    features: NDArray[np.float32]
    """``[B, 2, Q, 5]``: ``[d - t, u_comm, u_comp, w_comm, w_comp]`` in slots, zero padded."""
    action_mask: NDArray[np.bool_]
    """``[B, 2, Q + 1]``: queued jobs; the last action, idling, only on an empty queue."""
    jobs: IntArray
    """``[B, 2, Q]``: index of the job in its trace, -1 padded; identity for plans and plots."""
    t: IntArray
    """``[B]``: the slot."""

    @property
    def state(self) -> NDArray[np.float32]:
        """``[B, 2 * Q * 5]``: both local observations, for centralised training (section 3.3)."""
        return self.features.reshape(len(self.features), -1)

    def copy(self) -> Observation:
        """An observation that outlives the next step."""
        return Observation(
            self.features.copy(), self.action_mask.copy(), self.jobs.copy(), self.t.copy()
        )
