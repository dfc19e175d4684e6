"""Compare checkpoints, heuristics and, where there is one, the bound on the same episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from edge_marl.envs.batched import make_batched
from edge_marl.envs.faults import EnvironmentFaultError
from edge_marl.errors import InputError
from edge_marl.experiments.evaluate.episodes import BATCH, check_fit, play
from edge_marl.experiments.evaluate.report import Headline, Played
from edge_marl.experiments.progress import progress_bar
from edge_marl.experiments.systems.system import Bound, Goal, Metrics, System
from edge_marl.experiments.training.checkpoints import Checkpoint
from edge_marl.experiments.training.recipe import register_environment
from edge_marl.validation import shown

WORST = 3
"""Episodes of each checkpoint that are drawn, where a system can be seen."""


class Comparison:
    """Play everything that is compared on one set of episodes.

    Heuristics and checkpoints are tested against the best heuristic or, where there is none,
    against the first checkpoint.

    Args:
        system: the one of the checkpoints.
        checkpoints: at least one.
        on: which set of episodes; None: the usual one.
        episodes: how many; None: as many as is usual.
        longest: steps after which an episode is cut off; None: never.

    Raises:
        InputError: for checkpoints that cannot be compared, and for a set that does not exist.
    """

    def __init__(
        self,
        system: System,
        checkpoints: Sequence[Checkpoint],
        *,
        on: str | None = None,
        episodes: int | None = None,
        longest: int | None = None,
    ) -> None:
        register_environment(system.environment)
        self.system, self.checkpoints, self.longest = system, checkpoints, longest
        self.episodes = system.evaluation(checkpoints[0].env_config, episodes, on)
        self.title = self.episodes.title
        self._check()
        self.goal: Goal = system.headline or system.goal
        self._bound: Bound | None = None

    def play(self, folder: Path) -> tuple[list[Played], Headline]:
        """Compute the bound, if there is one, and play all heuristics and checkpoints.

        Args:
            folder: where to keep what is worth reusing.

        Returns:
            What was played, the bound and the heuristics first, and how it is compared.

        Raises:
            InputError: if the environment raises an error.
        """
        self._bound = self.system.bound(self.episodes, folder)
        names = tuple(self.system.heuristics())
        with progress_bar(visible=bool(names)) as bar:
            heuristics: dict[str, Metrics] = {
                name: self._judged(self.system.play(name, self.episodes))
                for name in bar.track(names, description="heuristics")
            }
        played = [Played(name, "heuristic", metrics) for name, metrics in heuristics.items()]
        if self._bound is not None:
            played.insert(0, Played(self._bound.name, "oracle", self._bound.metrics))
        with progress_bar() as bar:
            for checkpoint in bar.track(self.checkpoints, description="evaluate"):
                metrics = self._judged(self._play(checkpoint))
                played.append(Played(checkpoint.name, "learned", metrics, checkpoint))
        reference = self.goal.best(heuristics) if heuristics else self.checkpoints[0].name
        shown_ = self.system.reported
        others = shown_ and tuple(name for name in shown_ if name != self.goal.metric)
        headline = Headline(self.goal.metric, self.goal.higher_is_better, reference, others)
        return played, headline

    def draw_worst(self, played: Sequence[Played], headline: Headline, folder: Path) -> list[Path]:
        """Draw each checkpoint's worst episodes, beside the policy that it is tested against."""
        paths = []
        actors = {one.name: one.checkpoint.actor for one in played if one.checkpoint}
        reference = (headline.reference, actors.get(headline.reference))
        for one in played:
            if one.checkpoint is None:
                continue
            costs = headline.cost(one.metrics[headline.metric])
            for rank, k in enumerate(np.argsort(-costs, kind="stable")[:WORST].tolist(), start=1):
                path = folder / f"worst-{one.name.replace('/', '-')}-{rank}.png"
                policies = [(one.name, one.checkpoint.actor), reference]
                if self.system.draw(self.episodes, k, policies, path):
                    paths.append(path)
        return paths

    def _play(self, checkpoint: Checkpoint) -> Metrics:
        """Play a checkpoint as its algorithm is deployed."""
        recipe, seeds = checkpoint.card.recipe, self.episodes.seeds
        batch_size = min(BATCH, len(seeds))
        env = make_batched(recipe.env, self._env_config(checkpoint), batch_size, state=False)
        try:
            return play(
                checkpoint.actor, env, seeds,
                sampled=recipe.acts_by_sampling, max_steps=self.longest,
            )  # fmt: skip
        except EnvironmentFaultError as fault:
            raise InputError(f"{recipe.env}: {fault}") from fault

    def _judged(self, metrics: Metrics) -> Metrics:
        return self.system.judged(metrics, self._bound)

    def _check(self) -> None:
        """Refuse checkpoints that do not fit the environment or would play other episodes."""
        first = self.checkpoints[0]
        expected = self.system.deciding(self._env_config(first))
        for checkpoint in self.checkpoints:
            env_config = self._env_config(checkpoint)
            env = make_batched(self.system.environment, env_config, 1, state=False)
            try:
                check_fit(checkpoint.actor, env)
            except InputError as error:
                raise InputError(f"{checkpoint.folder}: {error}") from error
            different = _first_difference(expected, self.system.deciding(env_config))
            if different is not None:
                name, one, other = different
                otherwise = "" if self.system.sets is None else f"; or say --on, {self.system.sets}"
                raise InputError(
                    f"{checkpoint.folder}: env.{name}: expected {shown(one)} as in {first.folder}, "
                    f"found {shown(other)}{otherwise}"
                )

    def _env_config(self, checkpoint: Checkpoint) -> dict[str, Any]:
        return self.system.played_in(checkpoint.env_config, self.episodes)


def _first_difference(one: Any, other: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """Return the name of the first option that differs and both values, or None."""
    one, other = (dict(x) if isinstance(x, BaseModel) else x for x in (one, other))
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return None if one == other else (name, one, other)
    for key in dict.fromkeys([*one, *other]):
        inner = f"{name}.{key}" if name else key
        found = _first_difference(one.get(key), other.get(key), inner)
        if found is not None:
            return found
    return None
