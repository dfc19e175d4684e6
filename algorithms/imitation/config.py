"""Options of imitation learning, and the rows of the ablation table."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Model = Literal["attention", "mlp", "forest", "svm"]
Labels = Literal["raw", "canonical", "online_global", "online_local", "cost_to_go"]


class ImitationConfig(BaseModel):
    """SL-Step: per-slot imitation, one model for each stage (tandem paper, section 3.2).

    ``labels`` says what is imitated:

    * ``raw``: the job that an optimal schedule serves in the slot. Many schedules are optimal;
      this is an arbitrary one among those with the oracle's completion times.
    * ``canonical``: the queued job that completes the stage first in the oracle's schedule.
    * ``online_global``, ``online_local``: the choice of an optimal plan for the jobs known by
      now, in both queues or in the own queue alone.
    * ``cost_to_go``: the regret of every queued job under clairvoyance
      (:func:`edge_marl.oracle.cost_to_go.regrets`) as a soft target instead of one label.

    ``rounds`` above 1 aggregates data (DAgger, Ross et al. 2011): from the second round on the
    learned policy plays and the labels say what it should have done. ``raw`` and ``canonical``
    labels exist in the oracle's own states only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Model = "mlp"
    labels: Labels = "cost_to_go"
    n_traces: int = Field(700, ge=1, description="training traces to draw (paper: 700)")
    rounds: int = Field(1, ge=1, description="rounds of data collection; above 1 is DAgger")
    state_share: float = Field(0.25, gt=0, le=1, description="share of visited states to label")
    exploration: float = Field(0.05, ge=0, le=1, description="share of random decisions, DAgger")
    gradient_steps: int = Field(2000, ge=1, description="optimiser steps per stage, all rounds")
    batch_size: int = Field(512, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    width: int = Field(64, ge=8, description="width of the network")
    seed: int = Field(0, ge=0)


class EndToEndConfig(BaseModel):
    """SL-E2E: the job set in, the schedule of one stage out in a single pass (section 3.2)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gradient_steps: int = Field(1500, ge=1)
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    width: int = Field(256, ge=8, description="width of the two hidden layers")
    seed: int = Field(0, ge=0)


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
