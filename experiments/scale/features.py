"""Statistics of the attention feature over cluster sizes (Table 5)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from edge_marl.algorithms.actors import decide
from edge_marl.algorithms.networks.agents import Actor
from edge_marl.algorithms.playing import action_draws
from edge_marl.algorithms.scale.srr import kl_to_standard_normal, mean_off_diagonal
from edge_marl.envs.batched import BatchedEnv
from edge_marl.experiments.evaluate.episodes import evaluation_seeds

_STEPS = 200
"""Decisions per episode that features are taken from."""


class FeatureStatistics(NamedTuple):
    """Of the features ``f [K, d]`` of one policy in one scenario."""

    off_diagonal_covariance: float
    """Mean of ``|C_ij|`` for i other than j."""
    kl: float
    """To the standard normal, ``L_d``."""
    mean: list[float]
    """``[d]``"""
    variance: list[float]
    """``[d]``"""


@torch.inference_mode()
def feature_statistics(actor: Actor, env: BatchedEnv) -> FeatureStatistics:
    """Play the beginning of test episodes and look at what decisions are made from."""
    actor = actor.resized(env.n_actions - 1)
    seeds = evaluation_seeds(env.batch_size)
    observation = env.reset(seeds)
    seen = []
    for step in range(_STEPS):
        mask = torch.from_numpy(observation.action_mask)
        outputs, features = actor.with_representation(torch.from_numpy(observation.features), mask)
        playing = torch.from_numpy(~env.done)[:, None] & (mask.sum(-1) > 1)
        seen.append(features[playing].clone())
        random = action_draws(seeds, step, len(env.agents))
        observation = env.step(decide(actor, outputs, mask, random).numpy()).observation
        if env.done.all():
            break
    f = torch.cat(seen).double()
    return FeatureStatistics(
        float(mean_off_diagonal(f)),
        float(kl_to_standard_normal(f)),
        np.asarray(f.mean(0)).tolist(),
        np.asarray(f.var(0)).tolist(),
    )
