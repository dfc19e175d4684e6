"""From sampled fragments to the rows of a train batch, and from these to minibatches."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor

from edge_marl.algorithms.mappo.gae import (
    episode_ends,
    generalised_advantages,
    standardised,
    team_ends,
)
from edge_marl.algorithms.sampling.columns import Fragment

_SEEN = (Fragment.FEATURES, Fragment.ACTION_MASK, Fragment.STATE)
_PLAYED = (Fragment.ACTIONS, Fragment.ACTION_LOGP, Fragment.ACTION_DIST_INPUTS)


def learning_targets(
    fragments: dict[str, Tensor],
    values: Tensor,
    *,
    gamma: float,
    lambda_: float,
    shared_reward: bool,
    shared_end: bool,
) -> dict[str, Tensor]:
    """Advantages and value targets of every step of every agent.

    Args:
        fragments: columns named and shaped as in :class:`Fragment`.
        values: ``[B, T+1, N]`` of every observation, in units of the return.
        gamma: discount, once per step or as often as the fragments say.
        lambda_: decay of the advantages' sum, as often as the discount.
        shared_reward: every agent earns the sum of the rewards of all.
        shared_end: the episode of every agent lasts as long as the team's, so that one that
            leaves is credited with what its team earns afterwards. Only for values that know of
            the whole team.

    Returns:
        ``ADVANTAGES``, ``VALUE_TARGETS`` and, for the steps that count, ``LOSS_MASK``, each
        ``[B, T, N]``; advantages are standardised over the steps that count.
    """
    active, terminated = fragments[Fragment.ACTIVE], fragments[Fragment.TERMINATED]
    truncated, rewards = fragments[Fragment.TRUNCATED], fragments[Fragment.REWARDS]
    counts = fragments[Fragment.VALID][..., None] & active[:, :-1]
    if shared_reward:
        rewards = rewards.sum(-1, keepdim=True).expand_as(rewards)
    if shared_end:
        terminated, over = team_ends(terminated, truncated, active)
    else:
        over = episode_ends(terminated, truncated, active)
    elapsed: float | Tensor = 1.0
    if Fragment.ELAPSED in fragments:
        elapsed = fragments[Fragment.ELAPSED][..., None]
    advantages = generalised_advantages(
        rewards, values, terminated, over, gamma=gamma**elapsed, lambda_=lambda_**elapsed
    )
    return {
        Postprocessing.ADVANTAGES: standardised(advantages, counts),
        Postprocessing.VALUE_TARGETS: advantages + values[:, :-1],
        Columns.LOSS_MASK: counts,
    }


def joint_steps(fragments: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rows of single joint steps ``[R, N, ...]``: those of the fragments that were played."""
    valid = fragments[Fragment.VALID]
    rows = {name: fragments[name][:, :-1][valid] for name in _SEEN}
    rows.update({name: fragments[name][valid] for name in _PLAYED if name in fragments})
    rows.update({name: column[valid] for name, column in targets.items()})
    return _without_idle_mask(rows)


def whole_fragments(fragments: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rows of whole fragments ``[B, T, N, ...]``, for networks with a memory."""
    rows = {name: fragments[name][:, :-1] for name in (*_SEEN, Fragment.FIRST)}
    played = (*_PLAYED, Fragment.HIDDEN)
    rows.update({name: fragments[name] for name in played if name in fragments})
    return _without_idle_mask({**rows, **targets})


def _without_idle_mask(rows: dict[str, Tensor]) -> dict[str, Tensor]:
    # Selecting by a mask that is true everywhere would cost time and change nothing.
    if rows[Columns.LOSS_MASK].all():
        del rows[Columns.LOSS_MASK]
    return rows


def minibatches(
    rows: dict[str, Tensor], size: int | None, n_epochs: int
) -> Iterator[dict[str, Tensor]]:
    """Every row once per epoch in a new random order, in parts of nearly equal size.

    Args:
        rows: columns of R rows.
        size: about how many rows a minibatch has; all when None.
        n_epochs: passes over the rows.
    """
    R = len(rows[Columns.ACTIONS])
    n_parts = max(1, round(R / size)) if size else 1
    for _ in range(n_epochs):
        for part in torch.randperm(R).to(rows[Columns.ACTIONS].device).chunk(n_parts):
            yield {name: column.index_select(0, part) for name, column in rows.items()}
