"""Play policies on a set of traces, record what they serve, and compare them with the oracle."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from edge_marl.errors import InputError
from edge_marl.simulation import Hybrid, Policy, run
from edge_marl.tandem.simulator import DROP_PENALTY, EpisodeResults, TandemSimulator
from edge_marl.tandem.traces import IntArray, TraceSet


def run_traces(
    policy: Policy[TandemSimulator],
    traces: TraceSet,
    *,
    drop_penalty: float = DROP_PENALTY,
    max_queue: int | None = None,
) -> EpisodeResults:
    """Play every trace once, all of them as one batch (see :func:`edge_marl.simulation.run`).

    Args:
        policy: the pair of schedulers.
        traces: K traces.
        drop_penalty: ``lambda`` of the objective.
        max_queue: how many queued jobs the schedulers see; all jobs of a trace when None.

    Returns:
        The results, ``[K]`` each.
    """
    make = partial(
        TandemSimulator, traces, max_queue=max_queue or traces.max_jobs, drop_penalty=drop_penalty
    )
    return run(policy, make, np.arange(len(traces)), batch_size=len(traces))


class TimelineRecorder(Policy[TandemSimulator]):
    """Play a policy and record its decisions in one batch of episodes.

    Args:
        policy: who decides.
    """

    def __init__(self, policy: Policy[TandemSimulator]) -> None:
        self.name = policy.name
        self._policy = policy
        self._served: list[IntArray] = []

    def reset(self, simulator: TandemSimulator) -> None:
        """Begin a new timeline.

        Raises:
            InputError: if a step of the simulator is not one slot.
        """
        if simulator.parameters.at_events:
            raise InputError("a timeline takes a decision in every slot: decisions=events has none")
        self._served = []
        self._policy.reset(simulator)

    def act(self, simulator: TandemSimulator) -> NDArray[np.integer]:
        """Decide as the policy does, ``[B, 2]``, and note which jobs are served."""
        actions = self._policy.act(simulator)
        assert not isinstance(actions, Hybrid)
        self._served.append(served_jobs(simulator.observation.jobs, actions, simulator.done))
        return actions

    @property
    def timeline(self) -> IntArray:
        """Return the job that each stage served in each slot, ``[B, T, 2]``, -1 where it idled."""
        return np.stack(self._served, axis=1)


def served_jobs(jobs: IntArray, actions: NDArray[np.integer], done: NDArray[np.bool_]) -> IntArray:
    """Return the job behind each action, ``[B, 2]``, -1 for idling and in finished episodes.

    Args:
        jobs: ``[B, 2, Q]`` jobs in the queues, see :class:`edge_marl.tandem.Observation`.
        actions: ``[B, 2]`` positions in them, Q to idle.
        done: ``[B]`` episodes that are over.
    """
    padded = np.concatenate([jobs, np.full((*jobs.shape[:2], 1), -1, jobs.dtype)], axis=2)
    served = np.take_along_axis(padded, actions[..., None], axis=2)[..., 0]
    return np.where(done[:, None], -1, served)


def degradation(objective: NDArray[np.float64], oracle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by what share each objective exceeds the oracle's, per trace (paper, Figure 3a)."""
    return (objective - oracle) / oracle
