"""Each heuristic on hand-made states in which they disagree, and on whole episodes."""

from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_marl.dag_placement import (
    DagPlacementSimulator,
    DagScenario,
    RandomWorkflows,
    Status,
    Tier,
    Workflow,
)
from edge_marl.dag_placement.heuristics import HEURISTICS, heuristic
from edge_marl.dag_placement.list_scheduling import RULES, Rule, plan
from edge_marl.dag_placement.workflows import pack
from edge_marl.errors import InputError
from edge_marl.simulation import Policy, run
from tests.dag_placement.by_hand import by_hand

# 1, 2, 4 and 8 GFLOPS; the fastest has 4 GB, the others 16. A GB takes 1 s to another server.
TIERS = tuple(
    Tier(
        name=f"of {capacity}", share=1, capacity_gflops=capacity, power_w=1, idle_power_w=0,
        memory_gb=4 if capacity == 8 else 16,
    )
    for capacity in (1, 2, 4, 8)
)  # fmt: skip
WAIT = 4


def cluster(**changes: Any) -> DagScenario:
    options = {"servers": 4, "tiers": TIERS, "bandwidth_gb_per_s": 1.0, "latency_s": 0.0}
    workflows = RandomWorkflows(memory_gb=(2, 1, 1, 4))
    return DagScenario(**{**options, "workflows": workflows, **changes})


def single(compute_gflop: float, memory_gb: float = 8, arrival_s: float = 0.0) -> Workflow:
    return Workflow([compute_gflop], [memory_gb], [0.0], [], arrival_s)


def begun(name: str, simulator: DagPlacementSimulator) -> Policy[DagPlacementSimulator]:
    policy = heuristic(name)
    policy.reset(simulator)
    return policy


def chosen(simulator: DagPlacementSimulator, name: str) -> int:
    return int(begun(name, simulator).act(simulator)[0, 0])


def step(simulator: DagPlacementSimulator, *actions: int) -> None:
    for j in actions:
        simulator.step(np.array([[j]]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("round_robin", 0),
        ("least_loaded", 1),
        ("fastest_idle", 2),
        ("locality", 0),
        ("earliest_finish", 2),
        ("heft", 2),
        ("cpop", 2),
    ],
)
def test_each_rule_chooses_its_own_way(name: str, expected: int) -> None:
    # The first primitive ran on server 0 for 2 s; its output of 0.25 GB is there. 2 has been
    # busy for 1 s, 1 not at all. The second, 8 GFLOP, takes 8, 4.25 and 2.25 s; 3 is too small.
    simulator = by_hand(
        cluster(), [[Workflow([2, 8], [8, 8], [0.25, 0], [[0, 1]], 0.0), single(4)]]
    )
    step(simulator, 0, 2)
    assert simulator.progress.now_s[0] == 2
    assert chosen(simulator, name) == expected


def test_random_takes_every_open_server_equally_often() -> None:
    simulator = by_hand(cluster(), [[single(8)]] * 900)
    actions = begun("random", simulator).act(simulator)[:, 0]
    assert np.bincount(actions, minlength=5) / 900 == pytest.approx([1 / 3] * 3 + [0, 0], abs=0.06)


def test_round_robin_goes_on_behind_the_last_and_around() -> None:
    simulator = by_hand(cluster(), [[single(1, arrival_s=4.0 * k) for k in range(5)]])
    policy, used = begun("round_robin", simulator), []
    while not simulator.done[0]:
        used.append(int(policy.act(simulator)[0, 0]))
        step(simulator, used[-1])
    assert used == [0, 1, 2, 0, 1]  # the fourth is too small


def test_round_robin_does_not_go_on_while_it_refuses() -> None:
    # Two equal servers, busy from 0 to 8 s; meanwhile the third is refused by naming server 0.
    scenario = cluster(time="paper", servers=2, tiers=TIERS[:1])
    simulator = by_hand(scenario, [[single(8), single(8), single(8)]])
    policy, used = begun("round_robin", simulator), []
    while not simulator.done[0]:
        used.append(int(policy.act(simulator)[0, 0]))
        step(simulator, used[-1])
    assert simulator.results.waits[0] == len(used) - 3 > 0
    assert used[:2] == [0, 1]
    assert simulator.tasks.finish_s[0, 2] >= 16
    assert simulator.tasks.server[0, :3].tolist() == [0, 1, 0]  # behind server 1, not behind 0


def test_earliest_finish_waits_only_for_what_is_worth_it() -> None:
    # Server 2 is busy for another second; on server 1, the best of the idle, 8 GFLOP take 4 s,
    # and 3 s if it is waited for: not worth it. Without server 1 they take 8 s: worth it.
    scenario = cluster(tiers=TIERS[:3], servers=3)
    simulator = by_hand(scenario, [[single(4), single(8)]])
    step(simulator, 2)
    assert chosen(simulator, "earliest_finish") == 1
    simulator = by_hand(scenario, [[single(4), single(16), single(8)]])
    step(simulator, 2, 1)
    assert chosen(simulator, "earliest_finish") == 3 + 1 + 0  # for the end of 0


def test_earliest_finish_counts_what_was_set_aside_before() -> None:
    # Two more of 8 GFLOP: the first waits for server 2 (3 s instead of 8), the second would be
    # done there at 5 s, which is no longer worth it, nor is it for one that arrives later. It is
    # for one with a longer path, which goes first.
    scenario = cluster(tiers=TIERS[:3], servers=3)
    workflows = [single(4), single(16), single(8), single(8), single(8, arrival_s=0.5)]
    simulator = by_hand(scenario, [workflows])
    policy = begun("earliest_finish", simulator)
    step(simulator, 2, 1)
    assert policy.act(simulator)[0, 0] == 3 + 1 + 0
    step(simulator, 3 + 1 + 0)
    assert policy.act(simulator)[0, 0] == 0
    path = Workflow([8, 8], [8, 8], [0, 0], [[0, 1]], 0.5)
    for late, expected in ((workflows[4], 0), (path, 3 + 1 + 0)):
        simulator = by_hand(scenario, [[*workflows[:3], late]])
        policy.reset(simulator)
        step(simulator, 2, 1)
        step(simulator, int(policy.act(simulator)[0, 0]))
        assert simulator.progress.now_s[0] == 0.5
        assert policy.act(simulator)[0, 0] == expected


def test_earliest_finish_decides_anew_as_soon_as_a_faster_server_is_done() -> None:
    # 2 waits for server 2, which it would leave at 3.5. Server 1 is done before, at 1, and faster
    # than server 0, the idle one.
    scenario = cluster(tiers=TIERS[:3], servers=3)
    simulator = by_hand(scenario, [[single(6), single(2), single(8)]])
    policy = begun("earliest_finish", simulator)
    step(simulator, 2, 1)
    assert policy.act(simulator)[0, 0] == 3 + 1 + 1


@pytest.mark.parametrize("rule", RULES)
def test_plans_are_followed_to_the_letter(rule: Rule) -> None:
    # Also where a primitive is offered before the one that is planned before it, all servers idle.
    rng = np.random.default_rng(0)
    scenario = cluster(servers=3, tiers=TIERS[:3])
    workflows = []
    for n in range(1, 41):
        edges = [(i, k) for k in range(n) for i in range(k) if rng.random() < 2 / n]
        draws = rng.uniform(1, 9, n), np.full(n, 8.0), rng.uniform(0, 1, n)
        workflows.append(Workflow(*draws, edges, 0.0))
    simulator = by_hand(scenario, [[workflow] for workflow in workflows])
    policy = begun(rule, simulator)
    while not simulator.done.all():
        simulator.step(policy.act(simulator))
    for b, workflow in enumerate(workflows):
        expected, n = plan(rule, pack([workflow]), 0, scenario), b + 1
        np.testing.assert_allclose(simulator.tasks.finish_s[b, :n], expected.finish_s)
        np.testing.assert_array_equal(simulator.tasks.server[b, :n], expected.server)
        assert simulator.results.decisions[b] <= 2 * n


@pytest.mark.parametrize("name", ["heft", "cpop", "earliest_finish"])
def test_decisions_grow_with_the_primitives_that_wait_not_with_their_square(name: str) -> None:
    decisions = []
    for n in (250, 500):
        shape = RandomWorkflows(shape="fan_out", primitives=(n, n))
        scenario = DagScenario(workflows=shape, horizon_s=0.01)
        make = partial(DagPlacementSimulator, scenario)
        decisions.append(int(run(heuristic(name), make, [0]).decisions[0]))
        assert decisions[-1] <= 3 * n
    assert decisions[1] / decisions[0] < 2.5  # with their square it would be 4


@pytest.mark.parametrize("rule", ["heft", "cpop"])
def test_when_a_server_goes_it_is_planned_anew(rule: str) -> None:
    scenario = cluster(mean_up_s=1e9, mean_away_s=1e9, failure_share=1.0)
    simulator = by_hand(scenario, [[single(8), single(8), single(8)]])
    policy = begun(rule, simulator)
    simulator.servers.change_s[0] = [1e9, 1e9, 1.0, 1e9]
    step(simulator, int(policy.act(simulator)[0, 0]))
    assert simulator.servers.running[0].tolist() == [-1, -1, 0, -1]  # on server 2, until 2
    for _ in range(20):
        if simulator.done[0]:
            break
        simulator.step(policy.act(simulator))
    assert simulator.done[0]
    assert simulator.results.lost[0] == 1
    assert set(simulator.tasks.server[0, :3]) <= {0, 1}


@pytest.mark.parametrize("name", ["random", "fastest_idle"])
def test_in_the_time_of_the_paper_who_cannot_place_names_a_server_that_refuses(name: str) -> None:
    simulator = by_hand(cluster(time="paper", servers=1, tiers=TIERS[:1]), [[single(8), single(8)]])
    step(simulator, 0)
    assert chosen(simulator, name) == 0
    step(simulator, 0)
    assert simulator.results.waits[0] == 1


@pytest.mark.parametrize("name", HEURISTICS)
def test_a_selector_takes_the_longest_path(name: str) -> None:
    long = Workflow([8, 8], [8, 8], [0, 0], [[0, 1]], 0.0)
    simulator = by_hand(cluster(), [[single(8), long]], selector="learned")
    policy = begun(name, simulator)
    assert policy.act(simulator)[0].tolist() == [WAIT, 0]
    simulator.step(policy.act(simulator))
    assert simulator.progress.task[0] == 1
    actions = policy.act(simulator)[0].tolist()
    assert actions[1] == WAIT
    # CPOP's plan has both on the fastest server, and the single one before the path.
    assert actions[0] < WAIT or name == "cpop"


@st.composite
def scenarios(draw: st.DrawFn) -> DagScenario:
    return DagScenario(
        servers=draw(st.integers(1, 12)),
        communication=draw(st.sampled_from(["physical", "reward"])),
        bandwidth_gb_per_s=draw(st.sampled_from([0.2, 10.0])),
        workflows=RandomWorkflows(memory_gb=(16, 8, 1, 32), primitives=(1, 6)),
        tiers=DagScenario().tiers[1:],
        arrival_rate_per_server_s=draw(st.sampled_from([0.1, 0.5])),
        horizon_s=6.0,
        time=draw(st.sampled_from(["event", "paper"])),
        mean_up_s=draw(st.sampled_from([None, 3.0])),
        mean_away_s=1.0,
    )


@settings(max_examples=40)
@given(scenario=scenarios(), seed=st.integers(0, 2**31), name=st.sampled_from([*HEURISTICS]))
def test_episodes_end_and_are_the_same_alone_and_in_a_batch(
    scenario: DagScenario, seed: int, name: str
) -> None:
    make, seeds = partial(DagPlacementSimulator, scenario), seed + np.arange(4)
    together = run(heuristic(name), make, seeds)
    one_by_one = run(heuristic(name), make, seeds, batch_size=1)
    np.testing.assert_equal(asdict(together), asdict(one_by_one))
    if scenario.time == "event":
        assert (together.unfinished == 0).all()
        assert (together.ratio_to_bound >= 1 - 1e-9).all()


@pytest.mark.parametrize("name", HEURISTICS)
def test_a_policy_forgets_what_was_when_an_episode_starts_anew(name: str) -> None:
    scenario = DagScenario(servers=5, horizon_s=5.0)
    simulator = DagPlacementSimulator(scenario, 1)
    policy = begun(name, simulator)  # and not told of the second episode
    ends = []
    for _ in range(2):
        simulator.reset([3])
        while not simulator.done[0]:
            simulator.step(policy.act(simulator))
        ends.append(simulator.tasks.finish_s[simulator.tasks.status == Status.DONE].tolist())
    assert ends[0] == ends[1]


def test_who_knows_more_is_faster() -> None:
    make = partial(DagPlacementSimulator, DagScenario())
    seeds = np.arange(20)
    response_s = {name: run(heuristic(name), make, seeds).response_s.mean() for name in HEURISTICS}
    assert response_s["earliest_finish"] < response_s["fastest_idle"] < response_s["least_loaded"]
    assert response_s["least_loaded"] < response_s["random"]
    assert response_s["heft"] < response_s["random"]


def test_an_unknown_heuristic_is_refused() -> None:
    with pytest.raises(InputError, match=r"heuristic: expected one of random, .*, found 'best'"):
        heuristic("best")
