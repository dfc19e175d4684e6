"""What all models of options have in common, and the ranges that many of their fields share.

A number has a lower and an upper bound, were it only that no product of a few of them overflows.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from edge_marl.seeds import SEED_LIMIT

MOST = 10**9
"""Of anything that is counted."""

MOST_EPISODES = 10**6
"""Of one evaluation."""

MOST_WORKERS = 10_000
"""Processes side by side."""

SMALLEST, LARGEST = 1e-12, 1e12
"""Of quantities, in whatever unit."""

Count = Annotated[int, Field(ge=1, le=MOST)]
CountOrZero = Annotated[int, Field(ge=0, le=MOST)]
Several = Annotated[int, Field(ge=2, le=MOST)]
Steps = Annotated[int, Field(ge=1, le=10**15)]
"""Of an environment."""
Episodes = Annotated[int, Field(ge=1, le=MOST_EPISODES)]
"""That policies are judged by."""
Workers = Annotated[int, Field(ge=0, le=MOST_WORKERS)]
Positive = Annotated[float, Field(ge=SMALLEST, le=LARGEST)]
NotNegative = Annotated[float, Field(ge=0, le=LARGEST)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=SEED_LIMIT)]


class Options(BaseModel):
    """Base of every model of options: unchangeable, without unknown names, numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
