"""The guard of the online phase: what is significantly worse than before is not deployed."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from edge_marl.algorithms.actors import drawn
from edge_marl.algorithms.networks.agents import Actor
from edge_marl.algorithms.o2o.losses import masked_policy
from edge_marl.envs.batched import BatchedEnv
from edge_marl.random_stream import uniforms

SIGNIFICANCE = 0.05
_FIRST_SEED, _SEEDS = 3 * 2**29, 2**29
"""Seeds of checks: away from those of training (above) and of evaluation (below)."""
_DRAWS = 2**53
"""Counters of an episode's stream from here on are the actors' (environments: below)."""


def check_seeds(n_checks: int, n_episodes: int) -> NDArray[np.int64]:
    """Episodes of the next check, after ``n_checks``: ever new ones, or one would fit to them."""
    first = _FIRST_SEED + n_checks * n_episodes % _SEEDS
    return first + np.arange(n_episodes, dtype=np.int64)


@torch.inference_mode()
def sampled_returns(actor: Actor, env: BatchedEnv, seeds: NDArray[np.int64]) -> NDArray[np.float64]:
    """``[B]`` the agents' rewards of whole episodes together, actions sampled as when deployed.

    Args:
        actor: with or without a memory.
        env: of B episodes.
        seeds: ``[B]`` of the episodes and of the sampling.
    """
    N = len(env.agents)
    observation = env.reset(seeds)
    hidden = actor.initial_hidden(env.batch_size) if actor.is_recurrent else None
    returns = np.zeros(env.batch_size)
    for step in itertools.count():
        if env.done.all():
            return returns
        mask = torch.from_numpy(observation.action_mask)
        outputs, hidden = actor(torch.from_numpy(observation.features), mask, hidden)
        random = torch.from_numpy(uniforms(seeds, _DRAWS + step * N, N))[..., None]
        actions = drawn(masked_policy(outputs, mask).probabilities, random).squeeze(-1)
        playing = ~env.done
        transition = env.step(actions.numpy())
        returns[playing] += transition.reward[playing].sum(axis=1)
        observation = transition.observation
    raise AssertionError("episodes end")


def significantly_worse(candidate: NDArray[np.float64], deployed: NDArray[np.float64]) -> bool:
    """Whether returns ``[B]`` of the same episodes are lower: paired t-test, one-sided, 5%."""
    if (candidate == deployed).all():
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # equal differences are very significant
        test = stats.ttest_rel(candidate, deployed, alternative="less")
    return bool(test.pvalue < SIGNIFICANCE)
