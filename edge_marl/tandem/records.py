"""Define how the kernels hold the state of a batch of B episodes of up to J jobs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_marl.tandem.traces import IntArray

COMM, COMP = 0, 1
"""The stages."""


class Parameters(NamedTuple):
    """Hold what the kernels need of a configuration."""

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
    """Hold the K traces in play (see :class:`.traces.TraceSet`)."""

    arrival: IntArray
    """``[K, J]``"""
    comm: IntArray
    """``[K, J]``: uplink times."""
    comp: IntArray
    """``[K, J]``: compute times."""
    deadline: IntArray
    """``[K, J]``"""
    n_jobs: IntArray
    """``[K]``: jobs of each trace."""
    row: IntArray
    """``[B]``: which trace each episode plays."""


class Stages(NamedTuple):
    """Hold how far the episodes are: their jobs, queues and counters."""

    remaining: IntArray
    """``[B, 2, J]``: ``u``, slots of each job that are left at each stage."""
    waiting: IntArray
    """``[B, 2, J]``: ``w``, slots that each job has waited at each stage."""
    queue: IntArray
    """``[B, 2, J]``: jobs waiting at each stage, in order of entry."""
    length: IntArray
    """``[B, 2]``: how many."""
    busy: IntArray
    """``[B, 2]``: slots in which each stage has served a job."""
    t: IntArray
    """``[B]``: the slot."""
    next_job: IntArray
    """``[B]``: the first job that has not arrived."""
    finished: IntArray
    """``[B]``: jobs that have completed."""
    dropped: IntArray
    """``[B]``: jobs that were dropped."""
    makespan: IntArray
    """``[B]``: the latest completion, downlink included."""
    starved: IntArray
    """``[B]``: slots in which the compute queue was empty while the uplink was busy."""
    completion: IntArray
    """``[B, J]``: when each job completed, downlink included, -1 before."""
    dropped_at: IntArray
    """``[B, J]``: when each job was dropped, -1 where it was not."""

    @classmethod
    def of(cls, B: int, J: int) -> Stages:
        """Allocate the stages of B episodes of up to J jobs, before their first reset."""
        shapes = {"remaining": (B, 2, J), "waiting": (B, 2, J), "queue": (B, 2, J),
                  "length": (B, 2), "busy": (B, 2)}  # fmt: skip
        counters = {name: np.zeros(shapes.get(name, B), dtype=np.int32) for name in cls._fields}
        open_ = {name: np.full((B, J), -1, dtype=np.int32) for name in ("completion", "dropped_at")}
        return cls(**{**counters, **open_})


class Observation(NamedTuple):
    """Hold what the schedulers see, in buffers of the simulator that the next step overwrites.

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
        """Join the local observations, ``[B, 2 * Q * 5]``, to train centrally (section 3.3)."""
        return self.features.reshape(len(self.features), -1)

    def copy(self) -> Observation:
        """Return an observation that outlives the next step."""
        return Observation(
            self.features.copy(), self.action_mask.copy(), self.jobs.copy(), self.t.copy()
        )
