"""Run one trial of a search: a recipe with the trial's options, trained and judged in turns."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ray import tune

from edge_marl.experiments.training.checkpoints import (
    ALGORITHM,
    CheckpointCard,
    read_card,
    write_checkpoint,
)
from edge_marl.experiments.training.recipe import Recipe
from edge_marl.experiments.training.validation import Validation

SCORE = "score"
CHECKPOINT = "checkpoint"
"""Folder of our checkpoint within Ray Tune's."""


class Trial(tune.Trainable):
    """Train and judge in turns: a step is some training iterations and one evaluation.

    Its configuration is the options of the trial; the rest comes as parameters of
    :meth:`setup`. Checkpoints are those of ``edge-marl train``, so that one trial can go on with
    the weights, the optimiser and the replay of another, under its own options.
    """

    def setup(
        self,
        config: dict[str, Any],
        *,
        recipe: dict[str, Any],
        turn: int,
        iterations: int,
        episodes: int,
        max_steps: int | None,
    ) -> None:
        """Build the algorithm.

        Args:
            config: options of the trial.
            recipe: the rest.
            turn: training iterations of a step; the last step may have fewer.
            iterations: of a whole trial.
            episodes: of an evaluation.
            max_steps: of its episodes, see :func:`edge_marl.algorithms.playing.longest_episode`.
        """
        self._base = Recipe.model_validate(recipe)
        self._turn, self._iterations = turn, iterations
        self._validation: Validation = Validation(self._base, episodes, max_steps)
        self._algorithm: Any = None
        self._build(config)

    def _build(self, config: dict[str, Any]) -> None:
        self.cleanup()
        recipe = self._base.with_options(config)
        self._card = CheckpointCard(recipe=recipe, iteration=0, env_steps=0, time_s=0.0)
        self._config = recipe.config()
        self._algorithm = self._config.build_algo()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another trial without a new process."""
        self._build(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train for a turn, then evaluate."""
        begin = time.perf_counter()
        # Ray Tune counts steps, also of a checkpoint that a trial goes on from.
        turn = min(self._turn, self._iterations - self.iteration * self._turn)
        for _ in range(turn):
            result = self._algorithm.train()
        evaluation = self._validation(self._algorithm.actor())
        self._card = self._card.model_copy(
            update={
                "iteration": self._card.iteration + turn,
                "env_steps": self._algorithm.env_steps_sampled,
                "time_s": self._card.time_s + time.perf_counter() - begin,
                "evaluation": evaluation,
            }
        )
        return {
            SCORE: self._validation.goal.score(evaluation),
            "iterations": self._card.iteration,
            "env_steps": self._card.env_steps,
            "episode_return_mean": result["env_runners"].get("episode_return_mean", float("nan")),
            **{f"evaluation/{name}": value for name, value in evaluation.items()},
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write one of our checkpoints into Ray Tune's folder."""
        write_checkpoint(self._algorithm, Path(checkpoint_dir) / CHECKPOINT, self._card)

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Continue from a checkpoint, perhaps one of a trial with other options."""
        folder = Path(checkpoint) / CHECKPOINT
        self._algorithm.restore_from_path(str((folder / ALGORITHM).resolve()))
        found = read_card(folder)
        self._card = found.model_copy(update={"recipe": self._card.recipe})

    def cleanup(self) -> None:
        """Let go of the algorithm."""
        if self._algorithm is not None:
            self._algorithm.stop()
            self._algorithm = None
