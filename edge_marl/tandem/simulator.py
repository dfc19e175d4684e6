"""The tandem system: an uplink and a compute server in series (tandem paper, sections 2 and 3)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from edge_marl.errors import InputError
from edge_marl.memory import check_memory
from edge_marl.options import NotNegative, Options
from edge_marl.tandem import kernels
from edge_marl.tandem.traces import IntArray, TraceSet
from edge_marl.validation import checked_seeds

AGENTS = ("comm", "comp")
JOB_FEATURES = 5
MAX_QUEUE = 6

DROP_PENALTY = 100.0
"""``lambda`` of the objective in slots. Not given in the paper beyond "large": this is about
the makespan of a six-job trace, so that no shorter makespan pays for a dropped job."""

Decisions = Literal["slots", "events"]
"""When the schedulers decide."""

_UNBOUNDED = np.iinfo(np.int32).max
_STATE = ("row", "_remaining", "_waiting", "_queue", "_length", "_clock", "_outcome", "done")

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


class RewardConfig(Options):
    """Coefficients of section 3.3; the paper gives no values.

    The defaults put one dropped job at 1 (as ``DROP_PENALTY`` slots of makespan) and keep the
    sum of the step penalties of a typical episode below that.
    """

    alpha1: NotNegative = Field(default=0.001, description="per slot that a queued job has waited")
    alpha2: NotNegative = Field(default=0.1, description="per queued job projected to be late")
    alpha3: NotNegative = Field(default=0.1, description="uplink: per late job downstream")
    beta1: NotNegative = Field(default=0.01, description="per slot of makespan, at the end")
    beta2: NotNegative = Field(default=1.0, description="per dropped job, at the end")

    def weights(self) -> tuple[float, float, float, float, float]:
        """``(alpha1, alpha2, alpha3, beta1, beta2)`` as the kernel takes them."""
        return self.alpha1, self.alpha2, self.alpha3, self.beta1, self.beta2


class Observation(NamedTuple):
    """What the schedulers see: views of the simulator's buffers, overwritten by the next step.

    Each agent's part is local: its own queue only, in order of entry.
    """

    features: FloatArray
    """``[B, 2, Q, 5]``: ``[d - t, u_comm, u_comp, w_comm, w_comp]`` in slots, zero padded."""
    action_mask: BoolArray
    """``[B, 2, Q + 1]``: queued jobs; the last action, idling, only on an empty queue."""
    jobs: IntArray
    """``[B, 2, Q]``: index of the job in its trace, -1 padded; identity for plans and plots."""
    t: IntArray
    """``[B]``: the slot."""

    @property
    def state(self) -> FloatArray:
        """``[B, 2 * Q * 5]``: both local observations, for centralised training (section 3.3)."""
        return self.features.reshape(len(self.features), -1)

    def copy(self) -> Observation:
        """An observation that outlives the next step."""
        return Observation(
            self.features.copy(), self.action_mask.copy(), self.jobs.copy(), self.t.copy()
        )


class Transition(NamedTuple):
    """Outcome of a step; arrays are overwritten by the next step."""

    observation: Observation
    reward: FloatArray
    """``[B, 2]``: section 3.3, zero for finished episodes."""
    terminated: BoolArray
    """``[B]``: every job has completed or been dropped in this step."""
    truncated: BoolArray
    """``[B]``: the horizon was reached in this step with jobs still open."""
    elapsed: FloatArray | None
    """``[B]``: slots that the step took; None where it is one."""


class TraceSource(Protocol):
    """Anything that turns seeds into traces, each from its own seed alone."""

    def sample(self, seeds: NDArray[np.int64]) -> TraceSet:
        """The traces of ``seeds [K]``."""
        ...


@dataclass
class EpisodeResults:
    """Results of the episodes so far; exact once they are done. All arrays are ``[B]``."""

    objective: NDArray[np.float64]
    """``C_max + drop_penalty * N_drop``."""
    makespan: IntArray
    """``C_max``: latest completion, downlink included; 0 where nothing completed."""
    dropped: IntArray
    slots: IntArray
    starvation: NDArray[np.float64]
    """Share of slots with the compute queue empty while the uplink is busy (Figure 3b)."""
    comm_utilisation: NDArray[np.float64]
    comp_utilisation: NDArray[np.float64]
    completion: IntArray = field(repr=False)
    """``[B, J]``: completion time of each job, -1 where it did not complete."""
    dropped_at: IntArray = field(repr=False)
    """``[B, J]``: slot in which each job was dropped, -1 where it was not."""


METRICS = (
    "objective", "makespan", "dropped", "slots",
    "starvation", "comm_utilisation", "comp_utilisation",
)  # fmt: skip
"""Numbers of :class:`EpisodeResults` that are reported of every episode."""


class TandemSimulator:
    """B episodes of two preemptive single-server stages in series, slot by slot.

    A job arrives at the uplink, is sent for ``p_comm`` slots, computed for ``p_comp`` slots and
    returned after the constant downlink. In each slot each stage serves the job its scheduler
    picked. A job that can no longer meet its deadline, ``t + u_comm + u_comp + t_prop > d``, is
    dropped from wherever it is. Episodes end independently, when every job has completed or been
    dropped, and stay frozen until they are reset.

    Args:
        source: a :class:`TraceSet` (the episode of seed k plays trace ``k mod K``) or a workload
            that draws the trace of an episode from its seed.
        batch_size: B.
        max_queue: Q, how many jobs of its queue a scheduler sees; longer queues are possible
            and show their first Q jobs in order of entry.
        drop_penalty: ``lambda`` of the objective.
        rewards: coefficients of the rewards.
        horizon: slots after which an episode is truncated; None for no limit.
        decisions: "slots": a decision in every slot, as in the paper. "events": a step lasts until
            a job has joined or left a queue and there is a choice in one of them; both stages go
            on with their jobs until then. Nothing is lost by it (an optimal schedule preempts at
            arrivals only), and a learner has a sixth of the decisions to tell apart.

    Raises:
        InputError: for a batch size, queue or horizon below 1 or an empty trace set.
    """

    def __init__(
        self,
        source: TraceSet | TraceSource,
        batch_size: int,
        *,
        max_queue: int = MAX_QUEUE,
        drop_penalty: float = DROP_PENALTY,
        rewards: RewardConfig | None = None,
        horizon: int | None = None,
        decisions: Decisions = "slots",
    ) -> None:
        for name, value in (("batch_size", batch_size), ("max_queue", max_queue)):
            if value < 1:
                raise InputError(f"{name}: expected at least 1, found {value}")
        if horizon is not None and horizon < 1:
            raise InputError(f"horizon: expected at least 1 slot, found {horizon}")
        self.batch_size = batch_size
        self.max_queue = max_queue
        self.drop_penalty = drop_penalty
        self.rewards = rewards or RewardConfig()
        self._at_events = decisions == "events"
        self._horizon = _UNBOUNDED if horizon is None else horizon
        self._source = source
        check_memory(
            42.0 * batch_size * max_queue,  # of both agents: two rows of numbers and the mask
            f"{batch_size} episodes with {max_queue} jobs seen (max_queue)",
        )
        every_seed = np.arange(batch_size, dtype=np.int64)
        first = source if isinstance(source, TraceSet) else source.sample(every_seed)
        if len(first) == 0:
            raise InputError("traces: expected at least one trace, found none")
        self.traces = first
        """The traces in play: the whole set, or the B traces drawn for the episodes."""
        self.row = np.zeros(batch_size, dtype=np.int32)
        """``[B]``: index into :attr:`traces` of each episode's trace."""
        self._jobs = np.stack([first.arrival, first.comm, first.comp, first.deadline], axis=2)

        B, J, Q = batch_size, first.max_jobs, max_queue
        self._remaining = np.zeros((B, 2, J), dtype=np.int32)
        self._waiting = np.zeros((B, 2, J), dtype=np.int32)
        self._queue = np.zeros((B, 2, J), dtype=np.int32)
        self._length = np.zeros((B, 2), dtype=np.int32)
        self._clock = np.zeros((B, 8), dtype=np.int32)
        self._outcome = np.full((B, 2, J), -1, dtype=np.int32)
        self.done = np.ones(B, dtype=np.bool_)
        """``[B]``: episodes that have ended and wait for a reset."""
        self.observation = Observation(
            features=np.zeros((B, 2, Q, JOB_FEATURES), dtype=np.float32),
            action_mask=np.zeros((B, 2, Q + 1), dtype=np.bool_),
            jobs=np.full((B, 2, Q), -1, dtype=np.int32),
            t=self._clock[:, kernels.T],
        )
        self._transition = Transition(
            self.observation,
            np.zeros((B, 2), dtype=np.float32),
            np.zeros(B, dtype=np.bool_),
            np.zeros(B, dtype=np.bool_),
            np.zeros(B, dtype=np.float32) if self._at_events else None,
        )

    def reset(self, seeds: ArrayLike, where: BoolArray | None = None) -> Observation:
        """Start episodes anew.

        Args:
            seeds: ``[B]`` one seed per episode, at least 0; an episode depends on its seed alone.
            where: ``[B]`` episodes to reset; the others go on. All when None.

        Raises:
            InputError: when there is not one non-negative integer per episode.
        """
        seeds = checked_seeds(seeds, self.batch_size)
        if where is None:
            where = np.ones(self.batch_size, dtype=np.bool_)
        if isinstance(self._source, TraceSet):
            self.row[where] = seeds[where] % len(self._source)
        elif where.any():
            self._redraw(seeds, where)
        kernels.reset_kernel(
            where, self._jobs, self.row, self.traces.n_jobs, self.traces.downlink,
            self._remaining, self._waiting, self._queue, self._length, self._clock,
            self._outcome, self.done, *self.observation[:3],
        )  # fmt: skip
        return self.observation

    def _redraw(self, seeds: NDArray[np.int64], where: BoolArray) -> None:
        """Replace the traces of the episodes that start anew by freshly drawn ones."""
        assert not isinstance(self._source, TraceSet)
        drawn = self._source.sample(seeds[where])
        self.row[:] = np.arange(self.batch_size)
        columns = (drawn.arrival, drawn.comm, drawn.comp, drawn.deadline)
        for name, column in zip(("arrival", "comm", "comp", "deadline"), columns, strict=True):
            getattr(self.traces, name)[where] = column
        self.traces.app[where] = drawn.app
        self.traces.n_jobs[where] = drawn.n_jobs
        self._jobs[where] = np.stack(columns, axis=2)

    def step(self, actions: NDArray[np.integer[Any]]) -> Transition:
        """Play one slot, or all slots until the next decision.

        Args:
            actions: ``[B, 2]`` position in the own queue for each stage; ``max_queue`` idles.
                Idling on a non-empty queue is physically possible (a recorded schedule may do
                so) though the mask does not offer it. Actions of finished episodes are ignored.

        Raises:
            InputError: for an action that points at no job, naming episode and agent.
        """
        actions = np.asarray(actions)
        if actions.shape != (self.batch_size, 2) or actions.dtype.kind not in "iu":
            raise InputError(f"actions: expected integers of shape ({self.batch_size}, 2)")
        illegal = kernels.first_illegal(actions, self.done, self._length, self.max_queue)
        if illegal >= 0:
            b, stage = divmod(illegal, 2)
            raise InputError(
                f"action of agent {AGENTS[stage]} in episode {b}: expected a queued job "
                f"(0 to {min(self._length[b, stage], self.max_queue) - 1}) or {self.max_queue} "
                f"to idle, found {actions[b, stage]}"
            )
        transition = self._transition
        if transition.elapsed is not None:
            np.negative(self.observation.t, out=transition.elapsed, casting="unsafe")
        kernels.step_kernel(
            actions, self._jobs, self.row, self.traces.n_jobs, self.traces.downlink,
            self._horizon, self.rewards.weights(), self._at_events, self._remaining,
            self._waiting, self._queue, self._length, self._clock, self._outcome, self.done,
            *self.observation[:3],
            transition.reward, transition.terminated, transition.truncated,
        )  # fmt: skip
        if transition.elapsed is not None:
            transition.elapsed[:] += self.observation.t
        return transition

    def get_state(self) -> dict[str, Any]:
        """Copies of everything that changes while episodes are played."""
        state = {name: getattr(self, name).copy() for name in _STATE}
        state["observation"] = self.observation.copy()
        if not isinstance(self._source, TraceSet):
            state["traces"] = copy.deepcopy(self.traces)
            state["jobs"] = self._jobs.copy()
        return state

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken, on a simulator of the same source and sizes.

        Raises:
            InputError: for a state of other sizes.
        """
        if state["_remaining"].shape != self._remaining.shape:
            raise InputError(
                f"state of a simulator: expected sizes {self._remaining.shape}, "
                f"found {state['_remaining'].shape}"
            )
        for name in _STATE:
            getattr(self, name)[...] = state[name]
        for own, saved in zip(self.observation, state["observation"], strict=True):
            own[...] = saved
        if "traces" in state:
            self.traces = copy.deepcopy(state["traces"])
            self._jobs[...] = state["jobs"]

    @property
    def physics(self) -> tuple[IntArray, IntArray, IntArray, int]:
        """Jobs ``[K, J, 4]``, row ``[B]``, n_jobs ``[K]`` and downlink, as kernels take them."""
        return self._jobs, self.row, self.traces.n_jobs, self.traces.downlink

    @property
    def progress(self) -> tuple[IntArray, IntArray, IntArray, IntArray, IntArray]:
        """Views of remaining times, queues, their lengths, clock and outcome (see the kernels)."""
        return self._remaining, self._queue, self._length, self._clock, self._outcome

    @property
    def results(self) -> EpisodeResults:
        """Metrics of every episode up to now (copies)."""
        clock = self._clock.copy()
        slots = np.maximum(clock[:, kernels.T], 1)
        makespan, dropped = clock[:, kernels.MAKESPAN], clock[:, kernels.DROPPED]
        return EpisodeResults(
            objective=makespan + self.drop_penalty * dropped,
            makespan=makespan,
            dropped=dropped,
            slots=clock[:, kernels.T],
            starvation=clock[:, kernels.STARVED] / slots,
            comm_utilisation=clock[:, kernels.BUSY_COMM] / slots,
            comp_utilisation=clock[:, kernels.BUSY_COMP] / slots,
            completion=self._outcome[:, kernels.COMPLETION].copy(),
            dropped_at=self._outcome[:, kernels.DROPPED_AT].copy(),
        )
