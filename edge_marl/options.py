"""Define the base of all models of options and the ranges that many of their fields share.

Every number has a lower and an upper bound, and a test sees to it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from edge_marl.limits import LARGEST, MOST, MOST_EPISODES, MOST_WORKERS, SMALLEST
from edge_marl.seeds import SEED_LIMIT

Count = Annotated[int, Field(ge=1, le=MOST)]
CountOrZero = Annotated[int, Field(ge=0, le=MOST)]
Several = Annotated[int, Field(ge=2, le=MOST)]
Steps = Annotated[int, Field(ge=1, le=MOST**2)]
Episodes = Annotated[int, Field(ge=1, le=MOST_EPISODES)]
Workers = Annotated[int, Field(ge=0, le=MOST_WORKERS)]
Seed = Annotated[int, Field(ge=0, lt=SEED_LIMIT)]
Positive = Annotated[float, Field(ge=SMALLEST, le=LARGEST)]
NotNegative = Annotated[float, Field(ge=0, le=LARGEST)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]


class Options(BaseModel):
    """Make every model of options immutable; refuse unknown names, NaN and infinite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
