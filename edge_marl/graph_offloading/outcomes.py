"""Count how tasks end, and credit it to those who decided on them."""

from __future__ import annotations

from typing import Any

from edge_marl.compiled import compiled
from edge_marl.graph_offloading import pool
from edge_marl.graph_offloading.records import NOBODY, Status
from edge_marl.graph_offloading.rewards import OWN, SPARSE

_DOOMED, _FINISHED, _FAILED = (
    int(status) for status in (Status.DOOMED, Status.FINISHED, Status.FAILED)
)
_NOBODY = NOBODY
_OWN, _SPARSE = OWN, SPARSE


@compiled
def lose(t: Any, n: Any, task: Any, status: Any, parameters: Any, episode: Any) -> None:
    """Lose a task in tick t at node n, or on its way to it.

    Where nobody has decided on it, the node is to blame that had no place or no time for it; for
    its own failure it is not.
    """
    this, rewards = episode.tasks[task], parameters.rewards
    if rewards.kind == _SPARSE:
        pay(n, -rewards.utility, parameters, episode)
    to_blame = this.status != _DOOMED and status != _FAILED
    if rewards.kind == _OWN and this.decision == _NOBODY and to_blame:
        _credit(t, t, n, -1.0, parameters, episode)
    end(t, task, status, parameters, episode)


@compiled
def end(t: Any, task: Any, status: Any, parameters: Any, episode: Any) -> None:
    """Count the fate of a task, tell everyone who decided on it, and free its place."""
    episode.counts.outcomes[status] += 1
    if status != _FINISHED:
        credit_all(t, task, -1.0, parameters, episode)
    elif parameters.rules.deadline_ends_all:
        credit_all(t, task, 1.0, parameters, episode)
    pool.free(task, episode.tasks, episode.decisions, episode.lists)


@compiled
def credit_all(t: Any, task: Any, amount: Any, parameters: Any, episode: Any) -> None:
    """Credit the outcome of a task, certain in tick t, to everyone who decided on it."""
    if parameters.rewards.kind != _OWN:
        return
    this = episode.tasks[task]
    place = this.decision
    while place != _NOBODY:
        decision = episode.decisions[place]
        here = episode.nodes[decision.node]
        if here.credited != this.number:  # its last decision on the task
            here.credited = this.number
            _credit(t, decision.tick, decision.node, amount, parameters, episode)
        place = decision.before


@compiled
def _credit(t: Any, tick: Any, n: Any, amount: Any, parameters: Any, episode: Any) -> None:
    """Pay in tick t for what an agent did in an earlier tick: at once, or a fixed time after it."""
    delay = parameters.rewards.delay
    if delay == 0:
        pay(n, amount, parameters, episode)
    elif t - tick < delay:
        a = parameters.nodes[n].agent
        if a != _NOBODY:
            episode.due[tick % delay, a] += amount * parameters.rewards.discount ** (t - tick)


@compiled
def pay(n: Any, amount: Any, parameters: Any, episode: Any) -> None:
    """Add to the reward of the agent of node n, if it has one."""
    a = parameters.nodes[n].agent
    if a != _NOBODY:
        episode.reward[a] += amount
