"""Give learned schedulers the interface of the heuristics, and save and load them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from safetensors.torch import save

from edge_marl.algorithms.networks.agents import Actor
from edge_marl.algorithms.networks.config import NetworkConfig
from edge_marl.algorithms.networks.spec import ActorSpec
from edge_marl.algorithms.networks.weights import load_weights
from edge_marl.algorithms.tandem.imitation.config import ImitationConfig
from edge_marl.algorithms.tandem.imitation.networks import QueueScorer, make_network
from edge_marl.algorithms.tandem.queues import QueueMLP
from edge_marl.errors import InputError
from edge_marl.files import write_aside
from edge_marl.json_files import read_model, write_json
from edge_marl.simulation import Policy
from edge_marl.tandem import AGENTS, MAX_QUEUE, TandemSimulator
from edge_marl.tandem.heuristics import greedy_actions
from edge_marl.tandem.simulator import JOB_FEATURES
from edge_marl.tandem.traces import IntArray
from edge_marl.validation import shown

Scorer = Callable[[NDArray[np.float32], NDArray[np.bool_]], NDArray[np.float32]]
"""``(features [B, Q, 5], queued [B, Q]) -> scores [B, Q]``: the highest is served."""

FORMAT = "edge-marl imitation 1"


class ScoringPolicy(Policy[TandemSimulator]):
    """Serve at each stage the job of its own queue that its model scores highest.

    The policy is decentralised by construction: a stage's model is given that stage's observation
    only, and is asked only where there is a choice.
    """

    def __init__(self, name: str, scorers: tuple[Scorer, Scorer]) -> None:
        self.name = name
        self.scorers = scorers

    def act(self, simulator: TandemSimulator) -> IntArray:
        """Return the positions ``[B, 2]`` of the best-scored jobs."""
        observation = simulator.observation
        chosen = []
        for stage, scorer in enumerate(self.scorers):
            mask = observation.action_mask[:, stage]
            queued = mask[:, :-1]
            choice = np.flatnonzero(queued.sum(axis=1) >= 2)
            cost = np.zeros(queued.shape, dtype=np.float32)
            if len(choice):
                cost[choice] = -scorer(observation.features[choice, stage], queued[choice])
            chosen.append(greedy_actions(cost, mask))
        return np.stack(chosen, axis=1)


class NetworkScorer:
    """Score the jobs of a queue with a torch network."""

    def __init__(self, network: QueueScorer) -> None:
        self.network = network.eval()

    @torch.inference_mode()
    def __call__(
        self, features: NDArray[np.float32], queued: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Map ``features [B, Q, 5]`` and ``queued [B, Q]`` to scores ``[B, Q]``."""
        scores = self.network(torch.from_numpy(features), torch.from_numpy(queued))
        return scores.numpy()


def as_actor(policy: ScoringPolicy) -> Actor:
    """Return the same two networks as the actor of a multi-agent algorithm, to train further.

    Raises:
        InputError: for a policy whose models are not networks.
    """
    networks = []
    for scorer in policy.scorers:
        if not isinstance(scorer, NetworkScorer):
            raise InputError(f"policy {policy.name}: only networks can be trained on")
        networks.append(scorer.network.network)
    if isinstance(networks[0], QueueMLP):
        sizes = [len(layer.bias[0]) for layer in networks[0].layers.layers[:-1]]
        kind = NetworkConfig(kind="queue_mlp", hidden_sizes=sizes, activation="silu")
    else:
        width = len(networks[0].score.weight[0, 0])
        kind = NetworkConfig(kind="attention", hidden_sizes=(width,) * len(networks[0].blocks))
    actor = Actor(
        ActorSpec(
            agents=AGENTS,
            observation_shape=(MAX_QUEUE, JOB_FEATURES),
            n_actions=MAX_QUEUE + 1,
            groups=(0, 1),
            network=kind,
        )
    )
    parts = [network.state_dict() for network in networks]
    actor.network.load_state_dict(
        {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    )
    return actor


def save_policy(policy: ScoringPolicy, config: ImitationConfig, folder: Path) -> None:
    """Write both networks as safetensors and a card that describes them.

    Raises:
        InputError: for a policy whose models are not networks.
    """
    for agent, scorer in zip(AGENTS, policy.scorers, strict=True):
        if not isinstance(scorer, NetworkScorer):
            raise InputError(f"policy {policy.name}: only networks can be saved")
        write_aside(folder / f"{agent}.safetensors", save(scorer.network.state_dict()))
    card = {"format": FORMAT, "name": policy.name, "config": config.model_dump(mode="json")}
    write_json(folder / _CARD, card)


def load_policy(folder: Path) -> ScoringPolicy:
    """Read back what :func:`save_policy` wrote.

    Raises:
        InputError: naming the file that is missing, damaged or of another format.
    """
    path = folder / _CARD
    card = read_model(path, _Card)
    if card.format != FORMAT:
        raise InputError(f"{path}: format: expected {FORMAT!r}, found {shown(card.format)}")
    config = card.config
    scorers = [
        NetworkScorer(
            load_weights(
                folder / f"{agent}.safetensors", lambda: make_network(config.model, config.width)
            )
        )
        for agent in AGENTS
    ]
    return ScoringPolicy(card.name, (scorers[0], scorers[1]))


class _Card(BaseModel):
    """Describe a saved policy in its ``card.json``."""

    format: str
    name: str
    config: ImitationConfig


_CARD = "card.json"
