"""HEFT and CPOP: the example of their paper, and what every plan has to keep to."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_marl.dag_placement.list_scheduling import RULES, Plan, Rule, plan, schedule
from edge_marl.dag_placement.scenario import DagScenario, RandomWorkflows, Tier
from edge_marl.dag_placement.workflows import Workflow, pack
from edge_marl.errors import InputError

# The example of Topcuoglu, Hariri and Wu: ten tasks on three processors.
EXECUTION_S = [
    [14, 16, 9], [13, 19, 18], [11, 13, 19], [13, 8, 17], [12, 13, 10],
    [13, 16, 9], [7, 15, 11], [5, 11, 14], [18, 12, 20], [21, 7, 16],
]  # fmt: skip
TRANSFER_S = {
    (1, 2): 18, (1, 3): 12, (1, 4): 9, (1, 5): 11, (1, 6): 14, (2, 8): 19, (2, 9): 16, (3, 7): 23,
    (4, 8): 27, (4, 9): 23, (5, 9): 13, (6, 8): 15, (7, 10): 17, (8, 10): 11, (9, 10): 13,
}  # fmt: skip
EDGES = np.array(list(TRANSFER_S)) - 1


@pytest.mark.parametrize(
    ("rule", "makespan_s", "processors"),
    [
        ("heft", 80, [3, 1, 3, 2, 3, 2, 3, 1, 2, 2]),
        ("cpop", 86, [2, 2, 1, 3, 2, 3, 1, 3, 2, 2]),
    ],
)
def test_the_example_of_the_paper(rule: Rule, makespan_s: float, processors: list[int]) -> None:
    made = schedule(rule, EXECUTION_S, EDGES, list(TRANSFER_S.values()))
    assert made.makespan_s == makespan_s
    assert (made.server + 1).tolist() == processors


def test_the_order_of_edges_makes_no_difference() -> None:
    mixed = np.random.default_rng(0).permutation(len(EDGES))
    made = schedule("heft", EXECUTION_S, EDGES[mixed], np.array([*TRANSFER_S.values()])[mixed])
    assert made.makespan_s == 80


def test_a_gap_is_filled() -> None:
    # Server 0 begins with 2 at 5 s, with the output of 0 there; 3, planned later, fits before it.
    edges, transfer_s = [[0, 2]], [4.0]
    execution_s = [[9.0, 1.0], [9.0, 9.0], [2.0, 99.0], [3.0, 90.0]]
    made = schedule("heft", execution_s, edges, transfer_s)
    assert made.server.tolist() == [1, 1, 0, 0]
    assert made.start_s.tolist() == [0, 1, 5, 0]


def test_transfers_that_occupy_the_server_begin_when_it_is_free() -> None:
    # Server 1 is fast enough for the second to be worth the transfer.
    execution_s = [[1.0, 4.0], [9.0, 2.0]]
    textbook = schedule("heft", execution_s, [[0, 1]], [3.0])
    occupying = schedule("heft", execution_s, [[0, 1]], [3.0], occupies=True)
    assert (textbook.start_s[1], textbook.finish_s[1]) == (4, 6)
    assert (occupying.start_s[1], occupying.finish_s[1]) == (1, 6)


def test_cpop_keeps_the_critical_path_together() -> None:
    # 0, 1 and 3 are critical; server 1 has the least time for all three, though not for each.
    execution_s = [[2.0, 3.0], [8.0, 4.0], [1.0, 9.0], [8.0, 4.0]]
    made = schedule("cpop", execution_s, [[0, 1], [0, 2], [1, 3], [2, 3]], [1.0] * 4)
    assert made.server.tolist() == [1, 1, 0, 1]


CLUSTER = DagScenario(
    servers=3,
    tiers=(
        Tier(name="s", share=2, capacity_gflops=1, memory_gb=4, power_w=1, idle_power_w=0),
        Tier(name="l", share=1, capacity_gflops=10, memory_gb=16, power_w=1, idle_power_w=0),
    ),
    bandwidth_gb_per_s=2.0,
    latency_s=0.5,
    workflows=RandomWorkflows(memory_gb=(2, 1, 1, 4)),
)


def test_a_plan_for_a_cluster_counts_bandwidth_latency_and_memory() -> None:
    # The first fits the large server only, where each takes 1 s; elsewhere 10 s.
    workflows = pack([Workflow([10, 10, 10], [16, 4, 4], [2, 0, 0], [[0, 1], [0, 2]])])
    made = plan("heft", workflows, 0, CLUSTER)
    assert made.server.tolist() == [2, 2, 2]
    assert made.finish_s.tolist() == [1, 2, 3]
    # With the large server as slow as the others one successor is worth a transfer.
    tiers = tuple(tier.model_copy(update={"capacity_gflops": 1}) for tier in CLUSTER.tiers)
    for communication, finish_s in (("physical", [10, 20, 21.5]), ("reward", [10, 20, 20])):
        update = {"tiers": tiers, "communication": communication}
        made = plan("heft", workflows, 0, CLUSTER.model_copy(update=update))
        assert sorted(made.finish_s.tolist()) == finish_s


@pytest.mark.parametrize(
    ("rule", "execution_s", "edges", "message"),
    [
        ("fast", [[1.0]], [], "rule: expected one of heft, cpop, found 'fast'"),
        ("heft", [[1.0], [np.inf]], [], "primitive 1: expected a server that it fits"),
        ("heft", [[1.0], [1.0]], [[1, 0]], "edges: expected the lower number first"),
    ],
)
def test_what_cannot_be_planned_is_refused(
    rule: Rule, execution_s: list[list[float]], edges: list[list[int]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        schedule(rule, execution_s, edges, [1.0] * len(edges))


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, list[tuple[int, int]], list[float]]:
    """Execution times, some infinite but one server fits everything; edges; transfers."""
    n, N = draw(st.integers(1, 9)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    execution_s = rng.uniform(0.1, 5, (n, N)).round(draw(st.sampled_from([1, 9])))
    execution_s[:, 1:][rng.random((n, N - 1)) < 0.3] = np.inf
    edges = [(i, k) for k in range(n) for i in range(k) if rng.random() < 0.4]
    return execution_s, edges, rng.uniform(0, 3, len(edges)).round(1).tolist()


@settings(max_examples=150)
@given(problem=problems(), rule=st.sampled_from(RULES), occupies=st.booleans())
def test_every_plan_can_be_carried_out(
    problem: tuple[np.ndarray, list[tuple[int, int]], list[float]], rule: Rule, occupies: bool
) -> None:
    execution_s, edges, transfer_s = problem
    made = schedule(rule, execution_s, edges, transfer_s, occupies=occupies)
    check_plan(made, execution_s, edges, transfer_s, occupies)


def check_plan(
    made: Plan, execution_s: np.ndarray, edges: list[tuple[int, int]], transfer_s: list[float],
    occupies: bool,
) -> None:  # fmt: skip
    """Each where it fits, one at a time on a server, after its predecessors and their outputs."""
    n = len(execution_s)
    held_s = made.finish_s - made.start_s
    waited_s = np.zeros(n)
    for (before, after), sent_s in zip(edges, transfer_s, strict=True):
        sent_s *= made.server[before] != made.server[after]
        waited_s[after] = max(waited_s[after], sent_s)
        delay_s = 0.0 if occupies else sent_s
        assert made.start_s[after] >= made.finish_s[before] + delay_s - 1e-9
    if not occupies:
        waited_s[:] = 0.0
    np.testing.assert_allclose(held_s, execution_s[np.arange(n), made.server] + waited_s)
    for j in range(execution_s.shape[1]):
        its = np.flatnonzero(made.server == j)
        its = its[np.argsort(made.start_s[its])]
        assert (made.start_s[its][1:] >= made.finish_s[its][:-1] - 1e-9).all()
