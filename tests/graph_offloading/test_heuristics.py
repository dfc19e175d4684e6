"""Each heuristic in hand-made situations in which the rules disagree, and on whole episodes."""

import numpy as np
import pytest

from edge_marl.errors import InputError
from edge_marl.graph_offloading.heuristics import HEURISTICS, GraphHeuristic, heuristic
from edge_marl.graph_offloading.scenario import GraphScenario
from edge_marl.graph_offloading.simulator import GraphOffloadingSimulator
from edge_marl.graph_offloading.topology import Topology
from edge_marl.simulation import run
from tests.graph_offloading.by_hand import act, hub_with, star

# Node 0 executes 1 million instructions per tick, the others 2, 4 and 3; their queues hold 10, 20,
# 4 and 8 tasks; a MB takes 1, 2 and 1 ticks to them, and to node 2 one tick more.
LEAVES = ((2, 20, 1, 0), (4, 4, 2, 1), (3, 8, 1, 0))
EPISODES = 3000
TRIAGE = ("triage", "triage_true", "least_queues_triage")


def chosen(simulator: GraphOffloadingSimulator, name: str) -> int:
    """Return what a rule does with the oldest undecided task at node 0."""
    return int(heuristic(name).act(simulator)[0, 0])


def shares(simulator: GraphOffloadingSimulator, name: str) -> np.ndarray:
    """Return how often a rule chooses each action in many episodes, as shares."""
    return np.bincount(heuristic(name).act(simulator)[:, 0], minlength=4) / EPISODES


def tell(simulator: GraphOffloadingSimulator, *lengths: int) -> None:
    simulator.nodes.shown[0, 1:] = lengths


def disagreement() -> GraphOffloadingSimulator:
    """Node 0 has to decide on 3 tasks, neither giants nor short, of 24 million and 0.25 MB."""
    simulator = hub_with([(24, 0.25)] * 3, topology=star(LEAVES))
    tell(simulator, 2, 1, 3)
    # in truth, neighbours have more or smaller tasks than they have told
    simulator.nodes.length[0, 1:] = [19, 4, 1]
    simulator.nodes.instructions[0, 1:] = [60e6, 100e6, 3e6]
    return simulator


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("local", 0),
        # without the task 2 of 10; 2 of 20; 1 of 4; 3 of 8
        ("least_queues", 1),
        # ticks: 24; 48 / 2 + 24 / 2 + 0.5; 24 / 4 + 24 / 4 + 2 x 1.5; 72 / 3 + 24 / 3 + 0.5
        ("shortest", 2),
        ("triage", 2),
        # 24; 60 / 2 + 12.5; 100 / 4 + 9; 3 / 3 + 8.5
        ("shortest_true", 3),
        ("triage_true", 3),
        ("least_queues_triage", 1),
    ],
)
def test_each_rule_chooses_its_own_way(name: str, expected: int) -> None:
    assert chosen(disagreement(), name) == expected


def test_random_chooses_the_node_and_its_neighbours_equally_often() -> None:
    simulator = hub_with([(12, 0.25)], topology=star(LEAVES), seeds=np.arange(EPISODES))
    # the standard deviation of each share is 0.008
    np.testing.assert_allclose(shares(simulator, "random"), 1 / 4, atol=0.04)


def test_random_depends_on_seed_and_tick_alone() -> None:
    many = hub_with([(12, 0.25)], topology=star(LEAVES), seeds=np.arange(50))
    one = hub_with([(12, 0.25)], topology=star(LEAVES), seeds=[7])
    choices = heuristic("random").act(many)[:, 0]
    assert chosen(one, "random") == choices[7]
    for simulator in (many, one):
        simulator.tick[:] += 1
    later = heuristic("random").act(many)[:, 0]
    assert chosen(one, "random") == later[7]
    assert (later != choices).any()


def test_local_keeps_tasks_even_if_its_queue_is_full() -> None:
    simulator = hub_with([(12, 0.25)] * 10, topology=star(LEAVES))
    assert chosen(simulator, "local") == 0
    assert chosen(simulator, "least_queues") == 1
    assert chosen(simulator, "shortest") == 3


# Least queues -----------------------------------------------------------------------------------


def test_least_queues_gives_a_tie_to_the_first_neighbour() -> None:
    simulator = hub_with([(12, 0.25)], topology=star(LEAVES))
    assert chosen(simulator, "least_queues") == 1, "nobody has another task"
    tell(simulator, 1, 0, 0)
    assert chosen(simulator, "least_queues") == 2
    tell(simulator, 1, 1, 1)
    assert chosen(simulator, "least_queues") == 0
    three = hub_with([(12, 0.25)] * 3, topology=star(LEAVES))
    tell(three, 4, 1, 2)  # of 20, 4 and 8; without the task, node 0 has 2 of 10
    assert chosen(three, "least_queues") == 1
    tell(three, 5, 1, 2)
    assert chosen(three, "least_queues") == 0
    tell(three, 5, 1, 1)
    assert chosen(three, "least_queues") == 3


def test_least_queues_compares_shares_of_the_largest_limits_exactly() -> None:
    leaf = (1, 1_000_000, 1, 0)
    simulator = hub_with([(1, 1)], topology=star(((1, 999_999, 1, 0), leaf)))
    simulator.nodes.length[0, 0] = 10
    tell(simulator, 500_000, 500_000)
    assert chosen(simulator, "least_queues") == 2, "less by 5e-7"
    simulator.nodes.length[0, 0] = 6
    assert chosen(simulator, "least_queues") == 2, "5 of 10, too"
    tell(simulator, 500_000, 500_001)
    assert chosen(simulator, "least_queues") == 0


# Shortest expected response ---------------------------------------------------------------------


def test_shortest_counts_what_the_node_has_kept_and_not_what_is_undecided() -> None:
    simulator = hub_with([(12, 4)] * 3, topology=star(LEAVES))
    # 12 ticks; 12 / 2 + 8; 12 / 4 + 18; 12 / 3 + 8: a tie
    assert chosen(simulator, "shortest") == 0
    act(simulator)  # and one of 12 million is in execution
    assert chosen(simulator, "shortest") == 3


def test_shortest_gives_a_tie_to_the_node_itself_then_to_the_first_neighbour() -> None:
    simulator = hub_with([(12, 3)] * 3, topology=star(((2, 20, 1, 0), (2, 20, 1, 0))))
    assert chosen(simulator, "shortest") == 0, "12, and 6 + 2 x 3 twice"
    act(simulator)
    assert chosen(simulator, "shortest") == 1


def test_shortest_takes_neighbours_tasks_for_typical_ones() -> None:
    # the geometric mean of all jobs is 4 million
    simulator = hub_with([(16, 0), (1, 0)], topology=star(((2, 20, 1, 0), (4, 20, 1, 0))))
    tell(simulator, 0, 3)
    assert chosen(simulator, "shortest") == 2, "16, 8 and (12 + 16) / 4 ticks"
    tell(simulator, 0, 5)
    assert chosen(simulator, "shortest") == 1, "16, 8 and (20 + 16) / 4"


# Triage -----------------------------------------------------------------------------------------


def sized(million: float, *, episodes: int = 1, told: int = 0) -> GraphOffloadingSimulator:
    """Give node 0 a task without MB; the others, the fastest of which is node 2, have some."""
    simulator = hub_with([(million, 0)], topology=star(LEAVES), seeds=np.arange(episodes))
    simulator.nodes.shown[:, 1:] = told
    return simulator


@pytest.mark.parametrize("name", TRIAGE)
def test_giants_are_passed_on_to_any_neighbour(name: str) -> None:
    policy = heuristic(name)
    assert isinstance(policy, GraphHeuristic)
    ticks = policy.rule.giant_ticks
    giants = sized(4 * ticks * 1.001, episodes=EPISODES, told=3)
    np.testing.assert_allclose(shares(giants, name), [0, 1 / 3, 1 / 3, 1 / 3], atol=0.05)
    others = sized(4 * ticks, episodes=EPISODES, told=3)
    base = "least_queues" if name.startswith("least") else name.replace("triage", "shortest")
    assert shares(others, base).max() == 1, "which is the same in all episodes"
    assert (shares(others, name) == shares(others, base)).all()


def test_least_queues_triage_keeps_short_tasks_while_the_node_is_nearly_idle() -> None:
    policy = heuristic("least_queues_triage")
    assert isinstance(policy, GraphHeuristic)
    ticks = policy.rule.short_ticks
    assert chosen(sized(ticks), "least_queues") == 1
    assert chosen(sized(ticks), "least_queues_triage") == 0
    assert chosen(sized(ticks * 1.001), "least_queues_triage") == 1
    busy = sized(ticks)
    busy.nodes.local[0, 0] = ticks * 1e6
    assert chosen(busy, "least_queues_triage") == 0
    busy.nodes.local[0, 0] *= 1.001
    assert chosen(busy, "least_queues_triage") == 1


# Whole episodes ---------------------------------------------------------------------------------


def alone() -> Topology:
    """Return a star whose leaves have agents, and a node without links."""
    fields = star().model_dump()
    return Topology.model_validate(
        {**fields, "nodes": [*fields["nodes"], {**fields["nodes"][0], "name": "alone"}]}
    )


@pytest.mark.parametrize("name", HEURISTICS)
def test_only_what_the_mask_leaves_open_is_chosen(name: str) -> None:
    for topology in ("ether_2", "random_15", alone()):
        link_model = "topology" if isinstance(topology, Topology) else "shannon"
        scenario = GraphScenario(topology=topology, rate_per_s=5, ticks=100, link_model=link_model)
        simulator, policy = GraphOffloadingSimulator(scenario, 2), heuristic(name)
        simulator.reset([3, 4])
        while not simulator.done.all():
            actions = policy.act(simulator)
            mask = np.take_along_axis(simulator.observation.action_mask, actions[..., None], 2)
            assert mask.all()
            simulator.step(actions)
        assert simulator.results.created.min() > 10


def test_giants_are_kept_where_there_is_no_neighbour() -> None:
    lonely = Topology.model_validate({**star().model_dump(), "links": []})
    simulator = hub_with([(1e6, 1)], topology=lonely, seeds=np.arange(20))
    for name in HEURISTICS:
        assert not heuristic(name).act(simulator).any(), name


def test_passing_giants_on_finishes_more_tasks_than_least_queues() -> None:
    scenario = GraphScenario(topology="random_15", rate_per_s=2, ticks=3000)
    ratio = {
        name: run(
            heuristic(name), lambda size: GraphOffloadingSimulator(scenario, size), [1, 2]
        ).finished_ratio.mean()
        for name in ("least_queues", "least_queues_triage")
    }
    assert ratio["least_queues_triage"] > ratio["least_queues"] + 0.05


def test_an_unknown_name_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(InputError) as refused:
        heuristic("fastest")
    assert str(refused.value) == (
        "heuristic: expected one of random, local, least_queues, shortest, shortest_true, triage, "
        "triage_true, least_queues_triage, found 'fastest'"
    )
    assert all(heuristic(name).name == name for name in HEURISTICS)
