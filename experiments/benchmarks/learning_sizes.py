"""How much the learning benchmark measures, and the sizes that all sides share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class LearningSizes(BaseModel):
    """Sizes of networks and batches, the same on every side of a comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repeats: int = Field(default=3, ge=1, description="runs of everything, interleaved")
    sampling_s: float = Field(default=3.0, gt=0, description="seconds of sampling a run")
    iterations: int = Field(default=2, ge=1, description="measured a run, after one to warm up")
    hidden_sizes: tuple[int, ...] = Field(default=(64, 64), min_length=1)
    envs: int = Field(
        default=64, ge=1, description="episodes at a time; stock RLlib: 1 and 16, BenchMARL: 10"
    )
    frames: int = Field(default=3200, ge=1, description="env steps of an iteration")
    epochs: int = Field(default=4, ge=1, description="of PPO over an iteration's steps")
    minibatch: int = Field(default=400, ge=1, description="env steps per gradient step of PPO")
    replay_batch: int = Field(default=128, ge=1, description="env steps per gradient step of QMIX")
    replay_steps: int = Field(
        default=533, ge=1, description="gradient steps of QMIX an iteration, BenchMARL's 1 in 6"
    )
    offline_updates: int = Field(
        default=500, ge=1, description="gradient steps of O2O-DRL's offline phase an iteration"
    )
    offline_batch: int = Field(default=128, ge=1, description="rows per gradient step of it")
    offline_episodes: int = Field(default=100, ge=1, description="in its log")

    @classmethod
    def smallest(cls) -> LearningSizes:
        """Enough to see that everything runs; its speeds say nothing."""
        return cls(
            repeats=1, sampling_s=0.05, iterations=1, hidden_sizes=(8,), envs=4, frames=64,
            epochs=1, minibatch=32, replay_batch=16, replay_steps=2, offline_updates=4,
            offline_batch=16, offline_episodes=2,
        )  # fmt: skip
