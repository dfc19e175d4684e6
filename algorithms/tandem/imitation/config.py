"""Define the options of imitation learning and the rows of the ablation table."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edge_marl.algorithms.networks.config import MOST_WIDTH
from edge_marl.options import Count, Options, Positive, PositiveShare, Seed, Share

Model = Literal["attention", "mlp", "forest", "svm"]
ImitationWidth = Annotated[int, Field(ge=8, le=MOST_WIDTH)]
Labels = Literal["raw", "canonical", "online_global", "online_local", "cost_to_go"]


class ImitationConfig(Options):
    """Configure SL-Step: per-slot imitation, one model per stage (tandem paper, section 3.2).

    ``labels`` says what is imitated:

    * ``raw``: the job that an optimal schedule serves in the slot. Many schedules are optimal;
      this is an arbitrary one among those with the oracle's completion times.
    * ``canonical``: the queued job that completes the stage first in the oracle's schedule.
    * ``online_global``, ``online_local``: the choice of an optimal plan for the jobs known so
      far, in both queues or in the stage's own queue alone.
    * ``cost_to_go``: the regret of every queued job under clairvoyance
      (:func:`edge_marl.tandem.oracle.cost_to_go.regrets`) as a soft target instead of one label.

    ``rounds`` above 1 aggregates data (DAgger, Ross et al. 2011): from the second round on the
    learned policy plays and the labels say what it should have done. ``raw`` and ``canonical``
    labels exist in the oracle's own states only.
    """

    model: Model = "mlp"
    labels: Labels = "cost_to_go"
    n_traces: Count = Field(700, description="training traces to draw (paper: 700)")
    rounds: Count = Field(1, description="rounds of data collection; above 1 is DAgger")
    state_share: PositiveShare = Field(0.25, description="share of visited states to label")
    exploration: Share = Field(0.05, description="share of random decisions, DAgger")
    gradient_steps: Count = Field(2000, description="optimiser steps per stage, all rounds")
    batch_size: Count = 512
    learning_rate: Positive = 2e-3
    width: ImitationWidth = Field(64, description="width of the network")
    seed: Seed = 0


class EndToEndConfig(Options):
    """Configure SL-E2E, which maps the job set to a stage's schedule in one pass (section 3.2)."""

    gradient_steps: Count = 1500
    batch_size: Count = 128
    learning_rate: Positive = 1e-3
    width: ImitationWidth = Field(256, description="width of the two hidden layers")
    seed: Seed = 0


BEST = ImitationConfig(labels="cost_to_go", rounds=4, n_traces=24_000, gradient_steps=12_000)

ABLATIONS: dict[str, ImitationConfig] = {
    "raw slots, MLP": ImitationConfig(labels="raw"),
    "canonical, linear SVM": ImitationConfig(labels="canonical", model="svm"),
    "canonical, random forest": ImitationConfig(labels="canonical", model="forest"),
    "canonical, MLP": ImitationConfig(labels="canonical"),
    "canonical, attention": ImitationConfig(labels="canonical", model="attention", width=32),
    "online global": ImitationConfig(labels="online_global"),
    "online local": ImitationConfig(labels="online_local"),
    "online local, DAgger": ImitationConfig(labels="online_local", rounds=4),
    "online local, DAgger, 24,000 traces": BEST.model_copy(update={"labels": "online_local"}),
    "cost-to-go": ImitationConfig(labels="cost_to_go"),
    "cost-to-go, DAgger": ImitationConfig(labels="cost_to_go", rounds=4),
    "cost-to-go, DAgger, 24,000 traces": BEST,
}
"""Name of each row of the ablation table and its options."""
