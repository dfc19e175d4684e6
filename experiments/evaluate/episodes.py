"""Play episodes of actors in any batched environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_marl.errors import InputError
from edge_marl.seeds import EVALUATION_SEEDS, VALIDATION_SEEDS

if TYPE_CHECKING:
    from edge_marl.algorithms.actors import Actor, ActorSpec
    from edge_marl.envs.batched import BatchedEnv

FloatArray = NDArray[np.float64]

BATCH = 32
"""Episodes at a time; an environment from elsewhere is copied as often."""

RETURN, LENGTH = "return", "length"
CUT = "cut"
"""Whether an episode was cut off; where none was, there is no such metric."""


def play(
    actor: Actor,
    env: BatchedEnv,
    seeds: NDArray[np.int64],
    *,
    sampled: bool = False,
    max_steps: int | None = None,
    check: Callable[[], None] | None = None,
) -> dict[str, FloatArray]:
    """Play one episode per seed; every agent decides by its own observation alone.

    Args:
        actor: the agents.
        env: B episodes at a time.
        seeds: ``[K]``.
        sampled, max_steps, check: see :func:`edge_marl.algorithms.playing.play_batch`.

    Returns:
        ``[K]`` by name: ``return`` (all agents together), ``length`` (steps) and the domain
        metrics of the environment, NaN for an episode that was cut off; and ``cut`` (0 or 1) if
        there was such an episode.

    Raises:
        InputError: if the actor does not fit the environment.
    """
    # This imports RLlib, which is not needed to read a report.
    from edge_marl.algorithms.playing import no_check, play_batch

    check_fit(actor, env)
    batches = []
    for start in range(0, len(seeds), env.batch_size):
        own = seeds[start : start + env.batch_size]
        # The last batch is filled up; what fills it is played and forgotten.
        filled = np.concatenate([own, np.repeat(own[:1], env.batch_size - len(own))])
        played = play_batch(
            actor, env, filled, sampled=sampled, max_steps=max_steps, check=check or no_check
        )
        batch = {
            RETURN: played.returns,
            LENGTH: played.lengths,
            CUT: played.cut.astype(np.float64),
            **_spread(env.metrics(~played.cut), ~played.cut),
        }
        batches.append({name: values[: len(own)] for name, values in batch.items()})
    if not any(batch[CUT].any() for batch in batches):
        batches = [{name: batch[name] for name in batch if name != CUT} for batch in batches]
    names = dict.fromkeys(name for batch in batches for name in batch)
    missing = np.full(env.batch_size, np.nan)
    return {
        name: np.concatenate([batch.get(name, missing[: len(batch[RETURN])]) for batch in batches])
        for name in names
    }


def _spread(
    metrics: Mapping[str, NDArray[Any]], where: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    """Spread metrics ``[K]`` of the K episodes ``where [B]`` to ``[B]``, NaN for the others."""
    if where.all():
        return dict(metrics)
    spread = {name: np.full(len(where), np.nan) for name in metrics}
    for name, values in metrics.items():
        spread[name][where] = values
    return spread


def cut_note(policy: str, n_cut: float, n_episodes: int, longest: int | None) -> str:
    """Return the note, printed below a table, that episodes of a policy were cut off."""
    return (
        f"{policy}: {n_cut:.0f} of {n_episodes} episodes had not ended after {longest:,} steps "
        "and were cut off; --max-episode-steps changes that"
    )


def evaluation_seeds(n: int) -> NDArray[np.int64]:
    """Return ``[n]`` seeds of evaluation episodes; a smaller set is the start of a larger one."""
    return np.array(EVALUATION_SEEDS[:n], dtype=np.int64)


def validation_seeds(n: int) -> NDArray[np.int64]:
    """Return ``[n]`` seeds of episodes that choose between weights, and so judge none of them."""
    return np.array(VALIDATION_SEEDS[:n], dtype=np.int64)


def check_fit(actor: Actor, env: BatchedEnv | ActorSpec) -> None:
    """Refuse agents whose names, observations or actions are not those of an environment.

    Args:
        actor: the agents.
        env: the environment, or agents that were made for it.

    Raises:
        InputError: naming what differs.
    """
    from edge_marl.algorithms.actors import ActorSpec

    spec = actor.spec
    of_env = (env.n_actions, env.boxes) if isinstance(env, ActorSpec) else tuple(env.action_spec)
    for what, expected, found in (
        ("agents", tuple(env.agents), tuple(spec.agents)),
        ("observation shape", tuple(env.observation_shape), tuple(spec.observation_shape)),
        ("actions", of_env[0], spec.n_actions),
        ("bounds of vectors", of_env[1], spec.boxes),
    ):
        if expected != found:
            raise InputError(f"checkpoint: {what}: the environment has {expected}, found {found}")
