"""Define the units that most studies consist of: trainings of policies, and their episodes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic_core import to_jsonable_python

from edge_marl.experiments.evaluate.episodes import play
from edge_marl.experiments.parallel import built, local_ray
from edge_marl.experiments.study.outcomes import EPISODE
from edge_marl.experiments.study.units import Columns, Label, Unit
from edge_marl.experiments.systems import system_of
from edge_marl.experiments.systems.system import Episodes, Metrics
from edge_marl.experiments.training.loop import Limits, Progress, training
from edge_marl.experiments.training.recipe import ALGORITHMS, Recipe, register_environment

if TYPE_CHECKING:
    from edge_marl.algorithms.actors import Actor

KIND, METHOD, SEED = "kind", "method", "seed"
"""Labels of every unit here."""

TRAINING, TEST = "training", "test"
"""Values of :data:`KIND`."""

ITERATION, ENV_STEPS, PHASE = "iteration", "env_steps", "phase"
TRAINED_S = "trained_s"
"""A column: by the clock, without evaluations."""
PLAYED = "played_"
"""Further columns of a training's rows, and the beginning of their names."""


@dataclass(frozen=True)
class Given:
    """Describe what an environment reads of another unit."""

    unit: Unit
    option: str
    """Of the environment, that names the folder of the unit's artefacts."""
    others: Mapping[str, Any] = field(default_factory=dict)
    """Options that go with it."""

    def options(self, folder: Path) -> dict[str, Any]:
        """Return the options of the environment, given that folder."""
        return {**self.others, self.option: str(folder)}


@dataclass(frozen=True, eq=False)
class Training(Unit):
    """Train a policy by a recipe, and keep what it does on validation episodes on the way.

    Its artefacts are the actors at the end of each phase, in a folder of the phase's name; those
    of an algorithm without phases are in ``end``.
    """

    method: str
    recipe: Recipe
    limits: Limits
    validation: Episodes
    metrics: tuple[str, ...]
    """Of the validation episodes, that are kept."""
    evaluations: int = 10
    """Equally distant on the way, the last at the end."""
    played: tuple[str, ...] = ()
    """Metrics of the episodes that were learned from, whose means so far are kept beside them, in
    columns with the prefix :data:`PLAYED`."""
    further: Mapping[str, Label] = field(default_factory=dict)
    """Labels beside method and seed."""
    given: Given | None = None
    """To the environment that is learned in."""
    is_seen: bool = False
    """Whether it is given to that of the validation episodes, too."""
    seconds: float = 0.0
    """See :attr:`.units.Unit.seconds`."""

    @property
    def labels(self) -> Mapping[str, Label]:
        """Return kind, method and seed, and what the study adds."""
        return {KIND: TRAINING, METHOD: self.method, SEED: self.recipe.seed, **self.further}

    @property
    def configuration(self) -> Any:
        """Return the resolved recipe, and how its policy is evaluated."""
        return {
            "recipe": self.recipe.resolved(),
            "limits": self.limits.model_dump(),
            "validation": to_jsonable_python(dict(self.validation.env_config)),
            "validation_seeds": self.validation.seeds.tolist(),
            "metrics": self.metrics,
            "evaluations": self.evaluations,
            "played": self.played,
            "given": None if self.given is None else {**self.given.others},
            "is_seen": self.is_seen,
        }

    @property
    def modules(self) -> Sequence[str]:
        """Return the modules of the algorithm and the environment."""
        return (
            ALGORITHMS[self.recipe.algorithm].config_class.partition(":")[0],
            *_modules_of(self.recipe.env),
        )

    @property
    def needs(self) -> Sequence[Unit]:
        """Return the unit that makes what the environment is given, if there is one."""
        return () if self.given is None else (self.given.unit,)

    @property
    def effort(self) -> float:
        """Return an effort far above that of most tests."""
        return 1000.0

    def due(self, progress: Progress) -> bool:
        """Return whether the policy is evaluated now."""
        return progress.iteration > 0 and progress.due(self.evaluations)

    @contextmanager
    def prepared(self, artefacts: Path) -> Iterator[Recipe]:
        """Provide the recipe, with what it needs in place for as long as the training lasts."""
        yield self.recipe

    def keep(self, algorithm: Any, folder: Path) -> None:
        """Keep the actors in a folder."""
        from edge_marl.algorithms.actors import save_actor

        save_actor(algorithm.actor(), folder)

    def compute(self, artefacts: Path, needed: Sequence[Path]) -> Columns:
        """Train, evaluate on the way, and keep the actors."""
        from edge_marl.envs.batched import make_batched

        one_thread()
        register_environment(self.recipe.env)
        seeds = self.validation.seeds
        given = {} if self.given is None else self.given.options(needed[0])
        shown = {**self.validation.env_config, **(given if self.is_seen else {})}
        env = make_batched(self.recipe.env, shown, len(seeds), state=False)
        parts: list[Columns] = []
        begin, evaluating_s = time.perf_counter(), 0.0
        played: dict[str, list[float]] = {name: [] for name in self.played}
        # Without ours, RLlib would start a Ray of its own, open to the network.
        with (
            self.prepared(artefacts) as recipe,
            local_ray(1),
            built(recipe.with_env(given).config()) as algorithm,
        ):
            for progress in training(algorithm, self.limits):
                phase = progress.phase or getattr(algorithm, "phase", "")
                for name, means in played.items():
                    means.append(_of_training(progress, name))
                if self.due(progress):
                    evaluated = time.perf_counter()
                    actor = algorithm.actor()
                    found = play(actor, env, seeds, sampled=recipe.acts_by_sampling)
                    parts.append({
                        ITERATION: np.full(len(seeds), progress.iteration),
                        ENV_STEPS: np.full(len(seeds), progress.env_steps),
                        TRAINED_S: np.full(len(seeds), evaluated - begin - evaluating_s),
                        PHASE: np.full(len(seeds), phase, dtype=object),
                        EPISODE: np.arange(len(seeds)),
                        **{name: np.asarray(found[name], float) for name in self.metrics},
                        **{f"{PLAYED}{name}": np.full(len(seeds), _mean_of_known(means))
                           for name, means in played.items()},
                    })  # fmt: skip
                    evaluating_s += time.perf_counter() - evaluated
                if progress.iteration > 0 and _ends_phase(progress, algorithm):
                    self.keep(algorithm, artefacts / (phase or "end"))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@dataclass(frozen=True, eq=False)
class Play(Unit):
    """Play a policy on test episodes, one row each: a heuristic, or what a training left."""

    environment: str
    episodes: Episodes
    method: str
    training: Training | None = None
    """None: the heuristic of the method's name."""
    phase: str = "end"
    """Of the training."""
    further: Mapping[str, Label] = field(default_factory=dict)
    """Labels beside method and seed."""
    given: Given | None = None
    """To the environment."""
    cost: float = 1.0
    """How long it takes beside others, roughly."""

    @property
    def effort(self) -> float:
        """Return :attr:`cost`."""
        return self.cost

    @property
    def labels(self) -> Mapping[str, Label]:
        """Return kind, method and seed, and what the study adds."""
        seed = 0 if self.training is None else self.training.recipe.seed
        return {KIND: TEST, METHOD: self.method, SEED: seed, **self.further}

    @property
    def configuration(self) -> Any:
        """Return the episodes, and which policy plays; its training is among :attr:`needs`."""
        env_config = system_of(self.environment).options(self.episodes.env_config)
        return {
            "env_config": to_jsonable_python(env_config),
            "seeds": self.episodes.seeds.tolist(),
            "policy": self.method if self.training is None else self.phase,
            "given": None if self.given is None else {**self.given.others},
        }

    @property
    def modules(self) -> Sequence[str]:
        """Return the modules of the system, of playing and of the environment."""
        system = type(system_of(self.environment)).__module__
        return (system, "edge_marl.algorithms.playing", *_modules_of(self.environment))

    @property
    def needs(self) -> Sequence[Unit]:
        """Return the training, and what makes what the environment is given, if there are any."""
        learned = () if self.training is None else (self.training,)
        return learned if self.given is None else (*learned, self.given.unit)

    def compute(self, artefacts: Path, needed: Sequence[Path]) -> Columns:
        """Play all episodes."""
        found = self._play(needed)
        columns = {name: np.asarray(values, float) for name, values in found.items()}
        return {EPISODE: np.arange(len(self.episodes.seeds)), **columns}

    def _play(self, needed: Sequence[Path]) -> Metrics:
        if self.training is None:
            return system_of(self.environment).play(self.method, self.episodes)
        from edge_marl.algorithms.actors import load_actor
        from edge_marl.envs.batched import make_batched

        one_thread()
        register_environment(self.environment)
        seeds = self.episodes.seeds
        given = {} if self.given is None else self.given.options(needed[1])
        shown = {**self.episodes.env_config, **given}
        env = make_batched(self.environment, shown, len(seeds), state=False)
        actor = load_actor(needed[0] / self.phase).resized(env.action_spec.n - 1)
        return play(actor, env, seeds, sampled=self.training.recipe.acts_by_sampling)


def actor_of(folder: Path, phase: str = "end") -> Actor:
    """Read the actor that a training left in its artefacts."""
    from edge_marl.algorithms.actors import load_actor

    return load_actor(folder / phase)


def _ends_phase(progress: Progress, algorithm: Any) -> bool:
    return progress.share >= 1.0 or getattr(algorithm, "phase", "") != progress.phase


def _of_training(progress: Progress, metric: str) -> float:
    """Return a metric of the episodes that ended in an iteration, NaN if there were none."""
    from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS

    from edge_marl.algorithms.sampling.episodes import DOMAIN_METRICS

    of_runners = progress.results.get(ENV_RUNNER_RESULTS, {})
    return float(of_runners.get(DOMAIN_METRICS, {}).get(metric, math.nan))


def _mean_of_known(means: Sequence[float]) -> float:
    known = [mean for mean in means if not math.isnan(mean)]
    return float(np.mean(known)) if known else math.nan


def _modules_of(environment: str) -> tuple[str, ...]:
    module = system_of(environment).module
    return () if module is None else (module,)


def one_thread() -> None:
    """Limit PyTorch to one thread: with small networks and a task per core, more only contend."""
    import torch

    torch.set_num_threads(1)
