"""Size of the tandem study and the trace sets that it plays (tandem paper, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from edge_marl.experiments.parallel import all_cores
from edge_marl.tandem.simulator import DROP_PENALTY
from edge_marl.tandem.traces import JOB_FIELDS, TraceSet
from edge_marl.tandem.workload import TandemWorkload

BASE_SPLIT = "3-3"
SPLITS = ("1-5", "2-4", "3-3", "4-2", "5-1")
"""File-transfer and video-transcoding jobs of a trace, as in Figures 4 and 6."""

Training = Literal["none", "3-3", "mixed"]
"""What a method learned from: nothing, 3-3 traces (Figure 4) or all splits (Figure 6)."""

# Each set has a range of trace seeds to itself, so that no test trace is ever trained on.
_TRAINING_SEEDS = 0
_TEST_SEEDS = 1_000_000
_MIXED_SEEDS = 2_000_000
_SPLIT_STEP = 100_000


class StudyConfig(BaseModel):
    """Options of ``edge-marl reproduce tandem``; the defaults are the paper's sizes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seeds: int = Field(5, ge=1, description="training seeds of each learned method")
    train_traces: int = Field(700, ge=1, le=_SPLIT_STEP, description="3-3 training traces")
    test_traces: int = Field(300, ge=1, le=_SPLIT_STEP, description="test traces of each split")
    # Not given in the paper: the size of the mixed training set.
    mixed_traces: int = Field(700, ge=1, le=_SPLIT_STEP, description="mixed training, per split")
    drop_penalty: float = Field(DROP_PENALTY, ge=0, description="lambda, slots per dropped job")
    decision_traces: int = Field(10, ge=1, description="test traces to time decisions on")
    ablations: bool = Field(True, description="also the table over label kinds")
    effort: Literal["full", "quick"] = Field("full", description="size of the learned models")
    workers: int = Field(
        default_factory=all_cores, ge=0, description="tasks at a time; 0: all in this process"
    )
    workload: TandemWorkload = Field(default_factory=TandemWorkload)

    @classmethod
    def quick(cls) -> StudyConfig:
        """The size of ``make demo``: fewer seeds, fewer training traces, shorter training."""
        return cls(
            seeds=2, train_traces=300, test_traces=200, mixed_traces=100, ablations=False,
            effort="quick",
        )  # fmt: skip

    def split_workload(self, split: str) -> TandemWorkload:
        """The workload with the split's numbers of files and videos."""
        files, videos = map(int, split.split("-"))
        return self.workload.model_copy(update={"files": files, "videos": videos})

    def test_set(self, split: str) -> TraceSet:
        """Held-out traces of a split."""
        first = _TEST_SEEDS + SPLITS.index(split) * _SPLIT_STEP
        return self.split_workload(split).make(self.test_traces, seed=first)

    def training_sets(self, training: Training) -> list[TraceSet]:
        """The 3-3 training traces, or those of all splits; none for methods without training."""
        if training == "none":
            return []
        if training == "3-3":
            return [self.split_workload(BASE_SPLIT).make(self.train_traces, seed=_TRAINING_SEEDS)]
        return [
            self.split_workload(split).make(self.mixed_traces, seed=_MIXED_SEEDS + i * _SPLIT_STEP)
            for i, split in enumerate(SPLITS)
        ]


def joined(sets: Sequence[TraceSet]) -> TraceSet:
    """Several sets of equally many jobs as one, in order."""
    columns = {
        name: np.concatenate([getattr(traces, name) for traces in sets])
        for name in (*JOB_FIELDS, "n_jobs")
    }
    return replace(sets[0], **columns, metadata={"joined": [t.metadata for t in sets]})
