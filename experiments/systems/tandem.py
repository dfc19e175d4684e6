"""Declare tandem scheduling: an uplink and a compute server in series (the tandem paper)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_marl.errors import InputError
from edge_marl.experiments.parallel import all_cores
from edge_marl.experiments.systems.system import (
    Bound,
    Episodes,
    Goal,
    Metrics,
    System,
)
from edge_marl.seeds import TANDEM_EVALUATION_SEEDS, TANDEM_VALIDATION_SEEDS

if TYPE_CHECKING:
    from edge_marl.experiments.systems.system import Policy

DEGRADATION = "degradation"
"""How far the objective is above the oracle's, as a share of that."""

ORACLE = "oracle (clairvoyant)"


class Tandem(System):
    """Declare tandem scheduling; policies are judged by the makespan and the dropped jobs.

    Policies decide in every slot when they are judged, whatever they were trained with.
    """

    environment = "tandem_v0"
    module = "edge_marl.envs.tandem_v0"
    goal = Goal("objective", higher_is_better=False)
    headline = Goal(DEGRADATION, higher_is_better=False)
    reported = (DEGRADATION, "objective", "makespan", "dropped", "starvation")
    n_episodes = 300
    sets = "a split such as 3-3 or a trace file"

    # Episodes -------------------------------------------------------------------------------

    def validation(self, env_config: Mapping[str, Any], n: int) -> Episodes:
        """Return traces of the same workload that training never draws.

        Where the environment replays a trace file, they are its first traces: a training is then
        judged by what it learns from, for there is nothing else.
        """
        traces = self._recorded(env_config)
        if traces is None:
            seeds = np.array(TANDEM_VALIDATION_SEEDS[:n], dtype=np.int64)
        else:
            seeds = np.arange(min(n, len(traces)), dtype=np.int64)
        return Episodes(_in_every_slot(env_config), seeds, "validation")

    def evaluation(
        self, env_config: Mapping[str, Any], n: int | None, on: str | None = None
    ) -> Episodes:
        """Return fresh traces of the workload that was trained on, a split, or a file's traces."""
        from edge_marl.tandem.splits import SPLITS
        from edge_marl.tandem.trace_files import read_traces

        env_config = _in_every_slot(env_config)
        if on is None and self._recorded(env_config) is not None:
            raise InputError(
                f"--on: expected one of {', '.join(SPLITS)} or a trace file, because there is no "
                "workload to draw traces from: the training replayed a trace file"
            )
        if on is None:
            n = n or self.n_episodes
            seeds = np.array(TANDEM_EVALUATION_SEEDS[:n], dtype=np.int64)
            title = f"{n} held-out traces of the workload that was trained on"
            return Episodes(env_config, seeds, title)
        if on in SPLITS:
            # The test traces of the study, so that its tables can be compared with.
            from edge_marl.experiments.tandem.config import StudyConfig

            traces = StudyConfig(test_traces=n or self.n_episodes).test_set(on)
            title = f"{len(traces)} held-out {on} traces"
        elif os.path.lexists(on):
            traces = read_traces(on)[:n]
            title = f"{len(traces)} traces of {on}"
        else:
            raise InputError(
                f"--on: expected one of {', '.join(SPLITS)} or a trace file, found {on!r}"
            )
        env_config = {**_without_source(env_config), "traces": traces}
        return Episodes(env_config, np.arange(len(traces), dtype=np.int64), title)

    def deciding(self, env_config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the drop penalty and the source of the traces."""
        from edge_marl.tandem.oracle.schedule_files import trace_hash

        config: Any = self.options(env_config)
        traces = self._recorded(env_config)
        return {
            "drop_penalty": config.drop_penalty,
            "workload": config.workload if traces is None else trace_hash(traces),
        }

    def played_in(self, env_config: Mapping[str, Any], episodes: Episodes) -> dict[str, Any]:
        """Return the actor's own options, with the traces of the episodes if these are given."""
        played = _in_every_slot(env_config)
        if "traces" not in episodes.env_config:
            return played
        return {**_without_source(played), "traces": episodes.env_config["traces"]}

    # Policies -------------------------------------------------------------------------------

    def heuristics(self) -> Mapping[str, Any]:
        """Return every rule at both stages, and the pair that is best on the default workload."""
        from edge_marl.tandem.heuristics import PRIORITY_RULES, heuristic

        return {name: partial(heuristic, name) for name in (*PRIORITY_RULES, "llf+edf")}

    def play(self, heuristic: str, episodes: Episodes) -> Metrics:
        """Play a pair of rules, which see queues of any length."""
        from edge_marl.tandem.simulator import METRICS

        results = self._run(self.heuristics()[heuristic](), episodes)
        return {name: getattr(results, name) for name in METRICS}

    def bound(self, episodes: Episodes, folder: Path) -> Bound:
        """Solve every trace by the oracle; schedules are kept in ``folder`` and reused.

        A trace whose schedule was not proved optimal in time has no degradation.
        """
        schedules = self._schedules(episodes, folder)
        optimal = np.array([schedule.optimal for schedule in schedules])
        return Bound(ORACLE, {
            DEGRADATION: np.where(optimal, 0.0, np.nan),
            "objective": np.array([schedule.objective for schedule in schedules]),
            "makespan": np.array([schedule.makespan for schedule in schedules]),
            "dropped": np.array([len(schedule.dropped) for schedule in schedules]),
        })  # fmt: skip

    def judged(self, metrics: Metrics, bound: Bound | None) -> Metrics:
        """Add the degradation: how far the objective is above the oracle's."""
        from edge_marl.tandem.playing import degradation

        if bound is None:
            return metrics
        return {
            DEGRADATION: np.where(
                np.isnan(bound.metrics[DEGRADATION]),
                np.nan,
                degradation(metrics["objective"], bound.metrics["objective"]),
            ),
            **metrics,
        }

    def draw(self, episodes: Episodes, k: int, policies: Sequence[Policy], path: Path) -> bool:
        """Draw the timelines of a trace, the oracle's last (Figure 2)."""
        from edge_marl.algorithms.tandem.policy import ActorPolicy
        from edge_marl.experiments.tandem.figures import figure_2
        from edge_marl.oracle import solve
        from edge_marl.tandem.heuristics import heuristic
        from edge_marl.tandem.playing import TimelineRecorder

        one = episodes._replace(seeds=episodes.seeds[k : k + 1])
        timelines = {}
        for name, actor in policies:
            recorder = TimelineRecorder(
                heuristic(name) if actor is None else ActorPolicy(name, actor)
            )
            seen = None if actor is None else actor.spec.observation_shape[0]
            results = self._run(recorder, one, max_queue=seen)
            slots = recorder.timeline[0, : int(results.slots[0])]
            note = _note(results.makespan[0], results.dropped[0])
            timelines[name] = (slots, note)
        config: Any = self.options(episodes.env_config)
        trace = self._traces(one)
        best = solve(trace, drop_penalty=config.drop_penalty)
        slots = np.stack([best.comm, best.comp], axis=1)
        timelines[ORACLE] = (slots, _note(best.makespan, len(best.dropped)))
        figure_2(timelines, trace, path)
        return True

    def _run(self, policy: Any, episodes: Episodes, *, max_queue: int | None = None) -> Any:
        from edge_marl.tandem.playing import run_traces

        config: Any = self.options(episodes.env_config)
        return run_traces(
            policy, self._traces(episodes), drop_penalty=config.drop_penalty, max_queue=max_queue
        )

    def _schedules(self, episodes: Episodes, folder: Path) -> Any:
        from edge_marl.experiments.oracle_sets import schedule_folder, solve_set

        config: Any = self.options(episodes.env_config)
        traces, penalty = self._traces(episodes), config.drop_penalty
        place = schedule_folder(folder / "oracle", traces, penalty)
        return solve_set(traces, place, drop_penalty=penalty, workers=all_cores())

    def _traces(self, episodes: Episodes) -> Any:
        config: Any = self.options(episodes.env_config)
        recorded = self._recorded(episodes.env_config)
        if recorded is None:
            return config.workload.sample(episodes.seeds)
        return recorded[episodes.seeds]

    def _recorded(self, env_config: Mapping[str, Any]) -> Any:
        """Return the traces that the environment replays, or None if it draws them."""
        from edge_marl.tandem.trace_files import read_traces

        config: Any = self.options(env_config)
        source = config.traces
        return read_traces(source) if isinstance(source, Path) else source


def _in_every_slot(env_config: Mapping[str, Any]) -> dict[str, Any]:
    return {**env_config, "decisions": "slots", "horizon": None}


def _without_source(env_config: Mapping[str, Any]) -> dict[str, Any]:
    sources = ("workload", "traces")
    return {name: value for name, value in env_config.items() if name not in sources}


def _note(makespan: int, dropped: int) -> str:
    return f"makespan {makespan} slots, {dropped} dropped"
