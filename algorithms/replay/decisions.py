"""Keep the decisions of each agent, with what came of them until its next one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from edge_marl.algorithms.replay.columns import AgentTransition, DecisionTransition
from edge_marl.algorithms.sampling.columns import Fragment, who_decides

Columns = dict[str, Tensor]

_OBSERVED = {
    AgentTransition.FEATURES: AgentTransition.NEXT_FEATURES,
    AgentTransition.ACTION_MASK: AgentTransition.NEXT_ACTION_MASK,
}
_REST = (AgentTransition.ACTIONS, AgentTransition.REWARDS, AgentTransition.DISCOUNTS)
_SEEN_NEXT = (
    *_OBSERVED.values(), DecisionTransition.NEXT_NODE, DecisionTransition.NEXT_STATE,
    DecisionTransition.NEXT_OTHER_FEATURES, DecisionTransition.NEXT_OTHER_MASKS,
)  # fmt: skip
_DRAWABLE = "drawable"
_PLACE = _SLOT, _BEGINS, _ENDS = "slot", "begins", "ends"
"""Where a transition is: its slot, and the steps of both decisions."""
_NOWHERE = -(2**31)
"""The step of a decision that does not come."""
_MOST = 2**16
"""Agents of an environment; more would not fit in memory."""


class Followed(NamedTuple):
    """Hold what comes after steps until the agent's next decision."""

    rewards: Tensor
    """Discounted sum, those of the step included."""
    discounts: Tensor
    """Of what follows; 0 where nothing does."""
    next_step: Tensor
    """Of the next decision, 0 to T; -1 where there is none."""
    is_known: Tensor
    """bool: the next decision, or the end of the agent's part, is among the steps."""
    is_open: Tensor
    """bool: it is still to come."""


def until_next_decision(fragments: Mapping[str, Tensor], decides: Tensor, gamma: float) -> Followed:
    """Return what comes after every step until the agent's next decision, ``[B, T, N]``.

    Where that comes k steps later, it is ``r_t + gamma r_{t+1} + ... + gamma^{k-1} r_{t+k-1}`` and
    ``gamma^k``; nothing is bootstrapped from where the agent's part ends before. Where an agent is
    cut off, or leaves, before its next decision, what comes is neither known nor open.

    Args:
        fragments: columns of :class:`Fragment`.
        decides: bool ``[B, T + 1, N]``: who has a choice.
        gamma: discount, of a step or of the time that it took.
    """
    terminated, truncated = fragments[Fragment.TERMINATED], fragments[Fragment.TRUNCATED]
    rewards = fragments[Fragment.REWARDS]
    B, T, N = rewards.shape
    elapsed = fragments.get(Fragment.ELAPSED, torch.ones(B, T))
    gammas = (gamma**elapsed)[..., None]
    left = terminated | ~fragments[Fragment.ACTIVE][:, 1:]
    nobody = torch.zeros(B, N, dtype=torch.bool)
    later = Followed(torch.zeros(B, N), torch.ones(B, N), nobody.long() - 1, nobody, ~nobody)
    steps = []
    for t in reversed(range(T)):
        later = _before(
            later, t + 1, rewards[:, t], gammas[:, t], decides[:, t + 1], left[:, t],
            truncated[:, t],
        )  # fmt: skip
        later.is_known.logical_or_(terminated[:, t])
        steps.append(later)
    return Followed(*(torch.stack(parts, dim=1) for parts in zip(*reversed(steps), strict=True)))


def _before(
    later: Followed,
    step: int,
    rewards: Tensor,
    discounts: Tensor,
    decides: Tensor,
    left: Tensor,
    truncated: Tensor | bool = False,
) -> Followed:
    """Return what comes after the step before one.

    Args:
        later: what comes after that one.
        step: its number.
        rewards: of the step before.
        discounts: of the step before.
        decides: who decides in that one.
        left: whose part was over before it.
        truncated: who was cut off before it.
    """
    # What follows counts on, unless a decision or the end comes first.
    follows, passed = decides & ~left, ~decides & ~left & ~torch.as_tensor(truncated)
    return Followed(
        rewards + discounts * later.rewards * passed,
        discounts * (follows + later.discounts * passed),
        torch.where(follows, step, torch.where(passed, later.next_step, -1)),
        follows | (passed & later.is_known),
        passed & later.is_open,
    )


class DecisionStream:
    """Turn fragments into transitions, each from a decision of an agent to the n-th one after it.

    It is to an earlier one where that is the last that is seen of an episode. What is not complete
    in a fragment is kept until the next.

    Args:
        n_agents: N.
        sees_others: whether transitions say what the other agents do in the same steps.
        of_team: whether the next decisions are anyone's, where agents take turns and all are
            rewarded alike, instead of the agent's own. What others do until its own would be noise.
        n_step: n.
    """

    def __init__(
        self, n_agents: int, *, sees_others: bool, of_team: bool = False, n_step: int = 1
    ) -> None:
        self._of_team = of_team
        n_others = n_agents - 1 if sees_others else 0
        self._others = (torch.arange(n_agents)[:, None] + 1 + torch.arange(n_others)) % n_agents
        self._n_step = n_step
        self._open: Columns = {}
        """Decisions whose next ones are to come."""
        self._single: Columns = {}
        """Transitions to the next decision that are to be joined with others to come."""
        self._n_slots = 0

    def transitions(self, fragments: Mapping[str, Tensor], gamma: float) -> Columns:
        """Return the transitions that are complete with these fragments.

        Args:
            fragments: columns of :class:`Fragment`, which go on where those of the last call ended.
            gamma: discount, of a step or of the time that it took.

        Returns:
            The columns of :class:`DecisionTransition`, ``[K, ...]``.
        """
        decides = who_decides(fragments) & fragments[Fragment.ACTIVE]
        if len(decides) != self._n_slots:  # runners were lost, or have come back
            self._open, self._single, self._n_slots = {}, {}, len(decides)
        found = self._to_next(fragments, decides, gamma)
        T = decides.shape[1] - 1
        if self._n_step > 1:
            found = self._joined(found, T)
        # From now on steps are counted from the next fragment's first.
        for rows in (self._open, self._single):
            rows |= {name: rows[name] - T for name in rows.keys() & {_BEGINS, _ENDS}}
        return {name: column for name, column in found.items() if name not in _PLACE}

    def _to_next(self, fragments: Mapping[str, Tensor], decides: Tensor, gamma: float) -> Columns:
        """Return the transitions to next decisions that are complete, and where they are."""
        ends = decides.any(-1, keepdim=True).expand_as(decides) if self._of_team else decides
        followed = until_next_decision(fragments, ends, gamma)
        made = decides[:, :-1] & fragments[Fragment.VALID][..., None]
        slots, steps, agents = made.nonzero().T
        rows = self._decisions(fragments, decides, slots, steps, agents)
        after = Followed(*(part[slots, steps, agents] for part in followed))
        if self._open:
            before = self._open
            slots, agents = before[_SLOT], before[AgentTransition.NODE]
            first = Followed(*(part[slots, 0, agents] for part in followed))
            continued = _before(
                first, 0, before[AgentTransition.REWARDS], before[AgentTransition.DISCOUNTS],
                ends[slots, 0, agents], fragments[Fragment.FIRST][slots, 0],
            )  # fmt: skip
            rows = _joined(before, rows)
            after = Followed(*map(torch.cat, zip(continued, after, strict=True)))
        rows |= {
            AgentTransition.REWARDS: after.rewards, AgentTransition.DISCOUNTS: after.discounts
        }  # fmt: skip
        self._open = {name: column[after.is_open] for name, column in rows.items()}
        ended = {name: column[after.is_known] for name, column in rows.items()}
        return self._with_next(ended, fragments, decides, after.next_step[after.is_known])

    def _joined(self, found: Columns, T: int) -> Columns:
        """Join transitions to next decisions with those that follow, up to n of them.

        Args:
            found: such transitions, and where they are.
            T: steps of the fragment.
        """
        rows = _joined(self._single, found)
        rows = {name: column[self._keys(rows, _BEGINS).argsort()] for name, column in rows.items()}
        begins, ends = self._keys(rows, _BEGINS), self._keys(rows, _ENDS)
        following = torch.searchsorted(begins, ends).clamp(max=max(len(begins) - 1, 0))
        goes_on = begins[following] == ends
        # Where the decision that it ends with is made, but what comes of that is not known yet.
        waits = torch.isin(ends, self._keys(self._open, _BEGINS)) | (rows[_ENDS] == T)
        last, n_joined = torch.arange(len(begins)), torch.ones_like(begins)
        rewards, discounts = rows[AgentTransition.REWARDS], rows[AgentTransition.DISCOUNTS]
        total, passed = rewards, discounts
        for _ in range(self._n_step - 1):
            more = goes_on[last]
            last = torch.where(more, following[last], last)
            total = total + passed * rewards[last] * more
            passed = torch.where(more, passed * discounts[last], passed)
            n_joined += more
        is_complete = (n_joined == self._n_step) | ~waits[last]
        self._single = {name: column[~is_complete] for name, column in rows.items()}
        rows |= {AgentTransition.REWARDS: total, AgentTransition.DISCOUNTS: passed}
        rows |= {name: rows[name][last] for name in _SEEN_NEXT}
        return {name: column[is_complete] for name, column in rows.items()}

    def _keys(self, rows: Columns, step: str) -> Tensor:
        """Return numbers ``[K]`` of the decisions that rows begin or end with, in order of time."""
        agents = 0 if self._of_team else rows[AgentTransition.NODE]
        return (rows[_SLOT] * _MOST + agents) * 2**32 + rows[step].clamp(min=_NOWHERE)

    def get_state(self) -> dict[str, Any]:
        """Return what is not complete."""
        kept = {
            part: {name: column.numpy().copy() for name, column in rows.items()}
            for part, rows in (("open", self._open), ("single", self._single))
        }
        return {**kept, "n_slots": self._n_slots}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from where ``state`` was taken."""
        self._open, self._single = (
            {name: torch.from_numpy(np.array(column)) for name, column in state[part].items()}
            for part in ("open", "single")
        )
        self._n_slots = state["n_slots"]

    def _decisions(
        self,
        fragments: Mapping[str, Tensor],
        decides: Tensor,
        slots: Tensor,
        steps: Tensor,
        agents: Tensor,
    ) -> Columns:
        """Return what was seen and done in decisions, ``[K, ...]``, and whose they were."""
        others = slots[:, None], steps[:, None], self._others[agents]
        found = {
            _SLOT: slots,
            _BEGINS: steps,
            AgentTransition.NODE: agents,
            AgentTransition.FEATURES: fragments[Fragment.FEATURES][slots, steps, agents],
            AgentTransition.ACTION_MASK: fragments[Fragment.ACTION_MASK][slots, steps, agents],
            AgentTransition.ACTIONS: fragments[Fragment.ACTIONS][slots, steps, agents].long(),
            DecisionTransition.IMMEDIATE: fragments[Fragment.REWARDS][slots, steps, agents],
            DecisionTransition.STATE: fragments[Fragment.STATE][slots, steps],
            DecisionTransition.OTHER_ACTIONS: fragments[Fragment.ACTIONS][others].long(),
            DecisionTransition.OTHERS_DECIDE: decides[others],
        }
        if Fragment.VECTORS in fragments:
            vectors = fragments[Fragment.VECTORS]
            found[DecisionTransition.VECTORS] = vectors[slots, steps, agents]
            found[DecisionTransition.OTHER_VECTORS] = vectors[others]
        return found

    def _with_next(
        self, rows: Columns, fragments: Mapping[str, Tensor], decides: Tensor, next_step: Tensor
    ) -> Columns:
        """Add to decisions what is seen at the next ones."""
        slots, agents = rows[_SLOT], rows[AgentTransition.NODE]
        ends, steps = next_step < 0, next_step.clamp(min=0)
        if self._of_team:
            agents = torch.where(ends, agents, decides[slots, steps].int().argmax(-1))
        others = slots[:, None], steps[:, None], self._others[agents]
        masks = fragments[Fragment.ACTION_MASK]
        return rows | {
            _ENDS: torch.where(ends, _NOWHERE, next_step),
            DecisionTransition.NEXT_NODE: agents,
            AgentTransition.NEXT_FEATURES: fragments[Fragment.FEATURES][slots, steps, agents],
            # It has no weight after the end, but there must be an action.
            AgentTransition.NEXT_ACTION_MASK: torch.where(
                ends[:, None], rows[AgentTransition.ACTION_MASK], masks[slots, steps, agents]
            ),
            DecisionTransition.NEXT_STATE: fragments[Fragment.STATE][slots, steps],
            DecisionTransition.NEXT_OTHER_FEATURES: fragments[Fragment.FEATURES][others],
            DecisionTransition.NEXT_OTHER_MASKS: masks[others] & decides[others][..., None],
        }


def _joined(one: Columns, other: Columns) -> Columns:
    """Put the rows of ``one``, if there are any, before those of the other."""
    return {
        name: torch.cat([one[name], column]) if one else column for name, column in other.items()
    }


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
        followed = until_next_decision(fragments, decides, gamma)
        made = decides[:, :-1] & fragments[Fragment.VALID][..., None]
        found = {
            AgentTransition.REWARDS: followed.rewards,
            AgentTransition.DISCOUNTS: followed.discounts,
            AgentTransition.ACTIONS: fragments[Fragment.ACTIONS].long(),
            _DRAWABLE: followed.is_known & made,
        }
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
