"""The training loop: when it ends, and when something is due on the way."""

from collections.abc import Iterator
from typing import Any

from edge_marl.experiments.training.loop import Limits, Progress, training


class Algorithm:
    """Takes 30 steps an iteration."""

    env_steps_sampled = 0

    def train(self) -> dict[str, Any]:
        self.env_steps_sampled += 30
        return {"phase": "offline" if self.env_steps_sampled <= 60 else "online"}


def run(**limits: Any) -> Iterator[Progress]:
    return training(Algorithm(), Limits(**limits))


def test_it_ends_with_the_iteration_that_reaches_a_limit() -> None:
    assert [p.env_steps for p in run(env_steps=100)] == [0, 30, 60, 90, 120]
    assert [p.iteration for p in run(iterations=2)] == [0, 1, 2]
    assert [p.phase for p in run(iterations=3)] == ["", "offline", "offline", "online"]


def test_equally_distant_moments_come_once_each_the_first_before_training() -> None:
    assert [p.iteration for p in run(iterations=12) if p.due(4)] == [0, 3, 6, 9, 12]
    # Of 4 moments in 3 iterations, each of which passes one or two.
    assert [p.iteration for p in run(iterations=3) if p.due(4)] == [0, 1, 2, 3]
    assert [p.iteration for p in run(iterations=3) if p.due(3)] == [0, 1, 2, 3]


def test_moments_may_begin_late_and_end_with_the_training() -> None:
    found = [p.iteration for p in run(iterations=8) if p.due(2, begin=0.5)]
    assert found == [4, 6, 8]
    # An iteration that leaps over the beginning is due once.
    assert [p.iteration for p in run(iterations=3) if p.due(2, begin=0.5)] == [2, 3]
