"""Log returns, lengths and domain metrics of episodes under RLlib's names."""

from __future__ import annotations

import copy
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import (
    EPISODE_AGENT_RETURN_MEAN,
    EPISODE_LEN_MAX,
    EPISODE_LEN_MEAN,
    EPISODE_LEN_MIN,
    EPISODE_MODULE_RETURN_MEAN,
    EPISODE_RETURN_MAX,
    EPISODE_RETURN_MEAN,
    EPISODE_RETURN_MIN,
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    NUM_EPISODES_LIFETIME,
    NUM_MODULE_STEPS_SAMPLED,
    NUM_MODULE_STEPS_SAMPLED_LIFETIME,
)

from edge_marl.algorithms.sampling.means import EPISODE_MEAN
from edge_marl.envs.batched import BatchedEnv

DOMAIN_METRICS = "domain"
"""Key under which an environment's own metrics are reported."""


class EpisodeLog:
    """Accumulate what RLlib reports about episodes.

    Args:
        agents: N names.
        batch_size: B episodes at a time.
        window: over how many of the last finished episodes training means are taken. Those of an
            evaluation are over all of its episodes.
    """

    def __init__(self, agents: tuple[str, ...], batch_size: int, window: int) -> None:
        self.agents = agents
        self._window = window
        self._returns = np.zeros((batch_size, len(agents)))
        self._lengths = np.zeros(batch_size, dtype=np.int64)
        self._finished: deque[dict[str, Any]] = deque(maxlen=window)
        self._n_finished = 0
        self._n_steps = 0
        self._n_agent_steps = np.zeros(len(agents), dtype=np.int64)
        self._set_aside: deque[dict[str, Any]] | None = None

    def start(self, where: NDArray[np.bool_]) -> None:
        """Begin new episodes in the slots ``where [B]``."""
        self._returns[where] = 0.0
        self._lengths[where] = 0

    def add(
        self,
        reward: NDArray[np.float32],
        played: NDArray[np.bool_],
        env: BatchedEnv,
        longest: int | None = None,
    ) -> NDArray[np.bool_]:
        """Record a step's ``reward [B, N]`` for the slots ``played [B]``.

        Returns:
            ``[B]``: episodes that ended with this step, or have had ``longest`` steps; the latter
            have no domain metrics.
        """
        self._returns[played] += reward[played]
        self._lengths += played
        ended = played & env.done
        over = ended if longest is None else ended | (played & (self._lengths >= longest))
        metrics = env.metrics(ended) if ended.any() else {}
        rank = np.cumsum(ended) - 1
        for b in np.flatnonzero(over):
            own = metrics.items() if ended[b] else ()
            self._finished.append(
                {
                    "returns": self._returns[b].copy(),
                    "length": int(self._lengths[b]),
                    "metrics": {name: float(values[rank[b]]) for name, values in own},
                }
            )
        self._n_finished += int(over.sum())
        return over

    def count(self, n_steps: int, n_agent_steps: NDArray[np.int64]) -> None:
        """Count ``n_steps`` environment steps, of which each agent played ``n_agent_steps [N]``."""
        self._n_steps += n_steps
        self._n_agent_steps += n_agent_steps

    def forget(self) -> None:
        """Begin an evaluation: the next report is about all of its episodes and no others.

        After that report training continues with the window that it had.
        """
        if self._set_aside is None:
            self._set_aside = self._finished
        self._finished = deque()

    def report(self, metrics: Any) -> None:
        """Log everything since the last report into an RLlib MetricsLogger."""
        steps, self._n_steps = self._n_steps, 0
        finished, self._n_finished = self._n_finished, 0
        by_agent = dict(zip(self.agents, self._n_agent_steps.tolist(), strict=True))
        of_module = {DEFAULT_MODULE_ID: int(self._n_agent_steps.sum())}
        self._n_agent_steps[:] = 0
        for key, amount in (
            (NUM_ENV_STEPS_SAMPLED, steps),
            (NUM_EPISODES, finished),
            (NUM_AGENT_STEPS_SAMPLED, by_agent),
            (NUM_MODULE_STEPS_SAMPLED, of_module),
        ):
            _log(metrics, key, amount, reduce="sum")
        metrics.log_value(
            NUM_ENV_STEPS_SAMPLED_LIFETIME, steps, reduce="lifetime_sum", with_throughput=True
        )
        for key, amount in (
            (NUM_EPISODES_LIFETIME, finished),
            (NUM_AGENT_STEPS_SAMPLED_LIFETIME, by_agent),
            (NUM_MODULE_STEPS_SAMPLED_LIFETIME, of_module),
        ):
            _log(metrics, key, amount, reduce="lifetime_sum")
        if self._finished:
            self._report_episodes(metrics)
        if self._set_aside is not None:
            self._finished, self._set_aside = self._set_aside, None

    def _report_episodes(self, metrics: Any) -> None:
        returns = np.array([episode["returns"] for episode in self._finished])
        team, length = returns.sum(axis=1), np.array([e["length"] for e in self._finished])
        names = sorted({name for episode in self._finished for name in episode["metrics"]})
        of_agents = dict(zip(self.agents, returns.T, strict=True))
        of_domain = {
            name: np.array([e["metrics"].get(name, np.nan) for e in self._finished])
            for name in names
        }
        for key, values in (
            (EPISODE_RETURN_MEAN, team),
            (EPISODE_LEN_MEAN, length),
            *(((EPISODE_AGENT_RETURN_MEAN, agent), own) for agent, own in of_agents.items()),
            ((EPISODE_MODULE_RETURN_MEAN, DEFAULT_MODULE_ID), team),
            *(((DOMAIN_METRICS, name), found) for name, found in of_domain.items()),
        ):
            known = values[~np.isnan(values)]
            mean = float(known.mean()) if known.size else float("nan")
            # Of the last report alone: this one is about the window.
            metrics.log_value(key, (mean, known.size), reduce=EPISODE_MEAN, window=1)
        for key, value in ((EPISODE_RETURN_MIN, team.min()), (EPISODE_LEN_MIN, length.min())):
            metrics.log_value(key, float(value), reduce="min", window=1)
        for key, value in ((EPISODE_RETURN_MAX, team.max()), (EPISODE_LEN_MAX, length.max())):
            metrics.log_value(key, float(value), reduce="max", window=1)

    def get_state(self) -> dict[str, Any]:
        """Return the episodes under way and the window of finished ones."""
        return copy.deepcopy(
            {
                "returns": self._returns,
                "lengths": self._lengths,
                "finished": list(self._finished),
                "n_finished": self._n_finished,
            }
        )

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from where ``state`` was taken."""
        state = copy.deepcopy(state)
        self._returns, self._lengths = state["returns"], state["lengths"]
        self._finished = deque(state["finished"], maxlen=self._window)
        self._n_finished = state.get("n_finished", 0)


def _log(metrics: Any, key: str, value: Any, **how: Any) -> None:
    if isinstance(value, dict):
        metrics.log_dict(value, key=key, **how)
    else:
        metrics.log_value(key, value, **how)
