"""Walkers that never arrive, raise exceptions, take their time or are interrupted."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, ClassVar

from tests.experiments.walkers import Walkers


class Troubled(Walkers):
    """Walkers with something wrong.

    Args:
        steps: of an episode.
        raise_at: raise in this step of the environment's life, and in every one after it.
        trap: raise once while this file exists, in whichever process comes first.
        unjudgeable: raise in every episode that is played to judge by.
        signal_at: send the process SIGINT, once, in this step of the environment's life.
        slow_s: a step's duration.
        seen: a file to write when a step is played.
    """

    interrupted: ClassVar[bool] = False

    def __init__(
        self, steps: int, raise_at: int, trap: str, unjudgeable: bool, signal_at: int,
        slow_s: float, seen: str,
    ) -> None:  # fmt: skip
        super().__init__(steps)
        self.raise_at, self.trap, self.unjudgeable = raise_at, trap, unjudgeable
        self.signal_at, self.slow_s, self.seen = signal_at, slow_s, seen
        self.lived = 0

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        if self.unjudgeable and seed is not None and 0 < seed < 2**31:
            raise KeyError("judge")
        return super().reset(seed, options)

    def step(self, actions: dict[str, int]) -> Any:
        self.lived += 1
        if self.seen:
            Path(self.seen).touch()
        time.sleep(self.slow_s)
        if self.lived == self.signal_at and not Troubled.interrupted:
            Troubled.interrupted = True
            os.kill(os.getpid(), signal.SIGINT)
        if self.lived >= self.raise_at > 0:
            raise ValueError("the\nroad is blocked")
        if self.trap:
            try:
                Path(self.trap).unlink()
            except FileNotFoundError:
                pass
            else:
                raise ValueError("the road was blocked")
        return super().step(actions)


def parallel_env(
    steps: int = 3, raise_at: int = 0, trap: str = "", unjudgeable: bool = False,
    signal_at: int = 0, slow_s: float = 0.0, seen: str = "",
) -> Troubled:  # fmt: skip
    return Troubled(steps, raise_at, trap, unjudgeable, signal_at, slow_s, seen)
