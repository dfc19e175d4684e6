"""Define how the kernels hold the state of a batch of episodes.

The task of node i in slot t has the number ``t * N + i`` in its episode. Arrays that look ahead
have W places, used in turn: one for each slot in which a present task may still be decided.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_marl.peer_offloading.scenario import Range


class Status(IntEnum):
    """Tell what has become of a task."""

    NONE = 0
    """No task arrived."""
    IN_FLIGHT = 1
    SUCCEEDED = 2
    DROPPED = 3
    """At its deadline, wherever it was."""
    TRANSMISSION_FAILED = 4
    EXECUTION_FAILED = 5


N_STATUS = len(Status)


class Scales(NamedTuple):
    """Hold the values that features are divided by (section IV-B1), with 1 in place of 0."""

    arrival_probability: float
    failure_rate: float
    capacity_hz: float
    queue_length: int
    """The queue limit of the largest node."""
    incoming: int
    """Slots until the last deadline: no link holds more than one task for each."""
    rate_mb_per_s: float
    size_kb: float
    cycles: float
    deadline_s: float


class Parameters(NamedTuple):
    """Hold what the kernels need of a scenario."""

    slots: int
    slot_s: float
    deadline_slots: int
    adjacency: NDArray[np.bool_]
    """``[N, N]``"""
    size_kb: Range
    cycles_per_bit: Range
    deadline_s: Range
    team_reward: bool
    """Every node is paid for the tasks of all nodes."""
    scales: Scales


class Episodes(NamedTuple):
    """Hold which episodes are played, and at which slots they are."""

    seeds: NDArray[np.int64]
    """``[B]``"""
    slot: NDArray[np.int32]
    """``[B]``: the slot to decide for next."""
    done: NDArray[np.bool_]
    """``[B]``: episodes that have ended and wait for a reset."""


class TaskRecords(NamedTuple):
    """Hold the tasks of all episodes, ``[B, T, N]``: that of node i in slot t, if there is one."""

    status: NDArray[np.int8]
    """A :class:`Status`."""
    destination: NDArray[np.int16]
    """Where it is executed; -1 before the decision."""
    size_kb: NDArray[np.float64]
    """``s_i(t)``."""
    cycles: NDArray[np.float64]
    """``c_i(t)``."""
    deadline_s: NDArray[np.float64]
    """``d_i(t)``, from its arrival on."""
    transmission_wait_s: NDArray[np.float64]
    """``T^tw``; the four times are those spent so, however it ended."""
    transmission_s: NDArray[np.float64]
    """``T^t``, equation 2."""
    execution_wait_s: NDArray[np.float64]
    """``T^cw``."""
    execution_s: NDArray[np.float64]
    """``T^c``, equation 1."""
    finished_s: NDArray[np.float64]
    """Moment at which its fate is known, from the start of the episode on; NaN before."""
    transmission_luck: NDArray[np.float64]
    """Uniform in [0, 1): its transmission fails if not below the reliability of equation 5."""
    execution_luck: NDArray[np.float64]
    """Uniform in [0, 1): its execution fails if not below the reliability of equation 4."""


class Queues(NamedTuple):
    """Hold the queues of all episodes, and what is known of the slots ahead."""

    node_free_s: NDArray[np.float64]
    """``[B, N]``: moment at which all that has joined the node is done with."""
    link_free_s: NDArray[np.float64]
    """``[B, N, N]``: moment at which the link from i to j is done with all that was sent."""
    queue_length: NDArray[np.int32]
    """``[B, N]``: ``l_i``, tasks at the node, waiting or in execution."""
    incoming: NDArray[np.int16]
    """``[B, N, N]``: ``l^r_ij``, tasks on their way to node i (first) from j."""
    on_the_way: NDArray[np.int32]
    """``[B, N]``: all of them."""
    incoming_work_s: NDArray[np.float64]
    """``[B, N]``: execution time at the node of the tasks on their way to it."""
    busy_s: NDArray[np.float64]
    """``[B, N]``: time the node computes before the end of the episode."""
    head: NDArray[np.int32]
    """``[B, W, N]``: first of the tasks that leave their link to a node in a slot, or -1."""
    following: NDArray[np.int32]
    """``[B, (T + 1) * N]``: the task that leaves its link after this one, or -1."""
    moment_s: NDArray[np.float64]
    """``[B, (T + 1) * N]``: when a task leaves its link."""
    departures: NDArray[np.int32]
    """``[B, W, N]``: tasks that leave a node in a slot."""
    feedback: NDArray[np.int32]
    """``[B, W, N]``: feedback on the tasks of node i that becomes known in a slot."""
    decided: NDArray[np.int32]
    """``[B, W, 6]``: tasks whose status becomes final in a slot, by status."""
    totals: NDArray[np.int64]
    """``[B, 6]``: tasks by status so far; NONE is unused, IN_FLIGHT counts arrivals."""


class Observation(NamedTuple):
    """Hold what the nodes see, in buffers of the simulator that the next step overwrites."""

    features: NDArray[np.float32]
    """``[B, N, 3N + 5]``, each in [0, 1]: see
    :func:`edge_marl.peer_offloading.observing.n_features`."""
    action_mask: NDArray[np.bool_]
    """``[B, N, N + 1]``: nodes to send to; the last action, "no task", only without one."""
    state: NDArray[np.float32]
    """``[B, 8N]``: of each node ``lambda, alpha, F, l``, all tasks on their way to it, and its
    task's ``s, c, d``; for centralised training."""
    t: NDArray[np.int32]
    """``[B]``: the slot."""
