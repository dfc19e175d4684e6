"""Simulate an uplink and a compute server in series (tandem paper, sections 2 and 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edge_marl.errors import InputError
from edge_marl.memory import check_memory
from edge_marl.options import NotNegative, Options
from edge_marl.simulation import Simulator, Transition
from edge_marl.tandem import kernels
from edge_marl.tandem.records import COMM, COMP, Observation, Parameters, Stages, Traces
from edge_marl.tandem.traces import JOB_FIELDS, IntArray, TraceSet

AGENTS = ("comm", "comp")
JOB_FEATURES = 5
MAX_QUEUE = 6

DROP_PENALTY = 100.0
"""``lambda`` of the objective in slots. Not given in the paper beyond "large": this is about
the makespan of a six-job trace, so that no shorter makespan pays for a dropped job."""

Decisions = Literal["slots", "events"]
"""When the schedulers decide."""

_COLUMNS = (*JOB_FIELDS, "n_jobs")
_UNBOUNDED = np.iinfo(np.int32).max

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


class RewardConfig(Options):
    """Configure the rewards of section 3.3; the paper gives no values of their coefficients.

    The defaults put one dropped job at 1 (as ``DROP_PENALTY`` slots of makespan) and keep the
    sum of the step penalties of a typical episode below that.
    """

    alpha1: NotNegative = Field(default=0.001, description="per slot that a queued job has waited")
    alpha2: NotNegative = Field(default=0.1, description="per queued job projected to be late")
    alpha3: NotNegative = Field(default=0.1, description="uplink: per late job downstream")
    beta1: NotNegative = Field(default=0.01, description="per slot of makespan, at the end")
    beta2: NotNegative = Field(default=1.0, description="per dropped job, at the end")


class TraceSource(Protocol):
    """Turn seeds into traces, each from its own seed alone."""

    def sample(self, seeds: NDArray[np.int64]) -> TraceSet:
        """Return the traces of ``seeds [K]``."""
        ...


@dataclass
class EpisodeResults:
    """Hold the results of the episodes so far, ``[B]`` each unless stated otherwise.

    Those of an episode are final once it is done.
    """

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


class TandemSimulator(Simulator[Observation, EpisodeResults]):
    """Play B episodes of two preemptive single-server stages in series, slot by slot.

    A job arrives at the uplink, is sent for ``p_comm`` slots, computed for ``p_comp`` slots and
    returned after the constant downlink. In each slot each stage serves the job its scheduler
    picked. A job that can no longer meet its deadline, ``t + u_comm + u_comp + t_prop > d``, is
    dropped from wherever it is.

    Actions ``[B, 2]`` are positions in each stage's own queue; Q, ``max_queue``, idles. Idling on a
    non-empty queue is physically possible (a recorded schedule may do so), though the mask does
    not offer it.

    Rewards ``[B, 2]`` are those of section 3.3. Episodes terminate when every job has completed or
    been dropped, and are truncated at the horizon. The elapsed time of a step is in slots.

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
        super().__init__(batch_size, AGENTS)
        if max_queue < 1:
            raise InputError(f"max_queue: expected at least 1, found {max_queue}")
        if horizon is not None and horizon < 1:
            raise InputError(f"horizon: expected at least 1 slot, found {horizon}")
        self.max_queue = max_queue
        self.drop_penalty = float(drop_penalty)
        self._source = source
        check_memory(
            42.0 * batch_size * max_queue,  # of both agents: two rows of numbers and the mask
            f"{batch_size} episodes with {max_queue} jobs seen (max_queue)",
        )
        every_seed = np.arange(batch_size, dtype=np.int64)
        first = source if isinstance(source, TraceSet) else source.sample(every_seed)
        if len(first) == 0:
            raise InputError("traces: expected at least one trace, found none")
        # The same arrays, except that parts of larger ones are copied.
        columns: dict[str, Any] = {
            name: np.ascontiguousarray(getattr(first, name)) for name in _COLUMNS
        }
        self.traces = first = replace(first, **columns)
        """The traces in play: the whole set, or the B traces drawn for the episodes."""
        self.parameters = Parameters(
            downlink=first.downlink,
            horizon=_UNBOUNDED if horizon is None else horizon,
            at_events=decisions == "events",
            **(rewards or RewardConfig()).model_dump(),
        )
        B, J, Q = batch_size, first.max_jobs, max_queue
        self.in_play = Traces(
            **{name: getattr(first, name) for name in Traces._fields if name != "row"},
            row=np.zeros(B, dtype=np.int32),
        )
        self.stages = Stages.of(B, J)
        self.observation = Observation(
            features=np.zeros((B, 2, Q, JOB_FEATURES), dtype=np.float32),
            action_mask=np.zeros((B, 2, Q + 1), dtype=np.bool_),
            jobs=np.full((B, 2, Q), -1, dtype=np.int32),
            t=np.zeros(B, dtype=np.int32),
        )
        self.transition = Transition(
            self.observation,
            reward=np.zeros((B, 2), dtype=np.float32),
            terminated=np.zeros(B, dtype=np.bool_),
            truncated=np.zeros(B, dtype=np.bool_),
            elapsed=np.zeros(B, dtype=np.float32) if self.parameters.at_events else None,
        )
        # It has one type, however time is counted, so that kernels are compiled once.
        self._outcome = self.transition._replace(elapsed=None)

    def _start(self, where: BoolArray) -> None:
        if isinstance(self._source, TraceSet):
            self.in_play.row[where] = self.seeds[where] % len(self._source)
        elif where.any():
            self._redraw(self._source, where)
        kernels.reset_kernel(
            where, self.parameters, self.in_play, self.stages, self.done, self.observation
        )

    def _redraw(self, source: TraceSource, where: BoolArray) -> None:
        """Replace the traces of the episodes that start anew by freshly drawn ones."""
        drawn = source.sample(self.seeds[where])
        self.in_play.row[:] = np.arange(self.batch_size)
        for name in _COLUMNS:
            getattr(self.traces, name)[where] = getattr(drawn, name)

    def _check(self, actions: NDArray[np.integer[Any]]) -> None:
        illegal = kernels.first_illegal(actions, self.done, self.stages.length, self.max_queue)
        if illegal >= 0:
            b, stage = divmod(illegal, 2)
            queued = min(self.stages.length[b, stage], self.max_queue)
            raise InputError(
                f"action of agent {AGENTS[stage]} in episode {b}: expected a queued job "
                f"(0 to {queued - 1}) or {self.max_queue} to idle, found {actions[b, stage]}"
            )

    def _advance(self, actions: NDArray[np.int32]) -> None:
        elapsed = self.transition.elapsed
        if elapsed is not None:
            np.negative(self.observation.t, out=elapsed, casting="unsafe")
        kernels.step_kernel(
            actions, self.parameters, self.in_play, self.stages, self.done, self._outcome
        )
        if elapsed is not None:
            elapsed += self.observation.t

    def _records(self) -> Mapping[str, Mapping[str, NDArray[Any]]]:
        traces = {"row": self.in_play.row}
        if not isinstance(self._source, TraceSet):  # a set of traces never changes
            traces |= {name: getattr(self.traces, name) for name in _COLUMNS}
        return {
            "traces": traces,
            "stages": self.stages._asdict(),
            "observation": self.observation._asdict(),
        }

    @property
    def row(self) -> IntArray:
        """Return the index of each episode's trace in :attr:`traces`, ``[B]``."""
        return self.in_play.row

    @property
    def results(self) -> EpisodeResults:
        """Return the metrics of every episode up to now (copies)."""
        stages = Stages(*(array.copy() for array in self.stages))
        slots = np.maximum(stages.t, 1)
        return EpisodeResults(
            objective=stages.makespan + self.drop_penalty * stages.dropped,
            makespan=stages.makespan,
            dropped=stages.dropped,
            slots=stages.t,
            starvation=stages.starved / slots,
            comm_utilisation=stages.busy[:, COMM] / slots,
            comp_utilisation=stages.busy[:, COMP] / slots,
            completion=stages.completion,
            dropped_at=stages.dropped_at,
        )
