"""Fit SL-Step policies to the labels of a teacher."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edge_marl.algorithms.tandem.imitation.classifiers import ClassifierScorer
from edge_marl.algorithms.tandem.imitation.config import ImitationConfig
from edge_marl.algorithms.tandem.imitation.demonstrations import (
    Demonstrations,
    Labeller,
    SchedulePolicy,
    arbitrary_slots,
    canonical_labeller,
    canonical_slots,
    collect,
    cost_to_go_labeller,
    online_labeller,
    schedule_labeller,
)
from edge_marl.algorithms.tandem.imitation.networks import QueueScorer, make_network
from edge_marl.algorithms.tandem.imitation.policies import NetworkScorer, Scorer, ScoringPolicy
from edge_marl.errors import InputError
from edge_marl.oracle import Schedule, solve
from edge_marl.simulation import Policy
from edge_marl.tandem import AGENTS, DROP_PENALTY, TandemSimulator, TraceSet
from edge_marl.tandem.oracle.online import OnlineOracle, View

Progress = Callable[[str, float], None]
"""``(what is going on, share done)``."""

_TEMPERATURE = 5.0  # slots of regret that make a job e times less attractive
_MOST_AT_STAKE = 100.0  # slots; a drop. What costs more than that is no more urgent
_MOST_EPOCHS = 30  # few states (the compute stage often has one job) need fewer steps


def regret_loss(scores: Tensor, queued: Tensor, cost: Tensor) -> Tensor:
    """Return the cross-entropy to ``softmax(-regret / temperature)``, weighted by the stakes.

    All optimal jobs share the target, and a state where all choices are equally good has no weight.
    (Regressing the regret itself would spend the network's capacity on the size of regrets that
    decide nothing.)

    Args:
        scores: ``[B, Q]``.
        queued: ``[B, Q]`` bool.
        cost: ``[B, Q]`` regret in slots.
    """
    target = torch.softmax((-cost / _TEMPERATURE).masked_fill(~queued, -1e9), dim=1)
    log_policy = F.log_softmax(scores.masked_fill(~queued, -1e9), dim=1).masked_fill(~queued, 0.0)
    at_stake = cost.masked_fill(~queued, 0.0).amax(dim=1).clamp(max=_MOST_AT_STAKE)
    cross_entropy = -(target * log_policy).sum(dim=1)
    return (at_stake / _MOST_AT_STAKE * cross_entropy).mean()


def label_loss(scores: Tensor, queued: Tensor, cost: Tensor) -> Tensor:
    """Return the cross-entropy of the labelled job (cost 0) among the queued ones.

    Shapes are those of :func:`regret_loss`.
    """
    label = cost.masked_fill(~queued, torch.inf).argmin(dim=1)
    return F.cross_entropy(scores.masked_fill(~queued, -1e9), label)


def fit(
    config: ImitationConfig,
    traces: TraceSet,
    schedules: Sequence[Schedule] | None = None,
    *,
    drop_penalty: float = DROP_PENALTY,
    progress: Progress | None = None,
) -> ScoringPolicy:
    """Train a decentralised policy on traces.

    Args:
        config: what to imitate, and how.
        traces: K training traces.
        schedules: ``[K]`` the oracle's, for raw and canonical labels; solved here when None.
        drop_penalty: ``lambda`` of the objective.
        progress: called now and then.

    Raises:
        InputError: for options that do not go together.
    """
    offline = config.labels in ("raw", "canonical")
    classical = config.model in ("forest", "svm")
    if offline and config.rounds > 1:
        raise InputError(f"rounds: {config.labels} labels exist for the oracle's states only")
    if classical and config.labels == "cost_to_go":
        raise InputError(f"labels: {config.model} classifies; cost_to_go needs a network")
    rng = np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)
    report = progress or (lambda message, share: None)
    if offline and schedules is None:
        schedules = [solve(traces[k], drop_penalty=drop_penalty) for k in range(len(traces))]
    player, labeller = _teacher(config, traces, schedules, drop_penalty, rng)
    trainers = [_NetworkTrainer(config) for _ in AGENTS]
    parts: list[tuple[Demonstrations, Demonstrations]] = []
    scorers: list[Scorer] = []
    name = f"{config.labels}/{config.model}"
    for round_ in range(config.rounds):
        report("collecting", round_ / config.rounds)
        parts.append(
            collect(
                # A round of aggregation plays its own part of the traces.
                traces[round_ :: config.rounds],
                player,
                labeller,
                share=config.state_share,
                exploration=0.0 if offline else config.exploration,
                drop_penalty=drop_penalty,
                rng=rng,
            )
        )
        scorers = []
        for stage in range(len(AGENTS)):
            data = Demonstrations.concatenate([part[stage] for part in parts])
            report(f"fitting {AGENTS[stage]}", (round_ + (stage + 1) / 3) / config.rounds)
            if len(data.features) == 0:
                raise InputError("traces: expected states with a choice to learn from, found none")
            if classical:
                scorers.append(ClassifierScorer(config.model, data, config.seed))
            else:
                trainers[stage].train(data, rng, (round_ + 1) / config.rounds)
                scorers.append(NetworkScorer(trainers[stage].network))
        player = ScoringPolicy(name, (scorers[0], scorers[1]))
    report("done", 1.0)
    return ScoringPolicy(name, (scorers[0], scorers[1]))


def _teacher(
    config: ImitationConfig,
    traces: TraceSet,
    schedules: Sequence[Schedule] | None,
    drop_penalty: float,
    rng: np.random.Generator,
) -> tuple[Policy[TandemSimulator], Labeller]:
    """Return the policy that plays in the first round and the labeller of all rounds."""
    if schedules is not None and config.labels == "raw":
        slots = arbitrary_slots(traces, schedules, rng)
        return SchedulePolicy(slots), schedule_labeller(slots)
    if schedules is not None and config.labels == "canonical":
        slots = canonical_slots(schedules)
        return SchedulePolicy(slots), canonical_labeller(slots, traces.max_jobs)
    view: View = "global" if config.labels == "online_global" else "local"
    player = OnlineOracle(view, downlink=traces.downlink, drop_penalty=drop_penalty)
    if config.labels == "cost_to_go":
        return player, cost_to_go_labeller
    labels = OnlineOracle(view, downlink=traces.downlink, drop_penalty=drop_penalty)
    return player, online_labeller(labels)


class _NetworkTrainer:
    """Train one stage's network, keeping it and its optimiser from round to round."""

    def __init__(self, config: ImitationConfig) -> None:
        self.config = config
        self.network: QueueScorer = make_network(config.model, config.width)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=config.learning_rate)
        self.loss = regret_loss if config.labels == "cost_to_go" else label_loss

    def train(self, data: Demonstrations, rng: np.random.Generator, until: float) -> None:
        """Train on all data so far for one round, up to the share ``until`` of the whole training.

        A round takes an equal share of the gradient steps, but at most ``_MOST_EPOCHS`` passes over
        the data. The learning rate falls along a cosine over all rounds, so that the last one
        settles.
        """
        config = self.config
        features, queued, cost = (
            torch.from_numpy(array) for array in (data.features, data.queued, data.cost)
        )
        batches = math.ceil(len(features) / config.batch_size)
        steps = min(math.ceil(config.gradient_steps / config.rounds), _MOST_EPOCHS * batches)
        self.network.train()
        for step in range(steps):
            done = until - (1 - step / steps) / config.rounds
            for group in self.optimiser.param_groups:
                group["lr"] = config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
            rows = torch.from_numpy(rng.integers(0, len(features), config.batch_size))
            scores = self.network(features[rows], queued[rows])
            loss = self.loss(scores, queued[rows], cost[rows])
            self.optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimiser.step()
        self.network.eval()
