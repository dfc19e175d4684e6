"""Train a block of agents by Q-learning, each of which learns alone, all of them at once."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from edge_marl.algorithms.actors import chosen_values, greedy
from edge_marl.algorithms.core.blocks import Block
from edge_marl.algorithms.core.learner import Terms
from edge_marl.algorithms.core.optimiser import rows_by_group
from edge_marl.algorithms.networks.agents import Actor
from edge_marl.algorithms.replay.columns import AgentTransition
from edge_marl.algorithms.replay.decisions import DecisionReplay
from edge_marl.algorithms.sampling.columns import Fragment, who_decides

VALUES = "values"
"""The network of an agent, which is its actor."""


class ValueLesson(NamedTuple):
    """Say how to learn from what is kept."""

    lr: float
    grad_clip: float | None
    n_updates: int
    minibatch_size: int
    """Decisions of an agent in an update."""
    tau: float
    """How far target networks move at each."""
    double_q: bool
    proximal: float
    """See :meth:`.Block.gradient_step`."""


class ValueBlock(Block):
    """Train action values of a block of agents, each with a network and a replay of its own.

    With target networks ``Q'`` that follow ``Q``, an update minimises Huber's loss of

    ``Q(o_t, a_t) - (r_t + ... + gamma^{k-1} r_{t+k-1}) - gamma^k Q'(o_{t+k}, u)``,

    where the agent's next decision comes k steps later and u is the best legal action there by Q
    (double Q-learning, van Hasselt et al., 2016) or by ``Q'``.

    Args:
        actor: of G agents, with a parameter set of each; its outputs are the values.
        seeds: of each agent's stream.
        capacity: decisions that each agent keeps.
    """

    def __init__(self, actor: Actor, seeds: Sequence[int], capacity: int) -> None:
        target = copy.deepcopy(actor)
        super().__init__({VALUES: actor}, seeds)
        self.actor, self._target = actor, target
        self._target.normaliser = actor.normaliser  # the moments are the same
        self._targets, _ = rows_by_group([*target.parameters()])
        self.replay = DecisionReplay(capacity, self.n_agents)

    def keep(self, fragments: Mapping[str, Tensor], gamma: float) -> None:
        """Keep the decisions in fragments of these agents, see :meth:`.DecisionReplay.add`."""
        if self.actor.normaliser is not None:
            seen = who_decides(fragments) & fragments[Fragment.ACTIVE]
            self.actor.normaliser.update(
                fragments[Fragment.FEATURES].flatten(0, 1), seen.flatten(0, 1),
                sets=self.actor.groups,
            )  # fmt: skip
        self.replay.add(fragments, gamma)

    def learn(self, trains: NDArray[np.bool_], lesson: ValueLesson) -> list[Terms]:
        """Make updates from what is kept.

        Args:
            trains: ``[G]`` who learns; nobody does who has not kept a minibatch yet.
            lesson: how.

        Returns:
            The terms of the loss in every update, means over those who learn.

        Raises:
            DivergenceError: for gradients that are not finite.
        """
        n, size = lesson.n_updates, lesson.minibatch_size
        sizes = torch.tensor(self.replay.sizes)
        present = torch.from_numpy(trains) & (sizes >= size)
        drawn = torch.stack(
            [self.replay.draw(n * size, g, own) for g, own in enumerate(self.generators)], dim=1
        )
        if not present.any():
            return []
        return [self._step(self.replay.rows(part), present, lesson) for part in drawn.split(size)]

    def _step(self, rows: Mapping[str, Tensor], present: Tensor, lesson: ValueLesson) -> Terms:
        """Make one update of the agents that are present, from ``rows [K, G, ...]``."""
        found = self.actor(rows[AgentTransition.FEATURES], rows[AgentTransition.ACTION_MASK])[0]
        values = chosen_values(found, rows[AgentTransition.ACTIONS])
        errors = values - self._bootstrapped(rows, lesson)
        each = F.huber_loss(errors, torch.zeros_like(errors), reduction="none").mean(0)
        norm = self.gradient_step(
            each[present].sum(), present,
            lr={VALUES: lesson.lr}, grad_clip=lesson.grad_clip, proximal=lesson.proximal,
        )  # fmt: skip
        moved = self._targets[present].lerp_(self.weights[VALUES][present], lesson.tau)
        self._targets[present] = moved
        return {
            "td_loss": each[present].mean().detach(),
            "q_mean": values[:, present].mean().detach(),
            "td_error": errors[:, present].abs().mean().detach(),
            "gradient_norm": norm,
        }

    @torch.no_grad()
    def _bootstrapped(self, rows: Mapping[str, Tensor], lesson: ValueLesson) -> Tensor:
        """Return what the values ``[K, G]`` should be."""
        features, legal = (
            rows[AgentTransition.NEXT_FEATURES], rows[AgentTransition.NEXT_ACTION_MASK],
        )  # fmt: skip
        values = self._target(features, legal)[0]
        judged = self.actor(features, legal)[0] if lesson.double_q else values
        best = chosen_values(values, greedy(judged, legal))
        return rows[AgentTransition.REWARDS] + rows[AgentTransition.DISCOUNTS] * best

    # Checkpoints ---------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Return also what target networks and replay hold."""
        own = {"targets": self._targets.numpy().copy(), "replay": self.replay.get_state()}
        return super().get_state() | own

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from where ``state`` was taken, with the weights of then."""
        super().set_state(state)
        self._targets.copy_(torch.from_numpy(np.array(state["targets"])))
        self.replay.set_state(state["replay"])
