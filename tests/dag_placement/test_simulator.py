"""The physics, rewards and features of DAG placement, computed by hand."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_marl.dag_placement import (
    DagPlacementSimulator,
    DagScenario,
    RandomWorkflows,
    RewardTerms,
    Status,
    Tier,
    Workflow,
)
from edge_marl.errors import InputError
from tests.dag_placement.by_hand import bound_s, by_hand

SLOW = Tier(name="slow", share=1, capacity_gflops=1, memory_gb=4, power_w=10, idle_power_w=1)
FAST = Tier(name="fast", share=1, capacity_gflops=2, memory_gb=16, power_w=40, idle_power_w=8)
# A slow server (0) and a fast one (1); a GB takes 1.5 s from one to the other.
TWO = {
    "servers": 2, "tiers": (SLOW, FAST), "bandwidth_gb_per_s": 1.0, "latency_s": 0.5,
    "workflows": RandomWorkflows(memory_gb=(2, 1, 1, 4)),
}  # fmt: skip
WAIT = 2


def cluster(**changes: Any) -> DagScenario:
    return DagScenario(**{**TWO, **changes})


def chain(*compute_gflop: float, arrival_s: float = 0.0, memory_gb: float = 2.0) -> Workflow:
    """One after the other, each with an output of 1 GB."""
    n = len(compute_gflop)
    edges = [(i, i + 1) for i in range(n - 1)]
    return Workflow(compute_gflop, [memory_gb] * n, [1.0] * n, edges, arrival_s)


def play(simulator: DagPlacementSimulator, *actions: int) -> list[float]:
    """Place one primitive after the other; returns rewards."""
    return [float(simulator.step(np.array([[j]])).reward[0, 0]) for j in actions]


def finishes(simulator: DagPlacementSimulator) -> list[float]:
    """When the primitives of the first episode are done; NaN before they are placed."""
    n = simulator.workload.first[0, simulator.workload.n_workflows[0]]
    return [float(moment) for moment in simulator.tasks.finish_s[0, :n]]


@pytest.mark.parametrize(
    ("communication", "servers", "expected"),
    [
        ("physical", (1, 1), [1, 3]),
        ("physical", (0, 1), [2, 2 + 1.5 + 2]),
        ("physical", (1, 0), [1, 1 + 1.5 + 4]),
        ("reward", (0, 1), [2, 2 + 2]),
    ],
)
def test_a_chain_waits_for_its_inputs(
    communication: str, servers: tuple[int, int], expected: list[float]
) -> None:
    simulator = by_hand(cluster(communication=communication), [[chain(2, 4)]])
    rewards = play(simulator, *servers)
    assert finishes(simulator) == expected
    assert simulator.done[0]
    assert sum(rewards) == -(sum(expected) - (1 + 3)) / 2  # what was not inevitable, per server


def test_inputs_are_sent_side_by_side_once_the_successor_has_its_server() -> None:
    # 0 and 1 are done at 1 and 4; 2 follows both. Nothing is sent before it is placed at 4.
    join = Workflow([2, 4, 2], [2] * 3, [1.0, 3.0, 0.0], [[0, 2], [1, 2]], 0.0)
    simulator = by_hand(cluster(), [[join]])
    play(simulator, 1, 0)
    assert simulator.progress.now_s[0] == 4
    simulator.step(np.array([[1]]))  # only the 3 GB of 1 are sent
    assert finishes(simulator) == [1, 4, 4 + 3.5 + 1]
    simulator = by_hand(cluster(servers=3, tiers=(SLOW,)), [[join]])
    play(simulator, 0, 1, 2)  # to a third server both are, the longer takes 3.5 s
    assert finishes(simulator) == [2, 4, 4 + 3.5 + 2]


def test_a_server_with_too_little_memory_is_closed() -> None:
    simulator = by_hand(cluster(), [[chain(2, memory_gb=4.5)]])
    assert simulator.observation.action_mask[0, 0].tolist() == [False, True, False]
    with pytest.raises(InputError, match=r"placer in episode 0: .*\[1\], found 0"):
        simulator.step(np.array([[0]]))
    simulator = by_hand(cluster(), [[chain(2, memory_gb=4.0)]])
    assert simulator.observation.action_mask[0, 0].tolist() == [True, True, False]


def test_what_fits_no_idle_server_is_not_offered() -> None:
    large = chain(2, arrival_s=0.5, memory_gb=8)
    simulator = by_hand(cluster(), [[chain(4), large, chain(2, arrival_s=1.5)]])
    play(simulator, 1)  # fast, until 2
    assert simulator.progress.task[0] == 2
    assert simulator.progress.now_s[0] == 1.5
    play(simulator, 0)
    assert simulator.progress.task[0] == 1
    assert simulator.progress.now_s[0] == 2


def test_primitives_are_offered_by_hops_then_arrival_then_number() -> None:
    # At 1 s, when a server is free: hops 1 0 | 2 1 0 | 0 0, all first ones ready.
    pair = Workflow([2, 2], [2, 2], [0, 0], [], 0.75)
    first = Workflow([2], [2], [0], [], 0.0)
    both = [chain(2, 2, arrival_s=0.25), chain(2, 2, 2, arrival_s=0.5), pair]
    simulator = by_hand(cluster(servers=1, tiers=(FAST,)), [[first, *both]])
    play(simulator, 0)
    order = []
    while not simulator.done[0]:
        order.append(int(simulator.progress.task[0]))
        play(simulator, 0)
    # 3 and its successor, then those with a hop in the order of arrival, and so on.
    assert order == [3, 1, 4, 2, 5, 6, 7]


THREE = {"servers": 3, "tiers": (SLOW, SLOW.model_copy(update={"name": "slow too"}), FAST)}


def waiting(*workflows: Workflow) -> tuple[DagPlacementSimulator, Callable[[], tuple[float, int]]]:
    """Two slow servers and a fast one; and when what is offered."""
    simulator = by_hand(cluster(**THREE), [workflows])
    at = simulator.progress
    return simulator, lambda: (float(at.now_s[0]), int(at.task[0]))


def test_who_waits_is_offered_again_when_there_is_another_server() -> None:
    # 0 has the fast server until 4, 1 a slow one until 2; 2 declines the other slow one.
    simulator, offered = waiting(chain(8), chain(2), chain(6), chain(1, arrival_s=0.5))
    play(simulator, 2, 0)
    assert offered() == (0, 2)
    play(simulator, WAIT + 1)
    assert simulator.tasks.status[0, 2] == Status.SET_ASIDE
    assert offered() == (0.5, 3)
    play(simulator, WAIT + 1)  # an arrival brings nothing back
    assert offered() == (2, 2)
    play(simulator, WAIT + 1)
    assert offered() == (2, 3)
    play(simulator, 0)  # until 3, when it is idle again
    assert offered() == (3, 2)


def test_who_waits_is_not_offered_again_what_is_too_small_or_taken() -> None:
    # At 2 the first slow server gets idle, too small for 3; at 4 the fast one, and 4 takes it
    # until 6. The other slow one has been idle all the time.
    tiers = (SLOW, FAST.model_copy(update={"capacity_gflops": 1}), FAST)
    scenario = cluster(servers=3, tiers=tiers)
    workflows = [chain(8), chain(2, 20), chain(6, memory_gb=8), chain(4, 1, arrival_s=4.0)]
    simulator = by_hand(scenario, [workflows])
    play(simulator, 0, 2, WAIT + 1)
    assert (simulator.progress.now_s[0], simulator.progress.task[0]) == (2, 2)
    play(simulator, 0)  # until 22
    assert (simulator.progress.now_s[0], simulator.progress.task[0]) == (4, 4)
    play(simulator, 2)
    assert (simulator.progress.now_s[0], simulator.progress.task[0]) == (6, 3)


def test_who_waits_is_offered_again_when_nothing_is_executed_any_more() -> None:
    simulator = by_hand(cluster(), [[chain(2, 2), chain(4), chain(2, arrival_s=1.0)]])
    play(simulator, 0, WAIT)  # 0 on the slow server until 2; 2 declines the fast one
    assert (simulator.progress.now_s[0], simulator.progress.task[0]) == (1, 3)
    play(simulator, WAIT)
    assert (simulator.progress.now_s[0], simulator.progress.task[0]) == (2, 1)
    play(simulator, 0)
    assert (simulator.progress.now_s[0], simulator.progress.task[0]) == (2, 2)


def test_who_knows_what_it_waits_for_is_not_offered_before() -> None:
    # 2 waits for 1, which is done at 5; the fast server gets idle at 4, and 3 arrives there.
    simulator, offered = waiting(chain(8), chain(5), chain(6), chain(1, 1, arrival_s=4.5))
    play(simulator, 2, 0)
    assert offered() == (0, 2)
    play(simulator, WAIT + 1 + 1 + 1)
    assert offered() == (4.5, 3)
    play(simulator, 2)  # until 5
    assert offered() == (5, 2)
    assert simulator.results.waits[0] == 1


def test_one_may_wait_for_another_that_is_to_be_decided_on_after_it() -> None:
    def illegal(*awaited: int) -> None:
        for i in awaited:
            with pytest.raises(InputError, match=rf"placer in episode 0: .*, found {3 + i}"):
                simulator.step(np.array([[3 + i]]))

    # Nothing is executed: to wait for nothing in particular is not legal.
    simulator = by_hand(cluster(), [[chain(2, 2), chain(4), chain(2, arrival_s=1.0)]])
    assert simulator.observation.action_mask[0, 0].tolist() == [True, True, False]
    illegal(0, 3, 4, 1000)  # itself; not arrived; not there
    play(simulator, WAIT + 1 + 2)
    assert simulator.progress.task[0] == 2
    illegal(0, 1)  # there is no other any more
    play(simulator, 1)  # until 2
    assert (simulator.progress.now_s[0], simulator.progress.task[0]) == (1, 3)
    play(simulator, 0)  # until 3
    assert (simulator.progress.now_s[0], simulator.progress.task[0]) == (2, 0)
    illegal(2)  # done
    play(simulator, 1)
    paper = by_hand(cluster(time="paper"), [[chain(2), chain(4)]])
    with pytest.raises(InputError, match="found 4"):
        paper.step(np.array([[WAIT + 1 + 1]]))


def test_waiting_needs_something_to_wait_for() -> None:
    scenario = cluster(mean_up_s=1e9, mean_away_s=1e9)
    simulator = by_hand(scenario, [[chain(2), chain(2, arrival_s=1.0), chain(2, arrival_s=5.0)]])
    mask = simulator.observation.action_mask[0, 0]
    assert not mask[WAIT]  # though others are to arrive
    play(simulator, 0)
    assert mask[WAIT]  # for the completion
    simulator.servers.change_s[0, 0] = 4.0
    play(simulator, 1)
    assert simulator.progress.now_s[0] == 5
    assert mask.tolist() == [False, True, True]  # for the server that is away


def test_the_response_reward_is_what_responses_grow_by() -> None:
    simulator = by_hand(cluster(), [[chain(2, 4), chain(2, arrival_s=0.5)]])
    rewards = play(simulator, 0, WAIT, 1, 0)
    assert rewards == [
        -(1 + 1) / 2,  # 0 is done at 2 instead of 1, and 1 cannot be before 4 instead of 3
        -1.5 / 2,  # 2 waits from 0.5 to 2
        -1.5 / 2,  # 1 waits for its input
        -1 / 2,  # 2 is done at 4 instead of 3
    ]
    assert finishes(simulator) == [2, 5.5, 4]
    assert sum(rewards) == -((2 + 5.5 + 3.5) - (1 + 3 + 1)) / 2


def test_the_reward_of_the_paper_is_equation_2() -> None:
    terms = RewardTerms(w_tau=2.0, s_tau_s=4.0, alpha=0.5, beta=0.25)
    scenario = cluster(workflows=RandomWorkflows(memory_gb=(2, 1, 1, 4), output_gb=(1, 0.5, 0, 2)))
    simulator = by_hand(scenario, [[chain(2, 4)]], reward="paper", terms=terms)
    rewards = play(simulator, 1, 0)
    simulator_of_defaults = by_hand(scenario, [[chain(2, 4)]], reward="paper")
    # The room that a test makes is of the default workflows: 0.5 + 3 x 0.2 GB, 10 GFLOP.
    largest_delay_s, largest_energy_j = 1.1 + 0.5, 10 * 40 / 2
    first = 2 * math.exp(-1 / 4) - 0.25 * 40 / largest_energy_j
    second = 2 * math.exp(-4 / 4) - 0.5 * 1.5 / largest_delay_s - 0.25 * 40 / largest_energy_j
    assert rewards == pytest.approx([first, second])
    assert play(simulator_of_defaults, 1, 0) == pytest.approx(
        [math.exp(-1), math.exp(-4) - 0.1 * 1.5 / largest_delay_s]
    )


def test_the_delay_of_features_and_reward_is_from_the_predecessor_that_finished_first() -> None:
    # 1 on the fast server is done at 1, 0 on the slow one at 4; 0 has the larger output.
    join = Workflow([4, 2, 2], [2] * 3, [3.0, 1.0, 0.0], [[0, 2], [1, 2]], 0.0)
    simulator = by_hand(cluster(), [[join]], features="paper", reward="paper")
    assert simulator.observation.features[0, 0, 1:, 4].tolist() == [0, 0]
    play(simulator, 0, 1)
    assert simulator.progress.now_s[0] == 4
    assert simulator.observation.features[0, 0, 1:, 4].tolist() == [1.5, 0]
    assert play(simulator, 1) == pytest.approx([math.exp(-1)])  # though 3 GB have to be sent
    assert finishes(simulator)[2] == 4 + 3.5 + 1


def test_the_features_of_the_paper() -> None:
    simulator = by_hand(cluster(), [[chain(2, 4, 8)]], features="paper")
    play(simulator, 1)
    np.testing.assert_allclose(
        simulator.observation.features[0, 0],
        [
            [4 / 2, 2 / 16, 1 / 5, 1 / 3, 1.0],  # c, m, successors, share done, d
            [1 / 2, 4 / 16, 0, 1 / 40, 1.5],  # C, M, remaining, power, delay
            [1, 1, 0, 8 / 40, 0],
        ],
        rtol=1e-6,
    )
    assert simulator.observation.state.shape == (1, 15)


def test_the_further_features() -> None:
    simulator = by_hand(cluster(), [[chain(2, 4), chain(2, 2, memory_gb=8, arrival_s=0.25)]])
    play(simulator, 0)  # the slow server, until 2; at 0.25 the second workflow
    log = math.log1p
    np.testing.assert_allclose(
        simulator.observation.features[0, 0],
        [
            # c, m, 1 successor, share done, d, 1 hop, 2 left, 1 ready and 3 not placed on 2 servers
            [log(1), 0.5, 1 / 6, 0, 1, 1 / 6, 2 / 7, 0, 0.5 / 1.5, 1.5 / 2.5],
            [0.5, 0.25, log(1.75), 10 / 40, 0, 0, 0, log(2), log(3.75), math.log(3.75)],
            [1, 1, 0, 8 / 40, 0, 1, 1, log(1), log(1), 0],
        ],
        atol=1e-6,
    )


def test_an_idle_server_is_compared_with_what_waiting_would_give() -> None:
    simulator = by_hand(cluster(), [[chain(2), chain(4)]])
    play(simulator, 1)  # the fast server, until 1: there the other would be done at 3, here at 4
    assert simulator.observation.features[0, 0, 0, 7] == pytest.approx(math.log(4 / 3))
    assert simulator.observation.features[0, 0, 1:, 9] == pytest.approx([math.log(4 / 3), 0])


def test_a_failure_loses_the_execution() -> None:
    scenario = cluster(mean_up_s=1e9, mean_away_s=1e9, failure_share=1.0)
    simulator = by_hand(scenario, [[chain(2, 2)]])
    simulator.servers.change_s[0] = [1e9, 1.5]
    rewards = play(simulator, 1)  # done at 1, before the server fails
    simulator.step(np.array([[1]]))  # would be done at 2, fails at 1.5
    assert simulator.tasks.status[0].tolist()[:2] == [Status.DONE, Status.READY]
    assert simulator.results.lost[0] == 1
    assert simulator.progress.now_s[0] == 1.5
    assert not simulator.observation.features[0, 0, 2].any()  # the row of the server that is gone
    assert simulator.observation.action_mask[0, 0].tolist() == [True, False, True]
    rewards.append(float(simulator.transition.reward[0, 0]))
    rewards += play(simulator, 0)  # the output of 0 outlives its server: 1.5 s, then 2 s
    assert finishes(simulator) == [1, 1.5 + 1.5 + 2]
    # The failure delays 1 from 2 to 2.5, the slow server and the transfer to 5.
    assert rewards == [0, -0.5 / 2, -2.5 / 2]
    assert simulator.results.energy_j[0] == 40 * (1 + 0.5) + 10 * 2


def test_a_server_that_leaves_finishes_first() -> None:
    scenario = cluster(mean_up_s=1e9, mean_away_s=1e9, failure_share=0.0)
    simulator = by_hand(scenario, [[chain(4), chain(2, arrival_s=0.5), chain(2, arrival_s=0.75)]])
    simulator.servers.change_s[0] = [1e9, 0.5]
    play(simulator, 1)  # until 2
    assert simulator.progress.now_s[0] == 0.5
    assert not simulator.observation.features[0, 0, 2].any()
    play(simulator, 0)  # until 2.5
    assert simulator.progress.now_s[0] == 2.5  # the third waits for the slow server
    assert finishes(simulator)[:2] == [2, 2.5]
    assert simulator.results.lost[0] == 0
    simulator.servers.change_s[0, 1] = 3.0
    play(simulator, WAIT)
    assert simulator.progress.now_s[0] == 3
    assert simulator.observation.action_mask[0, 0].tolist() == [True, True, False]


def test_in_the_time_of_the_paper_only_invalid_actions_take_time() -> None:
    scenario = cluster(time="paper", step_s=0.75)
    simulator = by_hand(scenario, [[chain(2, 2), chain(1, arrival_s=0.5)]], reward="paper")
    assert simulator.observation.action_mask[0, 0].tolist() == [True, True, False]
    play(simulator, 1)  # until 1; nothing is ready, so on to the arrival
    assert (simulator.progress.now_s[0], simulator.progress.task[0]) == (0.5, 2)
    assert play(simulator, 1) == pytest.approx([-0.001])  # busy
    # 1 has become ready in the meantime; both end their workflows, 1 is of the earlier one.
    assert (simulator.progress.now_s[0], simulator.progress.task[0]) == (1.25, 1)
    play(simulator, 1)
    assert (simulator.progress.now_s[0], simulator.progress.task[0]) == (1.25, 2)
    play(simulator, 0)
    assert finishes(simulator) == [1, 2.25, 2.25]
    assert simulator.results.waits[0] == 1


def test_in_the_time_of_the_paper_a_server_that_is_too_small_is_an_invalid_action() -> None:
    scenario = cluster(time="paper", step_s=0.25, decisions=2)
    simulator = by_hand(scenario, [[chain(2, memory_gb=8)]], reward="paper")
    assert play(simulator, 0) == pytest.approx([-0.001])
    transition = simulator.step(np.array([[0]]))
    assert (transition.truncated[0], transition.terminated[0]) == (True, False)
    assert simulator.progress.now_s[0] == 0.5


def test_the_metrics() -> None:
    simulator = by_hand(cluster(), [[chain(2, 4), chain(2, arrival_s=4.0)]])
    play(simulator, 1, 0)  # at 1, at 1 + 1.5 + 4
    play(simulator, 1)  # at 5
    results = simulator.results
    assert simulator.done[0]
    assert results.response_s[0] == pytest.approx((1 + 6.5 + 1) / 3)
    assert results.workflow_response_s[0] == pytest.approx((6.5 + 1) / 2)
    assert results.ratio_to_bound[0] == pytest.approx((6.5 / 3 + 1 / 1) / 2)
    assert results.duration_s[0] == 6.5
    assert results.utilisation[0] == pytest.approx((5.5 + 2) / 2 / 6.5)
    assert results.communication_s[0] == pytest.approx(1.5 / 3)
    assert results.energy_j[0] == 40 + 10 * 4 + 40
    assert (results.completed[0], results.workflows[0], results.unfinished[0]) == (3, 2, 0)


def test_the_bound_is_the_critical_path_on_the_fastest_servers_that_fit() -> None:
    # 0 - 1 - 3 and 0 - 2 - 3; only 2 fits the slow server alone ... and goes faster elsewhere.
    tiers = (SLOW, FAST, FAST.model_copy(update={"capacity_gflops": 8, "memory_gb": 4}))
    diamond = Workflow([8, 8, 16, 8], [2, 8, 2, 8], [1] * 4, [[0, 1], [0, 2], [1, 3], [2, 3]], 0.0)
    assert bound_s(diamond, cluster(servers=3, tiers=tiers)) == 8 / 8 + 8 / 2 + 8 / 2


@pytest.mark.parametrize("shape", ["random", "chain", "fan_out"])
def test_drawn_workflows_have_that_bound(shape: str) -> None:
    scenario = DagScenario(workflows=RandomWorkflows(shape=shape, edge_probability=0.3))
    simulator = DagPlacementSimulator(scenario, 2)
    simulator.reset([0, 1])
    load = simulator.workload
    for b in range(2):
        for w in range(load.n_workflows[b]):
            own = np.arange(load.first[b, w], load.first[b, w + 1])
            edges = [
                (load.predecessor[b, e] - own[0], i - own[0])
                for i in own
                for e in range(
                    load.first_predecessor[b, i],
                    load.first_predecessor[b, i] + load.n_predecessors[b, i],
                )
            ]
            columns = [load.compute_gflop[b, own], load.memory_gb[b, own], load.output_gb[b, own]]
            expected = bound_s(Workflow(*columns, edges), scenario)
            assert load.bound_s[b, w] == pytest.approx(expected)
