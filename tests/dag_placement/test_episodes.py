"""Drawn episodes of DAG placement: what holds under any decisions."""

from collections import Counter
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
    kernels,
    observing,
)
from edge_marl.dag_placement import simulator as simulator_module
from edge_marl.errors import InputError


def play_random(simulator: DagPlacementSimulator, seeds: np.ndarray) -> np.ndarray:
    """Rewards ``[T, B]`` of random legal actions that depend on an episode's seed alone."""
    simulator.reset(seeds)
    rngs = [np.random.default_rng(seed) for seed in seeds]
    rewards = []
    while not simulator.done.all():
        mask = simulator.observation.action_mask
        draws = np.stack([rng.random(mask.shape[1:]) for rng in rngs])
        rewards.append(simulator.step((draws * mask).argmax(axis=2)).reward[:, 0].copy())
    return np.array(rewards)


@st.composite
def scenarios(draw: st.DrawFn) -> DagScenario:
    return DagScenario(
        servers=draw(st.integers(1, 6)),
        tiers=DagScenario().tiers[1:],
        workflows=RandomWorkflows(memory_gb=(16, 8, 1, 32)),
        communication=draw(st.sampled_from(["physical", "reward"])),
        bandwidth_gb_per_s=draw(st.sampled_from([0.2, 10.0])),
        arrival_rate_per_server_s=draw(st.sampled_from([0.1, 1.0])),
        horizon_s=5.0,
        time=draw(st.sampled_from(["event", "paper"])),
        decisions=60,
    )


@settings(max_examples=40)
@given(scenario=scenarios(), seed=st.integers(0, 2**31))
def test_servers_precedence_memory_bounds_and_rewards_hold(
    scenario: DagScenario, seed: int
) -> None:
    simulator = DagPlacementSimulator(scenario, 1)
    rewards = play_random(simulator, np.array([seed]))
    load, tasks = simulator.workload, simulator.tasks
    n = int(load.first[0, load.n_workflows[0]])
    compute, memory = load.compute_gflop[0, :n], load.memory_gb[0, :n]
    server, finish_s = tasks.server[0, :n], tasks.finish_s[0, :n]
    placed = server >= 0
    tau_s = compute / simulator.parameters.capacity_gflops[server]
    start_s = finish_s - tau_s  # of the execution, behind the transfers
    assert (memory[placed] <= simulator.parameters.memory_gb[server[placed]]).all()
    for j in range(scenario.servers):
        its = np.flatnonzero(server == j)
        its = its[np.argsort(finish_s[its])]
        assert (start_s[its][1:] >= finish_s[its][:-1] - 1e-9).all()
    for i in np.flatnonzero(placed):
        edge = load.first_predecessor[0, i]
        for before in load.predecessor[0, edge : edge + load.n_predecessors[0, i]]:
            sent_s = 0.0
            if scenario.communication == "physical" and server[before] != server[i]:
                sent_s = load.output_gb[0, before] / scenario.bandwidth_gb_per_s + 0.01
            assert start_s[i] >= finish_s[before] + sent_s - 1e-9
    workflow = load.workflow[0, :n]
    response_s = finish_s - load.arrival_s[0, workflow]
    for w in range(load.n_workflows[0]):
        its = response_s[workflow == w]
        if (tasks.status[0, :n][workflow == w] == Status.DONE).all():
            assert its.max() >= load.bound_s[0, w] - 1e-9
    if scenario.time == "event":
        assert (tasks.status[0, :n] == Status.DONE).all()
        excess_s = response_s.sum() - least_responses_s(simulator, n)
        np.testing.assert_allclose(
            -rewards.sum() * scenario.servers, excess_s, rtol=1e-4, atol=1e-3
        )


def least_responses_s(simulator: DagPlacementSimulator, n: int) -> float:
    """Sum of response times if every primitive ran at once on the fastest server that fits."""
    load, end_s = simulator.workload, np.zeros(n)
    for i in range(n):
        edge = load.first_predecessor[0, i]
        before = load.predecessor[0, edge : edge + load.n_predecessors[0, i]]
        fits = simulator.parameters.memory_gb >= load.memory_gb[0, i]
        fastest = simulator.parameters.capacity_gflops[fits].max()
        end_s[i] = end_s[before].max(initial=0.0) + load.compute_gflop[0, i] / fastest
    return float(end_s.sum())


@pytest.mark.parametrize("reward", ["response", "paper", None])
def test_workflows_are_gone_through_once_per_decision_and_for_the_response_reward_alone(
    reward: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not compiled, so that what the kernels call can be counted.
    for module in (kernels, observing, simulator_module):
        for name, function in vars(module).copy().items():
            if hasattr(function, "py_func"):
                monkeypatch.setattr(module, name, function.py_func)
    valued: Counter[tuple[int, int]] = Counter()
    foresee = kernels._foresee

    def counted(b: int, first: int, load: Any, tasks: Any, at: Any) -> float:
        valued[int(at.n_decisions[b]), int(load.workflow[b, first])] += 1
        return float(foresee(b, first, load, tasks, at))

    monkeypatch.setattr(kernels, "_foresee", counted)
    scenario = DagScenario(
        servers=2, tiers=DagScenario().tiers[1:], horizon_s=3.0, arrival_rate_per_server_s=0.5,
        workflows=RandomWorkflows(shape="fan_out", primitives=(20, 20), memory_gb=(16, 8, 1, 32)),
    )  # fmt: skip
    simulator = DagPlacementSimulator(scenario, 1, reward=reward)
    play_random(simulator, np.array([0]))
    workflows = simulator.results.workflows[0]
    assert workflows > 1
    assert bool(valued) == (reward == "response")
    assert sum(valued.values()) - len(valued) <= workflows  # once more when it arrives


@pytest.mark.parametrize("time", ["event", "paper"])
def test_an_episode_alone_is_that_in_a_batch_of_64(time: str) -> None:
    scenario = DagScenario(
        servers=6, horizon_s=8.0, time=time, decisions=80, mean_up_s=10.0, mean_away_s=2.0
    )
    options = {"selector": "learned"}
    batch = DagPlacementSimulator(scenario, 64, **options)  # type: ignore[arg-type]
    of_batch = play_random(batch, np.arange(64))
    for k in (0, 17, 63):
        alone = DagPlacementSimulator(scenario, 1, **options)  # type: ignore[arg-type]
        of_alone = play_random(alone, np.array([k]))
        np.testing.assert_array_equal(of_batch[: len(of_alone), k], of_alone[:, 0])
        assert not of_batch[len(of_alone) :, k].any()
        n = int(alone.workload.first[0, alone.workload.n_workflows[0]])
        np.testing.assert_array_equal(batch.tasks.finish_s[k, :n], alone.tasks.finish_s[0, :n])
        for name, value in vars(alone.results).items():
            np.testing.assert_equal(getattr(batch.results, name)[k], value[0])


def test_what_arrives_does_not_depend_on_decisions() -> None:
    scenario = DagScenario(servers=5, horizon_s=10.0)
    one, other = (DagPlacementSimulator(scenario, 1) for _ in range(2))
    one.reset([7])
    play_random(other, np.array([7]))
    for name, values in one.workload._asdict().items():
        np.testing.assert_array_equal(values, getattr(other.workload, name))


def test_a_state_is_taken_up_again() -> None:
    scenario = DagScenario(servers=5, horizon_s=10.0, mean_up_s=5.0)
    simulator = DagPlacementSimulator(scenario, 2)
    simulator.reset([1, 2])
    for _ in range(5):
        simulator.step(simulator.observation.action_mask.argmax(axis=2))
    state = simulator.get_state()
    other = DagPlacementSimulator(scenario, 2)
    other.set_state(state)
    for _ in range(5):
        ours = simulator.step(simulator.observation.action_mask.argmax(axis=2))
        theirs = other.step(other.observation.action_mask.argmax(axis=2))
        np.testing.assert_array_equal(ours.reward, theirs.reward)
        np.testing.assert_array_equal(ours.observation.features, theirs.observation.features)
    with pytest.raises(InputError, match=r"state of a simulator: .*expected sizes"):
        DagPlacementSimulator(scenario, 1).set_state(state)


@pytest.mark.parametrize(
    ("seeds", "message"), [([0], "expected 2 integers"), ([0, -1], "expected 2 integers")]
)
def test_bad_seeds_are_refused(seeds: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DagPlacementSimulator(DagScenario(servers=5), 2).reset(seeds)


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(InputError, match="batch_size: expected at least 1, found 0"):
        DagPlacementSimulator(DagScenario(), 0)
