"""Label states for imitation: let a policy play, and record what each stage should have done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_marl.compiled import compiled
from edge_marl.oracle import Schedule
from edge_marl.simulation import Policy
from edge_marl.tandem import AGENTS, TandemSimulator, TraceSet
from edge_marl.tandem.oracle.cost_to_go import regrets
from edge_marl.tandem.oracle.online import OnlineOracle
from edge_marl.tandem.traces import IntArray

Labeller = Callable[[TandemSimulator, NDArray[np.bool_]], NDArray[np.float32]]
"""``(simulator, where [B]) -> cost [B, 2, Q]`` of serving each queued job; NaN: no label."""


@dataclass
class Demonstrations:
    """Hold M labelled states of one stage, each with at least two queued jobs."""

    features: NDArray[np.float32]
    """``[M, Q, 5]``."""
    queued: NDArray[np.bool_]
    """``[M, Q]``."""
    cost: NDArray[np.float32]
    """``[M, Q]``: 0 for the best job; slots of regret, or 1 for every job but the label."""

    @property
    def choice(self) -> NDArray[np.int64]:
        """Return the position ``[M]`` of the best job in each state."""
        return np.where(self.queued, self.cost, np.inf).argmin(axis=1)

    @classmethod
    def concatenate(cls, parts: Sequence[Demonstrations]) -> Demonstrations:
        """Join several sets of demonstrations into one."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts])
                     for name in ("features", "queued", "cost")))  # fmt: skip


class SchedulePolicy(Policy[TandemSimulator]):
    """Replay recorded schedules; the episodes must be those of the schedules, in their order."""

    name = "replay"

    def __init__(self, slots: IntArray) -> None:
        self.slots = slots
        """``[K, T, 2]`` job per slot and stage, -1 to idle."""

    def act(self, simulator: TandemSimulator) -> IntArray:
        """Return the positions ``[B, 2]`` of the recorded jobs, idle where one is not queued."""
        observation = simulator.observation
        K, T, _ = self.slots.shape
        job = np.where(
            (observation.t < T)[:, None],
            self.slots[np.arange(K), np.minimum(observation.t, T - 1)],
            -1,
        )
        found = (observation.jobs == job[:, :, None]) & (job >= 0)[:, :, None]
        idle = observation.jobs.shape[2]
        return np.where(found.any(axis=2), found.argmax(axis=2), idle).astype(np.int32)


def canonical_slots(schedules: Sequence[Schedule]) -> IntArray:
    """Stack the oracle's schedules as jobs ``[K, T, 2]`` per slot and stage, padded with -1."""
    slots = np.full((len(schedules), max(len(s.comp) for s in schedules), 2), -1, dtype=np.int32)
    for k, schedule in enumerate(schedules):
        slots[k, : len(schedule.comm), 0] = schedule.comm
        slots[k, : len(schedule.comp), 1] = schedule.comp
    return slots


def completion_slots(slots: IntArray, n_jobs: int) -> IntArray:
    """Return the slot ``[K, 2, J]`` in which each job completes each stage, -1 if it never does."""
    last = np.full((len(slots), 2, n_jobs), -1, dtype=np.int32)
    k, t, stage = np.nonzero(slots >= 0)
    np.maximum.at(last, (k, stage, slots[k, t, stage]), t)
    return last


@compiled
def _fits(t: Any, release: Any, left: Any, due: Any) -> Any:
    """Return whether one preemptive machine, free from t on, can meet every due date."""
    n = len(left)
    for a in range(-1, n):
        start = t if a < 0 else release[a]
        if start < t:
            continue
        for z in range(n):
            work = 0
            for j in range(n):
                if max(release[j], t) >= start and due[j] <= due[z]:
                    work += left[j]
            if work > 0 and start + work > due[z]:
                return False
    return True


@compiled(entry=True, allocates=True)
def _scatter(release: Any, work: Any, due: Any, draws: Any, slots: Any) -> None:
    """Serve in each slot a random job among those that leave every due date reachable."""
    left = work.copy()
    candidates = np.zeros(len(work), dtype=np.int64)
    for t in range(len(slots)):
        n = 0
        for j in range(len(left)):
            if left[j] > 0 and release[j] <= t:
                left[j] -= 1
                if _fits(t + 1, release, left, due):
                    candidates[n] = j
                    n += 1
                left[j] += 1
        slots[t] = -1
        if n > 0:
            j = candidates[int(draws[t] * n)]
            slots[t] = j
            left[j] -= 1


def arbitrary_slots(
    traces: TraceSet, schedules: Sequence[Schedule], rng: np.random.Generator
) -> IntArray:
    """Draw schedules ``[K, T, 2]`` as good as the oracle's, with an arbitrary choice in each slot.

    A solver that decides every slot returns one of the many optimal schedules. Here each stage
    serves in each slot a random job among those whose choice still lets every job complete the
    stage in time: on the uplink no later than in the oracle's schedule, on the compute stage by
    its deadline and the oracle's makespan.
    """
    slots = canonical_slots(schedules)
    ends = completion_slots(slots, traces.max_jobs) + 1
    arbitrary = np.full_like(slots, -1)
    for k, schedule in enumerate(schedules):
        kept = ends[k, 0] > 0
        comm, comp = np.where(kept, traces.comm[k], 0), np.where(kept, traces.comp[k], 0)
        due = np.minimum(traces.deadline[k] - traces.downlink, len(schedule.comp))
        draws = rng.random((2, slots.shape[1]))
        _scatter(traces.arrival[k], comm, ends[k, 0], draws[0], arbitrary[k, :, 0])
        _scatter(ends[k, 0], comp, due, draws[1], arbitrary[k, :, 1])
    return arbitrary


def schedule_labeller(slots: IntArray) -> Labeller:
    """Make a labeller that picks the job that a schedule serves in the present slot."""
    replay = SchedulePolicy(slots)
    return lambda simulator, where: _chosen(simulator, replay.act(simulator))


def canonical_labeller(slots: IntArray, n_jobs: int) -> Labeller:
    """Make a labeller that picks the queued job that completes the stage first in the schedule.

    Serving in that order meets every completion time of the schedule: earliest due date
    first is optimal on one preemptive machine.
    """
    completion = completion_slots(slots, n_jobs)
    completion = np.where(completion < 0, np.iinfo(np.int32).max, completion)

    def label(simulator: TandemSimulator, where: NDArray[np.bool_]) -> NDArray[np.float32]:
        jobs = simulator.observation.jobs
        first = np.take_along_axis(completion, np.maximum(jobs, 0), axis=2).astype(np.int64)
        first[jobs < 0] = np.iinfo(np.int64).max
        served = first.min(axis=2) < np.iinfo(np.int32).max  # not a queue of dropped jobs only
        return _chosen(
            simulator, np.where(served, first.argmin(axis=2), jobs.shape[2]).astype(np.int32)
        )

    return label


def online_labeller(oracle: OnlineOracle) -> Labeller:
    """Make a labeller that picks what the online oracle chooses when it plans afresh."""

    def label(simulator: TandemSimulator, where: NDArray[np.bool_]) -> NDArray[np.float32]:
        oracle.reset(simulator)
        return _chosen(simulator, oracle.act(simulator))

    return label


def cost_to_go_labeller(
    simulator: TandemSimulator, where: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the regret of every queued job under clairvoyance."""
    return regrets(simulator, "clairvoyant", where)


def _chosen(simulator: TandemSimulator, actions: IntArray) -> NDArray[np.float32]:
    """Return cost 0 for the chosen job and 1 for the others, NaN where none was chosen."""
    Q = simulator.max_queue
    cost = (np.arange(Q) != actions[:, :, None]).astype(np.float32)
    cost[actions == Q] = np.nan
    return cost


def collect(
    traces: TraceSet,
    player: Policy[TandemSimulator],
    labeller: Labeller,
    *,
    share: float,
    exploration: float,
    drop_penalty: float,
    rng: np.random.Generator,
) -> tuple[Demonstrations, Demonstrations]:
    """Let a policy play and label a share of the states that leave a choice.

    Args:
        traces: K traces, played as one batch.
        player: who decides.
        labeller: who labels.
        share: share of the slots to label.
        exploration: share of decisions taken at random instead of by the player.
        drop_penalty: ``lambda`` of the objective.
        rng: draws the slots to label and the random decisions.

    Returns:
        Demonstrations of the uplink and of the compute stage.
    """
    K = len(traces)
    simulator = TandemSimulator(traces, K, max_queue=traces.max_jobs, drop_penalty=drop_penalty)
    observation = simulator.reset(np.arange(K))
    player.reset(simulator)
    parts: tuple[list[Demonstrations], list[Demonstrations]] = ([], [])
    while not simulator.done.all():
        queued = observation.action_mask[:, :, :-1]
        length = queued.sum(axis=2)
        where = ~simulator.done & (length.max(axis=1) >= 2) & (rng.random(K) < share)
        cost = labeller(simulator, where)
        for stage in range(len(AGENTS)):
            rows = where & (length[:, stage] >= 2) & ~np.isnan(cost[:, stage, 0])
            parts[stage].append(
                Demonstrations(
                    observation.features[rows, stage],
                    queued[rows, stage],
                    cost[rows, stage],
                )
            )
        actions = player.act(simulator)
        if exploration > 0:
            at_random = (rng.random((K, 2)) < exploration) & (length > 0)
            actions = np.where(at_random, (rng.random((K, 2)) * length).astype(np.int32), actions)
        simulator.step(actions)
    return Demonstrations.concatenate(parts[0]), Demonstrations.concatenate(parts[1])
