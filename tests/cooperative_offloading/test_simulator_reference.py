"""The simulator does what the plain reference does, and grants no more than there is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_marl.cooperative_offloading import CooperativeOffloadingSimulator, CooperativeScenario
from edge_marl.simulation import Hybrid
from tests.cooperative_offloading.by_hand import Task
from tests.cooperative_offloading.reference import Reference


@st.composite
def scenarios(draw: Any) -> CooperativeScenario:
    M = draw(st.integers(1, 6))
    numbers = np.random.default_rng(draw(st.integers(0, 2**32)))
    links = draw(st.booleans())
    return CooperativeScenario(
        servers=M,
        tasks=draw(st.integers(1, 60)),
        max_targets=draw(st.integers(0, 4)),
        capacity_gcycles_per_s=tuple(numbers.uniform(5, 30, 3)),
        memory_gb=tuple(numbers.uniform(4, 20, 2)),
        bandwidth_mb_per_s=tuple(map(tuple, numbers.uniform(5, 100, (M, M)))) if links else 20.0,
        latency_s=draw(st.sampled_from([0.0, 0.01, 0.5])),
        limiting_factor=draw(st.floats(0.2, 1.0)),
        smallest_grant=draw(st.floats(0.02, 0.5)),
        offered_load=draw(st.floats(0.1, 1.5)),
        load={"sigma": draw(st.floats(0.0, 2.0))},
        mean_input_mb=draw(st.sampled_from([0.0, 20.0])),
        bursts={"rate_per_s": draw(st.sampled_from([0.0, 0.02])), "correlation": numbers.random()},
        server_mttf_s=draw(st.sampled_from([None, None, 2.0, 20.0])),
        server_mttr_s=draw(st.sampled_from([1.0, 10.0])),
        latency_weight=draw(st.sampled_from([0.0, 0.3, 1.0])),
    )


@settings(max_examples=60)
@given(scenarios(), st.integers(0, 2**32))
def test_every_task_is_as_late_and_takes_as_much_energy_as_in_the_reference(
    scenario: CooperativeScenario, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    K, M = scenario.tasks, scenario.servers
    targets, allocations = rng.integers(len(scenario.subsets), size=K), rng.random((K, 3))
    allocations[rng.random((K, 3)) < 0.1] = 0.0
    allocations[rng.random((K, 3)) < 0.1] = 1.0
    simulator = CooperativeOffloadingSimulator(scenario, 1)
    simulator.reset([seed])
    rewards = 0.0
    for i in range(K):
        capacity = simulator.parameters.capacity
        assert (simulator.resources.left >= -1e-9 * capacity).all()
        assert (simulator.resources.left <= capacity * (1 + 1e-9)).all()
        assert (simulator.homes.memory_left_gb >= -1e-9).all()
        vectors = np.broadcast_to(allocations[i], (1, M, 3))
        rewards += float(simulator.step(Hybrid(np.full((1, M), targets[i]), vectors)).reward.sum())
    assert simulator.done.all()
    assert (simulator.resources.n_holders == 0).all()
    assert (simulator.resources.left == simulator.parameters.capacity).all()

    tasks = [Task(*row) for row in zip(*(column[0].tolist() for column in simulator.workload),
                                       strict=True)]  # fmt: skip
    reference = Reference(scenario, tasks, seed)
    reference.play(lambda i: (int(targets[i]), *allocations[i].tolist()))
    ends_s = [fate.end_s for fate in reference.fates]
    latency_s = np.array(ends_s, dtype=float) - simulator.workload.arrival_s[0]
    energy_j = np.array([fate.energy_j for fate in reference.fates])
    np.testing.assert_allclose(simulator.tasks.latency_s[0], latency_s, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(simulator.tasks.projected_s[0], latency_s, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(simulator.tasks.energy_j[0], energy_j, rtol=1e-8)
    assert reference.most_held <= 1.0 + 1e-9
    # Sums over episodes are those of their tasks, and rewards are minus their cost.
    results, typical = simulator.results, simulator.parameters
    assert results.latency_s[0] == pytest.approx(latency_s.mean())
    assert results.energy_j[0] == pytest.approx(energy_j.mean())
    assert results.duration_s[0] == pytest.approx(reference.last_s)
    weight = scenario.latency_weight
    cost = weight * latency_s.sum() / typical.typical_latency_s
    cost += (1.0 - weight) * energy_j.sum() / typical.typical_energy_j
    assert rewards == pytest.approx(-cost, rel=1e-4)
