"""Turn sampled fragments into the rows of a train batch, and these into minibatches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor

from edge_marl.algorithms.mappo.gae import (
    episode_ends,
    generalised_advantages,
    standardised,
    standardised_by_agent,
    team_ends,
)
from edge_marl.algorithms.networks import MASKED
from edge_marl.algorithms.networks.normalisation import Total, unchanged
from edge_marl.algorithms.sampling.columns import Fragment, who_decides

AGENT = "agent"
"""``[C]``: which agent a row is of."""
CHOOSES = "chooses"
"""bool: steps that count in which an agent has a choice."""
PENALTIES = "penalties"
"""``[d, A]``: added to the actor's outputs, 0 for legal actions, ``MASKED`` for others."""
VALUE_WEIGHTS = "value_weights"
"""How often the error of each value counts."""

Rows = dict[str, Tensor]

_SEEN = (Fragment.FEATURES, Fragment.ACTION_MASK)
_RECORDED = (
    Columns.ACTIONS, Fragment.VECTORS, Columns.ACTION_LOGP, Columns.ACTION_DIST_INPUTS,
)  # fmt: skip


def learning_targets(
    fragments: Rows,
    values: Tensor,
    *,
    gamma: float,
    lambda_: float,
    team_reward: str,
    shared_end: bool,
    decisions: bool = False,
    by_agent: bool = False,
    total: Total = unchanged,
) -> Rows:
    """Compute the advantages and value targets of every step of every agent.

    Args:
        fragments: columns named and shaped as in :class:`Fragment`.
        values: ``[B, T+1, N]`` of every observation, in units of the return.
        gamma: discount, once per step or as often as the fragments say.
        lambda_: decay of the advantages' sum, as often as the discount.
        team_reward: "sum": every agent earns the sum of the rewards of all; "shared": the reward
            that all who are there are paid alike; "own": its own.
        shared_end: the episode of every agent lasts as long as the team's, so that one that
            leaves is credited with what its team earns afterwards. Only for critics that see the
            whole team.
        decisions: only steps in which an agent has a choice count. Rewards between two of them
            are credited to the first, discounted step by step; the advantages' sum decays once per
            decision, and values of other observations are not used.
        by_agent: advantages are standardised over each agent's own steps, not over those of all.
        total: adds up over the learners, each of which has fragments of its own.

    Returns:
        ``ADVANTAGES``, ``VALUE_TARGETS`` and, for the steps that count, ``LOSS_MASK``, each
        ``[B, T, N]``; advantages are standardised over the steps that count.
    """
    active, terminated = fragments[Fragment.ACTIVE], fragments[Fragment.TERMINATED]
    truncated, rewards = fragments[Fragment.TRUNCATED], fragments[Fragment.REWARDS]
    counts = fragments[Fragment.VALID][..., None] & active[:, :-1]
    decays: float | Tensor = lambda_
    present = counts
    if decisions:
        deciding = who_decides(fragments)
        values = _of_last_decision(values, deciding)
        # A sum that does not decay cancels the value of the observation that it passes over.
        decays = torch.where(deciding[:, 1:], lambda_, 1.0)
        counts = counts & deciding[:, :-1]
    if team_reward != "own":
        of_team = rewards.sum(-1, keepdim=True)
        if team_reward == "shared":
            of_team = of_team / present.sum(-1, keepdim=True).clamp(min=1)
        rewards = of_team.expand_as(rewards)
    if shared_end:
        terminated, over = team_ends(terminated, truncated, active)
    else:
        over = episode_ends(terminated, truncated, active)
    elapsed: float | Tensor = 1.0
    if Fragment.ELAPSED in fragments:
        elapsed = fragments[Fragment.ELAPSED][..., None]
    advantages = generalised_advantages(
        rewards, values, terminated, over, gamma=gamma**elapsed, lambda_=decays**elapsed
    )
    scaled = (
        standardised_by_agent(advantages, counts)
        if by_agent
        else standardised(advantages, counts, total)
    )
    return {
        Postprocessing.ADVANTAGES: scaled,
        Postprocessing.VALUE_TARGETS: advantages + values[:, :-1],
        Columns.LOSS_MASK: counts,
    }


def _of_last_decision(values: Tensor, decides: Tensor) -> Tensor:
    """Return for each observation the value of the last one with a choice, ``[B, T+1, N]``.

    Before the first one it is that of the first observation.
    """
    steps = torch.arange(decides.shape[1], device=decides.device)[:, None]
    last = torch.where(decides, steps, 0).cummax(1).values
    return values.expand(decides.shape).gather(1, last)


def penalties(action_mask: Tensor) -> Tensor:
    """Return the ``PENALTIES`` of ``action_mask [..., A]``; adding them is quicker than masking."""
    return (1.0 - action_mask.float()) * MASKED


class Ragged(NamedTuple):
    """Index the rows of joint steps, each of which may have any number of rows."""

    rows: Tensor
    """``[K]`` their numbers, in the order of the steps."""
    counts: Tensor
    """``[R]`` of each step."""
    before: Tensor
    """``[R]`` of all steps before."""

    @classmethod
    def where(cls, present: Tensor) -> Ragged:
        """Give step r the row ``r * N + n`` of every agent n where ``present [R, N]`` is true."""
        counts = present.sum(1)
        return cls(present.flatten().nonzero().squeeze(1), counts, counts.cumsum(0) - counts)

    def sizes(self, parts: Sequence[Tensor]) -> list[int]:
        """Count the rows of the steps in each of ``parts``."""
        return [int(self.counts[part].sum()) for part in parts]

    def of(self, steps: Tensor) -> Tensor:
        """Return the numbers of the rows of ``steps [P]``, in the order of these steps."""
        counts = self.counts[steps]
        shift = self.before[steps] - (counts.cumsum(0) - counts)
        places = shift.repeat_interleave(counts)
        return self.rows[places + torch.arange(len(places), device=places.device)]


class JointSteps:
    """Select joint steps, and rows of single agents in them, from fragments left in place.

    Where an agent has no choice, its policy learns nothing. Nodes wait for tasks most of the time,
    so only steps with a choice are rows of the actor. A critic of the agents' own observations has
    a row for every step that counts; in every minibatch, those with a choice come first.

    Args:
        fragments: columns of :class:`Fragment`.
        targets: of :func:`learning_targets`.
        n_values: how many values a critic of the global state has, one per agent or one for all;
            None: the critic sees what the agents see.
    """

    def __init__(self, fragments: Rows, targets: Rows, n_values: int | None) -> None:
        counts = targets[Columns.LOSS_MASK]
        valid = fragments[Fragment.VALID] & counts.any(-1)
        _, T, N = counts.shape
        choosing = who_decides(fragments)[:, :-1] & counts
        self.n_rows, self._N = int(valid.sum()), N
        # The step at which each row was played, and the observation before it.
        self._played = valid.flatten().nonzero().squeeze(1)
        self._seen = self._played + self._played // T
        self._choosing = Ragged.where(choosing[valid])
        self._others = Ragged.where((counts & ~choosing)[valid]) if n_values is None else None
        self._fragments = fragments
        self._targets = targets
        self._n_values = n_values
        self._weights = counts.flatten(0, 1).float()

    def minibatches(self, parts: Sequence[Tensor]) -> Iterator[Rows]:
        """Yield the rows of each of ``parts`` of the steps, as one minibatch each.

        Of the agents' rows, those with a choice, to which ``ACTIONS`` belong, come first. The rows
        of all parts are gathered in one go and handed out as views.
        """
        steps, sizes = torch.cat([*parts]), [len(part) for part in parts]
        choosing, n_choosing = self._choosing.of(steps), self._choosing.sizes(parts)
        rows, n_rows = choosing, n_choosing
        if self._others is not None and len(self._others.rows):
            others, n_others = self._others.of(steps), self._others.sizes(parts)
            both = zip(choosing.split(n_choosing), others.split(n_others), strict=True)
            rows = torch.cat([one for pair in both for one in pair])
            n_rows = [sum(pair) for pair in zip(n_choosing, n_others, strict=True)]
        by_agent = self._of_agents(rows)
        legal = by_agent[Fragment.ACTION_MASK] if rows is choosing else None
        by_choice = self._of_choices(choosing, legal)
        pieces = {
            name: column.split(how_many)
            for columns, how_many in (
                (self._of_steps(steps), sizes), (by_agent, n_rows), (by_choice, n_choosing),
            )
            for name, column in columns.items()
        }  # fmt: skip
        for k in range(len(parts)):
            yield {name: piece[k] for name, piece in pieces.items()}

    def _at(self, places: Tensor, rows: Tensor) -> Tensor:
        """Return the places of the agents' rows, given the places of the steps."""
        return places[rows // self._N] * self._N + rows % self._N

    def _of_agents(self, rows: Tensor) -> Rows:
        """Gather the agents' observations, and the value targets if the critic sees only these."""
        seen = self._at(self._seen, rows)
        columns = {AGENT: rows % self._N} | {
            name: self._fragments[name].flatten(0, 2).index_select(0, seen) for name in _SEEN
        }
        if self._n_values is None:
            values = self._targets[Postprocessing.VALUE_TARGETS].flatten()
            played = self._at(self._played, rows)
            columns[Postprocessing.VALUE_TARGETS] = values.index_select(0, played)
        return columns

    def _of_choices(self, rows: Tensor, legal: Tensor | None) -> Rows:
        """Gather the columns that the actor learns from.

        Args:
            rows: ``[K]`` of agents with a choice.
            legal: ``[K, A]`` their masks, where they have been gathered already.
        """
        played = self._at(self._played, rows)
        columns = {
            name: self._fragments[name].flatten(0, 2).index_select(0, played)
            for name in _RECORDED
            if name in self._fragments
        }
        if legal is None:
            masks = self._fragments[Fragment.ACTION_MASK].flatten(0, 2)
            legal = masks.index_select(0, self._at(self._seen, rows))
        columns[PENALTIES] = penalties(legal)
        advantages = self._targets[Postprocessing.ADVANTAGES]
        columns[Postprocessing.ADVANTAGES] = advantages.flatten().index_select(0, played)
        return columns

    def _of_steps(self, steps: Tensor) -> Rows:
        """Gather the columns that a critic of the global state learns from, if there is one."""
        if self._n_values is None:
            return {}
        here = self._played[steps]
        targets = self._targets[Postprocessing.VALUE_TARGETS].flatten(0, 1).index_select(0, here)
        weights = self._weights.index_select(0, here)
        if self._n_values == 1:  # the same for all agents
            targets, weights = targets[:, :1], weights.sum(1, keepdim=True)
        states = self._fragments[Fragment.STATE].flatten(0, 1)
        return {
            Fragment.STATE: states.index_select(0, self._seen[steps]),
            Postprocessing.VALUE_TARGETS: targets,
            VALUE_WEIGHTS: weights,
        }


class WholeFragments:
    """Select whole fragments ``[B, T, ...]``, as networks with a memory need them."""

    def __init__(self, fragments: Rows, targets: Rows) -> None:
        names = (*_SEEN, Fragment.STATE, Fragment.FIRST)
        self._columns = {name: fragments[name][:, :-1] for name in names}
        recorded = (*_RECORDED, Fragment.HIDDEN)
        self._columns |= {name: fragments[name] for name in recorded if name in fragments}
        self._columns |= targets
        self.n_rows = len(fragments[Fragment.VALID])

    def minibatches(self, parts: Sequence[Tensor]) -> Iterator[Rows]:
        """Yield each of ``parts`` of the fragments as one minibatch.

        Columns that only the actor's loss needs are reduced to the steps with a choice.
        """
        return map(self._minibatch, parts)

    def _minibatch(self, fragments: Tensor) -> Rows:
        batch = {name: column.index_select(0, fragments) for name, column in self._columns.items()}
        counts = batch.pop(Columns.LOSS_MASK)
        choosing = who_decides(batch) & counts
        batch[VALUE_WEIGHTS] = counts.float()
        batch[CHOOSES] = choosing
        batch[PENALTIES] = penalties(batch[Fragment.ACTION_MASK])
        for name in (*_RECORDED, Postprocessing.ADVANTAGES, PENALTIES):
            if name in batch:
                batch[name] = batch[name][choosing]
        return batch
