"""Implement ``edge-marl predict evaluate``: predictors and simple methods on the test part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table

from edge_marl.algorithms.prediction.artefact import (
    CARD,
    PredictorCard,
    load_predictor,
    trace_digest,
)
from edge_marl.algorithms.prediction.baselines import BASELINES
from edge_marl.algorithms.prediction.networks import MEDIAN, Predictor
from edge_marl.algorithms.prediction.scores import (
    Scores,
    dependence,
    r2_of_moments,
    score,
)
from edge_marl.algorithms.prediction.series import TARGETS, Series
from edge_marl.algorithms.prediction.training import predict
from edge_marl.errors import InputError
from edge_marl.experiments.predict.training import read_series
from edge_marl.experiments.progress import progress_bar, stdout
from edge_marl.experiments.statistics import mean
from edge_marl.files import check_apart, check_output
from edge_marl.json_files import write_json
from edge_marl.locks import sole_writer

FloatArray = NDArray[np.float64]

SCORES = "scores.json"
_COLUMNS = {
    "r2": "R²", "r2_of_logarithms": "R² of\nlogarithms", "absolute_error": "mean abs.\nerror",
    "pinball": "pinball\nloss", "covered_50": "in 50%\ninterval", "covered_90": "in 90%\ninterval",
    "r2_of_moments": "R² of the\nmoment",
}  # fmt: skip


def evaluate_predictors(trace: Path, folders: Sequence[Path], out: Path) -> None:
    """Score predictors and simple methods on the test part of a trace, and print a table of each.

    Args:
        trace: that the predictors were trained on the first part of.
        folders: of predictors, or folders with some in them.
        out: folder for ``scores.json``.

    Raises:
        InputError: for predictors of another trace, or of several divisions.
    """
    check_apart(out, trace, *folders)
    with sole_writer(out):
        check_output(out / SCORES)
        found = [load_predictor(folder) for folder in _predictors(folders)]
        card = found[0][1]
        series = read_series(trace, card.trace_format, card.servers, card.division_seed)
        _check_cards([one for _, one in found], trace_digest(series), trace)
        scores = _scores(series, [(one.network.kind, model) for model, one in found])
        depends = dependence(series)
        write_json(out / SCORES, {
            "scores": {
                name: {
                    column: {
                        target: [float(seed[column][t]) for seed in of_seeds]
                        for t, target in enumerate(TARGETS)
                    }
                    for column in of_seeds[0]
                }
                for name, of_seeds in scores.items()
            },
            "dependence": {
                name: dict(zip(TARGETS, column.tolist(), strict=True))
                for name, column in depends._asdict().items()
            },
        })  # fmt: skip
    for t, target in enumerate(TARGETS):
        if not np.isnan(depends.largest[t]):
            stdout().print(_table(target, t, scores))
            stdout().print(
                f"Dependence on the ten tasks before: the largest rank correlation is "
                f"{depends.largest[t]:.2f}; p = {depends.p_value[t]:.3f} for tasks in any order.\n",
                soft_wrap=True,
            )
        else:
            stdout().print(f"{target}: the same for all tasks, so that nothing is to predict")
    stdout().print(f"{out / SCORES}: all scores, by seed", soft_wrap=True)


def _predictors(folders: Sequence[Path]) -> list[Path]:
    """Return the folders of predictors among folders, or in them."""
    found = [
        place
        for folder in folders
        for place in ([folder] if (folder / CARD).exists() else sorted(folder.glob(f"*/{CARD}")))
    ]
    if not found:
        names = ", ".join(map(str, folders))
        raise InputError(f"{names}: expected predictors (folders with {CARD}), found none")
    return [place if place.is_dir() else place.parent for place in found]


def _check_cards(cards: Sequence[PredictorCard], digest: str, trace: Path) -> None:
    for card in cards:
        if card.trace_sha256 != digest:
            raise InputError(
                f"{trace}: expected the trace, and the division over servers, that all predictors "
                f"were trained on, found another than that of {card.network.kind}-{card.seed}"
            )


def _scores(
    series: Series, predictors: Sequence[tuple[str, Predictor]]
) -> dict[str, list[dict[str, FloatArray]]]:
    """Return the scores of every seed of each method, by name and column."""
    model = predictors[0][1]  # all standardise alike
    values = torch.from_numpy(series.values).float()
    with torch.inference_mode():
        z = model.standardised(values).double().numpy()
    test = series.part("test")
    found: dict[str, list[dict[str, FloatArray]]] = {}

    def add(name: str, quantiles: FloatArray, original: FloatArray) -> None:
        of_method: Scores = score(quantiles, original, z[test], series.values[test])
        moments = r2_of_moments(series, original[:, 0, MEDIAN])
        row = {**of_method._asdict(), "r2_of_moments": np.array([moments, np.nan, np.nan])}
        found.setdefault(name, []).append(row)

    with progress_bar() as bar:
        for name, baseline in bar.track(BASELINES.items(), description="simple methods"):
            quantiles = np.ascontiguousarray(baseline(series, z, "test"))
            original = model.original(torch.from_numpy(quantiles).float())
            add(name, quantiles, original.double().numpy())
        for name, own in bar.track(predictors, description="predictors"):
            predicted = predict(own, series, "test")
            with torch.inference_mode():
                standardised = own.standardised(predicted.transpose(1, 2)).transpose(1, 2)
            add(name, standardised.double().numpy().copy(), predicted.double().numpy())
    return found


def _table(target: str, t: int, scores: dict[str, list[dict[str, FloatArray]]]) -> Table:
    table = Table(
        title=f"{target} of the next task of a server, test part; mean [95% interval] over seeds",
        title_justify="left",
    )
    table.add_column("method")
    columns = [c for c in _COLUMNS if t == 0 or c != "r2_of_moments"]
    for column in columns:
        table.add_column(_COLUMNS[column], justify="right")
    for name, of_seeds in scores.items():
        cells = []
        for column in columns:
            values = np.array([row[column][t] for row in of_seeds])
            estimate = mean(values[:, None])
            cells.append(estimate.text() if len(values) > 1 else f"{values[0]:.3f}")
        seeds = f" ({len(of_seeds)} seeds)" if len(of_seeds) > 1 else ""
        table.add_row(f"{name}{seeds}", *cells)
    return table
