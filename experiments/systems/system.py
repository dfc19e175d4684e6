"""Define what the commands know of a system: environment, goal, metrics, heuristics, bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from edge_marl.errors import InputError
from edge_marl.experiments.evaluate.episodes import RETURN, evaluation_seeds, validation_seeds

if TYPE_CHECKING:
    from edge_marl.algorithms.actors import Actor
    from edge_marl.simulation import Policy as Heuristic
    from edge_marl.simulation import Simulator

    Policy = tuple[str, Actor | None]
    """The name of a heuristic, or a name and an actor."""

Metrics = Mapping[str, NDArray[Any]]
"""Metrics ``[K]`` of K episodes, by name."""


@dataclass(frozen=True)
class Goal:
    """Name a metric and whether a higher value of it is better."""

    metric: str
    higher_is_better: bool

    def score(self, means: Mapping[str, float]) -> float:
        """Return the metric, negated if lower is better; a value that is not finite is worst."""
        value = means[self.metric] if self.higher_is_better else -means[self.metric]
        return value if np.isfinite(value) else -np.inf

    def best(self, found: Mapping[str, Metrics]) -> str:
        """Return the name with the best mean; episodes without the metric do not count."""
        means = {name: float(np.nanmean(metrics[self.metric])) for name, metrics in found.items()}
        return max(means, key=lambda name: self.score({self.metric: means[name]}))


class Episodes(NamedTuple):
    """Describe the episodes that policies are compared on."""

    env_config: Mapping[str, Any]
    """Options of the environment that decide which they are."""
    seeds: NDArray[np.int64]
    """``[K]``"""
    title: str


class Bound(NamedTuple):
    """Bound the metrics of some episodes: no policy can do better."""

    name: str
    metrics: Metrics
    """Of the first K' episodes, with the metric of the headline among them."""


class System:
    """Declare a scheduling system once, for every command to read it from here.

    A subclass declares one system; what it leaves out is as for an environment of which nothing is
    known but its return. Nothing heavy is imported before it is needed, so that a command line
    answers at once.
    """

    environment: str
    """The name of its environment."""
    module: ClassVar[str | None] = None
    """The module of the environment, with ``parallel_env`` and ``batched_env``."""
    goal: ClassVar[Goal] = Goal(RETURN, higher_is_better=True)
    """What trainings are judged by."""
    headline: ClassVar[Goal | None] = None
    """What policies are compared by; the goal where it is None."""
    reported: ClassVar[tuple[str, ...] | None] = None
    """Metrics that a person compares policies by; all where it is None."""
    n_episodes: ClassVar[int] = 100
    """Of an evaluation, unless asked for otherwise."""
    sets: ClassVar[str | None] = None
    """What ``--on`` takes, where an evaluation may choose between sets of episodes."""

    def options(self, env_config: Mapping[str, Any]) -> BaseModel:
        """Validate the options of the environment.

        Raises:
            InputError: naming the option at fault.
        """
        config: BaseModel = self._env(env_config).config
        return config

    def _env(self, env_config: Mapping[str, Any]) -> Any:
        assert self.module is not None
        return import_module(self.module).parallel_env(**env_config)

    # Episodes -------------------------------------------------------------------------------

    def validation(self, env_config: Mapping[str, Any], n: int) -> Episodes:
        """Return the episodes by which a training chooses between weights."""
        return Episodes(env_config, validation_seeds(n), "validation")

    def evaluation(
        self, env_config: Mapping[str, Any], n: int | None, on: str | None = None
    ) -> Episodes:
        """Return the episodes by which policies are judged.

        Args:
            env_config: options of the environment.
            n: how many; None: as many as is usual.
            on: another set of episodes, where a system has several.

        Raises:
            InputError: for a set that does not exist.
        """
        if on is not None:
            raise InputError(
                f"--on: expected none for {self.environment}, which has one set of episodes, "
                f"found {on!r}"
            )
        seeds = evaluation_seeds(n or self.n_episodes)
        return Episodes(env_config, seeds, f"{len(seeds)} episodes of {self.environment}")

    def deciding(self, env_config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the options that decide, with the seeds, which episodes are played."""
        return env_config

    def played_in(self, env_config: Mapping[str, Any], episodes: Episodes) -> dict[str, Any]:
        """Return the options with which actors trained with ``env_config`` play the episodes."""
        return dict(env_config)

    # Policies -------------------------------------------------------------------------------

    def heuristics(self) -> Mapping[str, Callable[[], Heuristic[Any]]]:
        """Return a factory of each heuristic, by name and in the order of the tables."""
        return {}

    def simulator(self, env: Any, n: int) -> Simulator[Any, Any]:
        """Make the simulator in which a heuristic plays n episodes of an environment."""
        made: Simulator[Any, Any] = env.simulator(env.config, n)
        return made

    def play(self, heuristic: str, episodes: Episodes) -> Metrics:
        """Play the episodes with a heuristic and return their metrics."""
        from edge_marl.simulation import run

        env, policy = self._env(episodes.env_config), self.heuristics()[heuristic]()
        results = run(policy, partial(self.simulator, env), episodes.seeds)
        return {name: getattr(results, name) for name in env.metrics}

    def bound(self, episodes: Episodes, folder: Path) -> Bound | None:
        """Compute a bound that no policy can beat, if one is known.

        Args:
            episodes: to bound.
            folder: where to keep what is worth reusing.
        """
        return None

    def judged(self, metrics: Metrics, bound: Bound | None) -> Metrics:
        """Add metrics that are relative to the bound."""
        return metrics

    def draw(self, episodes: Episodes, k: int, policies: Sequence[Policy], path: Path) -> bool:
        """Draw episode k as several policies play it, beside the best that is possible.

        Returns:
            Whether a picture was drawn; False for a system that cannot draw its episodes.
        """
        return False


class ScenarioSystem(System):
    """Declare a system whose episodes are drawn from a scenario, an option of the environment.

    What agents observe and which rewards they get makes no difference to the episodes.
    """

    def scenario(self, env_config: Mapping[str, Any]) -> Any:
        """Return the scenario, validated."""
        config: Any = self.options(env_config)
        return config.scenario

    def deciding(self, env_config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the scenario, which alone decides with the seeds."""
        return {"scenario": self.scenario(env_config)}


def means(metrics: Metrics) -> dict[str, float]:
    """Average each metric over the episodes that have it: without a success there is no delay."""
    return {
        name: float(values[~np.isnan(values)].mean()) if not np.isnan(values).all() else np.nan
        for name, values in metrics.items()
    }
