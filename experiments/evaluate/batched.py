"""Checkpoints of any environment on the same seeded episodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from edge_marl.envs.faults import EnvironmentFaultError
from edge_marl.errors import InputError
from edge_marl.experiments.evaluate.episodes import BATCH, RETURN, evaluation_seeds, play
from edge_marl.experiments.evaluate.report import Headline, Played
from edge_marl.experiments.progress import progress_bar
from edge_marl.experiments.training.checkpoints import Checkpoint
from edge_marl.experiments.training.recipe import register_environment

EPISODES = 100


class Evaluation(Protocol):
    """Everything that is played on one set of episodes."""

    headline: Headline
    """Known in full once everything is played."""
    title: str

    def play(self, out: Path) -> list[Played]:
        """Play everything; what is worth keeping for another time goes to ``out``."""
        ...

    def draw_worst(self, played: Sequence[Played], out: Path) -> list[Path]:
        """Pictures of the worst episodes, for environments that can be seen."""
        ...


class BatchedEvaluation:
    """Seeded episodes; the others are tested against the first checkpoint.

    Args:
        checkpoints: of one environment with the same options.
        on: None; there is nothing to choose.
        episodes: how many; 100 when None.
        longest: steps after which an episode is cut off; None: never.

    Raises:
        InputError: for checkpoints that cannot be compared.
    """

    def __init__(
        self,
        checkpoints: Sequence[Checkpoint],
        on: str | None,
        episodes: int | None,
        longest: int | None = None,
    ) -> None:
        recipe = checkpoints[0].card.recipe
        if on is not None:
            raise InputError(f"--on: expected a checkpoint of tandem_v0, found one of {recipe.env}")
        self.checkpoints = checkpoints
        self.seeds = evaluation_seeds(episodes or EPISODES)
        self.longest = longest
        self._refuse_different_episodes()
        self.title = f"{len(self.seeds)} episodes of {recipe.env}"
        self.headline = Headline(RETURN, True, reference=checkpoints[0].name)
        register_environment(recipe.env)

    def play(self, out: Path) -> list[Played]:
        """Play the checkpoints, each as its algorithm is deployed.

        Raises:
            InputError: for what the environment raises.
        """
        from edge_marl.envs.batched import make_batched

        played = []
        with progress_bar() as bar:
            for checkpoint in bar.track(self.checkpoints, description="evaluate"):
                recipe = checkpoint.card.recipe
                batch_size = min(BATCH, len(self.seeds))
                env = make_batched(recipe.env, checkpoint.env_config, batch_size, state=False)
                try:
                    metrics = play(
                        checkpoint.actor, env, self.seeds,
                        sampled=recipe.acts_by_sampling, max_steps=self.longest,
                    )  # fmt: skip
                except EnvironmentFaultError as fault:
                    raise InputError(f"{recipe.env}: {fault}") from fault
                played.append(Played(checkpoint.name, "learned", metrics, checkpoint))
        return played

    def draw_worst(self, played: Sequence[Played], out: Path) -> list[Path]:
        """None: how an episode would be drawn is not known here."""
        return []

    def _refuse_different_episodes(self) -> None:
        """Refuse checkpoints whose episodes are not the same."""
        expected = self._episodes_of(self.checkpoints[0])
        for checkpoint in self.checkpoints:
            found = self._episodes_of(checkpoint)
            if found != expected:
                raise InputError(
                    f"{checkpoint.folder}: options of the environment: expected those of "
                    f"{self.checkpoints[0].folder}, {expected}, found {found}"
                )

    def _episodes_of(self, checkpoint: Checkpoint) -> object:
        """What decides which episodes a checkpoint is played on, the seeds aside."""
        return checkpoint.env_config
