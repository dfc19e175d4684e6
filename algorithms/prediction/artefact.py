"""Save and load predictors: weights as safetensors, and a card."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save

from edge_marl.algorithms.networks.weights import load_weights
from edge_marl.algorithms.prediction.networks import QUANTILES, Predictor, PredictorSpec
from edge_marl.algorithms.prediction.series import TARGETS, Series
from edge_marl.errors import InputError
from edge_marl.files import write_aside
from edge_marl.google_traces import Form
from edge_marl.json_files import read_model, write_json
from edge_marl.options import Seed

WEIGHTS, CARD = "predictor.safetensors", "card.json"


Servers = Annotated[int, Field(ge=1, le=10_000)]


class PredictorCard(BaseModel):
    """Describe a saved predictor, and what it was trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal["edge-marl predictor 1"] = "edge-marl predictor 1"
    network: PredictorSpec
    seed: Seed
    targets: tuple[str, ...] = TARGETS
    quantiles: tuple[float, ...] = QUANTILES
    means: tuple[float, ...] = Field(description="of the training part: s, cycles and memory")
    trace: str = Field(max_length=255, description="name of the file or folder")
    trace_format: Form
    trace_sha256: str
    servers: Servers
    division_seed: Seed
    validation_loss: float
    ms_per_task: float = Field(description="in onnxruntime, on one thread, 64 tasks at once")


def trace_digest(series: Series) -> str:
    """Return a digest of the tasks of a trace as they were divided."""
    digest = hashlib.sha256()
    for column in (series.arrival_s, series.server.astype(np.int64), series.values):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


def save_predictor(model: Predictor, card: PredictorCard, folder: Path) -> None:
    """Write weights and card of a predictor."""
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    write_aside(folder / WEIGHTS, save(weights))
    write_json(folder / CARD, card)


def load_predictor(folder: Path) -> tuple[Predictor, PredictorCard]:
    """Read back what :func:`save_predictor` wrote; no pickle is involved.

    Raises:
        InputError: naming the file that is missing, damaged or of another format.
    """
    card = read_model(folder / CARD, PredictorCard)
    if card.targets != TARGETS or card.quantiles != QUANTILES:
        raise InputError(
            f"{folder / CARD}: targets, quantiles: expected {', '.join(TARGETS)} at "
            f"{', '.join(map(str, QUANTILES))}, found others"
        )
    return load_weights(folder / WEIGHTS, lambda: Predictor(card.network)).eval(), card
