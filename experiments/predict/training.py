"""Implement ``edge-marl predict train``: predictors of several seeds, a folder for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from edge_marl.algorithms.prediction.artefact import (
    CARD,
    WEIGHTS,
    PredictorCard,
    load_predictor,
    save_predictor,
    trace_digest,
)
from edge_marl.algorithms.prediction.series import Series, series_of
from edge_marl.algorithms.prediction.training import PredictionConfig, train, validation_loss
from edge_marl.errors import InputError
from edge_marl.experiments.predict.onnx_files import ONNX, export_predictor
from edge_marl.experiments.progress import progress_bar, stdout
from edge_marl.files import aside, check_apart, check_output
from edge_marl.google_traces import Form, read_google
from edge_marl.locks import sole_writer

PARTS = (CARD, WEIGHTS, ONNX)


def read_series(path: Path, form: Form, servers: int, division_seed: int) -> Series:
    """Read a trace and divide it over servers, telling how many tasks there are."""
    left_out: Counter[str] = Counter()
    series = series_of(read_google(path, form, left_out), servers, division_seed)
    parts = ", ".join(
        f"{len(series.part(part))} {part}" for part in ("train", "validation", "test")
    )
    without = "".join(f"; {n}: {why}" for why, n in left_out.most_common())
    stdout().print(f"{path}: {len(series.server)} tasks ({parts}){without}", soft_wrap=True)
    return series


def train_predictors(
    trace: Path,
    form: Form,
    config: PredictionConfig,
    *,
    servers: int,
    division_seed: int,
    seeds: int,
    out: Path,
) -> None:
    """Train predictors and write each as ``KIND-SEED``; those that are there are kept.

    Args:
        trace: file or folder of a trace.
        form: its form.
        config: how to train.
        servers: among which the tasks are divided.
        division_seed: of that.
        seeds: how many predictors, of seeds from 0 on.
        out: their folders are made in it.

    Raises:
        InputError: for a trace that cannot be read, and for a predictor of another one in a folder.
    """
    check_apart(out, trace)
    table = Table(title="Predictors", title_justify="left")
    for name in ("predictor", "parameters", "validation\npinball", "ms a task\nonnxruntime, 64"):
        table.add_column(name, justify="left" if name == "predictor" else "right")
    folders = [out / f"{config.network.kind}-{seed}" for seed in range(seeds)]
    with sole_writer(out):
        for folder in folders:
            check_output(folder, parts=PARTS)
        series = read_series(trace, form, servers, division_seed)
        about = _About(trace.name, form, trace_digest(series), servers, division_seed)
        with progress_bar() as bar:
            for seed, folder in enumerate(folders):
                if (folder / CARD).exists():
                    _check_same(folder, config, about.digest)
                else:
                    task = bar.add_task(folder.name, total=config.epochs)
                    _train(series, config, seed, about, folder, partial(bar.advance, task))
                    bar.update(task, completed=config.epochs)
                model, card = load_predictor(folder)
                table.add_row(
                    folder.name, f"{sum(p.numel() for p in model.parameters()):,}",
                    f"{card.validation_loss:.4f}", f"{card.ms_per_task:.3f}",
                )  # fmt: skip
    stdout().print(table)
    stdout().print(f"{out}: weights, card and ONNX of each", soft_wrap=True)


class _About(NamedTuple):
    """Tell which trace it is, and how it was divided."""

    trace: str
    form: Form
    digest: str
    servers: int
    division_seed: int


def _train(
    series: Series,
    config: PredictionConfig,
    seed: int,
    about: _About,
    folder: Path,
    advance: Callable[[], None],
) -> None:
    """Train a predictor and write it to a folder, which appears as a whole."""
    model = train(series, config, seed, lambda *_: advance())
    with aside(folder, parts=PARTS) as place:
        place.mkdir()
        exported = export_predictor(model, place / ONNX)
        card = PredictorCard(
            network=config.network,
            seed=seed,
            means=tuple(series.means.tolist()),
            trace=about.trace,
            trace_format=about.form,
            trace_sha256=about.digest,
            servers=about.servers,
            division_seed=about.division_seed,
            validation_loss=validation_loss(model, series),
            ms_per_task=exported.ms_per_task,
        )
        save_predictor(model, card, place)


def _check_same(folder: Path, config: PredictionConfig, digest: str) -> None:
    """Refuse to keep a predictor that another command has made."""
    _, card = load_predictor(folder)
    if card.trace_sha256 != digest or card.network != config.network:
        raise InputError(
            f"{folder}: holds a predictor of another trace, division or network; choose another "
            "folder with --out"
        )
