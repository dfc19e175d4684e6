"""Configure the tandem study (tandem paper, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, Literal

import numpy as np
from pydantic import Field

from edge_marl.experiments.study.engine import StudyOptions
from edge_marl.limits import MOST
from edge_marl.options import Count, NotNegative, PositiveShare, Several
from edge_marl.seeds import SET_SEED_LIMIT
from edge_marl.tandem.scenario import TandemWorkload
from edge_marl.tandem.simulator import DROP_PENALTY
from edge_marl.tandem.splits import SPLITS, TEST_TRACES, split_traces
from edge_marl.tandem.traces import JOB_FIELDS, TraceSet

BASE_SPLIT: Final = "3-3"

Training = Literal["none", "3-3", "mixed"]
"""What a method learned from: nothing, 3-3 traces (Figure 4) or all splits (Figure 6)."""


class StudyConfig(StudyOptions):
    """Configure ``edge-marl reproduce tandem``; the defaults are the paper's sizes.

    Each learned method states how many traces and gradient steps it wants;
    ``most_train_traces`` and ``step_share`` cut that down for a quick look.
    """

    seeds: Count = Field(5, description="training seeds of each learned method")
    test_traces: Several = Field(TEST_TRACES, description="test traces of each split")
    most_train_traces: int = Field(
        100_000, ge=5, le=MOST, description="upper limit of training traces"
    )
    step_share: PositiveShare = Field(1.0, description="share of the gradient steps to make")
    env_step_share: PositiveShare = Field(
        1.0, description="share of the environment steps of reinforcement learning"
    )
    ablations: bool = Field(True, description="all rows of the ablation table")
    drop_penalty: NotNegative = Field(DROP_PENALTY, description="lambda, slots per dropped job")
    decision_traces: Count = Field(10, description="test traces to time decisions on")
    # Not 0: the workload's defaults were chosen with a look at the test traces of seed 0.
    trace_seed: int = Field(1, ge=0, lt=SET_SEED_LIMIT, description="seed of all trace sets")
    workload: TandemWorkload = Field(default_factory=TandemWorkload)

    @classmethod
    def quick(cls) -> StudyConfig:
        """Return the options of ``make demo``: fewer seeds, fewer training traces, fewer steps."""
        return cls(
            seeds=2, most_train_traces=12_000, step_share=0.75, env_step_share=0.25,
            ablations=False,
        )  # fmt: skip

    def test_set(self, split: str) -> TraceSet:
        """Return the held-out traces of a split."""
        return split_traces(
            split, "test", self.test_traces, seed=self.trace_seed, workload=self.workload
        )

    def training_set(self, training: Training, n_traces: int) -> TraceSet:
        """Return ``n_traces`` training traces of split 3-3 or, if mixed, a fifth from each split.

        They are no more than the study allows.
        """
        n = min(n_traces, self.most_train_traces)
        splits = (BASE_SPLIT,) if training == BASE_SPLIT else SPLITS
        return joined(
            [
                split_traces(
                    split, "train", n // len(splits), seed=self.trace_seed, workload=self.workload
                )
                for split in splits
            ]
        )

    def steps(self, gradient_steps: int) -> int:
        """Return how many of its gradient steps a method makes in this study."""
        return max(1, round(gradient_steps * self.step_share))


def joined(sets: Sequence[TraceSet]) -> TraceSet:
    """Join several sets of traces of equally many jobs into one, in order."""
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(traces, name) for traces in sets])
        for name in (*JOB_FIELDS, "n_jobs")
    }
    return replace(sets[0], **columns, metadata={"joined": [t.metadata for t in sets]})
