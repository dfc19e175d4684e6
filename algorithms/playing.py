"""Play whole episodes of actors in a batched environment."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_marl.algorithms.actors import decide, is_stochastic
from edge_marl.algorithms.networks.agents import Actor
from edge_marl.envs import module_of
from edge_marl.envs.batched import BatchedEnv
from edge_marl.errors import InputError
from edge_marl.random_stream import uniforms
from edge_marl.seeds import ACTION_DRAWS

_MOST_STEPS = 10_000


def longest_episode(env: str, asked: int | None = None) -> int | None:
    """Return the number of steps after which an evaluation episode is cut off.

    Args:
        env: the environment by name.
        asked: how many the user wants.

    Returns:
        10,000 if the user does not say; None, no bound, in environments of this project, whose
        episodes all end.

    Raises:
        InputError: for a bound on episodes of such an environment.
    """
    if module_of(env) is None:
        return asked or _MOST_STEPS
    if asked is not None:
        raise InputError(f"max_episode_steps: episodes of {env} end by themselves, found {asked}")
    return None


def no_check() -> None:
    """Do nothing; this is the check of a caller that nothing stops."""


class Episodes(NamedTuple):
    """Hold the outcomes of B episodes."""

    returns: NDArray[np.float64]
    """``[B]``: rewards of all agents together."""
    lengths: NDArray[np.float64]
    """``[B]``: steps."""
    cut: NDArray[np.bool_]
    """``[B]``: had not ended after the greatest number of steps."""


def action_uniforms(seeds: NDArray[np.int64], step: int, n_agents: int) -> Tensor:
    """Return uniform numbers ``[B, N]`` in [0, 1) to draw the actions of one step with."""
    return torch.from_numpy(uniforms(seeds, ACTION_DRAWS.start + step * n_agents, n_agents))


@torch.inference_mode()
def play_batch(
    actor: Actor,
    env: BatchedEnv,
    seeds: NDArray[np.int64],
    *,
    sampled: bool,
    max_steps: int | None = None,
    check: Callable[[], None] = no_check,
) -> Episodes:
    """Play one episode per slot of ``env`` to its end, every agent by its own observation alone.

    Args:
        actor: the agents, with or without a memory.
        env: B episodes; its metrics are those of the played episodes afterwards.
        seeds: ``[B]`` of the episodes, and of the draws of actions.
        sampled: see :func:`edge_marl.algorithms.actors.decide`. Draws depend on the episode's seed
            alone: the same episode goes the same way in any batch.
        max_steps: cut episodes off after so many; None: never.
        check: called before every step; an exception that it raises ends the episodes.
    """
    B, N = env.batch_size, len(env.agents)
    observation = env.reset(seeds)
    hidden = actor.initial_hidden(B) if actor.is_recurrent else None
    returns, lengths = np.zeros(B), np.zeros(B)
    for step in itertools.count():
        if env.done.all() or step == max_steps:
            break
        check()
        features = torch.from_numpy(observation.features)
        mask = torch.from_numpy(observation.action_mask)
        outputs, hidden = actor(features, mask, hidden)
        random = action_uniforms(seeds, step, N) if is_stochastic(actor, sampled=sampled) else 0.5
        decision = decide(actor, features, outputs, mask, random, sampled=sampled)
        playing = ~env.done
        transition = env.step(decision.played)
        returns += transition.reward.sum(axis=1)
        lengths += playing
        observation = transition.observation
    return Episodes(returns, lengths, ~env.done)
