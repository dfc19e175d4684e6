"""Checkpoints of untrained actors, without RLlib's part: what evaluation and export read."""

from pathlib import Path
from typing import Any

import torch

from edge_marl.algorithms.actors import Actor, ActorSpec, save_actor
from edge_marl.algorithms.networks.config import NetworkConfig
from edge_marl.experiments.training.checkpoints import CARD, POLICY, CheckpointCard, file_digests
from edge_marl.experiments.training.recipe import Recipe


def untrained_actor(seed: int = 0, **spec: Any) -> Actor:
    """An actor with random weights, of tandem_v0 unless said otherwise."""
    torch.manual_seed(seed)
    sizes = {"agents": ("comm", "comp"), "observation_shape": (6, 5), "n_actions": 7}
    network = NetworkConfig(**spec.pop("network", {}))
    return Actor(ActorSpec(**{**sizes, "groups": (0, 1), "network": network, **spec})).eval()


def write_untrained(folder: Path, actor: Actor | None = None, **recipe: Any) -> Path:
    """Write a checkpoint folder and return it."""
    actor = actor or untrained_actor(recipe.get("seed", 0))
    save_actor(actor, folder / POLICY)
    card = CheckpointCard(
        recipe=Recipe(**{"env": "tandem_v0", "algorithm": "vdn", **recipe}),
        iteration=1,
        env_steps=10,
        time_s=1.0,
        files=file_digests(folder / POLICY),
    )
    (folder / CARD).write_text(card.model_dump_json())
    return folder
