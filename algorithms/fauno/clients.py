"""Train clients in Ray actors, each of which holds a block of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import ray
import torch
from torch import Tensor

from edge_marl.algorithms.core.learner import Terms
from edge_marl.algorithms.core.optimiser import rows_by_group
from edge_marl.algorithms.mappo.blocks import ACTOR, CRITIC, AgentBlock, Lesson, part_of
from edge_marl.algorithms.mappo.critics import LocalCritic
from edge_marl.algorithms.mappo.rows import Rows
from edge_marl.algorithms.networks.agents import Actor
from edge_marl.algorithms.networks.normalisation import RunningMoments
from edge_marl.algorithms.networks.spec import ActorSpec
from edge_marl.algorithms.sampling.columns import Fragment

Learned = dict[str, Tensor]
"""What clients have learned, by name, ``[G, ...]`` each: weights and moments."""


class ClientActor:
    """Hold a block of clients in a process of its own.

    A block of one gets a second client that never learns: products of a single matrix are computed
    in another way, and what a client learns is not to depend on the size of its block.

    Args:
        spec: of the actors of the block's clients.
        normalises_values: whether critics learn standardised returns.
        seeds: of the clients' streams.
    """

    def __init__(self, spec: ActorSpec, normalises_values: bool, seeds: Sequence[int]) -> None:
        torch.set_num_threads(1)
        self._n = len(seeds)
        agents = (*spec.agents, "nobody") if self._n == 1 else spec.agents
        actor = Actor(spec.model_copy(update={
            "agents": agents, "groups": tuple(range(len(agents))),
        }))  # fmt: skip
        moments = RunningMoments((len(agents), 1)) if normalises_values else None
        seeds = [*seeds, 0][: len(agents)]
        self._block = AgentBlock(actor, LocalCritic(actor), moments, seeds)

    def learn(
        self, fragments: Rows, lesson: Lesson, before: Learned
    ) -> tuple[Learned, list[Terms]]:
        """Learn from fragments of the block's clients, see :meth:`AgentBlock.learn`.

        Args:
            fragments: of these clients.
            lesson: how.
            before: what they go on from.

        Returns:
            What they have learned then, and the terms of the loss.
        """
        own = _learned(self._block)
        for name, values in before.items():
            own[name][: self._n] = values
        if self._n == 1:
            fragments = {
                name: torch.cat([column, column], 2) if column.dim() > 2 else column
                for name, column in fragments.items()
            }
            fragments[Fragment.ACTIVE][:, :, 1] = False
        history = self._block.learn(fragments, lesson)
        return {name: values[: self._n] for name, values in own.items()}, history

    def anchor(self, name: str, weights: Tensor) -> None:
        """Keep a network near these weights, see :meth:`AgentBlock.anchor`."""
        missing = len(self._block.seeds) - len(weights)
        self._block.anchor(name, torch.cat([weights, weights[:missing]]))

    def get_state(self) -> dict[str, Any]:
        """Return the state of the block, see :meth:`AgentBlock.get_state`."""
        return self._block.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from where ``state`` was taken."""
        self._block.set_state(state)


class ClientActors:
    """Train clients like a single :class:`AgentBlock` does, to the bit, in several Ray actors.

    Args:
        actor: of all clients; it is kept up to date, and so are the next two.
        critic: like the actor.
        value_moments: of each client's returns, or None.
        seeds: of the clients' streams.
        clients_per_actor: of the last actor they may be fewer.
        num_cpus: that Ray sets aside for each actor.
        actor_class: of the actors.
    """

    def __init__(
        self,
        actor: Actor,
        critic: LocalCritic,
        value_moments: RunningMoments | None,
        seeds: Sequence[int],
        *,
        clients_per_actor: int,
        num_cpus: float,
        actor_class: type[ClientActor] = ClientActor,
    ) -> None:
        self.actor, self.critic, self.value_moments, self.seeds = (
            actor, critic, value_moments, seeds,
        )  # fmt: skip
        self.weights = {
            name: rows_by_group([*network.parameters()])[0]
            for name, network in ((ACTOR, actor), (CRITIC, critic))
        }
        ends = [*range(0, len(seeds), clients_per_actor), len(seeds)]
        self._blocks = list(pairwise(ends))
        remote = ray.remote(num_cpus=num_cpus)(actor_class)
        self._actors = [
            remote.remote(
                actor.spec.model_copy(update={"agents": actor.spec.agents[begin:end]}),
                value_moments is not None,
                seeds[begin:end],
            )
            for begin, end in self._blocks
        ]

    def anchor(self, name: str, weights: Tensor) -> None:
        """Keep a network near these weights ``[N, P]``, see :meth:`AgentBlock.anchor`."""
        ray.get([
            client.anchor.remote(name, weights[begin:end].clone())
            for client, (begin, end) in zip(self._actors, self._blocks, strict=True)
        ])  # fmt: skip

    def learn(self, fragments: Rows, lesson: Lesson) -> list[Terms]:
        """Have all actors learn from fragments of their clients, see :meth:`AgentBlock.learn`."""
        found = ray.get([
            self.ask(k, "learn", fragments, lesson) for k in range(len(self._actors))
        ])  # fmt: skip
        return [terms for k, one in enumerate(found) for terms in self.take(k, one)]

    def actors(self) -> list[tuple[Any, tuple[int, int]]]:
        """Return each actor, and which clients it has: the first, and the one after the last."""
        return [*zip(self._actors, self._blocks, strict=True)]

    def ask(self, k: int, method: str, fragments: Rows, lesson: Lesson) -> Any:
        """Ask an actor to learn from the fragments of its clients, by one of its methods."""
        begin, end = self._blocks[k]
        return getattr(self._actors[k], method).remote(
            {name: c.contiguous() for name, c in part_of(fragments, begin, end).items()},
            lesson,
            {name: values[begin:end].clone() for name, values in _learned(self).items()},
        )

    def take(self, k: int, found: tuple[Learned, list[Terms]]) -> list[Terms]:
        """Take over what an actor has learned; return the terms of its loss."""
        (learned, history), (begin, end) = found, self._blocks[k]
        own = _learned(self)
        for name, values in learned.items():
            own[name][begin:end] = values
        return history

    def get_state(self) -> dict[str, Any]:
        """Return the states of all actors."""
        return {"actors": ray.get([client.get_state.remote() for client in self._actors])}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from where ``state`` was taken, with as many clients per actor."""
        ray.get([
            client.set_state.remote(own)
            for client, own in zip(self._actors, state["actors"], strict=True)
        ])  # fmt: skip


def _learned(own: AgentBlock | ClientActors) -> Learned:
    """Return views of weights and moments, by name."""
    learned = dict(own.weights)
    for name, moments in (("seen", own.actor.normaliser), ("returns", own.value_moments)):
        if moments is not None:
            learned |= {f"{name}.{part}": buffer for part, buffer in moments.named_buffers()}
    return learned
