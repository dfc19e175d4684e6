"""The simulator does what the plain reference does, tick by tick and task by task."""

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_marl.graph_offloading.jobs import Jobs
from edge_marl.graph_offloading.records import Status
from edge_marl.graph_offloading.scenario import GraphScenario
from edge_marl.graph_offloading.simulator import GraphOffloadingSimulator, RewardConfig
from edge_marl.graph_offloading.topology import Link, Node, Topology
from tests.graph_offloading.playing import legal_actions, places_used
from tests.graph_offloading.reference import OVER, Reference

# All times are multiples of a power of two, so that ties are ties and sums are exact; but for the
# links by Shannon's theorem, and deadlines that are drawn, which meet nothing else.


@st.composite
def topologies(draw):
    """Graphs that may fall apart; at least one node has an agent, one receives tasks."""
    N = draw(st.integers(2, 6))
    decides, receives = (
        draw(st.sets(st.integers(0, N - 1), min_size=1, max_size=N)) for _ in range(2)
    )
    pairs = [(i, j) for i in range(N) for j in range(i)]
    chosen = draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=8, unique=True))
    places = draw(st.lists(st.tuples(*[st.integers(0, 60)] * 2), min_size=N, max_size=N))
    nodes = [
        Node(
            name=f"node {n}", kind="sbc", cpu_millis=draw(st.sampled_from([1, 2, 4])),
            memory_bytes=1, queue_limit=draw(st.integers(1, 4)), x_m=places[n][0],
            y_m=places[n][1], has_agent=n in decides, receives_tasks=n in receives,
        )
        for n in range(N)
    ]  # fmt: skip
    links = [
        Link(
            source=source, target=target, mbit_per_s=draw(st.sampled_from([8, 16, 64])),
            latency_ms=draw(st.sampled_from([0, 250, 1500])),
        )
        for pair in chosen
        for source, target in (pair, pair[::-1])
    ]  # fmt: skip
    return Topology(name="drawn", nodes=tuple(nodes), links=tuple(links))


@st.composite
def scenarios(draw):
    jobs = draw(
        st.lists(
            st.tuples(st.integers(0, 60), st.sampled_from([0, 0.25, 1, 3]), st.integers(0, 9)),
            min_size=1,
            max_size=6,
        )
    )
    jobs = sorted([*jobs, (8, 1, 0)], key=lambda job: job[2])
    eighths, size_mb, arrival_s = np.array(jobs, dtype=float).T
    earliest = draw(st.sampled_from([0.5, 2, 4, 8]))
    link_model, contention = draw(
        st.sampled_from([("shannon", False), ("topology", False), ("topology", True)])
    )
    return GraphScenario(
        topology=draw(topologies()),
        load=Jobs(125.0 * eighths, size_mb.copy(), arrival_s.copy()),
        ticks=draw(st.integers(1, 50)),
        tick_s=draw(st.sampled_from([0.5, 1.0])),
        arrivals=draw(st.sampled_from(["poisson", "recorded"])),
        rate_per_s=draw(st.sampled_from([0.1, 0.3, 1.0])),
        clients=draw(st.sampled_from(["own", "own_and_neighbours"])),
        deadline_s=(earliest, earliest + draw(st.sampled_from([0, 6]))),
        deadline_ends=draw(st.sampled_from(["waiting", "everything"])),
        grace_ticks=draw(st.integers(0, 3)),
        capacity_per=draw(st.sampled_from(["tick", "second"])),
        start_undecided=draw(st.sampled_from([0.0, 0.5, 1.0])),
        queue_order=draw(st.sampled_from(["fifo", "lifo"])),
        broadcast_ticks=draw(st.integers(1, 4)),
        link_model=link_model,
        contention=contention,
        node_mttf_s=draw(st.sampled_from([None, None, 5.0, 20.0])),
        node_mttr_s=draw(st.sampled_from([0.5, 4.0])),
        link_mttf_s=draw(st.sampled_from([None, None, 5.0, 20.0])),
        link_mttr_s=draw(st.sampled_from([0.5, 4.0])),
    )


def assert_same(simulator: GraphOffloadingSimulator, reference: Reference) -> None:
    """Compare an episode of a batch of one with the reference."""
    tasks, state, nodes = simulator.tasks, simulator.nodes, reference.nodes
    used = places_used(simulator, 0)
    found = {
        int(tasks.number[0, p]): (Status(tasks.status[0, p]).name.lower(), int(tasks.node[0, p]))
        for p in used
    }
    assert found == reference.under_way()
    for p in used:
        task = reference.tasks[tasks.number[0, p]]
        assert tasks.instructions[0, p] == task.instructions
        assert tasks.size_mb[0, p] == task.size_mb
        assert tasks.created[0, p] == task.created
        assert tasks.deadline[0, p] == pytest.approx(task.deadline)
        if task.status in ("moving", "returning"):
            assert tasks.moment[0, p] == pytest.approx(task.moment)
    for node, agent in zip(reference.agents, range(len(reference.agents)), strict=True):
        around = reference.neighbours[node.name]
        allowed = [bool(node.undecided) and reference.may_send(node.name, n) for n in around]
        mask = simulator.observation.action_mask[0, agent].tolist()
        assert mask[: len(around) + 1] == [True, *allowed]
    number = {int(p): int(tasks.number[0, p]) for p in used}
    assert [number.get(p) for p in state.running[0].tolist()] == [
        node.running.number if node.running else None for node in nodes
    ]
    assert [number.get(p) for p in state.first_undecided[0].tolist()] == [
        node.undecided[0].number if node.undecided else None for node in nodes
    ]
    assert state.length[0].tolist() == [len(node.queue) for node in nodes]
    assert state.shown[0].tolist() == [node.shown for node in nodes]
    for name in ("received", "processed", "refused", "expired", "sent", "kept"):
        assert getattr(state, name)[0].tolist() == [node.count[name] for node in nodes], name
    sums = [
        [sum(task.instructions for task in node.queue) for node in nodes],
        [sum(task.instructions for task in node.to_execute) for node in nodes],
        [node.busy for node in nodes],
        [node.occupied for node in nodes],
    ]
    np.testing.assert_allclose(
        [state.instructions[0], state.local[0], state.busy[0], state.occupied[0]], sums, atol=1e-6
    )
    fates, results = reference.fates(), simulator.results
    assert results.created[0] == len(reference.tasks)
    for fate in OVER:
        assert getattr(results, fate)[0] == fates[fate]
    assert results.in_flight[0] == len(used)
    assert results.traffic_mb[0] == pytest.approx(reference.traffic_mb)
    responses = [task.response for task in reference.tasks if task.status == "finished"]
    assert simulator.episodes.response_ticks[0] == pytest.approx(sum(responses))


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios(), st.integers(0, 2**31 - 1), st.sampled_from([0, 1, 2, 5, 20]))
def test_the_simulator_is_the_reference(scenario, seed, delay):
    delay = min(delay, scenario.ticks - 1)
    rewards = RewardConfig(kind="own", delay_ticks=delay, gamma=0.5)  # exact in 32 bits
    simulator = GraphOffloadingSimulator(scenario, 1, rewards=rewards)
    reference = Reference(scenario, seed)
    simulator.reset([seed])
    chance = random.Random(seed)
    earned = []
    for _ in range(scenario.ticks):
        actions = legal_actions(simulator, [chance])
        earned.append(simulator.step(actions).reward[0].tolist())
        reference.step(actions[0])
        assert_same(simulator, reference)
    assert simulator.done[0]
    assert earned == reference.own_outcomes(delay, gamma=0.5)
    for task in reference.tasks:
        assert len(task.executed_at) <= 1
