"""Define the units of the study: oracle schedules, imitated policies, schedulers on test traces."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_marl.experiments.oracle_sets import solve_set
from edge_marl.experiments.study.outcomes import EPISODE
from edge_marl.experiments.study.policies import KIND, METHOD, SEED, TEST, one_thread
from edge_marl.experiments.study.units import Columns, Label, Unit
from edge_marl.experiments.tandem.config import BASE_SPLIT, StudyConfig, Training
from edge_marl.oracle import Schedule
from edge_marl.simulation import Policy
from edge_marl.tandem.oracle.schedule_files import read_folder, trace_hash
from edge_marl.tandem.playing import run_traces
from edge_marl.tandem.simulator import METRICS, TandemSimulator
from edge_marl.tandem.splits import SPLITS
from edge_marl.tandem.traces import TraceSet

if TYPE_CHECKING:
    from edge_marl.algorithms.tandem.imitation import ImitationConfig

Scheduler = Callable[[TraceSet], Policy[TandemSimulator]]
"""The policy that will play these traces. Online policies know no more of them than the constant
downlink; the oracle and SL-E2E plan for exactly these."""

SCHEDULES, IMITATION = "schedules", "imitation"
"""Values of :data:`KIND` beside those of policies."""

TRAINED_ON, SPLIT, DECISION_US, TRAIN_S = "training", "split", "decision_us", "train_s"
"""A label, and columns."""


@dataclass(frozen=True, eq=False)
class Schedules(Unit):
    """Solve a set of traces with the clairvoyant oracle, one row per schedule."""

    config: StudyConfig
    split: str = ""
    """The test traces of this split, unless a training set is meant."""
    training: Training = "none"
    n_traces: int = 0
    """Of the training set."""
    modules = ("edge_marl.tandem.oracle.solver", "edge_marl.tandem.scenario")

    @property
    def traces(self) -> TraceSet:
        """Return the set of traces."""
        if self.split:
            return self.config.test_set(self.split)
        return self.config.training_set(self.training, self.n_traces)

    @property
    def labels(self) -> Mapping[str, Label]:
        """Return labels that say which set it is."""
        which = self.split or f"{self.training} {self.n_traces}"
        return {KIND: SCHEDULES, SPLIT: which, SEED: 0}

    @property
    def configuration(self) -> Any:
        """Return a hash of the traces themselves, and the penalty."""
        return {"traces": trace_hash(self.traces), "drop_penalty": self.config.drop_penalty}

    @property
    def effort(self) -> float:
        """Return a high effort, because other units wait for this one."""
        return 1e6

    def compute(self, artefacts: Path, needed: Sequence[Path]) -> Columns:
        """Solve every trace."""
        schedules = solve_set(
            self.traces, artefacts, drop_penalty=self.config.drop_penalty, show_progress=False
        )
        return {
            EPISODE: np.arange(len(schedules)),
            "objective": [schedule.objective for schedule in schedules],
            "dropped": [len(schedule.dropped) for schedule in schedules],
            "optimal": [float(schedule.optimal) for schedule in schedules],
            "solve_s": [schedule.solve_s for schedule in schedules],
        }

    def read(self, artefacts: Path) -> list[Schedule]:
        """Read the schedules that were found."""
        return read_folder(artefacts, self.traces, drop_penalty=self.config.drop_penalty)


@dataclass(frozen=True, eq=False)
class Imitation(Unit):
    """Fit networks by imitation without oracle schedules, and keep the policy as artefact."""

    config: StudyConfig
    imitation: ImitationConfig
    """With its seed."""
    training: Training
    modules = ("edge_marl.algorithms.tandem.imitation.training", "edge_marl.tandem.scenario")

    @property
    def labels(self) -> Mapping[str, Label]:
        """Return labels like those of a policy."""
        return {KIND: IMITATION, TRAINED_ON: self.training, SEED: self.imitation.seed}

    @property
    def configuration(self) -> Any:
        """Return what is imitated, and how."""
        traces = self.config.training_set(self.training, self.imitation.n_traces)
        return {
            "imitation": self.imitation.model_dump(mode="json"),
            "traces": trace_hash(traces),
            "drop_penalty": self.config.drop_penalty,
        }

    @property
    def effort(self) -> float:
        """Return a high effort, because other units wait for this one."""
        return 1e5

    def compute(self, artefacts: Path, needed: Sequence[Path]) -> Columns:
        """Fit the networks."""
        from edge_marl.algorithms.tandem.imitation import fit, save_policy

        one_thread()
        begin = time.perf_counter()
        traces = self.config.training_set(self.training, self.imitation.n_traces)
        policy = fit(self.imitation, traces, drop_penalty=self.config.drop_penalty)
        save_policy(policy, self.imitation, artefacts)
        return {TRAIN_S: [time.perf_counter() - begin]}


@dataclass(frozen=True)
class Context:
    """Hold what a scheduler is made from."""

    config: StudyConfig
    training: Training
    seed: int
    needed: Sequence[Path]
    """Folders of the artefacts of what the unit needs."""

    def training_traces(self, n_traces: int) -> TraceSet:
        """Return ``n_traces`` training traces, or fewer where the study does not allow as many."""
        return self.config.training_set(self.training, n_traces)


@dataclass(frozen=True, eq=False, kw_only=True)
class Scheduling(Unit):
    """Play a scheduler, trained if it has to be, on the test traces of every split."""

    config: StudyConfig
    method: str
    training: Training
    seed: int
    make: Callable[[Context], Scheduler]
    options: Any = None
    """What the scheduler depends on beside the study, for a JSON file."""
    modules: Sequence[str] = ()
    needs: Sequence[Unit] = ()
    effort: float = 1.0

    @property
    def labels(self) -> Mapping[str, Label]:
        """Return kind, method, training set and seed."""
        return {
            KIND: TEST, METHOD: self.method, TRAINED_ON: self.training, SEED: self.seed,
        }  # fmt: skip

    @property
    def configuration(self) -> Any:
        """Return the options, and a hash of the test traces themselves."""
        behind = {"workload", "test_traces", "drop_penalty", "decision_traces", "trace_seed"}
        if self.training != "none":
            behind |= {"most_train_traces", "step_share"}
        return {
            **self.config.model_dump(mode="json", include=behind),
            "options": self.options,
            # Whatever traces are drawn from, a measured profile for one, shows in them.
            "traces": trace_hash(self.config.test_set(BASE_SPLIT)),
        }

    def compute(self, artefacts: Path, needed: Sequence[Path]) -> Columns:
        """Make the scheduler, play every test set, and time decisions on the first traces."""
        config = self.config
        if self.training != "none":
            one_thread()
        begin = time.perf_counter()
        scheduler = self.make(Context(config, self.training, self.seed, needed))
        train_s = time.perf_counter() - begin
        parts = []
        for split in SPLITS:
            traces = config.test_set(split)
            results = run_traces(scheduler(traces), traces, drop_penalty=config.drop_penalty)
            n = len(traces)
            parts.append(
                {
                    SPLIT: np.full(n, split, dtype=object),
                    EPISODE: np.arange(n),
                    **{name: np.asarray(getattr(results, name), float) for name in METRICS},
                }
            )
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        timed = config.test_set(BASE_SPLIT)[: config.decision_traces]
        decision_us = 1e6 * float(decision_times(scheduler, timed).mean())
        n = len(columns[EPISODE])
        return {**columns, DECISION_US: np.full(n, decision_us), TRAIN_S: np.full(n, train_s)}


def decision_times(scheduler: Scheduler, traces: TraceSet) -> NDArray[np.float64]:
    """Return the seconds that each call of the policy takes, for both stages of one episode.

    The first episode is played once more beforehand, so that nothing is timed that only happens
    once (compilation, first allocations).
    """
    seconds: list[float] = []
    for k in (0, *range(len(traces))):
        simulator = TandemSimulator(traces[k], 1, max_queue=traces.max_jobs)
        policy = scheduler(traces[k])
        simulator.reset([0])
        policy.reset(simulator)
        if k == 0:
            seconds.clear()
        while not simulator.done.all():
            begin = time.perf_counter()
            actions = policy.act(simulator)
            seconds.append(time.perf_counter() - begin)
            simulator.step(actions)
    return np.array(seconds)
