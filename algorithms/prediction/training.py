"""Train predictors on the first part of a trace, and stop by the second."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from edge_marl.algorithms.prediction.networks import Predictor, PredictorSpec, pinball
from edge_marl.algorithms.prediction.series import Part, Series
from edge_marl.memory import check_memory
from edge_marl.options import Count, Options, Positive

_AT_ONCE = 256
_COPIES = 5
"""Copies of every weight: with gradient, two moments and the best."""
_ACTIVATIONS = 12
"""Numbers of a layer that are kept for its gradients, for each of its width."""
_SMALLEST_SCALE = 1e-6


class PredictionConfig(Options):
    """Configure the training of a predictor."""

    network: PredictorSpec = Field(default_factory=PredictorSpec)
    epochs: Count = Field(300, description="at most")
    patience: Count = Field(30, description="epochs without a better validation until it stops")
    batch_size: Count = Field(32, description="windows of H tasks")
    lr: Annotated[float, Field(gt=0, le=1)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.01
    grad_clip: Positive = 1.0


Report = Callable[[int, float], None]
"""Takes the epoch and the validation's pinball loss."""


def train(series: Series, config: PredictionConfig, seed: int, report: Report) -> Predictor:
    """Train a predictor, and return it with the weights of the best validation.

    Args:
        series: whose training part is learned from, and whose validation part stops the training.
        config: how.
        seed: of everything random.
        report: called after every epoch.
    """
    _check_memory(series, config)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = Predictor(config.network)
    values = torch.from_numpy(series.values[series.part("train")]).float()
    logarithms = model.standardised(values)
    deviations = logarithms.std(0)
    model.location.copy_(logarithms.mean(0))
    # What never varies has no scale.
    model.scale.copy_(torch.where(deviations > _SMALLEST_SCALE, deviations, 1.0))
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=config.lr, weight_decay=config.weight_decay
    )
    best, best_loss, since = copy.deepcopy(model.state_dict()), np.inf, 0
    for epoch in range(config.epochs):
        model.train()
        windows = _windows(series, config.network.history, rng)
        for rows in torch.randperm(len(windows)).split(config.batch_size):
            batch = windows[rows]
            losses = pinball(model.of_all(batch[:, :-1]), model.standardised(batch))
            optimiser.zero_grad()
            losses.mean().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
            optimiser.step()
        loss = validation_loss(model, series)
        report(epoch, loss)
        since += 1
        if loss < best_loss:
            best, best_loss, since = copy.deepcopy(model.state_dict()), loss, 0
        if since >= config.patience:
            break
    model.load_state_dict(best)
    return model.eval()


def _check_memory(series: Series, config: PredictionConfig) -> None:
    """Refuse networks and histories that do not fit into memory, before they are made.

    Raises:
        InputError: naming the options that decide.
    """
    spec, L = config.network, config.network.history + 1
    with torch.device("meta"):
        n_parameters = sum(p.numel() for p in Predictor(spec).parameters())
    rows = min(config.batch_size, len(series.part("train")) // L + 1)
    per_layer = rows * L * (spec.heads * L + _ACTIVATIONS * spec.width)
    check_memory(
        4.0 * (_COPIES * n_parameters + 2 * spec.layers * per_layer),
        f"a network of {n_parameters:.3g} parameters on histories of {spec.history} tasks "
        "(network.width, network.layers, network.history, network.heads, batch_size)",
    )


def _windows(series: Series, length: int, rng: np.random.Generator) -> Tensor:
    """Cut the training part of every server into windows ``[R, H, 3]`` from a random one on.

    A server with fewer than H tasks gives none, unless no server has as many.
    """
    train, found = series.part("train"), []
    sizes = np.bincount(series.server[train])
    length = min(length, int(sizes.max()))
    for server in np.flatnonzero(sizes >= length):
        own = series.values[train][series.server[train] == server]
        first = int(rng.integers(length)) if len(own) >= 2 * length else 0
        n = (len(own) - first) // length
        found.append(own[first : first + n * length].reshape(n, length, -1))
    return torch.from_numpy(np.concatenate(found)).float()


@torch.inference_mode()
def predict(model: Predictor, series: Series, part: Part) -> Tensor:
    """Return the quantiles ``[k, 3, Q]`` of the tasks of a part, over their means."""
    histories, lengths = series.histories(series.part(part), model.spec.history)
    model.eval()
    return torch.cat([
        model(history, length)
        for history, length in zip(
            torch.from_numpy(histories).float().split(_AT_ONCE),
            torch.from_numpy(lengths).split(_AT_ONCE), strict=True,
        )
    ])  # fmt: skip


def validation_loss(model: Predictor, series: Series) -> float:
    """Return the mean pinball loss of standardised quantiles in the validation part."""
    part = series.part("validation")
    values = model.standardised(torch.from_numpy(series.values[part]).float())
    found = model.standardised(predict(model, series, "validation").transpose(1, 2))
    return float(pinball(found.transpose(1, 2), values).mean())
