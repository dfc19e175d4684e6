"""Schedule by priority rules, each stage from its own queue alone (tandem paper, section 2.2)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge_marl.errors import InputError
from edge_marl.simulation import Policy
from edge_marl.tandem.simulator import AGENTS, FloatArray, TandemSimulator
from edge_marl.tandem.traces import MOST_SLOTS, IntArray

PriorityRule = Callable[[FloatArray, int], FloatArray]
"""``(features [B, Q, 5], stage) -> priority [B, Q]``: the lowest value is served first."""

_JOHNSON_SECOND_GROUP = np.float64(2 * MOST_SLOTS)  # above any processing time, and exact


def _fifo(features: FloatArray, stage: int) -> FloatArray:
    """Rank first in, first out: the queue is in order of entry, and ties go to the front."""
    return np.zeros(features.shape[:2], dtype=np.float32)


def _edf(features: FloatArray, stage: int) -> FloatArray:
    """Rank by earliest deadline first (Liu and Layland, 1973)."""
    return features[..., 0]


def _srtf(features: FloatArray, stage: int) -> FloatArray:
    """Rank by shortest remaining time at this stage first (the paper also writes SRJF)."""
    return features[..., 1 + stage]


def _llf(features: FloatArray, stage: int) -> FloatArray:
    """Rank by least laxity ``d - t - u_comm - u_comp`` first (the downlink is the same for all)."""
    return features[..., 0] - features[..., 1] - features[..., 2]


def _johnson(features: FloatArray, stage: int) -> FloatArray:
    """Rank by Johnson's order for two machines (1954) on the remaining times.

    Jobs with ``u_comm < u_comp`` come first, by rising ``u_comm``; then the others, by falling
    ``u_comp``. At the compute stage every ``u_comm`` is 0, so jobs are served as they come in.
    """
    u_comm, u_comp = features[..., 1], features[..., 2]
    return np.where(u_comm < u_comp, u_comm, _JOHNSON_SECOND_GROUP - u_comp)


PRIORITY_RULES: dict[str, PriorityRule] = {
    "fifo": _fifo,
    "edf": _edf,
    "srtf": _srtf,
    "llf": _llf,
    "johnson": _johnson,
}


def greedy_actions(priority: FloatArray, action_mask: np.ndarray) -> IntArray:
    """Return the position of the queued job of lowest priority value, or idle on an empty queue.

    Args:
        priority: ``[B, Q]``.
        action_mask: ``[B, Q + 1]``.

    Returns:
        ``[B]``; the earliest in the queue wins a tie.
    """
    queued = action_mask[:, :-1]
    best: IntArray = np.where(queued, priority, np.inf).argmin(axis=1).astype(np.int32)
    best[~queued.any(axis=1)] = queued.shape[1]
    return best


class PriorityPolicy(Policy[TandemSimulator]):
    """Serve at each stage the job that a priority rule puts first."""

    def __init__(self, name: str, comm: PriorityRule, comp: PriorityRule) -> None:
        self.name = name
        self.rules = (comm, comp)

    def act(self, simulator: TandemSimulator) -> IntArray:
        """Choose the greedy actions of both rules, ``[B, 2]``."""
        observation = simulator.observation
        chosen = [
            greedy_actions(
                rule(observation.features[:, stage], stage), observation.action_mask[:, stage]
            )
            for stage, rule in enumerate(self.rules)
        ]
        return np.stack(chosen, axis=1)


def heuristic(name: str) -> PriorityPolicy:
    """Return a heuristic by name: a rule for both stages (``"edf"``) or ``"uplink+compute"`` rules.

    Raises:
        InputError: for a name that is not in :data:`PRIORITY_RULES`.
    """
    parts = name.split("+")
    unknown = [part for part in parts if part not in PRIORITY_RULES]
    if unknown or len(parts) > len(AGENTS):
        raise InputError(
            f"heuristic {name!r}: expected one of {', '.join(PRIORITY_RULES)} "
            "or two of them joined by '+'"
        )
    return PriorityPolicy(name, PRIORITY_RULES[parts[0]], PRIORITY_RULES[parts[-1]])
