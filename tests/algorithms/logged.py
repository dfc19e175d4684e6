"""Logs for offline learning: rows in arrays, and those of a random policy in any environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_marl.algorithms.replay.columns import AgentTransition
from edge_marl.envs.batched import make_batched


class Rows:
    """Transitions in arrays, drawn with replacement."""

    def __init__(self, **columns: NDArray[Any]) -> None:
        self.columns = columns

    def draw(self, n_rows: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        rows = rng.integers(len(self.columns[AgentTransition.ACTIONS]), size=n_rows)
        return {name: column[rows] for name, column in self.columns.items()}


def random_log(
    env: Any, env_config: Mapping[str, Any] | None = None, n_steps: int = 60, batch_size: int = 4
) -> Rows:
    """What uniformly random legal actions leave behind."""
    made = make_batched(env, env_config or {}, batch_size)
    rng = np.random.default_rng(0)
    seeds = np.arange(batch_size, dtype=np.int64)
    seen = made.reset(seeds)
    parts: list[dict[str, NDArray[Any]]] = []
    for _ in range(n_steps):
        before = [array.copy() for array in seen]
        features, mask, _, active = before
        actions = np.where(mask, rng.random(mask.shape), -1.0).argmax(-1)
        played = active & ~made.done[:, None]
        transition = made.step(actions)
        seen = transition.observation
        parts.append(
            {
                AgentTransition.FEATURES: features[played],
                AgentTransition.ACTION_MASK: mask[played],
                AgentTransition.ACTIONS: actions[played],
                AgentTransition.REWARDS: transition.reward[played].copy(),
                AgentTransition.NEXT_FEATURES: seen.features[played],
                AgentTransition.NEXT_ACTION_MASK: seen.action_mask[played],
                AgentTransition.TERMINATED: transition.terminated[played].copy(),
                AgentTransition.NODE: np.nonzero(played)[1],
            }
        )
        if made.done.any():
            seen = made.reset(seeds, made.done.copy())
    return Rows(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
