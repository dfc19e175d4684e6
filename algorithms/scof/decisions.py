"""Keep the decisions of each agent, with what came of them until its next one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge_marl.algorithms.replay.columns import AgentTransition
from edge_marl.algorithms.sampling.columns import Fragment, who_decides

Columns = dict[str, Tensor]

_OBSERVED = {
    AgentTransition.FEATURES: AgentTransition.NEXT_FEATURES,
    AgentTransition.ACTION_MASK: AgentTransition.NEXT_ACTION_MASK,
}
_REST = (AgentTransition.ACTIONS, AgentTransition.REWARDS, AgentTransition.DISCOUNTS)
_DRAWABLE = "drawable"


def until_next_decision(fragments: Mapping[str, Tensor], decides: Tensor, gamma: float) -> Columns:
    """Return what came of every decision until the agent's next one.

    Where that comes k steps later, it is ``r_t + gamma r_{t+1} + ... + gamma^{k-1} r_{t+k-1}`` and
    ``gamma^k``; nothing is bootstrapped from where the agent's part ends before.

    Args:
        fragments: columns of :class:`Fragment`.
        decides: bool ``[B, T + 1, N]``: who has a choice.
        gamma: discount, of a step or of the time that it took.

    Returns:
        ``REWARDS`` and ``DISCOUNTS`` of :class:`AgentTransition`, and which are known: decisions
        are not that have no other after them in the fragment, or in what is left of the episode.
        All are ``[B, T, N]``.
    """
    terminated, truncated = fragments[Fragment.TERMINATED], fragments[Fragment.TRUNCATED]
    rewards = fragments[Fragment.REWARDS]
    B, T, N = rewards.shape
    elapsed = fragments.get(Fragment.ELAPSED, torch.ones(B, T))
    gammas = (gamma**elapsed)[..., None]
    left = terminated | ~fragments[Fragment.ACTIVE][:, 1:]
    found = {name: torch.empty(B, T, N) for name in _REST[1:]}
    known = torch.empty(B, T, N, dtype=torch.bool)
    later = torch.zeros(B, N), torch.zeros(B, N), torch.zeros(B, N, dtype=torch.bool)
    for t in reversed(range(T)):
        # What follows counts on, unless a decision or the end comes first.
        follows, passed = decides[:, t + 1] & ~left[:, t], ~decides[:, t + 1] & ~left[:, t]
        passed &= ~truncated[:, t]
        reward, discount, is_known = later
        later = (
            rewards[:, t] + gammas[:, t] * reward * passed,
            gammas[:, t] * (follows + discount * passed),
            follows | (passed & is_known) | terminated[:, t],
        )
        for column, part in zip((*found.values(), known), later, strict=True):
            column[:, t] = part
    known &= decides[:, :-1] & fragments[Fragment.VALID][..., None]
    return {**found, _DRAWABLE: known}


class DecisionReplay:
    """Keep the last decisions of each of G agents in rings, in which new ones replace the oldest.

    What a decision bootstraps from is the observation at the agent's next one, which is the next
    row of the same ring.

    Args:
        capacity: rows of each agent.
        n_agents: G.
    """

    def __init__(self, capacity: int, n_agents: int) -> None:
        self._capacity, self._n_agents = capacity, n_agents
        self._rings: Columns = {}
        self._next = [0] * n_agents
        self._drawable = [torch.zeros(0, dtype=torch.int64)] * n_agents

    @property
    def sizes(self) -> list[int]:
        """Return how many decisions of each agent can be drawn."""
        return [len(own) for own in self._drawable]

    def add(self, fragments: Mapping[str, Tensor], gamma: float) -> None:
        """Take in fragments ``[B, T, G, ...]``, columns of :class:`Fragment`."""
        decides = who_decides(fragments) & fragments[Fragment.ACTIVE]
        found = until_next_decision(fragments, decides, gamma)
        found[AgentTransition.ACTIONS] = fragments[Fragment.ACTIONS].long()
        # Nothing is known of what follows the last observation; others bootstrap from it.
        found = {name: _with_end(column) for name, column in found.items()}
        found |= {name: fragments[name] for name in _OBSERVED}
        if not self._rings:
            self._allocate(found)
        for agent in range(self._n_agents):
            rows, steps = decides[:, :, agent].nonzero()[-self._capacity :].T
            slots = (self._next[agent] + torch.arange(len(rows))) % self._capacity
            for name, ring in self._rings.items():
                ring[agent, slots] = found[name][rows, steps, agent]
            self._next[agent] = (self._next[agent] + len(rows)) % self._capacity
        self._find_drawable()

    def draw(self, n: int, agent: int, generator: torch.Generator) -> Tensor:
        """Draw n rows of an agent, with replacement; zeros if there is none."""
        own = self._drawable[agent]
        if not len(own):
            return torch.zeros(n, dtype=torch.int64)
        return own[torch.randint(len(own), (n,), generator=generator)]

    def rows(self, drawn: Tensor) -> Columns:
        """Return the columns of :class:`AgentTransition`, ``[K, G, ...]``, of ``drawn [K, G]``."""
        agents, following = torch.arange(self._n_agents), (drawn + 1) % self._capacity
        columns = {name: self._rings[name][agents, drawn] for name in (*_OBSERVED, *_REST)}
        return columns | {
            then: self._rings[now][agents, following] for now, then in _OBSERVED.items()
        }

    def get_state(self) -> dict[str, Any]:
        """Return everything that is kept."""
        return {
            "rings": {name: ring.numpy().copy() for name, ring in self._rings.items()},
            "next": [*self._next],
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from where ``state`` was taken."""
        self._rings = {name: torch.from_numpy(np.array(c)) for name, c in state["rings"].items()}
        self._next = [*state["next"]]
        if self._rings:
            self._find_drawable()

    def _allocate(self, like: Mapping[str, Tensor]) -> None:
        shape = (self._n_agents, self._capacity)
        self._rings = {
            name: torch.zeros((*shape, *column.shape[3:]), dtype=column.dtype)
            for name, column in like.items()
        }
        # What is not there yet is looked at too, with weight 0: it must not give NaN.
        self._rings[AgentTransition.ACTION_MASK].fill_(True)

    def _find_drawable(self) -> None:
        self._drawable = [own.nonzero()[:, 0] for own in self._rings[_DRAWABLE]]


def _with_end(column: Tensor) -> Tensor:
    """Append zeros to ``[B, T, ...]``."""
    return torch.cat([column, torch.zeros_like(column[:, :1])], dim=1)
