"""Checkpoints, heuristics and the exact oracle on the same tandem traces."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_marl.errors import InputError
from edge_marl.experiments.evaluate.report import Headline, Played
from edge_marl.experiments.oracle_sets import schedule_folder, solve_set
from edge_marl.experiments.parallel import all_cores
from edge_marl.experiments.tandem import figures
from edge_marl.experiments.tandem.config import StudyConfig
from edge_marl.experiments.training.checkpoints import Checkpoint
from edge_marl.oracle import Schedule
from edge_marl.tandem.evaluation import Run, degradation, run
from edge_marl.tandem.heuristics import PRIORITY_RULES, heuristic
from edge_marl.tandem.policies import Policy
from edge_marl.tandem.simulator import AGENTS, JOB_FEATURES, METRICS
from edge_marl.tandem.splits import SPLITS
from edge_marl.tandem.trace_files import read_traces
from edge_marl.tandem.traces import IntArray, TraceSet

HEURISTICS = (*PRIORITY_RULES, "llf+edf")
"""Every rule at both stages, and the pair that is best on the default workload."""

SHOWN = ("objective", "makespan", "dropped", "starvation")

ORACLE = "oracle (clairvoyant)"
EPISODES = 300
WORST = 3

_FIRST_SEED = 129 * 2**32
"""Of test traces of a checkpoint's own workload: neither training nor validation has them."""


class TandemEvaluation:
    """Everything played on one set of traces.

    Args:
        checkpoints: of tandem_v0, all with the same drop penalty.
        on: a split, a trace file, or None for fresh traces of the workload that was trained on.
        episodes: how many traces; None: 300, or all of a file.

    Raises:
        InputError: for checkpoints that cannot be compared or traces that cannot be read.
    """

    def __init__(
        self, checkpoints: Sequence[Checkpoint], on: str | None, episodes: int | None
    ) -> None:
        from edge_marl.envs.tandem_v0 import parallel_env

        for checkpoint in checkpoints:
            _check_actor(checkpoint)
        configs = [parallel_env(**c.env_config).config for c in checkpoints]
        self.checkpoints = checkpoints
        self.drop_penalty: float = configs[0].drop_penalty
        for checkpoint, config in zip(checkpoints, configs, strict=True):
            if config.drop_penalty != self.drop_penalty:
                raise InputError(
                    f"{checkpoint.folder}: drop_penalty: expected {self.drop_penalty:g} as of "
                    f"{checkpoints[0].folder}, found {config.drop_penalty:g}"
                )
        self.title, self.traces = _traces(checkpoints, configs, on, episodes)
        self._runs: dict[str, Run] = {}
        self._schedules: list[Schedule] = []
        self.headline = Headline("degradation", False, reference=ORACLE, shown=SHOWN)

    def play(self, out: Path) -> list[Played]:
        """Play everything; the oracle's schedules are kept in ``out`` and read when found there."""
        self._schedules = solve_set(
            self.traces,
            schedule_folder(out / "oracle", self.traces, self.drop_penalty),
            drop_penalty=self.drop_penalty,
            workers=all_cores(),
        )
        oracle = np.array([schedule.objective for schedule in self._schedules])
        played = [Played(ORACLE, "oracle", self._of_oracle())]
        for name in HEURISTICS:
            played.append(Played(name, "heuristic", self._of(heuristic(name), oracle, None)))
        best = min(played[1:], key=lambda one: float(one.metrics["degradation"].mean()))
        self.headline = replace(self.headline, reference=best.name)
        from edge_marl.algorithms.actors import ActorPolicy

        for checkpoint in self.checkpoints:
            policy = ActorPolicy(checkpoint.name, checkpoint.actor)
            max_queue = checkpoint.actor.spec.observation_shape[0]
            metrics = self._of(policy, oracle, max_queue)
            played.append(Played(checkpoint.name, "learned", metrics, checkpoint))
        return played

    def draw_worst(self, played: Sequence[Played], out: Path) -> list[Path]:
        """Timelines of each checkpoint's worst traces, beside the best heuristic and the oracle."""
        paths = []
        for one in played:
            if one.checkpoint is None:
                continue
            worst = np.argsort(-one.metrics["degradation"], kind="stable")[:WORST]
            for rank, k in enumerate(worst.tolist(), start=1):
                path = out / f"worst-{one.name.replace('/', '-')}-{rank}.png"
                timelines = {
                    name: self._timeline(name, k) for name in (one.name, self.headline.reference)
                }
                best = self._schedules[k]
                slots = np.stack([best.comm, best.comp], axis=1)
                timelines[ORACLE] = (slots, _note(best.makespan, len(best.dropped)))
                figures.figure_2(timelines, self.traces[k], path)
                paths.append(path)
        return paths

    def _of(
        self, policy: Policy, oracle: NDArray[np.float64], max_queue: int | None
    ) -> dict[str, NDArray[Any]]:
        one = run(
            policy, self.traces, drop_penalty=self.drop_penalty, max_queue=max_queue, record=True
        )
        self._runs[policy.name] = one
        results = {name: getattr(one.results, name) for name in METRICS}
        return {"degradation": degradation(results["objective"], oracle), **results}

    def _of_oracle(self) -> dict[str, NDArray[Any]]:
        found = self._schedules
        return {
            "degradation": np.zeros(len(found)),
            "objective": np.array([schedule.objective for schedule in found]),
            "makespan": np.array([schedule.makespan for schedule in found]),
            "dropped": np.array([len(schedule.dropped) for schedule in found]),
        }

    def _timeline(self, name: str, k: int) -> tuple[IntArray, str]:
        one = self._runs[name]
        assert one.timeline is not None
        slots = one.timeline[k, : int(one.results.slots[k])]
        return slots, _note(one.results.makespan[k], one.results.dropped[k])


def _traces(
    checkpoints: Sequence[Checkpoint],
    configs: Sequence[Any],
    on: str | None,
    episodes: int | None,
) -> tuple[str, TraceSet]:
    """A title and the traces to play."""
    if on in SPLITS:
        # The test traces of the study, so that its tables can be compared with.
        traces = StudyConfig(test_traces=episodes or EPISODES).test_set(on)
        return f"{len(traces)} held-out {on} traces", traces
    if on is not None:
        if not os.path.lexists(on):
            raise InputError(
                f"--on: expected one of {', '.join(SPLITS)} or a trace file, found {on!r}"
            )
        traces = read_traces(on)
        return f"{len(traces[:episodes])} traces of {on}", traces[:episodes]
    for checkpoint, config in zip(checkpoints, configs, strict=True):
        if config.traces is not None or config.workload != configs[0].workload:
            raise InputError(
                f"{checkpoint.folder}: has no workload in common with {checkpoints[0].folder} "
                f"to draw traces from: say --on, one of {', '.join(SPLITS)} or a trace file"
            )
    seeds = np.arange(_FIRST_SEED, _FIRST_SEED + (episodes or EPISODES), dtype=np.int64)
    traces = configs[0].workload.sample(seeds)
    return f"{len(traces)} held-out traces of the workload that was trained on", traces


def _check_actor(checkpoint: Checkpoint) -> None:
    spec = checkpoint.actor.spec
    if tuple(spec.agents) != AGENTS or tuple(spec.observation_shape[1:]) != (JOB_FEATURES,):
        raise InputError(
            f"{checkpoint.folder}: expected agents {', '.join(AGENTS)} that see queues of jobs, "
            f"found {', '.join(spec.agents)} with observations {list(spec.observation_shape)}"
        )


def _note(makespan: int, dropped: int) -> str:
    return f"makespan {makespan} slots, {dropped} dropped"
