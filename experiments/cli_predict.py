"""Define the commands of prediction.

They import what they need when they run, so that ``--help`` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from edge_marl.experiments.cli_options import count
from edge_marl.experiments.cli_options import seed as seed_option

app = typer.Typer(help="Predict when the next task arrives and what it demands.")

Trace = Annotated[
    Path, typer.Argument(help="Part of a Google cluster trace, or a folder of its parts.")
]


@app.command()
def train(
    trace: Trace,
    form: Annotated[
        Literal["google2011", "google2019"],
        typer.Option(
            "--format",
            help="google2011: job_events or task_events; google2019: instance_events, JSON or CSV.",
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Options of the training, such as network.kind=lstm or network.history=64.",
        ),
    ] = None,
    servers: Annotated[int, count("Servers, among which tasks are divided.", most=10_000)] = 1,
    division_seed: Annotated[int, seed_option("Seed of that division.")] = 0,
    seeds: Annotated[int, count("Predictors to train, of seeds from 0 on.", most=1000)] = 1,
    out: Annotated[Path, typer.Option(help="Folder for the predictors.")] = Path("results/predict"),
) -> None:
    """Train predictors on the first 60% of a trace, and stop by the next 20%.

    A command that was stopped continues with the predictors that are missing.
    """
    from edge_marl.algorithms.prediction.training import PredictionConfig
    from edge_marl.experiments.overrides import apply_overrides
    from edge_marl.experiments.predict.training import train_predictors

    config = apply_overrides(PredictionConfig(), overrides or ())
    train_predictors(
        trace, form, config, servers=servers, division_seed=division_seed, seeds=seeds, out=out
    )


@app.command()
def evaluate(
    trace: Trace,
    predictors: Annotated[
        list[Path], typer.Argument(help="Folders of predictors, or folders with some in them.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the scores.")] = Path(
        "results/predict-scores"
    ),
) -> None:
    """Compare predictors and simple methods on the last 20% of a trace."""
    from edge_marl.experiments.predict.evaluation import evaluate_predictors

    evaluate_predictors(trace, predictors, out)
