"""Train a block of agents by PPO, each of which learns alone, all of them at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor, nn

from edge_marl.algorithms.core.blocks import Block
from edge_marl.algorithms.core.learner import DivergenceError, Terms
from edge_marl.algorithms.mappo.critics import LocalCritic
from edge_marl.algorithms.mappo.losses import Coefficients, ppo_loss
from edge_marl.algorithms.mappo.rows import PENALTIES, Rows, learning_targets, penalties
from edge_marl.algorithms.networks.agents import Actor
from edge_marl.algorithms.networks.normalisation import RunningMoments
from edge_marl.algorithms.sampling.columns import Fragment, who_decides

ACTOR, CRITIC = "actor", "critic"
"""The two networks of an agent."""

_SEEN = (Fragment.FEATURES, Fragment.ACTION_MASK)
_RECORDED = (Columns.ACTIONS, Fragment.VECTORS, Columns.ACTION_LOGP)
_TARGETS = (Postprocessing.ADVANTAGES, Postprocessing.VALUE_TARGETS)
_FEWEST_ROWS = 128
"""Products of fewer rows round otherwise for one agent alone."""
_OF_ALL = (Fragment.VALID, Fragment.ELAPSED)
_OF_EACH = (
    Fragment.FEATURES, Fragment.ACTION_MASK, Fragment.ACTIVE, Fragment.ACTIONS, Fragment.VECTORS,
    Fragment.REWARDS, Fragment.TERMINATED, Fragment.TRUNCATED, Fragment.ACTION_LOGP,
)  # fmt: skip


def part_of(fragments: Rows, begin: int, end: int) -> Rows:
    """Return what agents ``begin`` to ``end - 1`` learn from, of fragments of all agents."""
    part = {name: fragments[name][:, :, begin:end] for name in _OF_EACH if name in fragments}
    return part | {name: fragments[name] for name in _OF_ALL if name in fragments}


class Lesson(NamedTuple):
    """Say how to learn from a train batch."""

    coefficients: Coefficients
    lr: Mapping[str, float]
    """Of each network."""
    gamma: float
    lambda_: float
    grad_clip: float | None
    """See :meth:`.Block.gradient_step`."""
    n_epochs: int
    n_parts: int
    """Minibatches of an epoch, the same for all agents."""
    proximal: float = 0.0
    """See :meth:`.Block.gradient_step`."""


class Decisions(NamedTuple):
    """Hold what agents saw when they had a choice: C rows, those of an agent together.

    They are gathered and standardised once for all passes, and a minibatch of an agent reads what
    lies near.
    """

    columns: Rows
    """``[C, ...]``; features are standardised."""
    of_agents: Sequence[Tensor]
    """The numbers of each agent's rows."""
    chosen: Tensor
    """bool ``[G, B, T + 1]``: where an agent has a choice."""

    @classmethod
    def of(cls, fragments: Rows, actor: Actor) -> Decisions:
        """Return those of all observations, the last one of a fragment included."""
        chosen = (who_decides(fragments) & fragments[Fragment.ACTIVE]).permute(2, 0, 1)
        agents, b, t = chosen.nonzero(as_tuple=True)
        columns = {name: fragments[name][b, t, agents] for name in _SEEN}
        columns[Fragment.FEATURES] = actor.normalised(columns[Fragment.FEATURES], agents)
        counts = torch.bincount(agents, minlength=len(chosen)).tolist()
        return cls(columns, torch.arange(len(agents)).split(counts), chosen)

    def with_outcomes(self, fragments: Rows, targets: Rows) -> Decisions:
        """Return those that count, with the columns that their agents learn from."""
        counts = nn.functional.pad(targets[Columns.LOSS_MASK].permute(2, 0, 1), (0, 1))
        agents, b, t = self.chosen.nonzero(as_tuple=True)
        # Nothing follows on the last observation of a fragment, which does not count.
        t = t.clamp(max=counts.shape[2] - 2)
        columns = {name: fragments[name][b, t, agents] for name in _RECORDED if name in fragments}
        columns |= {name: targets[name][b, t, agents] for name in _TARGETS}
        learned = counts[self.chosen]
        return Decisions(
            self.columns | columns, [own[learned[own]] for own in self.of_agents], self.chosen
        )


class Alike(NamedTuple):
    """Hold the rows in a minibatch of S agents that have about as many."""

    agents: Tensor
    """``[S]``"""
    rows: Tensor
    """``[S, P]``: numbers of decisions."""
    sizes: Tensor
    """``[S]``: how many count; those behind them fill up."""

    @property
    def there(self) -> Tensor:
        """Return which of the rows count, ``[S, P]``."""
        return torch.arange(self.rows.shape[1]) < self.sizes[:, None]

    def of(self, column: Tensor) -> Tensor:
        """Return these rows of a column ``[C, ...]``, as ``[S, P, ...]``."""
        return column.index_select(0, self.rows.flatten()).unflatten(0, self.rows.shape)


class AgentBlock(Block):
    """Train a block of agents by PPO, each with an actor and a critic of its own.

    Every agent has the rows of the steps in which it has a choice; its advantages are standardised,
    its gradients clipped and its minibatches drawn over these alone. All agents make the same
    number of minibatches of an epoch, so that theirs are smaller who decide less often; where one
    has no row, its weights and moments stay as they are.

    Args:
        actor: of G agents, with a parameter set of each.
        critic: like the actor.
        value_moments: of each agent's returns, ``[G, 1]``; None: the critic learns returns.
        seeds: of each agent's stream.
    """

    def __init__(
        self,
        actor: Actor,
        critic: LocalCritic,
        value_moments: RunningMoments | None,
        seeds: Sequence[int],
    ) -> None:
        super().__init__({ACTOR: actor, CRITIC: critic}, seeds)
        self.actor, self.critic, self.value_moments = actor, critic, value_moments

    def learn(self, fragments: Rows, lesson: Lesson) -> list[Terms]:
        """Learn from fragments of these agents.

        Args:
            fragments: columns of :class:`Fragment`, of G agents.
            lesson: how.

        Returns:
            The terms of the loss in every minibatch, means over the agents with a row in it.

        Raises:
            DivergenceError: for returns or gradients that are not finite; nothing has changed yet,
                or the weights are those of the last minibatch.
        """
        decisions = Decisions.of(fragments, self.actor)
        targets = self._targets(fragments, decisions, lesson)
        decisions = decisions.with_outcomes(fragments, targets)
        history: list[Terms] = []
        for _ in range(lesson.n_epochs):
            shuffled = [
                own[torch.randperm(len(own), generator=generator)]
                for own, generator in zip(decisions.of_agents, self.generators, strict=True)
            ]
            history += [
                self._step(decisions.columns, part, lesson)
                for part in _parts(shuffled, lesson.n_parts)
            ]
        if self.actor.normaliser is not None:
            seen = decisions.chosen.permute(1, 2, 0)
            self.actor.normaliser.update(
                fragments[Fragment.FEATURES].flatten(0, 1), seen.flatten(0, 1),
                sets=self.actor.groups,
            )  # fmt: skip
        return history

    @torch.no_grad()
    def _targets(self, fragments: Rows, decisions: Decisions, lesson: Lesson) -> Rows:
        """Return advantages and value targets; take the returns into their moments."""
        targets = learning_targets(
            fragments,
            self._values(decisions, lesson),
            gamma=lesson.gamma,
            lambda_=lesson.lambda_,
            team_reward="own",
            shared_end=False,
            decisions=True,
            by_agent=True,
        )
        returns, counts = targets[Postprocessing.VALUE_TARGETS], targets[Columns.LOSS_MASK]
        if not torch.isfinite(returns[counts]).all():
            raise DivergenceError("value targets are not finite")
        if self.value_moments is not None:
            agents = torch.arange(self.n_agents)
            samples = returns.flatten(0, 1)[..., None]
            self.value_moments.update(samples, counts.flatten(0, 1), sets=agents)
            scaled = self.value_moments.normalise(returns[..., None], agents)[..., 0]
            targets[Postprocessing.VALUE_TARGETS] = scaled
        return targets

    def _values(self, decisions: Decisions, lesson: Lesson) -> Tensor:
        """Return values ``[B, T + 1, G]`` where an agent has a choice, in units of the return."""
        found = torch.zeros(int(decisions.chosen.sum()))
        for alike in chain.from_iterable(_parts(decisions.of_agents, lesson.n_parts)):
            agents, there = alike.agents, alike.there
            features, legal = (alike.of(decisions.columns[name]).transpose(0, 1) for name in _SEEN)
            own = self.critic.values.of_some(features, legal, agents)[..., -1:]
            if self.value_moments is not None:
                own = self.value_moments.denormalise(own, agents)
            found[alike.rows[there]] = own[..., 0].T[there]
        values = torch.zeros(decisions.chosen.shape)
        values[decisions.chosen] = found
        return values.permute(1, 2, 0)

    def _step(self, columns: Rows, part: list[Alike], lesson: Lesson) -> Terms:
        """Make one gradient step of every agent with a row in a minibatch."""
        batches, outputs, values, divisors = [], [], [], []
        present = torch.zeros(self.n_agents, dtype=torch.bool)
        for alike in part:
            agents = alike.agents
            present[agents] = True
            features, legal = (alike.of(columns[name]).transpose(0, 1) for name in _SEEN)
            outputs.append(
                self.actor.of_some(features, legal, agents).transpose(0, 1).flatten(0, 1)
            )
            values.append(self.critic.values.of_some(features, legal, agents)[..., -1].T.flatten())
            # To divide by infinity takes rows away that only fill up.
            sizes = alike.sizes[:, None].float()
            divisors.append(torch.where(alike.there, sizes, torch.inf).flatten())
            batch = {
                name: alike.of(columns[name]).flatten(0, 1)
                for name in (*_RECORDED, *_TARGETS)
                if name in columns
            }
            batches.append(batch | {PENALTIES: penalties(legal.transpose(0, 1)).flatten(0, 1)})
        divided = torch.cat(divisors)
        loss, terms = ppo_loss(
            torch.cat(outputs), torch.cat(values),
            {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]},
            lesson.coefficients, n_choices=divided, n_values=divided,
        )  # fmt: skip
        norm = self.gradient_step(
            loss, present, lr=lesson.lr, grad_clip=lesson.grad_clip, proximal=lesson.proximal
        )
        means = {name: term.detach() / present.sum() for name, term in terms.items()}
        return means | {"gradient_norm": norm}


def _parts(rows: Sequence[Tensor], n_parts: int) -> Iterator[list[Alike]]:
    """Divide the rows of each agent into equal parts.

    Agents decide more or less often. Those that have about as many rows in a part are together,
    for all are filled up, with one of their own: by at most a quarter, and to a number that depends
    on nobody else.
    """
    divided = [own.tensor_split(n_parts) for own in rows]
    for parts in zip(*divided, strict=True):
        filled = [_filled(len(own)) for own in parts]
        part = []
        for P in sorted({*filled} - {0}):
            agents = [agent for agent, n in enumerate(filled) if n == P]
            arranged = torch.stack([parts[agent][:1].expand(P) for agent in agents])
            for row, agent in zip(arranged, agents, strict=True):
                row[: len(parts[agent])] = parts[agent]
            sizes = torch.tensor([len(parts[agent]) for agent in agents])
            part.append(Alike(torch.tensor(agents), arranged, sizes))
        if part:
            yield part


def _filled(n: int) -> int:
    """Return how many rows n of them are filled up to."""
    unit = max(_FEWEST_ROWS, 1 << max(0, n.bit_length() - 3))
    return -(-n // unit) * unit
