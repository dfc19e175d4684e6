"""Episodes of actors in any batched environment."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_marl.errors import InputError
from edge_marl.random_stream import uniforms

if TYPE_CHECKING:
    from edge_marl.algorithms.actors import Actor
    from edge_marl.envs.batched import BatchedEnv

FloatArray = NDArray[np.float64]

BATCH = 32
"""Episodes at a time; an environment from elsewhere is copied as often."""

RETURN, LENGTH = "return", "length"

_FIRST_SEED = 2**30
_FIRST_VALIDATION_SEED = 2**28
"""Training episodes have seeds from 2^31 on, what guards a training from 1.5 times 2^30 on."""

_ACTION_DRAWS = 2**53
"""Counters of an episode's stream from here on are the actors' (environments: below)."""


def play(
    actor: Actor, env: BatchedEnv, seeds: NDArray[np.int64], *, sampled: bool = False
) -> dict[str, FloatArray]:
    """Play one episode per seed, every agent by its own observation alone.

    Args:
        actor: the agents.
        env: B episodes at a time.
        seeds: ``[K]``.
        sampled: draw actions from the softmax of the outputs, which have to be logits, instead of
            taking the largest. Draws depend on the episode's seed alone: the same episode goes
            the same way in any batch.

    Returns:
        ``[K]`` by name: ``return`` (all agents together), ``length`` (steps) and the domain
        metrics of the environment.

    Raises:
        InputError: if the actor is not of this environment.
    """
    check_fit(actor, env)
    batches = []
    for start in range(0, len(seeds), env.batch_size):
        own = seeds[start : start + env.batch_size]
        # The last batch is filled up; what fills it is played and forgotten.
        filled = np.concatenate([own, np.repeat(own[:1], env.batch_size - len(own))])
        batch = _play_batch(actor, env, filled, sampled)
        batches.append({name: values[: len(own)] for name, values in batch.items()})
    names = dict.fromkeys(name for batch in batches for name in batch)
    missing = np.full(env.batch_size, np.nan)
    return {
        name: np.concatenate([batch.get(name, missing[: len(batch[RETURN])]) for batch in batches])
        for name in names
    }


def evaluation_seeds(n: int) -> NDArray[np.int64]:
    """``[n]`` seeds of evaluation episodes; a smaller set is the beginning of a larger one."""
    return np.arange(_FIRST_SEED, _FIRST_SEED + n, dtype=np.int64)


def validation_seeds(n: int) -> NDArray[np.int64]:
    """``[n]`` seeds of episodes that choose between weights, and therefore judge none of them."""
    return np.arange(_FIRST_VALIDATION_SEED, _FIRST_VALIDATION_SEED + n, dtype=np.int64)


def check_fit(actor: Actor, env: BatchedEnv) -> None:
    """Refuse agents of other observations or actions than those of an environment.

    Raises:
        InputError: naming what differs.
    """
    spec = actor.spec
    for what, expected, found in (
        ("agents", tuple(env.agents), tuple(spec.agents)),
        ("observation shape", tuple(env.observation_shape), tuple(spec.observation_shape)),
        ("actions", env.n_actions, spec.n_actions),
    ):
        if expected != found:
            raise InputError(f"checkpoint: {what}: the environment has {expected}, found {found}")


def _play_batch(
    actor: Actor, env: BatchedEnv, seeds: NDArray[np.int64], sampled: bool
) -> Mapping[str, FloatArray]:
    import torch

    from edge_marl.algorithms.actors import drawn, greedy
    from edge_marl.algorithms.networks import MASKED

    B, N = env.batch_size, len(env.agents)
    observation = env.reset(seeds)
    hidden: Any = actor.initial_hidden(B) if actor.is_recurrent else None
    returns, length = np.zeros(B), np.zeros(B)
    with torch.inference_mode():
        for step in itertools.count():
            if env.done.all():
                break
            mask = torch.from_numpy(observation.action_mask)
            outputs, hidden = actor(torch.from_numpy(observation.features), mask, hidden)
            if sampled:
                draws = torch.from_numpy(uniforms(seeds, _ACTION_DRAWS + step * N, N))
                probabilities = torch.softmax(outputs.masked_fill(~mask, MASKED), dim=-1)
                actions = drawn(probabilities, draws[..., None]).squeeze(-1)
            else:
                actions = greedy(outputs, mask)
            playing = ~env.done
            transition = env.step(actions.numpy())
            returns += transition.reward.sum(axis=1)
            length += playing
            observation = transition.observation
    everywhere = np.ones(B, dtype=np.bool_)
    return {RETURN: returns, LENGTH: length, **env.metrics(everywhere)}
