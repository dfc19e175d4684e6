"""Export predictors to ONNX, checked against torch and timed."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from edge_marl.algorithms.prediction.networks import Predictor
from edge_marl.algorithms.prediction.series import TARGETS
from edge_marl.experiments.benchmarks.timing import percentiles_s
from edge_marl.experiments.export.onnx_files import TRACED_ROWS, Arrays, open_session, write_graph

ONNX = "predictor.onnx"

_ROWS, _TIMED_CALLS = 64, 30
_TOLERANCE = 1e-3


class Exported(NamedTuple):
    """Tell how exact an exported predictor is, and how fast."""

    largest_difference: float
    """Between the quantiles of onnxruntime and torch, over 1 plus their size."""
    ms_per_task: float
    """Median time for a task in onnxruntime, on one thread, 64 at once."""


def export_predictor(model: Predictor, path: Path) -> Exported:
    """Write a predictor for any number of servers at once.

    Raises:
        RuntimeError: if onnxruntime predicts otherwise than torch.
    """
    H, generator = model.spec.history, np.random.default_rng(0)
    inputs: Arrays = {
        "history": generator.exponential(1.0, (_ROWS, H, len(TARGETS))).astype(np.float32),
        "length": generator.integers(0, H + 1, _ROWS),
    }
    some = {name: value[:TRACED_ROWS].copy() for name, value in inputs.items()}
    batch = {0: torch.export.Dim("batch")}
    write_graph(model.eval(), path, some, ["quantiles"], dict.fromkeys(inputs, batch))
    session = open_session(path)
    (found,) = session.run(None, inputs)
    with torch.inference_mode():
        expected = model(*map(torch.from_numpy, inputs.values())).numpy()
    worst = float((np.abs(found - expected) / (1.0 + np.abs(expected))).max())
    if not worst <= _TOLERANCE:
        raise RuntimeError(f"onnxruntime differs from torch by {worst:.2g} (limit {_TOLERANCE:g})")
    median_s, _ = percentiles_s(lambda: session.run(None, inputs), _TIMED_CALLS)
    return Exported(worst, 1000.0 * median_s / _ROWS)
