"""Train action values (MADQN) and allocators with central critics (MADDPG) from transitions."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_marl.algorithms.actors import chosen_values, greedy
from edge_marl.algorithms.core.blocks import Block
from edge_marl.algorithms.core.learner import DivergenceError, Terms
from edge_marl.algorithms.core.optimiser import rows_by_group
from edge_marl.algorithms.cto.critics import JointActions, JointCritic
from edge_marl.algorithms.cto.everyone import Everyone
from edge_marl.algorithms.cto.exchange import Exchange
from edge_marl.algorithms.networks import MASKED
from edge_marl.algorithms.networks.agents import Actor, AgentRows
from edge_marl.algorithms.networks.normalisation import RunningMoments
from edge_marl.algorithms.replay.columns import DecisionTransition as Row
from edge_marl.algorithms.replay.transitions import Columns, TransitionRings

CHOICE, ALLOCATOR, CRITICS = "choice", "allocator", ("critic", "second_critic")
"""Networks: of choices, of vectors, and the critics of both."""

_BYTES_AT_ONCE = 2**26
"""Transitions that are drawn together, at most."""
_MOST_FRESH = 64
"""Batches that wait to be given to others, at most."""
_LOGIT_DECAY = 1e-3
"""Of squared logits that ascend critics, as in the code of Lowe et al. (2017): without it, choices
that critics have wronged once are never drawn again."""


class Lesson(NamedTuple):
    """Say how to learn from what is kept."""

    lr: Mapping[str, float]
    """Of each network."""
    grad_clip: float | None
    n_updates: int
    minibatch_size: int
    """Transitions of a set in an update."""
    tau: float
    """How far target networks move at each."""
    double_q: bool
    huber: bool
    """Whether losses of errors grow linearly beyond 1, instead of quadratically everywhere."""
    policy_delay: int
    """Updates of the critics for one of the actors."""
    taught: bool = False
    """Whether action values learn what critics say of choices, where there are critics."""
    sync_interval: int = 100
    """Updates from one exchange of experience to the next."""
    global_share: float = 0.0
    """Of a minibatch, that comes from what others have given."""
    n_taken: int = 0
    """Transitions that a set takes from there at an exchange."""


class DecisionBlock(Block):
    """Train G sets of parameters, each from the transitions of its agents.

    A transition goes from a decision of an agent to one of its next ones, with the discounted
    rewards R in between and the discount Gamma of what follows. Target networks are primed.

    - Choices by values (MADQN): ``Q(o, c)`` learns ``R + Gamma Q'(o', u)``, where u is the best
      legal choice at o' by Q (double Q-learning, van Hasselt et al., 2016) or by ``Q'``. If they
      are taught, ``Q(o, c) - Q(o, k)`` learns by how much ``V'(s, c, mu'(o, c), others)`` and
      ``V'(s, k, mu'(o, k), others)`` differ, c being the choice of the transition and k one that is
      drawn at random.
    - Critics: ``V(s, c, x, others)`` learns ``R + Gamma V'(s', c', x', others')``, where all who
      decide in that step do what their target networks say; with a second critic, the smaller of
      both counts (TD3, Fujimoto et al., 2018). Where values are the team's and agents take turns,
      ``V'`` is of whoever decides next.
    - Vectors (MADDPG): ``x = mu(o, c)`` ascends ``V(s, c, mu(o, c), others)``; c and what others
      did are those of the transition. Where values are taught, it does so for the choice that was
      drawn, too: of what is not chosen any more nothing else would be learned. Choices by a policy,
      where there are no values, ascend too: they are drawn from a Gumbel-softmax (Jang et al.,
      2017), and their logits are kept small, as in MADDPG.

    Args:
        actor: of all agents, whose choices are values or logits.
        critics: none, one or two.
        state_moments: ``[G, S]``, by which states are standardised; the block updates them.
        seeds: of each set's stream.
        capacity: transitions that each set keeps.
        values: whether choices are made by values.
        of_team: whether values are the team's, see :class:`.DecisionStream`.
        everyone: all agents of the environment, whose decisions targets of critics are told of,
            where the block holds one of them. None: it holds all, and their target networks decide.
    """

    def __init__(
        self,
        actor: Actor,
        critics: Sequence[JointCritic],
        state_moments: RunningMoments,
        seeds: Sequence[int],
        *,
        capacity: int,
        values: bool,
        of_team: bool = False,
        everyone: Everyone | None = None,
    ) -> None:
        self.actor, self.critics, self.state_moments = actor, critics, state_moments
        self._values = values and actor.spec.n_actions > 1
        self._target_actor, self._target_critics = copy.deepcopy(actor), copy.deepcopy(critics)
        self._target_actor.normaliser = actor.normaliser  # the moments are the same
        super().__init__(networks(actor, critics), seeds)
        self._targets = {
            name: rows_by_group([*network.parameters()])[0]
            for name, network in networks(self._target_actor, self._target_critics).items()
        }
        self.peers = everyone or Everyone(self._target_actor, self._target_critics, state_moments)
        self._of_team = of_team
        self._sets = torch.zeros_like(everyone.actor.groups) if everyone else actor.groups
        self.replay = TransitionRings(capacity, self._sets.tolist())
        self._d = actor.spec.vector_size if actor.allocator is not None else 0
        self._varies = ~self.peers.actor.fixed_numbers[:, : self._d]
        self._n_updates = 0
        self.exchange: Exchange | None = None
        """Of experience with other sets."""
        self._fresh: list[Columns] = []
        """What was kept since the last exchange."""
        self._taken = TransitionRings(capacity, range(self.n_agents))
        """What each set has taken from there."""

    def keep(self, transitions: Columns) -> None:
        """Keep transitions of the sets' agents, columns of :class:`.DecisionTransition`.

        Raises:
            DivergenceError: for rewards or observations that are not finite.
        """
        for name in (Row.REWARDS, Row.FEATURES, Row.STATE):
            if not torch.isfinite(transitions[name]).all():
                raise DivergenceError(f"{name} are not finite")
        sets = self._sets[transitions[Row.NODE]]
        if self.actor.normaliser is not None:
            self.actor.normaliser.update(transitions[Row.FEATURES][None], sets=sets)
        self.state_moments.update(transitions[Row.STATE][None], sets=sets)
        self.replay.add(transitions)
        if self.exchange is not None:
            self._fresh = [*self._fresh, transitions][-_MOST_FRESH:]

    def learn(self, transitions: Columns | None, lesson: Lesson) -> list[Terms]:
        """Keep transitions, and make updates from all that is kept.

        Sets that have not kept a minibatch yet make none.

        Args:
            transitions: for :meth:`keep`, or None.
            lesson: how.

        Returns:
            The terms of the loss in every update, means over those who learn.

        Raises:
            DivergenceError: for gradients that are not finite.
        """
        if transitions is not None and len(transitions[Row.NODE]):
            self.keep(transitions)
        size = lesson.minibatch_size
        present = torch.tensor(self.replay.sizes) >= size
        if not present.any():
            return []
        at_once = max(1, _BYTES_AT_ONCE // (size * self.replay.row_bytes * self.n_agents))
        history: list[Terms] = []
        while len(history) < lesson.n_updates:
            n = min(at_once, lesson.n_updates - len(history))
            if self.exchange is not None:
                since = self._n_updates % lesson.sync_interval
                if since == 0:
                    self._swap(self.exchange, lesson.n_taken)
                n = min(n, lesson.sync_interval - since)
            history += [
                self._step(rows, present, lesson) for rows in self._minibatches(n, present, lesson)
            ]
        return history

    def _swap(self, exchange: Exchange, n_taken: int) -> None:
        """Give what is new, and take some of what others have given for every set."""
        given = {
            name: torch.cat([part[name] for part in self._fresh])
            for name in (self._fresh[0] if self._fresh else ())
        }
        found = exchange.swap(given or None, n_taken * self.n_agents)
        self._fresh = []
        if found is not None:
            self._taken.add(found, torch.arange(len(found[Row.NODE])) % self.n_agents)

    def _minibatches(self, n: int, present: Tensor, lesson: Lesson) -> Iterator[Columns]:
        """Draw the minibatches ``[K, G, ...]`` of n updates."""
        size = lesson.minibatch_size
        n_shared = round(lesson.global_share * size) if all(self._taken.sizes) else 0
        generators = [
            own if there else None
            for own, there in zip(self.generators, present.tolist(), strict=True)
        ]
        drawn = self.replay.draw(n * (size - n_shared), generators)
        parts = [drawn[name].split(size - n_shared) for name in drawn]
        if n_shared:
            taken = self._taken.draw(n * n_shared, generators)
            shared = [taken[name].split(n_shared) for name in drawn]
            parts = [
                [torch.cat(both) for both in zip(*pieces, strict=True)]
                for pieces in zip(parts, shared, strict=True)
            ]
        for minibatch in zip(*parts, strict=True):
            yield dict(zip(drawn, minibatch, strict=True))

    def _step(self, rows: Columns, present: Tensor, lesson: Lesson) -> Terms:
        """Make one update of the sets that are present, from ``rows [K, G, ...]``."""
        self._n_updates += 1
        errors: Columns = {}
        loss = torch.zeros(())
        others: Tensor | None = None  # choices beside those of the transitions
        if self.critics:
            state = self.state_moments.normalise(rows[Row.STATE])
            for name, (immediate, later, scale_losses) in zip(
                CRITICS, self._critic_errors(rows, state), strict=False
            ):
                errors |= {f"{name}_reward_error": immediate, f"{name}_error": later}
                loss = loss + scale_losses.mean(0)[present].sum()
        if self._values and self.critics and lesson.taught:
            others = self._any_choice(rows, present)
            errors["td_error"] = self._taught_errors(rows, state, others)
        elif self._values:
            errors["td_error"] = self._value_errors(rows, double_q=lesson.double_q)
        loss = loss + sum(
            _loss(found, huber=lesson.huber)[present].sum() for found in errors.values()
        )
        taught = (CHOICE, *CRITICS) if self._values else CRITICS
        lr = {name: rate for name, rate in lesson.lr.items() if name in taught}
        norm = self.gradient_step(loss, present, lr=lr, grad_clip=lesson.grad_clip)
        terms = {name: found[:, present].abs().mean().detach() for name, found in errors.items()}
        terms |= {"td_loss": loss.detach() / present.sum(), "gradient_norm": norm}
        acts = bool(self.critics) and self._n_updates % lesson.policy_delay == 0
        if acts:
            terms["actor_loss"] = self._policy_step(rows, state, present, lesson, others)
        for name in lesson.lr if acts or not self.critics else lr.keys() - set(CRITICS):
            followed = self._targets[name][present].lerp_(self.weights[name][present], lesson.tau)
            self._targets[name][present] = followed
        return terms

    def _value_errors(self, rows: Columns, *, double_q: bool) -> Tensor:
        """Return the errors ``[K, G]`` of action values."""
        values = chosen_values(self.actor.of_sets(_now(rows)), rows[Row.ACTIONS])
        with torch.no_grad():
            following = _following(rows)
            found = self._target_actor.of_sets(following)
            judged = self.actor.of_sets(following) if double_q else found
            best = chosen_values(found, greedy(judged, following.action_mask))
            targets = rows[Row.REWARDS] + rows[Row.DISCOUNTS] * best
        return values - targets

    def _taught_errors(self, rows: Columns, state: Tensor, others: Tensor) -> Tensor:
        """Return the errors ``[K, G]`` of differences between action values, which critics teach.

        Only differences decide. They are learned as such, in units of what decisions earn at once,
        for most of a value is what follows whatever is chosen.

        Args:
            rows: the transitions.
            state: ``[K, G, S]``, standardised.
            others: ``[K, G]``: choices beside those of the transitions.
        """
        seen, critics = _now(rows), self._target_critics
        values = self.actor.of_sets(seen)
        own, told = [], []
        for choices in (rows[Row.ACTIONS], others):
            with torch.no_grad():
                actions = self._actions(
                    rows, choices, self._allocated(self._target_actor, rows, choices)
                )
                found = [critic.effects(state, seen.agents, actions) for critic in critics]
                told.append(torch.stack(found).amin(0))
            own.append(chosen_values(values, choices))
        return (own[0] - own[1]) - (told[0] - told[1])

    def _allocated(self, actor: Actor, rows: Columns, choices: Tensor) -> Tensor:
        """Return the vectors ``[K, G, d]`` that go with choices, what is absent 0."""
        if actor.allocator is None:
            return rows[Row.FEATURES].new_zeros(*rows[Row.NODE].shape, 0)
        return actor.allocations_of_sets(_now(rows), choices) * self._varies[rows[Row.NODE]]

    def _critic_errors(self, rows: Columns, state: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return what :meth:`JointCritic.errors` says of every critic."""
        agents = rows[Row.NODE]
        with torch.no_grad():
            targets = rows[Row.REWARDS] + rows[Row.DISCOUNTS] * self._next_values(rows)
        choices, immediate = rows[Row.ACTIONS], rows[Row.IMMEDIATE]
        actions = self._actions(rows, choices, _recorded(rows, Row.VECTORS, choices))
        return [
            critic.errors(state, agents, actions, immediate, targets - immediate)
            for critic in self.critics
        ]

    def _next_values(self, rows: Columns) -> Tensor:
        """Return what target critics say of the next decisions, ``[K, G]``."""
        agents = rows[Row.NEXT_NODE]
        if self._of_team:
            columns = rows[Row.NEXT_FEATURES], rows[Row.NEXT_ACTION_MASK], agents
            seen = AgentRows(*(column.flatten(0, 1) for column in columns))
            found = self.peers.values(seen, rows[Row.NEXT_STATE].flatten(0, 1), self._varies)
            return found.view(agents.shape)
        then = self.state_moments.normalise(rows[Row.NEXT_STATE])
        actions = self._next_actions(rows)
        values = [critic(then, agents, actions) for critic in self._target_critics]
        return torch.stack(values).amin(0)

    def _next_actions(self, rows: Columns) -> JointActions:
        """Return what target networks do at the next decisions."""
        following = _following(rows)
        choices, vectors = self._target_actor.decided_by_sets(following)
        masks = rows[Row.NEXT_OTHER_MASKS]
        decide = masks.any(-1)
        agents = self._others(rows)
        others = choices.new_zeros(decide.shape), vectors.new_zeros(*decide.shape, self._d)
        if decide.any():
            found = self.peers.actor.decided_by_rows(
                AgentRows(rows[Row.NEXT_OTHER_FEATURES][decide], masks[decide], agents[decide])
            )
            for column, part in zip(others, found, strict=True):
                column[decide] = part
        return _together(
            (choices, vectors * self._varies[following.agents]),
            (others[0], others[1] * self._varies[agents]),
            decide,
        )

    def _actions(self, rows: Columns, choices: Tensor, vectors: Tensor) -> JointActions:
        """Return what others did in transitions, beside ``choices`` and ``vectors`` of the agent.

        Args:
            rows: the transitions.
            choices: ``[K, G]``, or probabilities ``[K, G, A]``.
            vectors: ``[K, G, d]``.
        """
        others = rows[Row.OTHER_ACTIONS]
        if choices.is_floating_point():
            others = F.one_hot(others, choices.shape[-1]).to(choices.dtype)
        decide = rows[Row.OTHERS_DECIDE]
        theirs = _recorded(rows, Row.OTHER_VECTORS, decide)
        return _together((choices, vectors), (others, theirs), decide)

    def _policy_step(
        self, rows: Columns, state: Tensor, present: Tensor, lesson: Lesson, others: Tensor | None
    ) -> Tensor:
        """Let allocators, and choices that are made without values, ascend the first critic.

        Args:
            rows: the transitions.
            state: ``[K, G, S]``, standardised.
            present: ``[G]``: which sets learn.
            lesson: how.
            others: ``[K, G]``: choices beside those of the transitions, that allocations go with.
        """
        seen, choices = _now(rows), rows[Row.ACTIONS]
        loss = torch.zeros(())
        if CHOICE in self.weights and not self._values:
            logits = self.actor.of_sets(seen)
            choices = self._drawn(logits.masked_fill(~seen.action_mask, MASKED), present)
            loss = loss + _LOGIT_DECAY * logits.square().mean((0, 2))[present].sum()
        critic = self.critics[0].requires_grad_(False)  # it is not what learns here
        scale = critic.scales(state, seen.agents).immediate
        for made in (choices,) if others is None else (choices, others):
            vectors = self._allocated(self.actor, rows, made)
            values = scale * critic.effects(state, seen.agents, self._actions(rows, made, vectors))
            loss = loss - values.mean(0)[present].sum()
        critic.requires_grad_(True)
        lr = {
            name: rate for name, rate in lesson.lr.items()
            if name == ALLOCATOR or (name == CHOICE and not self._values)
        }  # fmt: skip
        self.gradient_step(loss, present, lr=lr, grad_clip=lesson.grad_clip)
        return loss.detach() / present.sum()

    def _any_choice(self, rows: Columns, present: Tensor) -> Tensor:
        """Draw a legal choice of each decision, ``[K, G]``, all as likely."""
        mask = rows[Row.ACTION_MASK]
        level = torch.zeros(mask.shape).masked_fill(~mask, MASKED)
        return self._drawn(level, present).argmax(-1)

    def _drawn(self, logits: Tensor, present: Tensor) -> Tensor:
        """Draw one-hot choices ``[K, G, A]`` whose gradients are those of a Gumbel-softmax."""
        K, G, A = logits.shape
        uniform = torch.full((K, G, A), 0.5)
        for g in present.nonzero()[:, 0].tolist():
            uniform[:, g] = torch.rand(K, A, generator=self.generators[g]).clamp(min=1e-10)
        soft = torch.softmax(logits - (-uniform.log()).log(), dim=-1)
        hard = F.one_hot(soft.argmax(-1), A).to(soft.dtype)
        return hard + soft - soft.detach()

    def _others(self, rows: Columns) -> Tensor:
        """Return who the other agents of transitions are, ``[K, G, O]``."""
        following = torch.arange(1, rows[Row.OTHER_ACTIONS].shape[-1] + 1)
        return (rows[Row.NODE][..., None] + following) % len(self._varies)

    # Checkpoints ---------------------------------------------------------------------------

    def copy_targets(self) -> None:
        """Let target networks be what the networks are."""
        for name, weights in self._targets.items():
            weights.copy_(self.weights[name])

    def get_state(self, *, experience: bool = True) -> dict[str, Any]:
        """Return also target networks and, if asked for, all that is kept to learn from."""
        state = super().get_state() | {
            "targets": _as_arrays(self._targets), "n_updates": self._n_updates,
        }  # fmt: skip
        if experience:
            state |= {
                "replay": self.replay.get_state(),
                "fresh": [_as_arrays(part) for part in self._fresh],
                "taken": self._taken.get_state(),
            }
        return state

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from where ``state`` was taken, with the weights of then."""
        super().set_state(state)
        for name, saved in state["targets"].items():
            self._targets[name].copy_(torch.from_numpy(np.array(saved)))
        self._n_updates = state["n_updates"]
        if "replay" not in state:
            return
        self.replay.set_state(state["replay"])
        self._fresh = [_as_tensors(part) for part in state["fresh"]]
        self._taken.set_state(state["taken"])


def networks(actor: Actor, critics: Sequence[JointCritic]) -> dict[str, nn.Module]:
    """Return the networks that learn, by name."""
    allocator = {} if actor.allocator is None else {ALLOCATOR: actor.allocator}
    theirs = {id(p) for network in allocator.values() for p in network.parameters()}
    chooses = {} if actor.spec.n_actions == 1 else {
        CHOICE: nn.ParameterList([p for p in actor.parameters() if id(p) not in theirs])
    }  # fmt: skip
    return {**chooses, **allocator, **dict(zip(CRITICS, critics, strict=False))}


def _as_arrays(columns: Columns) -> dict[str, Any]:
    return {name: column.numpy().copy() for name, column in columns.items()}


def _as_tensors(arrays: Mapping[str, Any]) -> Columns:
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def _now(rows: Columns) -> AgentRows:
    return AgentRows(rows[Row.FEATURES], rows[Row.ACTION_MASK], rows[Row.NODE])


def _following(rows: Columns) -> AgentRows:
    return AgentRows(rows[Row.NEXT_FEATURES], rows[Row.NEXT_ACTION_MASK], rows[Row.NODE])


def _recorded(rows: Columns, name: str, like: Tensor) -> Tensor:
    """Return recorded vectors, their numbers that are absent 0; of no numbers if there are none.

    They belong to what ``like [...]`` does, too.
    """
    if name not in rows:
        return torch.zeros(*like.shape, 0)
    return rows[name].clamp(min=0.0)


def _together(
    own: tuple[Tensor, Tensor], others: tuple[Tensor, Tensor], decide: Tensor
) -> JointActions:
    """Put what an agent does before what others do, who ``decide [K, G, O]``."""
    first = decide.new_ones(*decide.shape[:-1], 1)
    choices, vectors = (
        torch.cat([mine[:, :, None], theirs], dim=2)
        for mine, theirs in zip(own, others, strict=True)
    )
    return JointActions(choices, vectors, torch.cat([first, decide], dim=2))


def _loss(errors: Tensor, *, huber: bool) -> Tensor:
    """Return the mean loss ``[G]`` of ``errors [K, G]``."""
    if huber:
        return F.huber_loss(errors, torch.zeros_like(errors), reduction="none").mean(0)
    return 0.5 * errors.square().mean(0)
