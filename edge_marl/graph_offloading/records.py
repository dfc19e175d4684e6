"""Define how the kernels hold the state of a batch of episodes on a graph.

Tasks lie in a pool of P places per episode, in no particular order. Two kinds of lists go through
the pool: the queues of the nodes, and two calendars, whose bucket ``tick % W`` holds the tasks that
arrive in that tick, or that are lost in it if nothing happens to them before. A task that has gone
leaves its place to another. A third kind, of decisions, remembers which nodes decided on a task,
and over which links it came. How all this lies in memory is said in
:mod:`edge_marl.graph_offloading.layout`.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int32]
FloatArray = NDArray[np.float64]

NOBODY = -1
"""In place of a task, a decision or a link where there is none."""

FULL_OF_TASKS, FULL_OF_DECISIONS = 1, 2
"""Why an episode cannot go on."""

BUCKETS = 1024
"""W. What lies further ahead stays in its bucket for another round."""


class Status(IntEnum):
    """Tell where a task is, or how it ended."""

    MOVING = 0
    """On its way to a node."""
    RETURNING = 1
    """Its result is on its way to the client."""
    DOOMED = 2
    """On its way, but its deadline will pass before it is there."""
    UNDECIDED = 3
    """Waiting for the node's decision."""
    DECIDED = 4
    """Waiting to be executed."""
    RUNNING = 5
    FINISHED = 6
    """The result has reached the client."""
    REFUSED = 7
    """Lost where it arrived, at a full queue."""
    EXPIRED = 8
    """Lost at its deadline."""
    FAILED = 9
    """Lost with the node that it was at."""


N_STATUS = len(Status)


class Network(NamedTuple):
    """Hold what does not change of nodes and links; links are in compressed rows."""

    capacity: FloatArray
    """``[N]``: instructions per tick."""
    queue_limit: IntArray
    """``[N]``: tasks, the running one included."""
    agent: IntArray
    """``[N]``: number of the node's agent, or -1."""
    node: IntArray
    """``[A]``: node of each agent."""
    first: IntArray
    """``[N + 1]``: the links from node n are ``first[n]`` to ``first[n + 1] - 1``."""
    neighbour: IntArray
    """``[L]``: where a link leads."""
    back: IntArray
    """``[L]``: the link in the other direction."""
    ticks_per_mb: FloatArray
    """``[L]``"""
    latency_ticks: FloatArray
    """``[L]``: on top of it."""


class Load(NamedTuple):
    """Hold who creates which tasks: J clients' targets, and the jobs that they draw from."""

    target: IntArray
    """``[J]``: the node that a stream of tasks is for."""
    link: IntArray
    """``[J]``: the link over which they come, or -1 if the client is at the node itself."""
    gap_ticks: FloatArray
    """``[J]``: mean time from one task to the next."""
    first_job: IntArray
    """``[J]``: its jobs are a range of all jobs, from this one on."""
    n_jobs: IntArray
    """``[J]``"""
    instructions: FloatArray
    """``[K]``"""
    size_mb: FloatArray
    """``[K]``"""
    typical: float
    """Instructions of a typical job: the geometric mean of those that have any."""
    arrival_ticks: FloatArray
    """``[K + 1]``: when jobs arrive, and when the record begins anew; ``[0]`` if arrivals are
    drawn."""


class Rules(NamedTuple):
    """Hold the rules of a scenario."""

    ticks: int
    """Of an episode."""
    start_undecided: float
    """Probability with which an idle node starts a task that nobody has decided on."""
    deadline_ticks: tuple[float, float]
    grace_ticks: float
    """Time after its deadline for which a task may still wait."""
    deadline_ends_all: bool
    """The deadline also ends running tasks and what is on its way."""
    last_first: bool
    """Of the tasks that wait to be executed, the last one goes first."""
    contention: bool
    """A link sends one thing at a time."""
    broadcast_ticks: int
    """Nodes tell their neighbours the lengths of their queues once in so many ticks."""
    node_mttf_ticks: float
    """Mean time until a node fails; infinite if nodes do not."""
    node_mttr_ticks: float
    """Mean time until it is repaired."""
    link_mttf_ticks: float
    link_mttr_ticks: float

    @property
    def can_fail(self) -> bool:
        """Return whether anything fails."""
        return math.isfinite(min(self.node_mttf_ticks, self.link_mttf_ticks))


class RewardTerms(NamedTuple):
    """Hold what rewards are computed with (equations 3, 4, 10 and 27 to 33)."""

    kind: int
    delay: int
    """H, in ticks: how long after a decision its own outcome is paid; 0: when it is known."""
    utility: float
    """``U`` of equation 10, ``alpha`` of equation 23."""
    wait: float
    """``chi_D^wait``."""
    execution: float
    """``chi_D^exc``."""
    communication: float
    """``chi_D^comm``."""
    overload: float
    """``chi_O``."""
    capped: bool
    """Each term counts at most ``U`` times its weight."""
    discount: float
    """Of the potential in equation 28; 1 as printed."""
    weight: float
    """``w_g``."""
    response: float
    """``w_r``."""
    processed: float
    """``w_f``, called ``w_p`` in Table 30."""
    refused: float
    """``w_c``."""
    occupancy: float
    """``w_o``."""
    tick_s: float


class Scales(NamedTuple):
    """Hold what features are divided by."""

    queue_limit: float
    """The largest of all nodes."""
    instructions: float
    """The largest of all jobs."""
    size_mb: float
    capacity: float
    mb_per_tick: float
    """Of the fastest link."""
    age_ticks: float
    """The longest time until a waiting task is lost."""
    extended: bool
    """Observe rates, capacities and ages too, and instructions on a logarithmic scale."""


class Parameters(NamedTuple):
    """Hold what the kernels need of a scenario."""

    network: Network
    load: Load
    rules: Rules
    rewards: RewardTerms
    scales: Scales


class Episodes(NamedTuple):
    """Hold which episodes are played and what has happened in them."""

    seeds: NDArray[np.int64]
    """``[B]``"""
    tick: IntArray
    """``[B]``: the tick to decide for next."""
    done: NDArray[np.bool_]
    """``[B]``: episodes that have ended and wait for a reset."""
    full: IntArray
    """``[B]``: 1 if there was no place for a task, 2 if there was none for a decision."""
    created: NDArray[np.int64]
    """``[B]``: tasks so far; each has its number."""
    next_arrival: IntArray
    """``[B, J]``: tick of the next task of each stream."""
    n_arrivals: IntArray
    """``[B, J]``: tasks of each stream so far."""
    outcomes: NDArray[np.int64]
    """``[B, 10]``: tasks by final :class:`Status`."""
    work: FloatArray
    """``[B]``: instructions of all tasks created."""
    response_ticks: FloatArray
    """``[B]``: sum over finished tasks, from creation until the result is back."""
    traffic_mb: FloatArray
    """``[B]``: sum over links."""


class Tasks(NamedTuple):
    """Hold the pool of tasks, ``[B, P]`` each."""

    number: IntArray
    """In order of creation."""
    status: NDArray[np.int8]
    node: NDArray[np.int16]
    """Where it is, or where it is on its way to."""
    instructions: FloatArray
    size_mb: FloatArray
    """Of its input, and of its result."""
    created: IntArray
    """Tick."""
    deadline: FloatArray
    """Moment, in ticks."""
    moment: FloatArray
    """At which it arrives, in ticks."""
    before: IntArray
    """In its queue; ``after`` also links the places that are free."""
    after: IntArray
    decision: IntArray
    """The last decision on it."""
    link: IntArray
    """From the client to its first node, -1 if it was created there, -2 once its result is on the
    last part of its way."""


class Entries(NamedTuple):
    """Hold the entry of each task in a calendar, ``[B, P]`` each.

    They stand apart from the tasks, of which there are too many for the processor's cache: a bucket
    is then read without waiting for one task after the other.
    """

    due: IntArray
    """The tick in whose bucket it lies."""
    earlier: IntArray
    """In its bucket of the calendar of losses."""
    later: IntArray
    """In its bucket of either calendar."""


class Decisions(NamedTuple):
    """Hold the pool of decisions on tasks that are under way, ``[B, H]`` each."""

    node: IntArray
    """Who decided."""
    tick: IntArray
    """When."""
    link: IntArray
    """Over which it was sent, or -1 if it was kept."""
    before: IntArray
    """The decision before it on the same task; also links the places that are free."""


class Nodes(NamedTuple):
    """Hold the nodes of all episodes, ``[B, N]`` each; counts are since the start."""

    running: IntArray
    """Task, or -1; so are the next four."""
    first_decided: IntArray
    last_decided: IntArray
    first_undecided: IntArray
    last_undecided: IntArray
    inbox: IntArray
    """First of the tasks that arrive in this tick."""
    length: IntArray
    """``Q``: tasks at the node, the running one included."""
    shown: IntArray
    """``Q`` as last told to the neighbours."""
    instructions: FloatArray
    """Of all tasks at the node (equation 37)."""
    local: FloatArray
    """Of those that are to be executed here (equation 38)."""
    started: FloatArray
    """Instructions of the running task."""
    remaining: FloatArray
    """Those that it has yet to execute."""
    busy: FloatArray
    """Ticks in which it executed."""
    occupied: FloatArray
    """Sum of ``Q / Q_max`` over ticks."""
    received: IntArray
    """Tasks that arrived."""
    processed: IntArray
    refused: IntArray
    expired: IntArray
    sent: IntArray
    kept: IntArray
    credited: IntArray
    """The number of the task whose outcome was credited to its agent last, or -1."""
    delay: FloatArray
    """Sum over processed tasks, from creation to the end of execution, in ticks."""
    potential: FloatArray
    """``Phi`` of equation 29 at the last step."""
    changed: NDArray[np.bool_]
    """What is observed of it, but for the time, has changed since it was last written."""
    told: NDArray[np.bool_]
    """It has told its neighbours another length since they last observed."""


class Pools(NamedTuple):
    """Hold what is free, the calendars and the links."""

    free_task: IntArray
    """``[B]``: first free place, or -1."""
    free_decision: IntArray
    """``[B]``"""
    arriving: IntArray
    """``[B, W]``: first task in each bucket of the calendar of arrivals."""
    ending: IntArray
    """``[B, W]``: first task in each bucket of the calendar of losses."""
    link_free: FloatArray
    """``[B, L]``: moment at which a link has sent all that was given to it; with contention."""
    due: NDArray[np.float32]
    """``[B, H, A]``: rewards of the last H ticks that are paid H ticks after them."""


class Parts(NamedTuple):
    """Hold what can fail, ``[B, N + L]`` each: the nodes, then the links; 0 of them if nothing can.

    A link and the one in the other direction are one part, that of the first of the two.
    """

    changes_at: IntArray
    """Tick in whose end it fails, or is repaired."""
    n_changes: IntArray
    """So far."""
    is_up: NDArray[np.bool_]


class Messages(NamedTuple):
    """Hold each agent's message to or from the manager of a federation, ``[B, A]`` each."""

    moment: FloatArray
    """At which it reaches the next node of its way."""
    sent: FloatArray
    """When it was."""
    to_manager: FloatArray
    """Sum of the ticks that messages took since somebody asked, as are the next three."""
    from_manager: FloatArray
    n_to_manager: IntArray
    n_from_manager: IntArray
    leg: IntArray
    """0: there is none; 1: to the manager; 2: from it."""
    hop: IntArray
    """Links between its agent and the node that it goes to."""


class Observation(NamedTuple):
    """Hold what the agents see, in buffers of the simulator that the next step overwrites."""

    features: NDArray[np.float32]
    """``[B, A, F]``, see :func:`edge_marl.graph_offloading.observing.n_features`."""
    action_mask: NDArray[np.bool_]
    """``[B, A, D + 1]``: keep, or send to neighbour 1 to D."""
    state: NDArray[np.float32]
    """``[B, 6N]``: of each node its queue and its next task (equations 34 and 35)."""
    t: IntArray
    """``[B]``: the tick."""
