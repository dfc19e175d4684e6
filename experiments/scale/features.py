"""Measure statistics of the attention feature over cluster sizes (Table 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_marl.algorithms.actors import decide
from edge_marl.algorithms.networks.agents import Actor
from edge_marl.algorithms.playing import action_uniforms
from edge_marl.algorithms.scale.srr import kl_to_standard_normal, mean_off_diagonal
from edge_marl.envs.batched import BatchedEnv, make_batched
from edge_marl.experiments.study.policies import KIND, Play, actor_of
from edge_marl.experiments.study.units import Columns, Label, Unit

FEATURES = "features"
"""The kind of these units."""

_STEPS = 200
"""Decisions per episode that features are taken from."""


@dataclass(frozen=True, eq=False)
class FeatureStatistics(Unit):
    """Compute statistics of a policy's features ``f [K, d]`` in a scenario, one row per dimension.

    ``off_diagonal_covariance``, the mean of ``|C_ij|`` for i other than j, and ``kl``, to the
    standard normal (``L_d``), are the same in every row.
    """

    play: Play
    modules = ("edge_marl.algorithms.scale.srr",)

    @property
    def labels(self) -> Mapping[str, Label]:
        """Return the labels of the episodes, with kind ``features``."""
        return {**self.play.labels, KIND: FEATURES}

    @property
    def configuration(self) -> Any:
        """Return the episodes, and how many of their decisions are looked at."""
        return {"play": self.play.configuration, "steps": _STEPS}

    @property
    def needs(self) -> Sequence[Unit]:
        """Return the training of the policy."""
        return self.play.needs

    def compute(self, artefacts: Path, needed: Sequence[Path]) -> Columns:
        """Play the beginning of the episodes, and measure the features."""
        episodes = self.play.episodes
        env = make_batched(self.play.environment, episodes.env_config, len(episodes.seeds))
        f = features(actor_of(needed[0]), env, episodes.seeds)
        d = f.shape[1]
        return {
            "dimension": np.arange(d),
            "mean": f.mean(0).numpy(),
            "variance": f.var(0).numpy(),
            "off_diagonal_covariance": np.full(d, float(mean_off_diagonal(f))),
            "kl": np.full(d, float(kl_to_standard_normal(f))),
        }


@torch.inference_mode()
def features(actor: Actor, env: BatchedEnv, seeds: NDArray[np.int64]) -> Tensor:
    """Return the features ``[K, d]`` that decisions early in some episodes are made from.

    Decisions with only one legal action are left out.
    """
    actor = actor.resized(env.action_spec.n - 1)
    observation = env.reset(seeds)
    seen = []
    for step in range(_STEPS):
        rows, mask = (
            torch.from_numpy(observation.features),
            torch.from_numpy(observation.action_mask),
        )
        outputs, found = actor.with_representation(rows, mask)
        playing = torch.from_numpy(~env.done)[:, None] & (mask.sum(-1) > 1)
        seen.append(found[playing].clone())
        random = action_uniforms(seeds, step, len(env.agents))
        observation = env.step(decide(actor, rows, outputs, mask, random).played).observation
        if env.done.all():
            break
    return torch.cat(seen).double()
