"""Episodes of actors in any batched environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_marl.errors import InputError

if TYPE_CHECKING:
    from edge_marl.algorithms.actors import Actor, ActorSpec
    from edge_marl.envs.batched import BatchedEnv

FloatArray = NDArray[np.float64]

BATCH = 32
"""Episodes at a time; an environment from elsewhere is copied as often."""

RETURN, LENGTH = "return", "length"

_FIRST_SEED = 2**30
_FIRST_VALIDATION_SEED = 2**28
"""Training episodes have seeds from 2^31 on, what guards a training from 1.5 times 2^30 on."""


def play(
    actor: Actor, env: BatchedEnv, seeds: NDArray[np.int64], *, sampled: bool = False
) -> dict[str, FloatArray]:
    """Play one episode per seed, every agent by its own observation alone.

    Args:
        actor: the agents.
        env: B episodes at a time.
        seeds: ``[K]``.
        sampled: see :func:`edge_marl.algorithms.playing.play_batch`.

    Returns:
        ``[K]`` by name: ``return`` (all agents together), ``length`` (steps) and the domain
        metrics of the environment.

    Raises:
        InputError: if the actor is not of this environment.
    """
    # RLlib comes with it: who only reads a report needs none of that.
    from edge_marl.algorithms.playing import play_batch

    check_fit(actor, env)
    batches = []
    for start in range(0, len(seeds), env.batch_size):
        own = seeds[start : start + env.batch_size]
        # The last batch is filled up; what fills it is played and forgotten.
        filled = np.concatenate([own, np.repeat(own[:1], env.batch_size - len(own))])
        played = play_batch(actor, env, filled, sampled=sampled)
        everywhere = np.ones(env.batch_size, dtype=np.bool_)
        batch = {RETURN: played.returns, LENGTH: played.lengths, **env.metrics(everywhere)}
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


def check_fit(actor: Actor, env: BatchedEnv | ActorSpec) -> None:
    """Refuse agents of other observations or actions than those of an environment.

    Args:
        actor: the agents.
        env: the environment, or agents that were made for it.

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
