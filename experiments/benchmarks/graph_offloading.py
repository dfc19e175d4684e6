"""Implement ``edge-marl benchmark graph``: measure offloading on a graph.

All of it runs in one thread and is measured in processor time, which other work on the machine
lengthens less than wall-clock time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path

import torch
from pydantic import Field

from edge_marl.experiments.benchmarks.report import Measurement, report
from edge_marl.experiments.benchmarks.simulators import (
    Replay,
    decisions_per_s,
    growth,
    measure_parts,
)
from edge_marl.experiments.benchmarks.timing import seconds_each
from edge_marl.experiments.parallel import built, local_ray
from edge_marl.experiments.training.recipe import Recipe
from edge_marl.files import check_output
from edge_marl.graph_offloading.generators import aot_clusters, random_geometric
from edge_marl.graph_offloading.heuristics import HEURISTICS, heuristic
from edge_marl.graph_offloading.scenario import GraphScenario
from edge_marl.graph_offloading.simulator import GraphOffloadingSimulator
from edge_marl.graph_offloading.topology import SHIPPED, Shipped, Topology
from edge_marl.limits import MOST
from edge_marl.options import Count, Options, Positive

BATCH = 32
_POLICY = "least_queues"
_TARGETS = {"random_15": 150_000, "ether_4": 80_000}
_TRAINED: tuple[tuple[Shipped, float], ...] = (
    ("ether_4", 0.5), ("ether_4", 2.0), ("random_15", 2.0)
)  # fmt: skip
_TARGETS_LARGE = {200: 15_000, 1000: 4_000}


class GraphSizes(Options):
    """Configure how much the benchmark of offloading on a graph measures."""

    measure_s: Positive = Field(2.0, description="processor time of each measurement")
    ticks: Count = Field(2000, description="of an episode")
    nodes: tuple[Count, ...] = Field((50, 200, 1000), min_length=2)
    frames: int = Field(16_384, ge=8, le=MOST, description="env steps of an iteration of IPPO")
    iterations: Count = Field(3, description="measured, after one to warm up")

    @classmethod
    def smallest(cls) -> GraphSizes:
        """Return sizes that only check that everything runs; the speeds they give mean nothing."""
        return cls(measure_s=0.01, ticks=20, nodes=(11, 22), frames=64, iterations=1)


def benchmark(out: Path, sizes: GraphSizes | None = None) -> list[Measurement]:
    """Measure, print the table and write it as JSON with the machine and the versions.

    Args:
        out: JSON file.
        sizes: how much is measured.

    Raises:
        InputError: when the file cannot be written.
    """
    check_output(out)
    sizes = sizes or GraphSizes()
    parts: Sequence[Callable[[GraphSizes], Iterator[Measurement]]] = (
        _shipped, _single, _geometric, _clusters, _view, _heuristics, _decisions_only,
    )  # fmt: skip
    found = measure_parts(parts, sizes)
    report("edge-marl benchmark graph", found, out, sizes=sizes.model_dump())
    return found


def _replay(scenario: GraphScenario, batch: int = BATCH) -> Replay:
    return Replay(GraphOffloadingSimulator(scenario, batch), heuristic(_POLICY))


def _step_s(scenario: GraphScenario, seconds: float, batch: int = BATCH) -> float:
    """Return the processor time of one env step."""
    replay = _replay(scenario, batch)
    return replay.episodes_s(seconds) / (len(replay.actions) * batch)


def _shipped(sizes: GraphSizes) -> Iterator[Measurement]:
    for name in SHIPPED:
        step_s = _step_s(GraphScenario(topology=name, ticks=sizes.ticks), sizes.measure_s)
        yield Measurement(f"{name}, B = {BATCH}", 1 / step_s, "env-steps/CPU-s", _TARGETS.get(name))


def _single(sizes: GraphSizes) -> Iterator[Measurement]:
    scenario = GraphScenario(topology="random_15", ticks=sizes.ticks)
    step_s = _step_s(scenario, sizes.measure_s, batch=1)
    yield Measurement("random_15, B = 1", 1 / step_s, "env-steps/CPU-s")


def _geometric(sizes: GraphSizes) -> Iterator[Measurement]:
    """Yield speeds by the number of nodes at the same mean degree, and growth with the links."""
    graphs = [random_geometric(n - n // 3, n // 3, seed=0) for n in sizes.nodes]
    yield from _sized("random geometric", graphs, sizes, dict(_TARGETS_LARGE), target=1.1)


def _clusters(sizes: GraphSizes) -> Iterator[Measurement]:
    """Do the same for clusters whose NUCs alone are linked to the server."""
    graphs = [aot_clusters(max(1, n // 11), seed=0, server_links="nucs") for n in sizes.nodes]
    yield from _sized("AoT clusters", graphs, sizes, {})


def _sized(
    kind: str, graphs: Sequence[Topology], sizes: GraphSizes, targets: dict[int, int],
    target: float | None = None,
) -> Iterator[Measurement]:  # fmt: skip
    cost_s = [
        _step_s(GraphScenario(topology=graph, ticks=sizes.ticks), sizes.measure_s)
        for graph in graphs
    ]
    links = [len(graph.links) for graph in graphs]
    for graph, n_links, seconds in zip(graphs, links, cost_s, strict=True):
        n = len(graph.nodes)
        name = f"{kind}, {n} nodes, {n_links} links, B = {BATCH}"
        yield Measurement(name, 1 / seconds, "env-steps/CPU-s", targets.get(n))
    yield from growth(f"an env step, {kind}", "links", links, cost_s, target)


def _view(sizes: GraphSizes) -> Iterator[Measurement]:
    """Measure steps per second of the PettingZoo environment, with actions drawn beforehand."""
    from edge_marl.envs.graph_offloading_v0 import parallel_env

    scenario = GraphScenario(topology="random_15", ticks=sizes.ticks)
    env = parallel_env(scenario=scenario)
    agents = env.possible_agents
    replay = _replay(scenario, batch=1)
    actions = [dict(zip(agents, row[0].tolist(), strict=True)) for row in replay.actions]

    def episode() -> None:
        env.reset(seed=int(replay.seeds[0]))
        for chosen in actions:
            env.step(chosen)

    per_s = len(actions) / seconds_each(episode, sizes.measure_s)
    yield Measurement("PettingZoo view, random_15", per_s, "steps/CPU-s")


def _heuristics(sizes: GraphSizes) -> Iterator[Measurement]:
    """Measure each heuristic's decisions per second, without the time of the simulator."""
    scenario = GraphScenario(topology="random_15", ticks=sizes.ticks)
    simulator = GraphOffloadingSimulator(scenario, BATCH)
    decisions = attrgetter("decisions")
    for name in HEURISTICS:
        per_s = decisions_per_s(heuristic(name), simulator, decisions, sizes.measure_s / 4)
        yield Measurement(f"heuristic {name}", per_s, "decisions/CPU-s")


def _decisions_only(sizes: GraphSizes) -> Iterator[Measurement]:
    """Measure what it saves to learn only from steps with a choice, both ways in one run."""
    with local_ray(1):
        for topology, rate in _TRAINED:
            scenario = GraphScenario(topology=topology, rate_per_s=rate, ticks=sizes.ticks)
            every, chosen = (
                _iteration_s(scenario, sizes, decisions_only=only) for only in (False, True)
            )
            name = f"iteration of IPPO, {topology}, lambda {rate:g}"
            yield Measurement(name, sizes.frames / chosen, "env-steps/CPU-s")
            yield Measurement(f"{name}, of all steps over decisions", every / chosen, "times")


def _iteration_s(scenario: GraphScenario, sizes: GraphSizes, *, decisions_only: bool) -> float:
    """Return the processor time of an iteration: sampling, four epochs, new weights."""
    recipe = Recipe(
        env="graph_offloading_v0",
        algorithm="ippo",
        env_config={
            "scenario": scenario.model_dump(),
            "extended": True,
            "rewards": {"kind": "own"},
        },
        options={
            "num_envs_per_env_runner": BATCH,
            "team_reward": "own",
            "decisions_only": decisions_only,
            "train_batch_size_per_learner": sizes.frames,
            "minibatch_size": sizes.frames // 8,
            "num_epochs": 4,
        },
    )
    torch.set_num_threads(1)
    with built(recipe.config()) as algorithm:
        algorithm.train()
        begin = time.process_time()
        for _ in range(sizes.iterations):
            algorithm.train()
        return (time.process_time() - begin) / sizes.iterations
