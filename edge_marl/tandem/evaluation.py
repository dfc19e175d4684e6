"""Playing a policy on a set of traces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_marl.tandem.policies import Policy
from edge_marl.tandem.simulator import DROP_PENALTY, EpisodeResults, TandemSimulator
from edge_marl.tandem.traces import IntArray, TraceSet


@dataclass
class Run:
    """What a policy did on K traces."""

    policy: str
    results: EpisodeResults
    timeline: IntArray | None
    """``[K, T, 2]`` job served by each stage in each slot, -1 where idle; when recorded."""


def run(
    policy: Policy,
    traces: TraceSet,
    *,
    drop_penalty: float = DROP_PENALTY,
    max_queue: int | None = None,
    record: bool = False,
) -> Run:
    """Play every trace once, all of them as one batch.

    Args:
        policy: the pair of schedulers.
        traces: K traces.
        drop_penalty: ``lambda`` of the objective.
        max_queue: how many queued jobs the schedulers see; all jobs of a trace when None.
        record: keep the timeline.
    """
    K = len(traces)
    simulator = TandemSimulator(
        traces, K, max_queue=max_queue or traces.max_jobs, drop_penalty=drop_penalty
    )
    observation = simulator.reset(np.arange(K))
    policy.reset(K)
    timeline = []
    while not simulator.done.all():
        actions = policy.act(observation)
        if record:
            timeline.append(served_jobs(observation.jobs, actions, simulator.done))
        simulator.step(actions)
    recorded = None
    if record:
        recorded = np.stack(timeline, axis=1) if timeline else np.empty((K, 0, 2), dtype=np.int32)
    return Run(policy.name, simulator.results, recorded)


def served_jobs(jobs: IntArray, actions: IntArray, done: NDArray[np.bool_]) -> IntArray:
    """``[B, 2]`` job behind each action, -1 for idling and in finished episodes."""
    padded = np.concatenate([jobs, np.full((*jobs.shape[:2], 1), -1, jobs.dtype)], axis=2)
    served = np.take_along_axis(padded, actions[..., None], axis=2)[..., 0]
    return np.where(done[:, None], -1, served)


def degradation(objective: NDArray[np.float64], oracle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Objective above the oracle's, as a share of it, per trace (Figure 3a)."""
    return (objective - oracle) / oracle
