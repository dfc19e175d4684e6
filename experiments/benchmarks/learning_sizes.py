"""Define how much the learning benchmark measures, and the sizes that all sides share."""

from __future__ import annotations

from pydantic import Field

from edge_marl.algorithms.networks.config import Width
from edge_marl.options import Count, Options, Positive


class LearningSizes(Options):
    """Configure the length of measurements, and the sizes of networks and batches for all sides."""

    repeats: Count = Field(default=3, description="runs of everything, interleaved")
    sampling_s: Positive = Field(default=3.0, description="seconds of sampling a run")
    iterations: Count = Field(default=2, description="measured a run, after one to warm up")
    hidden_sizes: tuple[Width, ...] = Field(default=(64, 64), min_length=1)
    envs: Count = Field(
        default=64, description="episodes at a time; stock RLlib: 1 and 16, BenchMARL: 10"
    )
    frames: Count = Field(default=3200, description="env steps of an iteration")
    epochs: Count = Field(default=4, description="of PPO over an iteration's steps")
    minibatch: Count = Field(default=400, description="env steps per gradient step of PPO")
    replay_batch: Count = Field(default=128, description="env steps per gradient step of QMIX")
    replay_steps: Count = Field(
        default=533, description="gradient steps of QMIX an iteration, BenchMARL's 1 in 6"
    )
    offline_updates: Count = Field(
        default=500, description="gradient steps of O2O-DRL's offline phase an iteration"
    )
    offline_batch: Count = Field(default=128, description="rows per gradient step of it")
    offline_episodes: Count = Field(default=100, description="in its log")

    @classmethod
    def smallest(cls) -> LearningSizes:
        """Return sizes that only check that everything runs; the speeds they give mean nothing."""
        return cls(
            repeats=1, sampling_s=0.05, iterations=1, hidden_sizes=(8,), envs=4, frames=64,
            epochs=1, minibatch=32, replay_batch=16, replay_steps=2, offline_updates=4,
            offline_batch=16, offline_episodes=2,
        )  # fmt: skip
