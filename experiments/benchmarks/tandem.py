"""Implement ``edge-marl benchmark tandem``: measure simulator, oracles and policies in one run.

Speeds depend on the machine, so the ratios between them are printed too.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edge_marl.experiments.benchmarks.report import Measurement, report
from edge_marl.experiments.parallel import import_environment
from edge_marl.experiments.progress import progress_bar
from edge_marl.files import check_output
from edge_marl.oracle import solve
from edge_marl.tandem import Observation, TandemSimulator
from edge_marl.tandem.heuristics import heuristic
from edge_marl.tandem.oracle.online import OnlineOracle
from edge_marl.tandem.oracle.schedule import Method
from edge_marl.tandem.splits import split_traces
from edge_marl.tandem.traces import IntArray, TraceSet

BATCH = 1024
_MEASURE_S = 2.0
_IMPORTS = 5
_LATENCY_TRACES = 50


def benchmark(out: Path, *, traces: int = 1000) -> list[Measurement]:
    """Measure, print the table and write it as JSON with the machine and the versions.

    Args:
        out: JSON file.
        traces: how many training traces of the paper's 3-3 split the oracles solve.

    Raises:
        InputError: when the file cannot be written.
    """
    check_output(out)
    paper = split_traces("3-3", "train", traces)
    parts: Sequence[Callable[[], list[Measurement]]] = (
        lambda: _simulator(paper),
        _pettingzoo,
        lambda: _oracle(paper),
        lambda: _decisions(paper[:_LATENCY_TRACES]),
        _imports,
    )
    found: list[Measurement] = []
    with progress_bar() as bar:
        for part in bar.track(parts, description="benchmark"):
            found += part()
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found.append(Measurement("peak memory of this run", peak_mib, "MiB"))
    found += _ratios(found)
    report("edge-marl benchmark tandem", found, out)
    return found


def _simulator(traces: TraceSet) -> list[Measurement]:
    """Measure joint steps: observations, masks and rewards are written, ended episodes reset."""
    found = []
    for batch, target in ((BATCH, 2e6), (1, None)):
        simulator = TandemSimulator(traces, batch)
        found.append(
            Measurement(
                f"simulator, B = {batch}", batch * _steps_per_s(simulator), "joint steps/s", target
            )
        )
    return found


def _steps_per_s(simulator: TandemSimulator) -> float:
    """Measure batch steps per second; serving the front of each queue takes no time to decide."""
    seeds = np.arange(simulator.batch_size)
    observation = simulator.reset(seeds)

    def play(seconds: float) -> float:
        steps = 0
        begin = time.perf_counter()
        while time.perf_counter() - begin < seconds:
            for _ in range(50):
                simulator.step(_front(observation, simulator.max_queue))
                if simulator.done.any():
                    seeds[simulator.done] += simulator.batch_size
                    simulator.reset(seeds, where=simulator.done.copy())
            steps += 50
        return steps / (time.perf_counter() - begin)

    play(_MEASURE_S / 4)
    return play(_MEASURE_S)


def _front(observation: Observation, idle: int) -> IntArray:
    """Return actions ``[B, 2]``: 0, the front of each queue, or ``idle`` where a queue is empty."""
    return observation.action_mask[:, :, -1] * np.int32(idle)


def _pettingzoo() -> list[Measurement]:
    from edge_marl.envs import tandem_v0

    env = tandem_v0.parallel_env()
    observations, _ = env.reset(seed=0)
    idle = len(observations["comm"]["action_mask"]) - 1
    steps, episode = 0, 0
    begin = time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < _MEASURE_S:
        actions = {
            agent: idle if observation["action_mask"][idle] else 0
            for agent, observation in observations.items()
        }
        observations, *_ = env.step(actions)
        steps += 1
        if not env.agents:
            episode += 1
            observations, _ = env.reset(seed=episode)
    return [Measurement("PettingZoo view", steps / elapsed, "steps/s", 20_000)]


def _oracle(traces: TraceSet) -> list[Measurement]:
    found = []
    rows: tuple[tuple[Method, float | None], ...] = (("ilp", 1.0), ("search", None))
    for method, target in rows:
        schedules = [solve(traces[k], method=method) for k in range(len(traces))]
        seconds = float(np.mean([schedule.solve_s for schedule in schedules]))
        optimal = float(np.mean([schedule.optimal for schedule in schedules]))
        name = f"oracle, {method}, {len(traces)} traces"
        found.append(Measurement(name, seconds, "CPU-s/trace", target, "lower"))
        found.append(Measurement(f"oracle, {method}: proved optimal", optimal, "share", 1.0))
    return found


def _decisions(traces: TraceSet) -> list[Measurement]:
    """Time decisions of both stages in a slot, one episode at a time: mean and 99th percentile."""
    from edge_marl.experiments.tandem.units import decision_times

    found = []
    learned = _learned_policy(traces)
    for name, scheduler in (
        ("EDF", lambda _: heuristic("edf")),
        ("online oracle, global", lambda set_: OnlineOracle("global", downlink=set_.downlink)),
        ("online oracle, local", lambda set_: OnlineOracle("local", downlink=set_.downlink)),
        ("learned policy (MLP)", lambda _: learned),
    ):
        times = 1e6 * decision_times(scheduler, traces)
        found.append(Measurement(f"decision, {name}", float(times.mean()), "µs"))
        found.append(Measurement(f"decision, {name}, p99", float(np.quantile(times, 0.99)), "µs"))
    return found


def _learned_policy(traces: TraceSet):  # type: ignore[no-untyped-def]
    """Train a policy of the default size a little: its speed does not depend on how good it is."""
    import torch

    from edge_marl.algorithms.tandem.imitation import ImitationConfig, fit

    torch.set_num_threads(1)
    return fit(ImitationConfig(labels="online_local", gradient_steps=5), traces)


def _imports() -> list[Measurement]:
    """Time imports in a fresh interpreter, minus its own start; kernels come from the cache."""
    plain = _interpreter_s("pass")
    package = _interpreter_s("import edge_marl") - plain
    domain = _interpreter_s("import edge_marl.tandem, edge_marl.oracle") - plain
    first_step = (
        "from edge_marl.tandem.simulator import TandemSimulator as S\n"
        "from edge_marl.tandem.traces import TraceSet as T\n"
        "s = S(T.from_jobs([[(0, 1, 1, 9)]]), 1); s.reset([0])\n"
        "import numpy as np; s.step(np.array([[0, 6]], np.int32))"
    )
    return [
        Measurement("import edge_marl", package, "s", 1, "lower"),
        Measurement("import simulator and oracle", domain, "s", 1, "lower"),
        Measurement("import and first step, cached kernels", _interpreter_s(first_step) - plain,
                    "s", 2, "lower"),
    ]  # fmt: skip


def _interpreter_s(code: str) -> float:
    """Return the median wall-clock seconds that a fresh interpreter takes to run the code."""
    seconds = []
    for _ in range(_IMPORTS):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, env=import_environment())
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds))


def _ratios(found: Sequence[Measurement]) -> list[Measurement]:
    value = {line.name: line.value for line in found}
    single, view = value["simulator, B = 1"], value["PettingZoo view"]
    online, learned = (value[f"decision, {n}"] for n in ("online oracle, local",
                                                          "learned policy (MLP)"))  # fmt: skip
    batched = value[f"simulator, B = {BATCH}"]
    return [
        Measurement(f"B = {BATCH} over B = 1", batched / single, "times"),
        Measurement(f"B = {BATCH} over PettingZoo", batched / view, "times"),
        Measurement("learned over local online oracle, decision", learned / online, "times"),
    ]
