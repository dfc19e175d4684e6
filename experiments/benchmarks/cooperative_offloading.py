"""Implement ``edge-marl benchmark cooperative``, which measures cooperative offloading.

Everything is measured in one thread and in processor time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from edge_marl.cooperative_offloading import (
    HEURISTICS,
    CooperativeOffloadingSimulator,
    CooperativeScenario,
)
from edge_marl.cooperative_offloading.scenario import ServerCount
from edge_marl.experiments.benchmarks.report import Measurement, report
from edge_marl.experiments.benchmarks.simulators import (
    Replay,
    decisions_per_s,
    growth,
    measure_parts,
)
from edge_marl.files import check_output
from edge_marl.options import Count, Options, Positive

BATCH = 64
SERVERS = 3
_POLICY = "random_proportional"


class CooperativeSizes(Options):
    """Configure how much the benchmark of cooperative offloading measures."""

    measure_s: Positive = Field(2.0, description="processor time of each measurement")
    servers: tuple[ServerCount, ...] = Field((3, 10, 30), min_length=2)
    tasks: Count = Field(300, description="of an episode")

    @classmethod
    def smallest(cls) -> CooperativeSizes:
        """Return sizes that only check that everything runs; the speeds they give mean nothing."""
        return cls(measure_s=0.01, servers=(2, 3), tasks=5)


def benchmark(out: Path, sizes: CooperativeSizes | None = None) -> list[Measurement]:
    """Measure, print the table and write it as JSON with the machine and the versions.

    Args:
        out: JSON file.
        sizes: how much is measured.

    Raises:
        InputError: when the file cannot be written.
    """
    check_output(out)
    sizes = sizes or CooperativeSizes()
    found = measure_parts((_simulator, _growth, _heuristics, _predictor), sizes)
    report("edge-marl benchmark cooperative", found, out, sizes=sizes.model_dump())
    return found


def _decision_s(sizes: CooperativeSizes, servers: int, batch: int) -> float:
    """Return the processor time of a decision, with what it leads to, observations and rewards."""
    scenario = CooperativeScenario(servers=servers, tasks=sizes.tasks)
    replay = Replay(CooperativeOffloadingSimulator(scenario, batch), HEURISTICS[_POLICY]())
    return replay.episodes_s(sizes.measure_s) / (batch * sizes.tasks)


def _simulator(sizes: CooperativeSizes) -> Iterator[Measurement]:
    batched_s = _decision_s(sizes, SERVERS, BATCH)
    single_s = _decision_s(sizes, SERVERS, 1)
    name = f"simulator, {SERVERS} servers, B ="
    yield Measurement(f"{name} {BATCH}", 1 / batched_s, "decisions/CPU-s", 5e5)
    yield Measurement(f"{name} 1", 1 / single_s, "decisions/CPU-s")
    yield Measurement(f"{BATCH} single episodes over a batch", single_s / batched_s, "times", 1)


def _growth(sizes: CooperativeSizes) -> Iterator[Measurement]:
    """Yield a decision's cost by the number of servers M, and the power of links it grows with."""
    cost_s = [_decision_s(sizes, servers, BATCH) for servers in sizes.servers]
    for servers, seconds in zip(sizes.servers, cost_s, strict=True):
        yield Measurement(f"a decision, {servers} servers, B = {BATCH}", 1e6 * seconds, "CPU-µs")
    links = [servers * (servers - 1) for servers in sizes.servers]
    yield from growth("a decision", "links", links, cost_s, 1.0)


def _heuristics(sizes: CooperativeSizes) -> Iterator[Measurement]:
    scenario = CooperativeScenario(tasks=sizes.tasks)
    simulator = CooperativeOffloadingSimulator(scenario, BATCH)
    for name, make in HEURISTICS.items():
        if name.endswith("_full"):
            per_s = decisions_per_s(
                make(), simulator, lambda results: results.completed, sizes.measure_s
            )
            yield Measurement(name.removesuffix("_full"), per_s, "decisions/CPU-s")


def _predictor(sizes: CooperativeSizes) -> Iterator[Measurement]:
    """Yield the time of predictions by an untrained network, which takes no less."""
    from edge_marl.algorithms.prediction.networks import Predictor, PredictorSpec
    from edge_marl.experiments.predict.onnx_files import ONNX, export_predictor

    for kind in ("transformer", "lstm"):
        with tempfile.TemporaryDirectory() as folder:
            model = Predictor(PredictorSpec(kind=kind))
            exported = export_predictor(model, Path(folder) / ONNX)
        name = f"prediction in onnxruntime, {kind}, 64 at once"
        yield Measurement(name, exported.ms_per_task, "ms a task", 0.2, "lower")
