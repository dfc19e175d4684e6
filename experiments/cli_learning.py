"""The commands of learning: train, tune, evaluate, export.

They import what they need when they run, so that ``--help`` answers at once.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from edge_marl.errors import InputError

_DURATION = re.compile(r"(\d+(?:\.\d*)?)([smhd]?)")
_UNIT_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}

Environment = Annotated[
    str | None,
    typer.Argument(
        metavar="ENV",
        help="tandem_v0, peer_offloading_v0, dag_placement_v0, or module:function of a PettingZoo "
        "one.",
    ),
]
Algorithm = Annotated[
    str | None,
    typer.Argument(metavar="ALGORITHM", help="vdn, qmix, mappo, ippo, o2o, scale or sac."),
]
LearningOptions = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Options of the algorithm, such as lr=0.001; network.* of its networks, such as "
        "network.kind=attention; env.* of the environment, such as env.workload.files=2.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(help="Ray cluster to join; auto: the one of this machine. Default: Ray of its "
                 "own on loopback, or the cluster of the job.", show_default=False),
]  # fmt: skip


def train(
    env: Environment = None,
    algorithm: Algorithm = None,
    overrides: LearningOptions = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the run. Default: results/train/ENV-ALGORITHM-SEED.", show_default=False
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a run to continue; takes no ENV, and of the options only those that "
            "name files which were moved, such as env.scenario.workflows.path=NEW.",
            show_default=False,
        ),
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(min=1, help="Limit of iterations.", show_default=False)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Limit of environment steps.", show_default=False)
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(help="Limit of training time, such as 90s, 30m or 1h.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Remote env runners; 0: sample in this process. Default: 0.",
            show_default=False,
        ),
    ] = None,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Iterations.")] = 50,
    keep: Annotated[int, typer.Option(min=1, help="Checkpoints to keep beside the best.")] = 3,
    evaluate_every: Annotated[int, typer.Option(min=1, help="Iterations.")] = 25,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes of each evaluation.")] = 100,
    address: Address = None,
) -> int:
    """Train agents, such as: edge-marl train tandem_v0 qmix --time 10m

    Without a limit it goes on until it is stopped. Ctrl-C leaves a checkpoint; --resume goes on
    from there. Limits count from the very beginning of a run.
    """  # fmt: skip
    from edge_marl.experiments.training import run
    from edge_marl.experiments.training.recipe import parse_recipe

    limits = run.Limits(
        iterations=iterations, env_steps=steps, time_s=None if time is None else _seconds(time)
    )
    if resume is not None:
        # What stands behind it is no environment and no algorithm then.
        files = [one for one in (env, algorithm, *(overrides or ())) if one is not None]
        if out is not None or not all("=" in one for one in files):
            raise InputError(
                "--resume: goes on with the run as it is; it takes no environment, algorithm or "
                "--out, and only options that name files which were moved"
            )
        any_limit = iterations or steps or time
        return run.resume(
            resume, limits if any_limit else None, workers, files=files, address=address
        )
    if env is None or algorithm is None:
        raise InputError("train: expected ENV and ALGORITHM, or --resume DIR")
    settings = run.RunSettings(
        recipe=parse_recipe(env, algorithm, overrides or (), seed),
        limits=limits,
        workers=workers or 0,
        checkpoint_every=checkpoint_every,
        keep=keep,
        evaluate_every=evaluate_every,
        episodes=episodes,
    )
    folder = out or Path("results/train") / f"{_slug(env)}-{algorithm}-{seed}"
    return run.start(settings, folder, address=address)


def _seconds(text: str) -> float:
    found = _DURATION.fullmatch(text)
    if found is None or float(found[1]) == 0:
        raise InputError(f"--time: expected a duration such as 90s, 30m or 1h, found {text!r}")
    return float(found[1]) * _UNIT_S[found[2]]


def _slug(env: str) -> str:
    return re.sub(r"\W+", "-", env)


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a checkpoint.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for one folder per agent. Default: results/export/NAME.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write the decentralised actors of a checkpoint as ONNX and safetensors, checked and timed."""
    from edge_marl.experiments.export.command import export as export_all

    export_all(checkpoint, out)


def evaluate(
    checkpoints: Annotated[
        list[str],
        typer.Argument(
            metavar="CHECKPOINT|env.KEY=VALUE",
            help="Folders of checkpoints, or of runs: their best ones. And options of the "
            "environment to play them in, such as env.scenario.servers=48, where they are not to "
            "be those of the training.",
        ),
    ],
    on: Annotated[
        str | None,
        typer.Option(
            help="tandem_v0: a split such as 3-3, or a trace file. Default: fresh traces "
            "of the workload that was trained on.",
            show_default=False,
        ),
    ] = None,
    episodes: Annotated[
        int | None,
        typer.Option(
            min=2, help="How many. Default: 300 traces, or 100 seeds elsewhere.", show_default=False
        ),
    ] = None,
    env: Annotated[
        str | None,
        typer.Option(
            help="The environment that the checkpoints are of; needed where it is not "
            "of this project.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the results. Default: results/evaluate/ENV.", show_default=False
        ),
    ] = None,
) -> None:
    """Compare checkpoints, heuristics and, where there is one, the oracle on the same episodes."""
    from edge_marl.experiments.evaluate.command import evaluate as compare
    from edge_marl.experiments.training.recipe import ENV

    overrides = [one for one in checkpoints if one.startswith(ENV) and "=" in one]
    folders = [Path(one) for one in checkpoints if one not in overrides]
    if not folders:
        raise InputError("evaluate: expected the folder of a checkpoint or of a run")
    compare(folders, overrides, on=on, env=env, episodes=episodes, out=out)


def tune(
    env: Environment = None,
    algorithm: Algorithm = None,
    overrides: LearningOptions = None,
    space: Annotated[
        Path | None,
        typer.Option(
            help="YAML file of options and their distributions. Default: the one that "
            "comes with the algorithm.",
            show_default=False,
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Trials; with pbt, the population.")] = 16,
    scheduler: Annotated[
        Literal["asha", "pbt"],
        typer.Option(help="asha stops weak trials early; pbt lets them take over good ones."),
    ] = "asha",
    iterations: Annotated[
        int, typer.Option(min=1, help="Training iterations of a whole trial.")
    ] = 400,
    evaluate_every: Annotated[int, typer.Option(min=1, help="Training iterations.")] = 20,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes of each evaluation.")] = 100,
    time: Annotated[
        str | None,
        typer.Option(help="Limit of the whole search, such as 30m or 2h.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every trial.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the search. Default: results/tune/ENV-ALGORITHM.", show_default=False
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a search to continue; takes nothing else.", show_default=False
        ),
    ] = None,
    address: Address = None,
) -> int:
    """Search options with Ray Tune, such as: edge-marl tune tandem_v0 qmix --samples 8

    Trials are judged by evaluation, as `train` judges its best checkpoint.
    """  # fmt: skip
    from edge_marl.experiments.training.recipe import parse_recipe
    from edge_marl.experiments.tuning import search
    from edge_marl.experiments.tuning.space import shipped_space

    if resume is not None:
        if env is not None or out is not None or space is not None:
            raise InputError("--resume: goes on with the search as it is; it takes nothing else")
        return search.resume(resume, address=address)
    if env is None or algorithm is None:
        raise InputError("tune: expected ENV and ALGORITHM, or --resume DIR")
    recipe = parse_recipe(env, algorithm, overrides or (), seed)
    settings = search.SearchSettings(
        recipe=recipe,
        space=(space or shipped_space(algorithm)).resolve(),
        samples=samples,
        scheduler=scheduler,
        iterations=iterations,
        evaluate_every=evaluate_every,
        episodes=episodes,
        time_s=None if time is None else _seconds(time),
    )
    folder = out or Path("results/tune") / f"{_slug(env)}-{algorithm}"
    return search.start(settings, folder, address=address)
