"""Let every agent's learner work at its own pace, in a Ray actor of its own.

The learners never wait for one another. Each has up to two turns before it: one that it is at, and
one that it goes on with. A turn is a batch's worth of updates, with what the agent has decided
since the last one. Whoever is slow makes fewer turns, with more experience in each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray.exceptions import RayActorError, RayTaskError

from edge_marl.algorithms.core.learner import Terms
from edge_marl.algorithms.core.optimiser import rows_by_group
from edge_marl.algorithms.cto.block import Lesson, networks
from edge_marl.algorithms.cto.critics import JointCritic
from edge_marl.algorithms.cto.everyone import Everyone
from edge_marl.algorithms.cto.exchange import start_shared_replay
from edge_marl.algorithms.cto.worker import (
    DecisionWorker,
    Design,
    Turn,
    parts_of,
)
from edge_marl.algorithms.networks.agents import Actor
from edge_marl.algorithms.networks.normalisation import RunningMoments
from edge_marl.algorithms.replay.columns import AgentTransition, DecisionTransition
from edge_marl.algorithms.replay.transitions import Columns
from edge_marl.json_files import json_lines, json_text

_QUEUED = 2
"""Turns of a learner that are asked for at a time."""
_MOST_WAITING = 64
"""Batches that wait for a learner; older ones are left out."""
_LOG = "turns.jsonl"


def read_turns(folder: Path) -> list[dict[str, Any]]:
    """Return the turns of learners that keep their states in a folder, in the order of their ends.

    Each has the ``agent``, its ``version`` afterwards, those of ``others`` that its targets were
    told of, ``began_s`` and ``ended_s`` by the clock, and how many ``updates`` it was.
    """
    return [turn for _, turn in json_lines(folder / _LOG)]


class DecisionPool:
    """Train agents that share no parameters like a :class:`.DecisionBlock`, each at its own pace.

    Args:
        actor: of all agents; it is kept up to date, and so are the next two.
        critics: none, one or two.
        state_moments: ``[N, S]``.
        seeds: of each agent's stream.
        design: of the learners.
        barrier: whether a batch is learned from by all before the next is played.
        num_cpus: that Ray sets aside for each learner.
    """

    def __init__(
        self,
        actor: Actor,
        critics: Sequence[JointCritic],
        state_moments: RunningMoments,
        seeds: Sequence[int],
        design: Design,
        *,
        barrier: bool,
        num_cpus: float,
    ) -> None:
        self.actor, self.critics, self.state_moments = actor, critics, state_moments
        self._everyone = Everyone(actor, critics, state_moments)
        self._num_cpus = num_cpus
        self.seeds, self._design, self._barrier = seeds, design, barrier
        self.n_agents = len(seeds)
        self.weights = {
            name: rows_by_group([*network.parameters()])[0]
            for name, network in networks(actor, critics).items()
        }
        self.versions = [0] * self.n_agents
        """Turns that each agent's policy has learned in."""
        self._inboxes: list[deque[Columns]] = [deque(maxlen=_MOST_WAITING) for _ in seeds]
        self._turns: dict[Any, tuple[int, list[int] | None]] = {}
        """The agent, and the versions of all that its targets are told of, by what was asked."""
        self._workers: list[Any] = []
        self._staleness: list[int] = []
        self._n_lost = 0

    def start(self, folder: Path) -> None:
        """Start the learners, which keep their states in a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self._log = (folder / _LOG).open("a")
        remote = ray.remote(num_cpus=self._num_cpus, max_restarts=-1, scheduling_strategy="SPREAD")(
            DecisionWorker
        )
        design = self._design
        if design.global_capacity:
            seed = self.seeds[0] % 2**31
            self._shared = start_shared_replay(design.global_capacity, self.n_agents, seed)
            design = design._replace(shared=self._shared)
        self._workers = [
            remote.remote(k, seed, design, folder / f"learner_{k}.safetensors")
            for k, seed in enumerate(self.seeds)
        ]
        ray.get([
            worker.begin.remote({name: part.clone() for name, part in parts_of(self, k).items()})
            for k, worker in enumerate(self._workers)
        ])  # fmt: skip

    def learn(self, transitions: Columns, lesson: Lesson) -> list[Terms]:
        """Give transitions to their agents' learners, and take over what these have learned.

        It waits until there is one at least that needs more, or for all if there is a barrier.

        Args:
            transitions: columns of :class:`.DecisionTransition`.
            lesson: how.

        Returns:
            The terms of the losses of those whose turns have ended.
        """
        for k in range(self.n_agents):
            own = transitions[AgentTransition.NODE] == k
            if own.any():
                self._inboxes[k].append({name: c[own] for name, c in transitions.items()})
        others = None
        if self._design.of_team or transitions[DecisionTransition.OTHER_ACTIONS].shape[-1]:
            others = ray.put(self._everyone.state_dict())
        queued = [k for k, _ in self._turns.values()]
        for k, worker in enumerate(self._workers):
            if queued.count(k) < _QUEUED:
                asked = worker.learn.remote(self._waiting(k), lesson, others)
                self._turns[asked] = k, [*self.versions] if others else None
        if self._barrier:
            return self._take(len(self._turns))
        history = self._take(0)
        while len(self._turns) == _QUEUED * self.n_agents:
            history += self._take(1)
        return history

    def _waiting(self, k: int) -> Columns | None:
        """Return what waits for an agent's learner; None if nothing does."""
        parts = [*self._inboxes[k]]
        self._inboxes[k].clear()
        if not parts:
            return None
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _take(self, n: int) -> list[Terms]:
        """Wait for n turns, and take over what came of all that have ended."""
        if not self._turns:
            return []
        ray.wait([*self._turns], num_returns=max(n, 1), timeout=None if n else 0)
        ready, _ = ray.wait([*self._turns], num_returns=len(self._turns), timeout=0)
        history: list[Terms] = []
        for one in ready:
            k, used = self._turns.pop(one)
            try:
                turn: Turn = ray.get(one)
            except RayActorError:  # it is started again, and begins with its last turn
                self._n_lost += 1
                continue
            except RayTaskError as error:
                raise error.as_instanceof_cause() from None
            for name, part in parts_of(self, k).items():
                part.copy_(turn.learned[name])
            if used:
                self._staleness += [self.versions[j] - used[j] for j in range(len(used)) if j != k]
            self.versions[k] += 1
            history += turn.terms
            self._log.write(json_text({
                "agent": k, "version": self.versions[k], "others": used,
                "began_s": turn.began_s, "ended_s": turn.ended_s, "updates": len(turn.terms),
            }) + "\n")  # fmt: skip
        self._log.flush()
        return history

    def report(self) -> dict[str, float]:
        """Return how stale the policies were, in turns, that targets were told of, and more."""
        stale, self._staleness = self._staleness, []
        found = {"turns_lost": float(self._n_lost)}
        if stale:
            found |= {"staleness_mean": float(np.mean(stale)), "staleness_max": float(max(stale))}
        return found

    def settle(self) -> list[Terms]:
        """Wait for all turns."""
        return self._take(len(self._turns))

    def close(self) -> None:
        """End the learners, before their folder goes."""
        for worker in self._workers:
            ray.kill(worker)
        if self._workers:
            self._log.close()

    # Checkpoints ---------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Return the states of all learners, whose turns have to be over, and what waits.

        What they share is not part of it: it is given anew.
        """
        return {
            "workers": ray.get([worker.get_state.remote() for worker in self._workers]),
            "inboxes": [[*inbox] for inbox in self._inboxes],
            "versions": [*self.versions],
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from where ``state`` was taken."""
        ray.get([
            worker.set_state.remote(own)
            for worker, own in zip(self._workers, state["workers"], strict=True)
        ])  # fmt: skip
        for inbox, kept in zip(self._inboxes, state["inboxes"], strict=True):
            inbox.clear()
            inbox.extend(kept)
        self.versions = [*state["versions"]]
