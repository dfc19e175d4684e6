"""Implement ``edge-marl benchmark spread``, which trains in an environment written by others.

The environment is simple spread (Lowe et al., 2017, "Multi-agent actor-critic for mixed
cooperative-competitive environments") as implemented in PettingZoo and mpe2: three agents have to
cover three landmarks without colliding, in episodes of 25 steps with 5 actions, or with a force in
each of 5 directions. A return is that of one agent, averaged over the agents, as BenchMARL reports
it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from edge_marl.errors import InputError
from edge_marl.experiments.benchmarks.report import Measurement, report
from edge_marl.experiments.parallel import all_cores, built, run_tasks
from edge_marl.experiments.progress import progress_bar
from edge_marl.experiments.training.loop import Limits, training
from edge_marl.files import aside
from edge_marl.locks import sole_writer
from edge_marl.options import Count, Options, Workers

ENV, FORCES = "simple_spread", "simple_spread_forces"
SLOTS = 25
ALGORITHMS = {"mappo": ENV, "qmix": ENV, "mappo, forces": FORCES, "maddpg, forces": FORCES}
"""What is trained, and where."""


class SpreadSizes(Options):
    """Configure how much is trained and evaluated."""

    env_steps: Count = Field(default=1_000_000, description="of training a run")
    seeds: Count = Field(default=5)
    envs: Count = Field(default=64, description="episodes at a time")
    evaluations: Count = Field(default=20, description="points of a learning curve")
    episodes: Count = Field(default=200, description="greedy ones an evaluation")
    workers: Workers = Field(default_factory=all_cores, description="runs at a time")


class Point(NamedTuple):
    """Hold one point of a learning curve."""

    env_steps: int
    mean_return: float


def benchmark(out: Path, sizes: SpreadSizes | None = None) -> list[Measurement]:
    """Train, print the returns reached, and write them with the learning curves and a plot.

    Args:
        out: folder.
        sizes: how much is trained.

    Raises:
        InputError: if mpe2 is not installed, or another process writes to the folder.
    """
    with sole_writer(out):
        return _benchmark(out, sizes or SpreadSizes())


def _benchmark(out: Path, sizes: SpreadSizes) -> list[Measurement]:
    make_env({})
    runs = [(algorithm, seed) for algorithm in ALGORITHMS for seed in range(sizes.seeds)]
    curves: dict[tuple[str, int], list[Point]] = {}
    arguments = [(algorithm, seed, sizes) for algorithm, seed in runs]
    with progress_bar() as bar:
        finished = run_tasks(curve, arguments, workers=sizes.workers)
        for i, points in bar.track(finished, total=len(runs), description="simple_spread"):
            curves[runs[i]] = points
    lines = list(_levels(curves))
    with aside(out / "curves.csv") as place, place.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("algorithm", "seed", *Point._fields))
        table.writerows((*run, *point) for run in runs for point in curves[run])
    draw(out / "curves.png", curves)
    report("edge-marl benchmark spread", lines, out / "spread.json", sizes=sizes.model_dump())
    return lines


def make_env(env_config: Mapping[str, Any]) -> Any:
    """Make the environment with PettingZoo's defaults.

    Args:
        env_config: ``continuous_actions``: whether actions are forces.

    Raises:
        InputError: if mpe2 is not installed.
    """
    try:
        from mpe2 import simple_spread_v3
    except ImportError:
        raise InputError(
            "simple_spread: expected the package mpe2 (pip install 'edge-marl[bench]'), found none"
        ) from None
    return simple_spread_v3.parallel_env(N=3, local_ratio=0.5, max_cycles=SLOTS, **env_config)


def curve(algorithm: str, seed: int, sizes: SpreadSizes) -> list[Point]:
    """Train one run and return its learning curve, which begins with the untrained policy."""
    from ray.tune.registry import register_env

    for name in (ENV, FORCES):
        forces = {"continuous_actions": True} if name == FORCES else {}
        register_env(name, lambda _, given=forces: make_env(given))
    with built(_config(algorithm, seed, sizes)) as trained:
        return [
            Point(progress.env_steps, _evaluate(trained, sizes))
            for progress in training(trained, Limits(env_steps=sizes.env_steps))
            if progress.due(sizes.evaluations)
        ]


def _config(algorithm: str, seed: int, sizes: SpreadSizes) -> Any:
    from edge_marl.algorithms.cto import MADDPGConfig
    from edge_marl.algorithms.mappo import MAPPOConfig
    from edge_marl.algorithms.value_decomposition import QMIXConfig

    if algorithm == "maddpg, forces":
        config: Any = MADDPGConfig().training(
            gamma=0.95, lr=1e-3, critic_lr=1e-3, grad_clip=0.5, updates_per_batch=16,
            train_batch_size_per_learner=sizes.envs * SLOTS, replay_capacity=300_000,
            n_step=1, noise_scale=[(0, 0.3), (sizes.env_steps // 2, 0.05)],
        )  # fmt: skip
    elif algorithm.startswith("mappo"):
        config = MAPPOConfig().training(
            lr=7e-4,
            train_batch_size_per_learner=sizes.envs * SLOTS,
            minibatch_size=sizes.envs * SLOTS,
            num_epochs=10,
        )
    else:
        # Returns of -100 in sum are far from where networks begin, and copied target networks
        # let values drift apart again: without these QMIX unlearns after 60,000 steps, and with
        # every step replayed 8 times instead of twice after 120,000.
        config = QMIXConfig().training(
            training_intensity=2.0, reward_scaling=True, tau=0.005, target_update_interval=1
        )
    return (
        config.environment(ALGORITHMS[algorithm])
        .env_runners(num_envs_per_env_runner=sizes.envs, rollout_fragment_length=SLOTS)
        .debugging(seed=seed)
    )


def _evaluate(trained: Any, sizes: SpreadSizes) -> float:
    """Return an agent's mean return over greedy episodes, the same ones each time."""
    runner = trained.env_runner
    runner.get_metrics()  # of training, so that what follows is of this evaluation alone
    runner.sample(num_episodes=sizes.episodes, explore=False)
    by_agent = runner.get_metrics()["agent_episode_returns_mean"]
    return float(np.mean([mean.peek() for mean in by_agent.values()]))


def _levels(curves: dict[tuple[str, int], list[Point]]) -> Iterator[Measurement]:
    """Yield the interquartile mean of the return over the seeds, before and after training."""
    from edge_marl.experiments.statistics import interquartile_mean

    for algorithm in ALGORITHMS:
        own = [points for (name, _), points in curves.items() if name == algorithm]
        for when, k in (("untrained", 0), ("trained", -1)):
            level = interquartile_mean(np.array([[points[k].mean_return] for points in own]))
            interval = f"per agent, 95% [{level.low:.2f}, {level.high:.2f}]"
            yield Measurement(f"{_title(algorithm)}, {when}: return", level.value, interval)


def _title(algorithm: str) -> str:
    name, *what = algorithm.partition(",")
    return "".join([name.upper(), *what])


def draw(path: Path, curves: dict[tuple[str, int], list[Point]]) -> None:
    """Plot the learning curves, one line per run and one colour per algorithm."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), dpi=120, layout="constrained")
    ax = figure.subplots()
    for (algorithm, seed), points in curves.items():
        steps, returns = zip(*points, strict=True)
        ax.plot(
            steps, returns, color=f"C{[*ALGORITHMS].index(algorithm)}", alpha=0.8,
            label=_title(algorithm) if seed == 0 else None,
        )  # fmt: skip
    ax.set(xlabel="environment steps", ylabel="return of an agent", title="simple_spread, N = 3")
    ax.legend(frameon=False)
    with aside(path) as place:
        figure.savefig(place, format="png")
