"""Every simulator plays the same episodes as before: under random actions and under heuristics."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest

from edge_marl import (
    cooperative_offloading,
    dag_placement,
    graph_offloading,
    peer_offloading,
    tandem,
)
from edge_marl.cooperative_offloading.bound import clairvoyant_bound
from edge_marl.dag_placement import heuristics as placing_heuristics
from edge_marl.envs.batched import make_batched
from edge_marl.oracle import solve
from edge_marl.peer_offloading import heuristics as offloading_heuristics
from edge_marl.peer_offloading.bound import success_bound
from edge_marl.simulation import run
from edge_marl.tandem import heuristics as scheduling_heuristics
from edge_marl.tandem.playing import run_traces
from edge_marl.tandem.scenario import TandemWorkload
from tests import snapshots
from tests.envs.conformance import joint_actions

SEEDS = np.arange(3, 7, dtype=np.int64)

ENVIRONMENTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "tandem": ("tandem_v0", {}),
    "tandem, events": ("tandem_v0", {"decisions": "events", "max_queue": 3}),
    "peer offloading": ("peer_offloading_v0", {"scenario": {"nodes": 7, "slots": 40}}),
    "peer offloading, testbed": ("peer_offloading_v0", {"scenario": "testbed", "reward": "own"}),
    "dag placement": ("dag_placement_v0", {"scenario": {"servers": 8, "horizon_s": 8.0}}),
    "dag placement, paper": (
        "dag_placement_v0",
        {
            "scenario": {"servers": 8, "time": "paper", "communication": "reward"},
            "features": "paper",
            "reward": "paper",
        },
    ),
    "dag placement, two agents, failures": (
        "dag_placement_v0",
        {"scenario": {"servers": 6, "horizon_s": 8.0, "mean_up_s": 4.0}, "selector": "learned"},
    ),
    "graph offloading": (
        "graph_offloading_v0",
        {"scenario": {"topology": "random_10", "rate_per_s": 5.0, "ticks": 400}},
    ),
    "graph offloading, text": (
        "graph_offloading_v0",
        {
            "scenario": {"preset": "text", "rate_per_s": 5.0, "ticks": 400},
            "rewards": {"kind": "sparse"},
            "extended": True,
        },
    ),
    "cooperative offloading": ("cooperative_offloading_v0", {"scenario": {"tasks": 60}}),
    "cooperative offloading, bursts": (
        "cooperative_offloading_v0",
        {
            "scenario": {
                "servers": 5,
                "tasks": 60,
                "load": {"sigma": 1.0},
                "bursts": {"rate_per_s": 0.05, "correlation": 0.5},
            },
            "reward": "ratio",
            "features": "paper",
        },
    ),
}


def episodes(env: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Sums of what is seen and earned in each of the first steps, and the results at the end."""
    batch = make_batched(env, config, len(SEEDS))
    rng = np.random.default_rng(0)
    observation = batch.reset(SEEDS)
    weights = rng.normal(size=observation.features.shape[-1])
    steps = []
    while not batch.done.all():
        transition = batch.step(joint_actions(batch, observation.action_mask, rng))
        observation = transition.observation
        if len(steps) < 30:
            steps.append(
                [
                    float((observation.features * weights).sum()),
                    float(observation.state.sum()),
                    int(observation.action_mask.sum()),
                    float(transition.reward.sum()),
                    int(transition.terminated.sum() + transition.truncated.sum()),
                    0.0 if transition.elapsed is None else float(transition.elapsed.sum()),
                ]
            )
    metrics = batch.metrics(np.ones(len(SEEDS), dtype=np.bool_))
    return {
        "features, state, mask, reward, ends, elapsed": steps,
        "metrics": {name: values.tolist() for name, values in metrics.items()},
    }


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_random_episodes_are_as_they_were(name: str) -> None:
    env, config = ENVIRONMENTS[name]
    slug = "-".join(name.replace(",", "").split())
    snapshots.check(f"episodes-{slug}", episodes(env, config), rel=1e-5)


def results(played: Any, names: tuple[str, ...]) -> dict[str, list[float]]:
    return {name: np.asarray(getattr(played, name), dtype=float).tolist() for name in names}


def test_tandem_heuristics_and_oracle_do_as_they_did() -> None:
    traces = TandemWorkload().sample(SEEDS)
    found: dict[str, Any] = {
        name: results(
            run_traces(scheduling_heuristics.heuristic(name), traces),
            tandem.simulator.METRICS,
        )
        for name in ("fifo", "edf", "srtf", "llf+edf")
    }
    found["oracle"] = [solve(traces[k]).objective for k in range(len(traces))]
    snapshots.check("heuristics-tandem", found, rel=1e-9)


def test_offloading_heuristics_and_bound_do_as_they_did() -> None:
    scenario = peer_offloading.OffloadingScenario(nodes=8, slots=50)
    make = partial(peer_offloading.PeerOffloadingSimulator, scenario)
    found: dict[str, Any] = {
        name: results(
            run(offloading_heuristics.heuristic(name), make, SEEDS),
            peer_offloading.simulator.METRICS,
        )
        for name in offloading_heuristics.HEURISTICS
    }
    found["bound"] = [success_bound(scenario, seed).success_rate for seed in SEEDS.tolist()]
    snapshots.check("heuristics-peer-offloading", found, rel=1e-9)


def test_heuristics_on_a_graph_do_as_they_did() -> None:
    scenario = graph_offloading.GraphScenario(topology="random_10", rate_per_s=2.0, ticks=2000)
    make = partial(graph_offloading.GraphOffloadingSimulator, scenario)
    found = {
        name: results(
            run(graph_offloading.heuristic(name), make, SEEDS),
            graph_offloading.simulator.METRICS,
        )
        for name in graph_offloading.HEURISTICS
    }
    snapshots.check("heuristics-graph-offloading", found, rel=1e-9)


def test_cooperative_heuristics_and_bounds_do_as_they_did() -> None:
    scenario = cooperative_offloading.CooperativeScenario(tasks=100)
    make = partial(cooperative_offloading.CooperativeOffloadingSimulator, scenario)
    found: dict[str, Any] = {
        name: results(run(policy(), make, SEEDS), cooperative_offloading.METRICS)
        for name, policy in cooperative_offloading.HEURISTICS.items()
    }
    bounds = clairvoyant_bound(scenario, SEEDS)
    found["bound"] = {name: values.tolist() for name, values in bounds._asdict().items()}
    snapshots.check("heuristics-cooperative-offloading", found, rel=1e-9)


def test_placement_heuristics_do_as_they_did() -> None:
    scenario = dag_placement.DagScenario(servers=8, horizon_s=8.0)
    make = partial(dag_placement.DagPlacementSimulator, scenario)
    found = {
        name: results(
            run(placing_heuristics.heuristic(name), make, SEEDS),
            dag_placement.simulator.METRICS,
        )
        for name in placing_heuristics.HEURISTICS
    }
    snapshots.check("heuristics-dag-placement", found, rel=1e-9)
