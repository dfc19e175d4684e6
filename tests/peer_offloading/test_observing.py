"""A node computes from what it knows alone what the simulator shows it."""

import numpy as np

from edge_marl.peer_offloading import OffloadingScenario, PeerOffloadingSimulator, Status
from edge_marl.peer_offloading.heuristics import heuristic
from edge_marl.peer_offloading.observing import (
    describe_node,
    mask_actions,
    n_features,
    observe_incoming,
    observe_node,
)


def test_a_node_observes_by_itself_what_it_observes_in_the_simulator() -> None:
    scenario = OffloadingScenario(nodes=5, slots=12)
    simulator, policy = PeerOffloadingSimulator(scenario, 1), heuristic("random")
    simulator.reset([7])
    N, scales = scenario.nodes, simulator.parameters.scales
    networks, tasks = simulator.networks, simulator.tasks
    for t in range(scenario.slots):
        for i in range(N):
            features = np.zeros(n_features(N), dtype=np.float32)
            describe_node(
                i, networks.arrival_probability[0, i], networks.failure_rate[0, i],
                networks.capacity_hz[0, i], networks.rate_mb_per_s[0, i], scales, features,
            )  # fmt: skip
            for j in range(N):
                if j != i:
                    observe_incoming(i, j, simulator.incoming[0, i, j], scales, features)
            observe_node(
                N, simulator.queue_length[0, i], tasks.size_kb[0, t, i], tasks.cycles[0, t, i],
                tasks.deadline_s[0, t, i], scales, features,
            )  # fmt: skip
            mask = np.zeros(N + 1, dtype=np.bool_)
            mask_actions(
                i, tasks.status[0, t, i] != Status.NONE, scenario.adjacency[i],
                simulator.queue_length[0], networks.queue_limit[0], mask,
            )  # fmt: skip
            np.testing.assert_array_equal(features, simulator.observation.features[0, i])
            np.testing.assert_array_equal(mask, simulator.observation.action_mask[0, i])
        simulator.step(policy.act(simulator))
