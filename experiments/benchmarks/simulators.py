"""Measure any batched simulator: its speed, how its cost grows, and the speed of its policies."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_marl.experiments.benchmarks.report import Measurement
from edge_marl.experiments.benchmarks.timing import seconds_each
from edge_marl.experiments.progress import progress_bar
from edge_marl.simulation import Actions, Hybrid, Policy, Simulator

SizesT = TypeVar("SizesT")
"""How much a benchmark measures."""


def measure_parts(
    parts: Sequence[Callable[[SizesT], Iterator[Measurement]]], sizes: SizesT
) -> list[Measurement]:
    """Measure one part of a benchmark after the other, behind a progress bar."""
    with progress_bar() as bar:
        return [line for part in bar.track(parts, description="measuring") for line in part(sizes)]


class Replay:
    """Replay episodes with actions that a policy chose beforehand, to time the simulator alone.

    The same seeds and actions lead to the same masks, so what was legal once stays legal.

    Args:
        simulator: of B episodes.
        policy: chooses the actions, once.
    """

    def __init__(self, simulator: Simulator[Any, Any], policy: Policy[Any]) -> None:
        self.simulator = simulator
        self.seeds = np.arange(simulator.batch_size)
        self.actions: list[Actions] = []
        """Of each step."""
        simulator.reset(self.seeds)
        policy.reset(simulator)
        while not simulator.done.all():
            actions = policy.act(simulator)
            if isinstance(actions, Hybrid):
                actions = Hybrid(actions.choices.copy(), actions.vectors.copy())
            else:
                actions = actions.copy()
            self.actions.append(actions)
            simulator.step(self.actions[-1])
        self.results = simulator.results

    def episodes_s(self, seconds: float) -> float:
        """Measure the processor time of the B episodes.

        Observations, masks, rewards and resets are part of it.

        Args:
            seconds: how long to measure.
        """

        def episodes() -> None:
            self.simulator.reset(self.seeds)
            for actions in self.actions:
                self.simulator.step(actions)

        return seconds_each(episodes, seconds)


def decisions_per_s(
    policy: Policy[Any],
    simulator: Simulator[Any, Any],
    decisions: Callable[[Any], NDArray[np.integer]],
    seconds: float,
) -> float:
    """Measure how many decisions a policy makes in a second of processor time.

    Args:
        policy: who decides.
        simulator: of B episodes.
        decisions: the decisions ``[B]`` of the simulator's results.
        seconds: how long to measure; the time of the simulator does not count.
    """
    # The first step compiles.
    simulator.reset(np.arange(simulator.batch_size))
    policy.reset(simulator)
    simulator.step(policy.act(simulator))
    acting_s, made, first = 0.0, 0, 0
    while acting_s <= seconds:
        first += simulator.batch_size
        simulator.reset(np.arange(first, first + simulator.batch_size))
        policy.reset(simulator)
        while not simulator.done.all():
            begin = time.process_time()
            actions = policy.act(simulator)
            acting_s += time.process_time() - begin
            simulator.step(actions)
        made += int(decisions(simulator.results).sum())
    return made / acting_s


def growth(
    what: str,
    unit: str,
    sizes: Sequence[int],
    cost_s: Sequence[float],
    target: float | None = None,
) -> Iterator[Measurement]:
    """Yield the power of N that a cost grows with, from each size to the next and from end to end.

    Args:
        what: the name of what has the cost.
        unit: what N counts.
        sizes: N, ascending.
        cost_s: the cost at each.
        target: the largest acceptable power.
    """
    for i, j in (*pairwise(range(len(sizes))), (0, len(sizes) - 1)):
        power = math.log(cost_s[j] / cost_s[i]) / math.log(sizes[j] / sizes[i])
        name = f"growth of {what}, {sizes[i]} to {sizes[j]} {unit}"
        yield Measurement(name, power, "power of N", target, "lower")
