"""Implement ``edge-marl benchmark offloading``: measure peer offloading and O2O-DRL.

Speeds stand beside their targets. Those of one thread are measured in processor time, which other
work on the machine lengthens less than wall-clock time; those that wait for the disk are measured
by the clock.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path

import numpy as np
from pydantic import Field

from edge_marl.experiments.benchmarks.learning import (
    Comparison,
    make_case,
    measure_in_turns,
    medians,
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
from edge_marl.experiments.benchmarks.timing import seconds_each
from edge_marl.experiments.progress import stdout
from edge_marl.files import check_output
from edge_marl.options import Count, Options, Positive
from edge_marl.peer_offloading.bound import success_bound
from edge_marl.peer_offloading.collect import ENVIRONMENT, play
from edge_marl.peer_offloading.heuristics import HEURISTICS, heuristic
from edge_marl.peer_offloading.observing import n_features
from edge_marl.peer_offloading.scenario import NodeCount, OffloadingScenario
from edge_marl.peer_offloading.simulator import PeerOffloadingSimulator
from edge_marl.task_log import TaskLogWriter, run_of

BATCH = 64
NODES = 20


class OffloadingSizes(Options):
    """Configure how much the peer offloading benchmark measures."""

    measure_s: Positive = Field(2.0, description="processor time of each measurement")
    nodes: tuple[NodeCount, ...] = Field((10, 20, 50, 100, 200), min_length=2)
    bounds: Count = Field(10, description="episodes to bound")
    logged: Count = Field(100, description="episodes to log")
    learning: LearningSizes = Field(default_factory=LearningSizes)

    @classmethod
    def smallest(cls) -> OffloadingSizes:
        """Return sizes that only check that everything runs; the speeds they give mean nothing."""
        return cls(
            measure_s=0.01, nodes=(2, 3), bounds=1, logged=2, learning=LearningSizes.smallest()
        )


def benchmark(out: Path, sizes: OffloadingSizes | None = None) -> list[Measurement]:
    """Measure, print the tables and write them as JSON with the machine and the versions.

    Args:
        out: JSON file.
        sizes: how much is measured.

    Raises:
        InputError: when the file cannot be written.
    """
    check_output(out)
    sizes = sizes or OffloadingSizes()
    parts: Sequence[Callable[[OffloadingSizes], Iterator[Measurement]]] = (
        _simulator, _growth, _view, _heuristics, _bound, _log,
    )  # fmt: skip
    found = measure_parts(parts, sizes)
    online = make_case("iteration", ENVIRONMENT, "o2o", sizes.learning.envs)
    stock = make_case("iteration", ENVIRONMENT, "stock", STOCK_ENVS)
    offline = make_case("offline", ENVIRONMENT, "o2o", 1)
    learning = measure_in_turns([stock, online, offline], sizes.learning)
    found += Comparison(online, (stock,), 15).ratios(learning)
    gradient_steps = medians(learning[offline])
    name = f"offline phase, batch {sizes.learning.offline_batch}"
    found += [
        Measurement(name, gradient_steps["per_s"], "gradient steps/s", 200),
        Measurement(name, gradient_steps["per_cpu_s"], "gradient steps/CPU-s"),
    ]
    of_steps = {case: turns for case, turns in learning.items() if case is not offline}
    stdout().print(table("iterations of PPO and of O2O-DRL's online phase", of_steps))
    report("edge-marl benchmark offloading", found, out,
           sizes=sizes.model_dump(), speeds=speeds(learning))  # fmt: skip
    return found


def _simulator(sizes: OffloadingSizes) -> Iterator[Measurement]:
    for batch, target in ((BATCH, 2e5), (1, None)):
        per_s = 1 / _step_s(NODES, batch, sizes.measure_s)
        name = f"simulator, {NODES} nodes, B = {batch}"
        yield Measurement(name, per_s, "env-steps/CPU-s", target)


def _step_s(nodes: int, batch: int, seconds: float) -> float:
    """Return the processor time of one env step with random actions."""
    replay = _replay(nodes, batch)
    return replay.episodes_s(seconds) / (len(replay.actions) * batch)


def _replay(nodes: int, batch: int) -> Replay:
    simulator = PeerOffloadingSimulator(OffloadingScenario(nodes=nodes), batch)
    return Replay(simulator, heuristic("random"))


def _growth(sizes: OffloadingSizes) -> Iterator[Measurement]:
    """Yield a step's cost by the number of nodes N, and the power of N it grows with."""
    cost_s = [_step_s(n, BATCH, sizes.measure_s) for n in sizes.nodes]
    for n, seconds in zip(sizes.nodes, cost_s, strict=True):
        yield Measurement(f"env step of {n} nodes, B = {BATCH}", 1e6 * seconds, "CPU-µs")
    yield from growth("an env step", "nodes", sizes.nodes, cost_s, target=2.0)


def _view(sizes: OffloadingSizes) -> Iterator[Measurement]:
    """Measure steps per second of the PettingZoo environment, with actions drawn beforehand."""
    from edge_marl.envs.peer_offloading_v0 import parallel_env

    env = parallel_env()
    agents = env.possible_agents
    replay = _replay(NODES, 1)
    actions = [dict(zip(agents, row[0].tolist(), strict=True)) for row in replay.actions]

    def episode() -> None:
        env.reset(seed=int(replay.seeds[0]))
        for chosen in actions:
            env.step(chosen)

    per_s = len(actions) / seconds_each(episode, sizes.measure_s)
    yield Measurement(f"PettingZoo view, {NODES} nodes", per_s, "steps/CPU-s")


def _heuristics(sizes: OffloadingSizes) -> Iterator[Measurement]:
    """Measure each heuristic's decisions per second; nodes without a task have none to make."""
    simulator = PeerOffloadingSimulator(OffloadingScenario(), BATCH)
    decisions = attrgetter("arrived")
    for name in HEURISTICS:
        per_s = decisions_per_s(heuristic(name), simulator, decisions, sizes.measure_s / 4)
        yield Measurement(f"heuristic {name}", per_s, "decisions/CPU-s")


def _bound(sizes: OffloadingSizes) -> Iterator[Measurement]:
    seconds = [success_bound(OffloadingScenario(), k).solve_s for k in range(sizes.bounds)]
    yield Measurement("clairvoyant bound, mean", float(np.mean(seconds)), "CPU-s/episode")
    yield Measurement("clairvoyant bound, longest", max(seconds), "CPU-s/episode")


def _log(sizes: OffloadingSizes) -> Iterator[Measurement]:
    """Measure by the clock how fast tasks and decisions, a row each, go into a new SQLite file."""
    scenario, policy = OffloadingScenario(), heuristic("random")
    episodes = play(policy, scenario, range(sizes.logged))
    rows = sum(len(episode.tasks.id) + episode.actions.size for episode in episodes)
    run = run_of(
        ENVIRONMENT, scenario.model_dump(mode="json"), policy.name,
        nodes=NODES, features=n_features(NODES), slot_s=scenario.slot_s,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        with TaskLogWriter(Path(folder) / "log.sqlite") as writer:
            id_ = writer.run(run)
            for episode in episodes:
                writer.add(id_, episode)
        seconds = time.perf_counter() - begin
    yield Measurement("task log into SQLite", rows / seconds, "rows/s", 50_000)
