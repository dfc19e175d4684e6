"""Each heuristic on one hand-made state in which they disagree, and on whole episodes."""

from dataclasses import asdict
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_marl.errors import InputError
from edge_marl.peer_offloading import OffloadingScenario, PeerOffloadingSimulator, Status
from edge_marl.peer_offloading.heuristics import HEURISTICS, heuristic
from edge_marl.simulation import run
from tests.peer_offloading.reference import Task, place

VARIANTS = [*((name, "paper") for name in HEURISTICS), ("ratc", "testbed"), ("rda", "testbed")]
EPISODES = 1200  # of the same state, each with random choices of its own


def hand_made(deadline_s: float = 4.0) -> PeerOffloadingSimulator:
    """Node 0 has a task; who would be done with it when, and how likely it is to fail on the way.

    ====  ============  =========  ==========  ====  =================================
    node  transmission  execution  free at     done  expected failures (node, link)
    ====  ============  =========  ==========  ====  =================================
    0     -             1 s        4.5 s       5.5   0
    1     1 s           1 s        2 s         3     0.3 + 0
    2     1 s           1 s        2.5 s       3.5   0.1 + 0.1
    3     0.5 s         0.5 s      0 s         1     0.45 + 0.5
    ====  ============  =========  ==========  ====  =================================

    Three tasks are at node 0, whose limit is two; 2, 1 and 0 are at the others.
    """
    scenario = OffloadingScenario(nodes=4, slot_s=1.0, deadline_s=(1, 5))
    simulator = PeerOffloadingSimulator(scenario, EPISODES)
    simulator.reset(np.arange(EPISODES))
    network, tasks = simulator.networks, simulator.tasks
    tasks.status[:, 0] = Status.NONE
    tasks.status[:, 0, 0] = Status.IN_FLIGHT
    tasks.size_kb[:, 0, 0], tasks.cycles[:, 0, 0] = 1000.0, 8e9
    tasks.deadline_s[:, 0, 0] = deadline_s
    network.capacity_hz[:] = np.array([1, 1, 1, 2]) * 8e9
    network.rate_mb_per_s[:, 0] = [0, 1, 1, 2]
    network.failure_rate[:] = [0, 0.3, 0.1, 0.9]
    network.link_failure_rate[:, 0] = [0, 0, 0.1, 1]
    network.queue_limit[:] = [2, 9, 9, 9]
    simulator.node_free_s[:] = [4.5, 2, 2.5, 0]
    simulator.queue_length[:] = [3, 2, 1, 0]
    simulator.observation.action_mask[:] = [False] * 4 + [True]
    simulator.observation.action_mask[:, 0] = [True] * 4 + [False]
    return simulator


def shares(simulator: PeerOffloadingSimulator, name: str, variant: str = "paper") -> list[float]:
    """How often each node is chosen for the task of node 0, in sixths."""
    actions = heuristic(name, variant).act(simulator)
    assert (actions[:, 1:] == 4).all()  # no task
    return [round(6 * share) for share in np.bincount(actions[:, 0], minlength=4) / EPISODES]


# Each pair of probed nodes is a sixth, of the three others a third.
@pytest.mark.parametrize(
    ("name", "variant", "expected"),
    [
        ("local", "paper", [6, 0, 0, 0]),
        # (0,1): 0 is late, 1; (0,2): 2; (0,3): 3; the more reliable of (1,2), (1,3), (2,3): 2, 1, 2
        ("ratc", "paper", [0, 2, 3, 1]),
        # without queues and links all are in time: the lower failure rate, 0 before 2 before 1
        ("ratc", "testbed", [3, 1, 2, 0]),
        # the earlier of two others: 1, 3, 3
        ("rda", "paper", [0, 2, 0, 4]),
        # the fewer waiting, 1, 0 and 0: 2, 3, and 2 by its number
        ("rda", "testbed", [0, 0, 4, 2]),
        ("greedy", "paper", [0, 0, 0, 6]),
        ("reliable", "paper", [0, 0, 6, 0]),
    ],
)
def test_each_rule_chooses_its_own_way(name: str, variant: str, expected: list[int]) -> None:
    assert shares(hand_made(), name, variant) == expected


def test_random_chooses_every_open_node_equally_often() -> None:
    simulator = hand_made()
    simulator.observation.action_mask[:, 0, 1] = False
    assert shares(simulator, "random") == [2, 0, 2, 2]


@pytest.mark.parametrize(
    ("name", "variant", "expected"),
    [
        # node 1 is late too: by time 3 before 1 before 2 before 0, whatever the reliability
        ("ratc", "paper", [0, 2, 1, 3]),
        ("reliable", "paper", [0, 0, 0, 6]),  # the only one in time
    ],
)
def test_what_is_late_is_chosen_by_time(name: str, variant: str, expected: list[int]) -> None:
    assert shares(hand_made(deadline_s=2.5), name, variant) == expected


def test_without_a_node_in_time_the_earliest_is_chosen() -> None:
    simulator = hand_made(deadline_s=1.0)
    simulator.node_free_s[:] = [9, 9, 8, 9]
    assert shares(simulator, "reliable") == [0, 0, 6, 0]
    simulator.tasks.cycles[:, 0, 0] *= 1.5  # 1.5, 1.5, 1.5 and 0.75 s
    # in the testbed's eyes too: 3 before the others, and of those the lower number
    assert shares(simulator, "ratc", "testbed") == [2, 1, 0, 3]


def test_overloaded_nodes_are_not_probed() -> None:
    simulator = hand_made()
    simulator.observation.action_mask[:, 0, 2] = False
    # (0,1), (0,3), (1,3): a third each
    assert shares(simulator, "ratc") == [0, 4, 0, 2]
    assert shares(simulator, "rda") == [0, 0, 0, 6]
    assert shares(simulator, "reliable") == [0, 6, 0, 0]
    simulator.observation.action_mask[:, 0, 3] = False
    assert shares(simulator, "rda") == [0, 6, 0, 0]  # the only other one
    simulator.observation.action_mask[:, 0, 1] = False
    for name, variant in VARIANTS:
        assert shares(simulator, name, variant) == [6, 0, 0, 0]


def test_rda_keeps_tasks_until_its_limit_is_reached() -> None:
    simulator = hand_made()
    simulator.queue_length[:, 0] = 2  # at the limit; one of them is in execution
    assert shares(simulator, "rda")[0] == 0
    assert shares(simulator, "rda", "testbed") == [6, 0, 0, 0]
    simulator.queue_length[:, 0] = 1
    assert shares(simulator, "rda") == [6, 0, 0, 0]


def test_probes_see_the_sending_queue() -> None:
    simulator = hand_made()
    simulator.link_free_s[:, 0, 3] = 3.0  # 3 + 0.5 + 0.5, after 1 and 2
    assert shares(simulator, "rda") == [0, 4, 2, 0]
    assert shares(simulator, "greedy") == [0, 6, 0, 0]


def test_equal_nodes_go_by_number() -> None:
    simulator = hand_made()
    simulator.networks.failure_rate[:] = 0.1
    simulator.networks.link_failure_rate[:] = 0.0
    simulator.networks.rate_mb_per_s[:, 0, 1:] = 1e9
    simulator.networks.capacity_hz[:] = 8e9
    simulator.node_free_s[:] = 0.0
    # The link to another node takes a millionth of a millionth of a second.
    assert shares(simulator, "reliable") == [6, 0, 0, 0]
    assert shares(simulator, "rda") == [0, 4, 2, 0]
    assert shares(simulator, "ratc") == [3, 2, 1, 0]


def test_the_testbed_counts_the_work_that_waits() -> None:
    """Node 1 executes a long task, and may have another waiting; node 2 is idle but less reliable.

    The task of node 0 takes a second: node 1 needs 1 s or, with 2 s waiting, 3 s of the 2.5 s.
    """
    scenario = OffloadingScenario(
        nodes=3, slot_s=1.0, deadline_s=(1, 5), arrival_probability=(0, 0), cores=(1,), core_hz=8e9
    )
    chosen = []
    for more in (False, True):
        simulator = PeerOffloadingSimulator(scenario, 1)
        simulator.reset([0])
        simulator.networks.failure_rate[:] = [0, 0.1, 0.2]
        place(simulator, Task(0, 1, 1, cycles=4 * 8e9, deadline_s=5))
        simulator.step(np.array([[3, 1, 3]]))
        if more:
            place(simulator, Task(1, 1, 1, cycles=2 * 8e9, deadline_s=5))
        simulator.step(np.array([[3, 1 if more else 3, 3]]))
        place(simulator, Task(2, 0, 0, deadline_s=2.5))
        simulator.observation.action_mask[0, 0] = [False, True, True, False]
        chosen.append(int(heuristic("ratc", "testbed").act(simulator)[0, 0]))
    assert chosen == [1, 2]


def test_with_global_knowledge_nodes_account_for_each_other() -> None:
    simulator = hand_made()
    simulator.networks.rate_mb_per_s[:] = 4.0
    simulator.networks.capacity_hz[:] = 8e9
    simulator.node_free_s[:] = [9, 9, 0, 0]
    for name in ("size_kb", "cycles", "deadline_s", "status"):
        column = getattr(simulator.tasks, name)
        column[:, 0, 1] = column[:, 0, 0]
    simulator.observation.action_mask[:, 1] = [True] * 4 + [False]
    assert heuristic("greedy").act(simulator)[0].tolist() == [2, 3, 4, 4]
    # At node 3 the first is done at 1.25 s, a second one would be at 2.25 s.
    simulator.incoming_work_s[:, 2] = 0.5  # node 2 would be done at 1.5 s
    assert heuristic("greedy").act(simulator)[0].tolist() == [3, 2, 4, 4]
    simulator.incoming_work_s[:, 2] = 1.5
    assert heuristic("greedy").act(simulator)[0].tolist() == [3, 3, 4, 4]


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_an_episode_is_played_the_same_in_any_batch(name: str, variant: str) -> None:
    scenario = OffloadingScenario(nodes=6, slots=25)
    policy = heuristic(name, variant)
    make = partial(PeerOffloadingSimulator, scenario)
    together = run(policy, make, np.arange(7))
    alone = run(policy, make, np.arange(7), batch_size=1)
    some = run(policy, make, np.arange(7), batch_size=3)
    np.testing.assert_equal(asdict(together), asdict(alone))
    np.testing.assert_equal(asdict(together), asdict(some))
    assert together.success_rate.shape == (7,)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**40),
    limit=st.sampled_from([0.01, 0.25]),
    links=st.sampled_from([None, ((0, 1), (1, 2), (2, 3))]),
    kind=st.sampled_from(VARIANTS),
)
def test_only_legal_actions_are_chosen(seed, limit, links, kind) -> None:
    scenario = OffloadingScenario(nodes=5, slots=15, queue_limit_per_core=limit, links=links)
    simulator = PeerOffloadingSimulator(scenario, 2)
    simulator.reset([seed, seed + 1])
    policy = heuristic(*kind)
    while not simulator.done.all():
        actions = policy.act(simulator)
        legal = np.take_along_axis(simulator.observation.action_mask, actions[..., None], axis=2)
        assert legal.all()
        simulator.step(actions)


def test_finished_episodes_wait_while_others_go_on() -> None:
    scenario = OffloadingScenario(nodes=4, slots=6)
    for name, variant in VARIANTS:
        simulator = PeerOffloadingSimulator(scenario, 2)
        simulator.reset([0, 1])
        policy = heuristic(name, variant)
        for t in range(8):
            if t == 3:
                simulator.reset([2, 2], where=np.array([False, True]))
            simulator.step(policy.act(simulator))
        assert simulator.done.tolist() == [True, False]


def test_knowing_more_is_better_on_the_default_scenario() -> None:
    make = partial(PeerOffloadingSimulator, OffloadingScenario())
    rates = {
        name: run(heuristic(name), make, np.arange(40)).success_rate.mean() for name in HEURISTICS
    }
    assert min(rates, key=rates.__getitem__) == "local"
    assert rates["greedy"] > max(rates["rda"], rates["ratc"], rates["random"])


@pytest.mark.parametrize(
    ("name", "variant", "message"),
    [
        ("best", "paper", "heuristic: expected one of random, local, ratc, .*found 'best'"),
        ("greedy", "testbed", "variant testbed: expected one of ratc, rda, found 'greedy'"),
        ("ratc", "mine", "variant: expected paper or testbed, found 'mine'"),
    ],
)
def test_an_unknown_heuristic_is_refused(name: str, variant: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        heuristic(name, variant)  # type: ignore[arg-type]


def test_variants_have_names_of_their_own() -> None:
    assert len({heuristic(*kind).name for kind in VARIANTS}) == len(VARIANTS)


@pytest.mark.parametrize(
    ("seeds", "batch_size", "message"),
    [([], 4, "seeds: expected at least one"), ([1], 0, "batch_size: expected at least 1")],
)
def test_a_run_of_nothing_is_refused(seeds: list[int], batch_size: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(
            heuristic("local"), partial(PeerOffloadingSimulator, OffloadingScenario()), seeds,
            batch_size,
        )  # fmt: skip
