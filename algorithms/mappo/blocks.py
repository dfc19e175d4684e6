"""Train a block of agents by PPO, each of which learns alone, all of them at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor

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


class Alike(NamedTuple):
    """Hold the steps in a minibatch of S agents that have about as many."""

    agents: Tensor
    """``[S]``"""
    steps: Tensor
    """``[S, P]``: numbers ``b * T + t``."""
    sizes: Tensor
    """``[S]``: how many are an agent's; what is behind them is nobody's."""

    @property
    def there(self) -> Tensor:
        """Return which of the steps are somebody's, ``[S, P]``."""
        return torch.arange(self.steps.shape[1]) < self.sizes[:, None]


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
        targets = self._targets(fragments, lesson)
        columns = _flat(fragments) | {name: targets[name].flatten() for name in _TARGETS}
        steps = _steps_of_agents(targets[Columns.LOSS_MASK])
        T = fragments[Fragment.VALID].shape[1]
        history: list[Terms] = []
        for _ in range(lesson.n_epochs):
            shuffled = [
                own[torch.randperm(len(own), generator=generator)]
                for own, generator in zip(steps, self.generators, strict=True)
            ]
            history += [
                self._step(columns, part, T, lesson) for part in _parts(shuffled, lesson.n_parts)
            ]
        if self.actor.normaliser is not None:
            seen = who_decides(fragments) & fragments[Fragment.ACTIVE]
            self.actor.normaliser.update(
                fragments[Fragment.FEATURES].flatten(0, 1), seen.flatten(0, 1),
                sets=self.actor.groups,
            )  # fmt: skip
        return history

    @torch.no_grad()
    def _targets(self, fragments: Rows, lesson: Lesson) -> Rows:
        """Return advantages and value targets; take the returns into their moments."""
        targets = learning_targets(
            fragments,
            self._values(fragments, lesson),
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

    def _values(self, fragments: Rows, lesson: Lesson) -> Tensor:
        """Return values ``[B, T + 1, G]`` where an agent has a choice, in units of the return."""
        chosen = who_decides(fragments) & fragments[Fragment.ACTIVE]
        columns, values = _flat(fragments), torch.zeros(chosen.numel())
        for alike in chain.from_iterable(_parts(_steps_of_agents(chosen), lesson.n_parts)):
            agents, there = alike.agents, alike.there
            places = alike.steps * self.n_agents + agents[:, None]
            features, legal = (columns[name][places].transpose(0, 1) for name in _SEEN)
            found = self.critic.values.of_some(features, legal, agents)[..., -1:]
            if self.value_moments is not None:
                found = self.value_moments.denormalise(found, agents)
            values[places[there]] = found[..., 0].T[there]
        return values.view(chosen.shape)

    def _step(self, columns: Rows, part: list[Alike], T: int, lesson: Lesson) -> Terms:
        """Make one gradient step of every agent with a step in a minibatch."""
        batches, outputs, values, divisors = [], [], [], []
        present = torch.zeros(self.n_agents, dtype=torch.bool)
        for alike in part:
            agents, steps = alike.agents, alike.steps
            present[agents] = True
            played = steps * self.n_agents + agents[:, None]
            seen = (steps + steps // T) * self.n_agents + agents[:, None]  # one step more
            features, legal = (columns[name][seen].transpose(0, 1) for name in _SEEN)
            outputs.append(
                self.actor.of_some(features, legal, agents).transpose(0, 1).flatten(0, 1)
            )
            values.append(self.critic.values.of_some(features, legal, agents)[..., -1].T.flatten())
            # To divide by infinity takes rows away that are nobody's.
            sizes = alike.sizes[:, None].float()
            divisors.append(torch.where(alike.there, sizes, torch.inf).flatten())
            batch = {
                name: columns[name][played].flatten(0, 1)
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


def _flat(fragments: Rows) -> Rows:
    """Return columns whose rows are the steps of agents, ``b * T + t`` times G plus the agent."""
    names = [name for name in (*_SEEN, *_RECORDED) if name in fragments]
    return {name: fragments[name].flatten(0, 2) for name in names}


def _steps_of_agents(counts: Tensor) -> list[Tensor]:
    """Return the numbers ``b * T + t`` of the steps of each agent that count ``[B, T, G]``."""
    return [own.nonzero()[:, 0] for own in counts.flatten(0, 1).T]


def _parts(steps: Sequence[Tensor], n_parts: int) -> Iterator[list[Alike]]:
    """Divide the steps of each agent into equal parts.

    Agents decide more or less often. Those that have about as many steps in a part are together,
    for all are filled up to as many rows: by at most a quarter, and to a number that depends on
    nobody else.
    """
    divided = [own.tensor_split(n_parts) for own in steps]
    for parts in zip(*divided, strict=True):
        rows = [_filled(len(own)) for own in parts]
        part = []
        for P in sorted({*rows} - {0}):
            agents = [agent for agent, n in enumerate(rows) if n == P]
            arranged = torch.zeros(len(agents), P, dtype=torch.int64)
            for row, agent in zip(arranged, agents, strict=True):
                row[: len(parts[agent])] = parts[agent]
            sizes = torch.tensor([len(parts[agent]) for agent in agents])
            part.append(Alike(torch.tensor(agents), arranged, sizes))
        if part:
            yield part


def _filled(n: int) -> int:
    """Return how many rows n steps take."""
    unit = max(_FEWEST_ROWS, 1 << max(0, n.bit_length() - 3))
    return -(-n // unit) * unit
