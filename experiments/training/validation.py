"""Episodes on which a run judges itself, beside the heuristics on the same ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_marl.experiments.evaluate.episodes import BATCH, RETURN, play, validation_seeds
from edge_marl.experiments.training.recipe import Recipe
from edge_marl.tandem.evaluation import run
from edge_marl.tandem.heuristics import heuristic
from edge_marl.tandem.simulator import EpisodeResults
from edge_marl.tandem.traces import TraceSet

if TYPE_CHECKING:
    from edge_marl.algorithms.actors import Actor

TANDEM_METRICS = ("objective", "makespan", "dropped")

HEURISTICS = ("edf", "srtf", "llf", "llf+edf")
"""The rules shown beside a run; llf+edf is the best of all pairs on the default workload."""

_FIRST_SEED = 128 * 2**32
"""Of validation traces: above the seeds of training episodes (below 2^32) and in no split."""


@dataclass(frozen=True)
class Goal:
    """What a run is judged by."""

    metric: str
    higher_is_better: bool

    def score(self, evaluation: Mapping[str, float]) -> float:
        """The metric, turned so that more is better; what is not a number is worst."""
        value = evaluation[self.metric] if self.higher_is_better else -evaluation[self.metric]
        return value if np.isfinite(value) else -np.inf


class Validation(Protocol):
    """The same episodes at every call."""

    goal: Goal
    baselines: Mapping[str, Mapping[str, float]]
    """Heuristic, then metric: means over the same episodes."""

    def __call__(self, actor: Actor, check: Callable[[], None] | None = None) -> dict[str, float]:
        """Means over the episodes by metric.

        Args:
            actor: the agents.
            check: called before every step of theirs; what it raises ends it.
        """
        ...


def make_validation(recipe: Recipe, episodes: int, max_steps: int | None = None) -> Validation:
    """The evaluation episodes of a run, the same for every run of the same environment.

    Args:
        recipe: of the run.
        episodes: how many.
        max_steps: see :func:`edge_marl.algorithms.playing.longest_episode`.

    Raises:
        InputError: for ``max_steps`` in an environment whose episodes all end.
    """
    from edge_marl.algorithms.playing import longest_episode

    longest = longest_episode(recipe.env, max_steps)
    own: Mapping[str, Callable[[Recipe, int], Validation]] = {
        "tandem_v0": TandemValidation,
        "peer_offloading_v0": OffloadingValidation,
        "dag_placement_v0": PlacementValidation,
    }
    if recipe.env in own:
        return own[recipe.env](recipe, episodes)
    return BatchedValidation(recipe, episodes, longest)


class TandemValidation:
    """Traces of the same workload that training never draws.

    Where the environment replays a trace file, they are its first traces: the run is then judged
    by what it is trained on, for there is nothing else.
    """

    goal = Goal("objective", higher_is_better=False)

    def __init__(self, recipe: Recipe, episodes: int) -> None:
        from edge_marl.envs.tandem_v0 import parallel_env

        config = parallel_env(**recipe.env_config).config
        self.max_queue = config.max_queue
        self.drop_penalty = config.drop_penalty
        if config.traces is None:
            seeds = np.arange(_FIRST_SEED, _FIRST_SEED + episodes, dtype=np.int64)
            self.traces = config.workload.sample(seeds)
        else:
            self.traces = _trace_set(config.traces)[:episodes]
        self.baselines: Mapping[str, Mapping[str, float]] = {
            name: self._play(heuristic(name)) for name in HEURISTICS
        }

    def __call__(self, actor: Actor, check: Callable[[], None] | None = None) -> dict[str, float]:
        """Means over the traces."""
        from edge_marl.algorithms.actors import ActorPolicy

        return self._play(ActorPolicy("trained", actor, check))

    def _play(self, policy: Any) -> dict[str, float]:
        results: EpisodeResults = run(
            policy, self.traces, drop_penalty=self.drop_penalty, max_queue=self.max_queue
        ).results
        return {name: float(getattr(results, name).mean()) for name in TANDEM_METRICS}


class BatchedValidation:
    """Seeded episodes of any environment; there may be no heuristics to compare with."""

    goal = Goal(RETURN, higher_is_better=True)

    def __init__(self, recipe: Recipe, episodes: int, longest: int | None = None) -> None:
        from edge_marl.envs.batched import make_batched

        self.baselines: Mapping[str, Mapping[str, float]] = {}
        self._env = make_batched(recipe.env, recipe.env_config, min(BATCH, episodes), state=False)
        self._seeds = validation_seeds(episodes)
        self._sampled = recipe.acts_by_sampling
        self._longest = longest

    def __call__(self, actor: Actor, check: Callable[[], None] | None = None) -> dict[str, float]:
        """Means over the episodes."""
        played = play(
            actor, self._env, self._seeds,
            sampled=self._sampled, max_steps=self._longest, check=check,
        )  # fmt: skip
        return _means(played)


class OffloadingValidation(BatchedValidation):
    """Episodes of the scenario that is trained on."""

    goal = Goal("success_rate", higher_is_better=True)

    def __init__(self, recipe: Recipe, episodes: int) -> None:
        from edge_marl.envs.peer_offloading_v0 import parallel_env
        from edge_marl.experiments.evaluate.offloading import play_heuristics

        super().__init__(recipe, episodes)
        scenario = parallel_env(**recipe.env_config).config.scenario
        found = play_heuristics(scenario, self._seeds)
        self.baselines = {name: self._reported(_means(metrics)) for name, metrics in found.items()}

    def __call__(self, actor: Actor, check: Callable[[], None] | None = None) -> dict[str, float]:
        """Means over the episodes."""
        return self._reported(super().__call__(actor, check))

    def _reported(self, means: Mapping[str, float]) -> dict[str, float]:
        from edge_marl.experiments.evaluate.offloading import REPORTED

        return {name: means[name] for name in REPORTED}


class PlacementValidation(BatchedValidation):
    """Episodes of the scenario that is trained on."""

    goal = Goal("response_s", higher_is_better=False)

    def __init__(self, recipe: Recipe, episodes: int) -> None:
        from edge_marl.dag_placement.heuristics import HEURISTICS as PLACING
        from edge_marl.envs.dag_placement_v0 import parallel_env
        from edge_marl.experiments.evaluate.placement import play_heuristic

        super().__init__(recipe, episodes)
        scenario = parallel_env(**recipe.env_config).config.scenario
        self.baselines = {
            name: self._reported(_means(play_heuristic(name, scenario, self._seeds)))
            for name in PLACING
        }

    def __call__(self, actor: Actor, check: Callable[[], None] | None = None) -> dict[str, float]:
        """Means over the episodes."""
        return self._reported(super().__call__(actor, check))

    def _reported(self, means: Mapping[str, float]) -> dict[str, float]:
        from edge_marl.experiments.evaluate.placement import REPORTED

        return {name: means[name] for name in REPORTED}


def _means(metrics: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """Over the episodes that have the metric: without a success there is no delay, for one."""
    return {
        name: float(values[~np.isnan(values)].mean()) if not np.isnan(values).all() else np.nan
        for name, values in metrics.items()
    }


def _trace_set(traces: Any) -> TraceSet:
    from edge_marl.tandem.trace_files import read_traces

    return traces if isinstance(traces, TraceSet) else read_traces(traces)
