"""Train until a limit is reached, as studies and benchmarks do; commands share the limits."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_marl.options import Count, Options, Positive, Steps


class Limits(Options):
    """Limit how long training lasts, from its very beginning; without limits it goes on forever."""

    iterations: Count | None = None
    env_steps: Steps | None = None
    time_s: Positive | None = None

    def share_done(self, iteration: int, env_steps: int, time_s: float) -> float | None:
        """Return the progress towards the nearest limit, 1 once reached; None without limits."""
        shares = [
            done / limit
            for done, limit in (
                (iteration, self.iterations),
                (env_steps, self.env_steps),
                (time_s, self.time_s),
            )
            if limit is not None
        ]
        return min(1.0, max(shares)) if shares else None


@dataclass(frozen=True)
class Progress:
    """Describe how far training has come."""

    iteration: int
    env_steps: int
    share: float
    """Of the whole training that is done, 1 at its end."""
    before: float
    """That share an iteration ago; negative before the first."""
    phase: str = ""
    """Of the iteration that has just ended, for algorithms that have phases."""
    results: Mapping[str, Any] = field(default_factory=dict)
    """RLlib's, of that iteration."""

    def due(self, times: int, *, begin: float = 0.0) -> bool:
        """Return whether one of several evenly spaced moments has just come.

        Args:
            times: how many, the end of the training being the last.
            begin: share of the training at which they begin, which is one more such moment.
        """

        def passed(share: float) -> int:
            # A little more: a third of three iterations is to be one.
            return math.floor((share - begin) / (1.0 - begin) * times + 1e-9)

        return self.share >= begin and passed(self.share) > max(passed(self.before), -1)


def training(algorithm: Any, limits: Limits) -> Iterator[Progress]:
    """Train until a limit is reached.

    Args:
        algorithm: one of this project, newly built.
        limits: at least one.

    Yields:
        The state before the first iteration and after each.
    """
    begin = time.monotonic()
    progress = Progress(0, 0, share=0.0, before=-1.0)
    yield progress
    while progress.share < 1.0:
        results = algorithm.train()
        iteration, env_steps = progress.iteration + 1, algorithm.env_steps_sampled
        share = limits.share_done(iteration, env_steps, time.monotonic() - begin)
        progress = Progress(
            iteration, env_steps, share=share or 0.0, before=progress.share,
            phase=results.get("phase", ""), results=results,
        )  # fmt: skip
        yield progress
