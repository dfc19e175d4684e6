"""Implement ``edge-marl benchmark dag``, which measures DAG placement and SCALE against targets.

Everything that runs in one thread is measured in processor time, which other work on the machine
lengthens less than wall-clock time.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from edge_marl.algorithms.actors import Actor, ActorSpec
from edge_marl.algorithms.networks.config import NetworkConfig
from edge_marl.dag_placement.heuristics import HEURISTICS, heuristic
from edge_marl.dag_placement.scenario import DagScenario, Primitives, RandomWorkflows, ServerCount
from edge_marl.dag_placement.simulator import (
    N_FEATURES,
    DagPlacementSimulator,
    Reward,
)
from edge_marl.experiments.benchmarks.learning import (
    Comparison,
    make_case,
    measure_in_turns,
    speeds,
    table,
)
from edge_marl.experiments.benchmarks.learning_measures import STOCK_ENVS
from edge_marl.experiments.benchmarks.learning_sizes import LearningSizes
from edge_marl.experiments.benchmarks.report import Measurement, report
from edge_marl.experiments.benchmarks.simulators import (
    Replay,
    decisions_per_s,
    growth,
    measure_parts,
)
from edge_marl.experiments.benchmarks.timing import percentiles_s, seconds_each
from edge_marl.experiments.export.onnx_files import LocalActor, open_session, write_onnx
from edge_marl.experiments.progress import stdout
from edge_marl.files import check_output
from edge_marl.limits import MOST
from edge_marl.options import Count, Options, Positive
from edge_marl.simulation import Policy, run

BATCH = 64
SERVERS = 16
LARGE = 1024
GROWTH_HORIZON_S = 10.0
"""Of the episodes by which growth with N is measured: at N = 1,024 they have 3,500 primitives."""


class PlacementSizes(Options):
    """Configure how much the DAG placement benchmark measures."""

    measure_s: Positive = Field(2.0, description="processor time of each measurement")
    servers: tuple[ServerCount, ...] = Field((16, 48, 128, 256, 1024), min_length=2)
    widths: tuple[Primitives, ...] = Field((500, 2000), min_length=2, description="of fan-outs")
    decided: tuple[ServerCount, ...] = Field((16, 64, 256, 1024, 4096), min_length=2)
    decisions: int = Field(
        1000, ge=10, le=MOST, description="timed of the exported policy at each size"
    )
    gpu_batches: tuple[Count, ...] = Field((256, 1024, 4096), min_length=1)
    gpu_passes: Count = Field(20, description="forward and backward at each batch")
    learning: LearningSizes = Field(default_factory=LearningSizes)

    @classmethod
    def smallest(cls) -> PlacementSizes:
        """Return sizes that only check that everything runs; the speeds they give mean nothing."""
        return cls(
            measure_s=0.01, servers=(5, 6), widths=(5, 6), decided=(5, 6), decisions=10,
            gpu_batches=(4,), gpu_passes=1, learning=LearningSizes.smallest(),
        )  # fmt: skip


def benchmark(out: Path, sizes: PlacementSizes | None = None) -> list[Measurement]:
    """Measure, print the tables and write them as JSON with the machine and the versions.

    Args:
        out: JSON file.
        sizes: how much is measured.

    Raises:
        InputError: when the file cannot be written.
    """
    check_output(out)
    sizes = sizes or PlacementSizes()
    parts: Sequence[Callable[[PlacementSizes], Iterator[Measurement]]] = (
        _simulator, _growth, _wide, _heuristics, _decision, _gpu,
    )  # fmt: skip
    found = measure_parts(parts, sizes)
    stock = tuple(
        make_case("iteration", "dag_placement_v0", subject, STOCK_ENVS)
        for subject in ("stock", "stock single")
    )
    ours = [
        make_case("iteration", "dag_placement_v0", name, sizes.learning.envs)
        for name in ("ippo", "scale")
    ]
    learning = measure_in_turns([*stock, *ours], sizes.learning)
    for case in ours:
        found += Comparison(case, stock, 15).ratios(learning)
    stdout().print(table("iterations of PPO", learning))
    report("edge-marl benchmark dag", found, out,
           sizes=sizes.model_dump(), speeds=speeds(learning))  # fmt: skip
    if not torch.cuda.is_available():
        stdout().print("on a GPU: not measured, there is none")
    return found


def _simulator(sizes: PlacementSizes) -> Iterator[Measurement]:
    for batch, target in ((BATCH, 2e5), (1, None)):
        per_s = 1 / _placement_s(DagScenario(), batch, sizes.measure_s)
        name = f"simulator, {SERVERS} servers, B = {batch}"
        yield Measurement(name, per_s, "placements/CPU-s", target)


def _placement_s(scenario: DagScenario, batch: int, seconds: float) -> float:
    """Return the processor time of one placement by the random policy, which never waits."""
    replay = Replay(DagPlacementSimulator(scenario, batch), heuristic("random"))
    return replay.episodes_s(seconds) / int(replay.results.decisions.sum())


def _growth(sizes: PlacementSizes) -> Iterator[Measurement]:
    """Yield a placement's cost by the number of servers N, and the power of N it grows with."""
    scenario = DagScenario(horizon_s=GROWTH_HORIZON_S)
    cost_s = [_placement_s(scenario.at(n), BATCH, sizes.measure_s) for n in sizes.servers]
    for n, seconds in zip(sizes.servers, cost_s, strict=True):
        yield Measurement(f"placement, {n} servers, B = {BATCH}", 1e6 * seconds, "CPU-µs")
    yield from growth("a placement", "servers", sizes.servers, cost_s)


def _wide(sizes: PlacementSizes) -> Iterator[Measurement]:
    """Measure fan-outs on 16 servers: what rewards cost, and HEFT's decisions per primitive."""
    rewards: tuple[Reward | None, ...] = ("response", None)
    for width in sizes.widths:
        shape = RandomWorkflows(shape="fan_out", primitives=(width, width))
        # The first workflow arrives at once, and no other.
        scenario = DagScenario(workflows=shape, horizon_s=1e-3)
        simulators = [DagPlacementSimulator(scenario, 1, reward=reward) for reward in rewards]
        with_reward, without = (
            _episode_s(heuristic("fastest_idle"), simulator, sizes.measure_s)
            for simulator in simulators
        )
        name = f"fan-out of {width}"
        yield Measurement(f"{name}, response reward", 1e3 * with_reward, "CPU-ms")
        yield Measurement(f"{name}, no reward", 1e3 * without, "CPU-ms")
        yield Measurement(
            f"{name}, response reward over none", with_reward / without, "times", 3, "lower"
        )
        make = partial(DagPlacementSimulator, scenario, reward=None)
        decisions = float(run(heuristic("heft"), make, [0]).decisions[0]) / width
        yield Measurement(
            f"{name}, decisions of HEFT per primitive", decisions, "decisions", 3, "lower"
        )


def _episode_s(
    policy: Policy[DagPlacementSimulator], simulator: DagPlacementSimulator, seconds: float
) -> float:
    """Return the processor time of an episode, decisions included."""

    def episode() -> None:
        simulator.reset([0])
        policy.reset(simulator)
        while not simulator.done[0]:
            simulator.step(policy.act(simulator))

    return seconds_each(episode, seconds)


def _heuristics(sizes: PlacementSizes) -> Iterator[Measurement]:
    """Measure each heuristic's decisions per second, without the time of the simulator."""
    simulator = DagPlacementSimulator(DagScenario(), BATCH)
    decisions = attrgetter("decisions")
    for name in HEURISTICS:
        per_s = decisions_per_s(heuristic(name), simulator, decisions, sizes.measure_s / 4)
        yield Measurement(f"heuristic {name}, {SERVERS} servers", per_s, "decisions/CPU-s")


def _decision(sizes: PlacementSizes) -> Iterator[Measurement]:
    """Time one decision of SCALE's actor at each cluster size, by one ONNX graph and by torch."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        local = LocalActor(_placer(sizes.decided[0]))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "actor.onnx"
            write_onnx(local, path)
            session = open_session(path)
        of_graph: list[float] = []
        for n in sizes.decided:
            here = LocalActor(_placer(n))
            one = here.random_inputs(1, seed=1)
            for runtime, decide in (
                ("onnxruntime", partial(session.run, None, one)),
                ("torch", partial(here.decide, one)),
            ):
                middle, slow = percentiles_s(decide, sizes.decisions)
                target = 1e3 if n == LARGE else None
                name = f"decision among {n} servers, {runtime}"
                yield Measurement(f"{name}, p50", 1e6 * middle, "CPU-µs", target, "lower")
                yield Measurement(f"{name}, p99", 1e6 * slow, "CPU-µs")
                if runtime == "onnxruntime":
                    of_graph.append(middle)
        yield from growth("a decision, onnxruntime", "servers", sizes.decided, of_graph, target=1.0)
    finally:
        torch.set_num_threads(threads)


def _gpu(sizes: PlacementSizes) -> Iterator[Measurement]:
    """Measure gradients of SCALE's actor on the GPU; yield nothing where there is none."""
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        for batch in sizes.gpu_batches:
            per_s = rows_per_s(LARGE, batch, torch.device("cuda"), sizes.gpu_passes)
            what = f"forward and backward, {LARGE} servers, {batch} rows, {name}"
            yield Measurement(what, per_s, "rows/s")


def rows_per_s(servers: int, batch: int, device: torch.device, passes: int) -> float:
    """Measure by the clock how many observations a second forward and backward passes process.

    Args:
        servers: N of each observation.
        batch: observations of a pass.
        device: where the actor runs.
        passes: how many to time, after two to warm up.
    """
    actor = _placer(servers).train().to(device)
    features = torch.rand(batch, 1, actor.spec.n_features, device=device)
    mask = torch.ones(batch, 1, actor.spec.n_actions, dtype=torch.bool, device=device)

    def once() -> Tensor:
        actor.zero_grad(set_to_none=True)
        loss: Tensor = actor(features, mask)[0].log_softmax(-1)[..., 0].mean()
        loss.backward()
        return loss

    for _ in range(2):
        loss = once()
    loss.item()  # waits for all that the device was given so far
    begin = time.perf_counter()
    for _ in range(passes):
        loss = once()
    loss.item()
    return batch * passes / (time.perf_counter() - begin)


def _placer(servers: int) -> Actor:
    """Make SCALE's actor with its default widths, untrained: weights do not affect its speed."""
    torch.manual_seed(0)
    network = NetworkConfig(kind="pointer", hidden_sizes=(16, 16))
    return Actor(
        ActorSpec(
            agents=("placer",),
            observation_shape=(1 + servers, N_FEATURES["extended"]),
            n_actions=servers + 1,
            groups=(0,),
            network=network,
        )
    ).eval()
