"""How long messages travel over a graph, by hand."""

from math import inf

import numpy as np
import pytest

from edge_marl.envs.batched import make_batched
from edge_marl.graph_offloading.routes import manager_of, travel
from edge_marl.graph_offloading.scenario import GraphScenario
from edge_marl.graph_offloading.topology import SHIPPED
from tests.graph_offloading.playing import PLAIN, graph

MB = 1_000_000


def test_a_message_is_sent_on_when_it_has_wholly_arrived() -> None:
    scenario = GraphScenario(**{**PLAIN, "topology": graph((0, 1), (1, 2), latency_ms=500.0)})
    network = scenario.network(scenario.graph())
    found = travel(network, 2, 2 * MB)
    # On each link two ticks for 2 MB and half a tick of latency.
    assert found.to_manager.tolist() == found.from_manager.tolist() == [5.0, 2.5, 0.0]


def test_it_takes_the_fastest_way() -> None:
    scenario = GraphScenario(**{**PLAIN, "topology": graph((0, 1), (1, 2), (2, 3), (3, 0))})
    network = scenario.network(scenario.graph())
    assert travel(network, 0, MB).to_manager.tolist() == [0.0, 1.0, 2.0, 1.0]


def test_where_there_is_no_way_it_never_arrives() -> None:
    scenario = GraphScenario(**{**PLAIN, "topology": graph((0, 1), (2, 3))})
    network = scenario.network(scenario.graph())
    assert travel(network, 0, MB).to_manager.tolist() == [0.0, 1.0, inf, inf]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_manager_is_the_server_or_the_node_in_the_middle(name: str) -> None:
    scenario = GraphScenario(topology=name)
    topology = scenario.graph()
    network = scenario.network(topology)
    manager = manager_of(topology, network)
    if name.startswith("ether"):
        assert topology.nodes[manager].kind == "server"
    else:
        totals = [travel(network, n, MB).from_manager.sum() for n in range(len(topology.nodes))]
        assert totals[manager] == min(totals)
    # A critic of 10,000 weights takes less than a tick over each link.
    assert np.ceil(travel(network, manager, 40_000).to_manager).max() <= 2


def test_an_environment_tells_how_long_messages_of_its_agents_travel() -> None:
    env = make_batched("graph_offloading_v0", {"scenario": {"topology": "ether_2"}}, 1)
    ticks = dict(zip(env.agents, env.travel(20 * MB).to_manager.tolist(), strict=True))
    assert ticks["server_0"] == 0.0
    assert all(took > 10.0 for name, took in ticks.items() if name != "server_0")


def test_without_a_network_messages_are_there_at_once() -> None:
    env = make_batched("tandem_v0", {}, 1)
    assert not any(np.concatenate(env.travel(MB)))
