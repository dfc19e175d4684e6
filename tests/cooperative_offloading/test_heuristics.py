"""What the rules decide, by hand."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from edge_marl.cooperative_offloading import HEURISTICS
from edge_marl.cooperative_offloading.heuristics import GRANTS
from edge_marl.cooperative_offloading.scenario import CooperativeScenario
from edge_marl.cooperative_offloading.simulator import (
    CooperativeOffloadingSimulator,
    FixedGrants,
)
from edge_marl.simulation import run
from tests.cooperative_offloading.by_hand import Task, by_hand, decide

IDLE = [Task()]


def decision(name: str, tasks: list[Task], **options: Any) -> tuple[Any, ...]:
    """What a rule decides on the last task: helpers, offload, compute, bandwidth."""
    simulator = by_hand(tasks, **options)
    for _ in tasks[:-1]:
        decide(simulator)
    actions, vectors = HEURISTICS[name]().act(simulator)
    home = tasks[-1].home
    return (simulator.scenario.subsets[actions[0, home]], *vectors[0, home].tolist())


@pytest.mark.parametrize(("grants", "asked"), [("full", 1.0), ("proportional", 0.5)])
def test_grants_are_all_or_in_proportion_to_the_task(grants: str, asked: float) -> None:
    assert decision(f"local_{grants}", IDLE) == ((), 0.0, asked, asked)
    # Of 60 cycles where 20 are the mean, three quarters.
    three = [Task(gcycles=60.0)]
    assert decision("local_proportional", three) == ((), 0.0, 0.75, 0.75)


def test_an_equal_split_is_over_home_and_the_nearest() -> None:
    far = tuple(tuple(0.1 * abs(j - k) for k in range(4)) for j in range(4))
    found = decision("equal_split_full", [Task(home=3)], servers=4, latency_s=far)
    assert found == ((1, 2), pytest.approx(2 / 3), 1.0, 1.0)


def test_the_nearest_idle_server_takes_all_while_the_home_is_busy() -> None:
    far = ((0.0, 0.3, 0.1), (0.3, 0.0, 0.1), (0.1, 0.1, 0.0))
    options = {"servers": 3, "latency_s": far}
    assert decision("nearest_idle_full", IDLE, **options)[:2] == ((), 0.0)
    # The first server is busy: of its others, number 1 is nearer.
    two = [Task(), Task()]
    assert decision("nearest_idle_full", two, **options)[:2] == ((1,), 1.0)
    # All are busy.
    all_busy = [Task(home=0), Task(home=1), Task(home=2), Task()]
    assert decision("nearest_idle_full", all_busy, **options)[:2] == ((), 0.0)


def test_the_least_latency_is_where_home_and_helper_end_together() -> None:
    # At home all take 2 s. At the other server, 1 s there, 2 s, 0.5 s back, and 1 s of latency:
    # (1 - b) 2 = 3.5 b + 1.
    helpers, offload, *_ = decision("least_latency_full", IDLE)
    assert (helpers, offload) == ((0,), pytest.approx(1 / 5.5))
    simulator = by_hand(IDLE)
    simulator.step(HEURISTICS["least_latency_full"]().act(simulator))
    assert simulator.results.latency_s[0] == pytest.approx(2 * (1 - 1 / 5.5))
    assert decision("least_latency_full", IDLE, latency_s=1.0)[:2] == ((), 0.0)


def test_the_least_energy_is_where_least_is_granted() -> None:
    # At home 10 of 10 Gcycles/s; at the slow one 5 of 5, which takes a quarter.
    slow: dict[str, Any] = {"capacity_gcycles_per_s": (10.0, 5.0)}
    assert decision("least_energy_full", IDLE, **slow)[:2] == ((0,), 1.0)
    # A watt for a second is a joule: sending is dear.
    dear = slow | {"transmission_power_w": 500.0}
    assert decision("least_energy_full", IDLE, **dear)[:2] == ((), 0.0)


def test_random_choices_are_those_of_the_seed() -> None:
    found = [decision("random_full", IDLE, servers=3) for _ in range(2)]
    assert found[0] == found[1]
    assert 0.0 < found[0][1] < 1.0


@pytest.mark.parametrize("grants", GRANTS)
def test_grants_by_a_rule_are_those_of_the_heuristics_that_split_equally(
    grants: FixedGrants,
) -> None:
    scenario, name, seeds = CooperativeScenario(tasks=40), f"equal_split_{grants}", [3, 4, 5]
    chosen, by_rule = (
        run(
            HEURISTICS[name](),
            partial(CooperativeOffloadingSimulator, scenario, grants=how),
            seeds,
        )
        for how in ("chosen", grants)
    )
    for field, found in vars(chosen).items():
        np.testing.assert_allclose(getattr(by_rule, field), found, err_msg=field)
