"""Play the episodes by which a run judges itself, and the heuristics on the same ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from edge_marl.experiments.evaluate.episodes import BATCH, CUT, play
from edge_marl.experiments.systems import system_of
from edge_marl.experiments.systems.system import Metrics, means
from edge_marl.experiments.training.recipe import Recipe

if TYPE_CHECKING:
    from edge_marl.algorithms.actors import Actor


class Validation:
    """Play the same episodes at every call, and for every run of the same environment.

    Args:
        recipe: of the run.
        episodes: how many.
        max_steps: see :func:`edge_marl.algorithms.playing.longest_episode`.

    Attributes:
        goal: what the run is judged by.
        baselines: heuristic, then metric: means over the same episodes.

    Raises:
        InputError: for ``max_steps`` in an environment whose episodes all end by themselves.
    """

    def __init__(self, recipe: Recipe, episodes: int, max_steps: int | None = None) -> None:
        from edge_marl.algorithms.playing import longest_episode
        from edge_marl.envs.batched import make_batched

        self._longest = longest_episode(recipe.env, max_steps)
        self._sampled = recipe.acts_by_sampling
        system = system_of(recipe.env)
        self.goal, self._reported = system.goal, system.reported
        self._episodes = system.validation(recipe.env_config, episodes)
        env_config = system.played_in(recipe.env_config, self._episodes)
        batch_size = min(BATCH, len(self._episodes.seeds))
        self._env = make_batched(recipe.env, env_config, batch_size, state=False)
        self.baselines: Mapping[str, Mapping[str, float]] = {
            name: self._means(system.play(name, self._episodes)) for name in system.heuristics()
        }

    def __call__(self, actor: Actor, check: Callable[[], None] | None = None) -> dict[str, float]:
        """Play the episodes with the actors and average their metrics.

        Args:
            actor: the agents.
            check: called before every step of theirs; what it raises ends it.

        Returns:
            Means over the episodes by metric.
        """
        return self._means(
            play(
                actor, self._env, self._episodes.seeds,
                sampled=self._sampled, max_steps=self._longest, check=check,
            )
        )  # fmt: skip

    def _means(self, metrics: Metrics) -> dict[str, float]:
        found = means(metrics)
        if self._reported is None:
            return found
        return {name: found[name] for name in (*self._reported, CUT) if name in found}
