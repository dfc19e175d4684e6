"""Learn for one agent in a Ray actor, which goes on from its last turn if it dies."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from edge_marl.algorithms.cto.block import DecisionBlock, Lesson
from edge_marl.algorithms.cto.critics import CriticSpec, JointCritic
from edge_marl.algorithms.cto.everyone import Everyone
from edge_marl.algorithms.cto.exchange import RemoteExchange
from edge_marl.algorithms.networks.agents import Actor
from edge_marl.algorithms.networks.normalisation import RunningMoments
from edge_marl.algorithms.networks.spec import ActorSpec
from edge_marl.algorithms.replay.transitions import Columns
from edge_marl.algorithms.tensor_files import read_nested, write_nested

Learned = dict[str, Tensor]
"""What a learner has learned, by name: weights ``[P]`` and moments."""


class Design(NamedTuple):
    """Say how learners of single agents are made."""

    spec: ActorSpec
    """Of all agents."""
    critics: tuple[CriticSpec, ...]
    """Of one agent."""
    values: bool
    """Whether choices are made by values."""
    of_team: bool
    """Whether values are the team's, see :class:`.DecisionStream`."""
    capacity: int
    """Transitions that each keeps."""
    slowness: tuple[int, ...]
    """``[N]``: how many times as long as it has to each works."""
    global_capacity: int
    """Transitions that all share; 0: nothing is shared."""
    shared: Any = None
    """Handle of the replay for these."""


class Turn(NamedTuple):
    """Hold what came of a turn of a learner."""

    learned: Learned
    """Networks and moments of its actor."""
    terms: list[dict[str, Tensor]]
    """Of the loss, in every update."""
    began_s: float
    """By the clock of its machine."""
    ended_s: float


class DecisionWorker:
    """Hold the learner of one agent.

    After every turn its networks, targets and optimisers are on disk, and it begins with these if
    Ray starts it again. What it kept to learn from is lost then; it learns again once it has kept
    a minibatch.

    Args:
        agent: which one.
        seed: of its stream.
        design: how it is made.
        path: of its file.
    """

    def __init__(self, agent: int, seed: int, design: Design, path: Path) -> None:
        torch.set_num_threads(1)
        self._agent, self._path, self._slowness = agent, path, design.slowness[agent]
        N = len(design.spec.agents)
        state_size = design.critics[0].state_size if design.critics else 0

        def critics(n_groups: int) -> list[JointCritic]:
            return [JointCritic(n_groups, spec) for spec in design.critics]

        everyone = Everyone(Actor(design.spec), critics(N), RunningMoments((N, state_size)))
        self._block = DecisionBlock(
            everyone.actor.single(agent), nn.ModuleList(critics(1)),
            RunningMoments((1, state_size)), [seed], capacity=design.capacity,
            values=design.values, of_team=design.of_team, everyone=everyone,
        )  # fmt: skip
        self._is_told = False
        if design.shared is not None:
            self._block.exchange = RemoteExchange(design.shared)
        if path.is_file():
            self.set_state(read_nested(path))

    def begin(self, learned: Learned) -> None:
        """Begin with what actor and critics are at first."""
        self._load(learned)
        self._block.copy_targets()
        self._save()

    def learn(self, transitions: Columns | None, lesson: Lesson, others: Learned | None) -> Turn:
        """Keep transitions, and learn from all that are kept.

        Args:
            transitions: of the agent, or None.
            lesson: how.
            others: of :class:`.everyone.Everyone`, where targets are told of what others do.
        """
        began_s, began = time.time(), time.monotonic()
        if others is not None:
            self._follow(others, lesson)
        terms = self._block.learn(transitions, lesson)
        learned = {name: part.clone() for name, part in self._parts().items()}
        self._save()
        time.sleep((self._slowness - 1) * (time.monotonic() - began))
        return Turn(learned, terms, began_s, time.time())

    @torch.no_grad()
    def _follow(self, others: Learned, lesson: Lesson) -> None:
        """Let the networks of others follow what they are, as far as own targets do in a turn."""
        share = 1.0 - (1.0 - lesson.tau) ** lesson.n_updates if self._is_told else 1.0
        for name, part in self._block.peers.state_dict().items():
            if part.is_floating_point():
                part.lerp_(others[name], share)
            else:
                part.copy_(others[name])
        self._is_told = True

    def get_state(self) -> dict[str, Any]:
        """Return everything, what is kept to learn from included."""
        return self._saved(self._block.get_state())

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from where ``state`` was taken."""
        self._load({name: torch.from_numpy(np.array(c)) for name, c in state["learned"].items()})
        self._block.set_state(state["block"])

    def _save(self) -> None:
        write_nested(self._path, self._saved(self._block.get_state(experience=False)))

    def _saved(self, block: Mapping[str, Any]) -> dict[str, Any]:
        learned = {name: part.numpy().copy() for name, part in self._parts().items()}
        return {"learned": learned, "block": block}

    def _load(self, learned: Learned) -> None:
        own = self._parts()
        for name, part in learned.items():
            own[name].copy_(part)

    def _parts(self) -> Learned:
        """Return views of weights and moments."""
        return parts_of(self._block, 0)


def parts_of(own: Any, k: int) -> Learned:
    """Return views of an agent's weights and moments, by name.

    Args:
        own: a block, or what has its attributes.
        k: the parameter set.
    """
    parts = {name: weights[k] for name, weights in own.weights.items()}
    for name, moments in (("features", own.actor.normaliser), ("state", own.state_moments)):
        if moments is not None:
            parts |= {f"{name}.{part}": buffer[k] for part, buffer in moments.named_buffers()}
    return parts
