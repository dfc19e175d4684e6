"""Define the commands of learning: train, tune, evaluate, export.

They import what they need when they run, so that ``--help`` answers at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from edge_marl.errors import InputError
from edge_marl.experiments.cli_options import count
from edge_marl.experiments.cli_options import seed as seed_option
from edge_marl.experiments.systems import systems
from edge_marl.experiments.training.recipe import ALGORITHMS
from edge_marl.limits import LARGEST, MOST, MOST_EPISODES, MOST_WORKERS, SMALLEST

_DURATION = re.compile(r"(\d+(?:\.\d*)?)([smhd]?)")
_UNIT_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}

_LIMITS = ("iterations", "steps", "time")
_CHANGEABLE = ("workers", "checkpoint_every", "keep", "evaluate_every")
"""Settings of a run that may be others when it is continued. Not the episodes that it is judged on:
its best checkpoint is the best on the same ones."""

Environment = Annotated[
    str | None,
    typer.Argument(
        metavar="ENV",
        help=f"{', '.join(systems())}, or module:function of a PettingZoo one.",
    ),
]
Algorithm = Annotated[
    str | None,
    typer.Argument(metavar="ALGORITHM", help=f"{', '.join(ALGORITHMS)}."),
]
LearningOptions = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Options of the algorithm, such as lr=0.001; network.* of its networks, such as "
        "network.kind=attention; env.* of the environment, such as env.workload.files=2.",
    ),
]
MaxEpisodeSteps = Annotated[
    int | None,
    count(
        "Steps after which an episode of an evaluation is cut off. Default: 10000; the "
        "environments of this project have no need of it.",
        most=MOST**2,
        show_default=False,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(help="Ray cluster to join; auto: the one of this machine. Default: Ray of its "
                 "own on loopback, or the cluster of the job.", show_default=False),
]  # fmt: skip


def train(
    ctx: typer.Context,
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
            help="Folder of a run to continue, as it is but for limits, --workers, "
            "--checkpoint-every, --keep, --evaluate-every and options that name files which were "
            "moved, such as env.scenario.workflows.path=NEW.",
            show_default=False,
        ),
    ] = None,
    iterations: Annotated[int | None, count("Limit of iterations.", show_default=False)] = None,
    steps: Annotated[
        int | None, count("Limit of environment steps.", most=MOST**2, show_default=False)
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            help="Limit of the time for training and evaluations, such as 90s, 30m or 1h.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, seed_option("Seed of everything random.")] = 0,
    workers: Annotated[
        int | None,
        count(
            "Remote env runners; 0: sample in this process. Default: 0.",
            least=0,
            most=MOST_WORKERS,
            show_default=False,
        ),
    ] = None,
    checkpoint_every: Annotated[int, count("Iterations.")] = 50,
    keep: Annotated[int, count("Checkpoints to keep beside the best.")] = 3,
    evaluate_every: Annotated[int, count("Iterations.")] = 25,
    episodes: Annotated[int, count("Episodes of each evaluation.", most=MOST_EPISODES)] = 100,
    max_episode_steps: MaxEpisodeSteps = None,
    address: Address = None,
) -> int:
    """Train agents, for example: edge-marl train tandem_v0 qmix --time 10m

    Without a limit it goes on until it is stopped. Ctrl-C leaves a checkpoint; --resume goes on
    from there. Limits count from the very beginning of a run.
    """  # fmt: skip
    from edge_marl.experiments.training import run
    from edge_marl.experiments.training.loop import Limits
    from edge_marl.experiments.training.recipe import parse_recipe

    limits = Limits(
        iterations=iterations, env_steps=steps, time_s=None if time is None else _seconds(time)
    )
    if resume is not None:
        # The positional arguments then name moved files, not an environment and an algorithm.
        files = [one for one in (env, algorithm, *(overrides or ())) if one is not None]
        placed = ("env", "algorithm", "overrides") if all("=" in one for one in files) else ()
        given = _given_with_resume(ctx, "run", (*_CHANGEABLE, *_LIMITS, "address", *placed))
        changes = {name: given[name] for name in _CHANGEABLE if name in given}
        if any(name in given for name in _LIMITS):
            changes["limits"] = limits
        return run.resume(resume, changes, files=files, address=address)
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
        max_episode_steps=max_episode_steps,
    )
    folder = out or Path("results/train") / f"{_slug(env)}-{algorithm}-{seed}"
    return run.start(settings, folder, address=address)


def _given_with_resume(ctx: typer.Context, what: str, taken: Sequence[str]) -> dict[str, Any]:
    """Return what was given on the command line, by parameter name.

    Raises:
        InputError: naming an argument or an option that ``--resume`` does not take.
    """
    given: dict[str, Any] = {}
    for parameter in ctx.command.params:
        name, source = str(parameter.name), ctx.get_parameter_source(str(parameter.name))
        if source is None or source.name != "COMMANDLINE":
            continue
        if name not in (*taken, "resume"):
            option = parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.metavar
            raise InputError(f"--resume: goes on with the {what} as it is; it takes no {option}")
        given[name] = ctx.params[name]
    return given


def _seconds(text: str) -> float:
    found = _DURATION.fullmatch(text)
    seconds = 0.0 if found is None else float(found[1]) * _UNIT_S[found[2]]
    if not SMALLEST <= seconds <= LARGEST:
        raise InputError(f"--time: expected a duration such as 90s, 30m or 1h, found {text!r}")
    return seconds


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
            help="Which episodes, where a system has several sets: "
            + "; ".join(f"{s.environment}: {s.sets}" for s in systems().values() if s.sets)
            + ". Default: fresh ones of the options that were trained with.",
            show_default=False,
        ),
    ] = None,
    episodes: Annotated[
        int | None,
        count(
            "How many. Default: 100, tandem_v0: 300.",
            least=2,
            most=MOST_EPISODES,
            show_default=False,
        ),
    ] = None,
    max_episode_steps: MaxEpisodeSteps = None,
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
    compare(
        folders, overrides, on=on, env=env, episodes=episodes, max_steps=max_episode_steps, out=out
    )


def tune(
    ctx: typer.Context,
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
    samples: Annotated[int, count("Trials; with pbt, the population.")] = 16,
    scheduler: Annotated[
        Literal["asha", "pbt"],
        typer.Option(help="asha stops weak trials early; pbt lets them take over good ones."),
    ] = "asha",
    iterations: Annotated[int, count("Training iterations of a whole trial.")] = 400,
    evaluate_every: Annotated[int, count("Training iterations.")] = 20,
    episodes: Annotated[int, count("Episodes of each evaluation.", most=MOST_EPISODES)] = 100,
    max_episode_steps: MaxEpisodeSteps = None,
    time: Annotated[
        str | None,
        typer.Option(help="Limit of the whole search, such as 30m or 2h.", show_default=False),
    ] = None,
    seed: Annotated[int, seed_option("Seed of every trial.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the search. Default: results/tune/ENV-ALGORITHM.", show_default=False
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Folder of a search to continue, as it is.", show_default=False),
    ] = None,
    address: Address = None,
) -> int:
    """Search options with Ray Tune, for example: edge-marl tune tandem_v0 qmix --samples 8

    Trials are judged by evaluation, as `train` judges its best checkpoint.
    """  # fmt: skip
    from edge_marl.experiments.training.recipe import parse_recipe
    from edge_marl.experiments.tuning import search
    from edge_marl.experiments.tuning.space import shipped_space

    if resume is not None:
        _given_with_resume(ctx, "search", ("address",))
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
        max_episode_steps=max_episode_steps,
        time_s=None if time is None else _seconds(time),
    )
    folder = out or Path("results/tune") / f"{_slug(env)}-{algorithm}"
    return search.start(settings, folder, address=address)
