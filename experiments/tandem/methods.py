"""Declare the methods of the study: the name of each, and how to get its scheduler.

A new learner joins by one more :class:`Method`, whose ``make`` trains on
``context.training_traces(n)`` and returns the trained scheduler.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edge_marl.experiments.study.units import Unit
from edge_marl.experiments.tandem.config import BASE_SPLIT, StudyConfig, Training
from edge_marl.experiments.tandem.units import (
    Context,
    Imitation,
    Scheduler,
    Schedules,
    Scheduling,
)
from edge_marl.experiments.training.recipe import ALGORITHMS
from edge_marl.oracle import solve
from edge_marl.tandem.heuristics import PRIORITY_RULES, heuristic
from edge_marl.tandem.oracle.online import VIEWS, OnlineOracle
from edge_marl.tandem.traces import TraceSet

if TYPE_CHECKING:
    from edge_marl.algorithms.tandem.imitation.config import ImitationConfig

Group = Literal["oracle", "online oracle", "heuristic", "learned"]

Part = Literal["headline", "classifier", "ablation"]

ORACLE = "oracle"
ONLINE_ORACLES = tuple(f"online-oracle-{view}" for view in VIEWS)
YARDSTICK = "online-oracle-global"
"""What is achievable without knowing the future: the end of the gap to close."""
END_TO_END = "sl-e2e"
PURE_HEURISTICS = tuple(PRIORITY_RULES)


Needs = Callable[[Training, int], Sequence[Unit]]
"""By training set and seed."""


@dataclass(frozen=True)
class Method:
    """Describe a method of the tables, and how to get its scheduler."""

    name: str
    label: str
    group: Group
    make: Callable[[Context], Scheduler]
    options: Any = None
    """What its episodes depend on beside the study's configuration, for a JSON file."""
    trainings: tuple[Training, ...] = ("none",)
    part: Part = "headline"
    """A row of every table, of Figure 5b or of the ablation table only."""
    modules: tuple[str, ...] = ("edge_marl.tandem.heuristics",)
    """Whose code decides what it does."""
    needs: Needs = lambda training, seed: ()
    effort: float = 1.0

    def units(self, config: StudyConfig) -> list[Scheduling]:
        """Return its units, one per training set and seed."""
        return [
            Scheduling(
                config=config, method=self.name, training=training, seed=seed, make=self.make,
                options=self.options, needs=tuple(self.needs(training, seed)),
                modules=("edge_marl.tandem.simulator", "edge_marl.tandem.scenario", *self.modules),
                # The headline's training set first.
                effort=self.effort * (1.0 if training == BASE_SPLIT else 0.5),
            )
            for training in self.trainings
            for seed in range(config.seeds if self.group == "learned" else 1)
        ]  # fmt: skip


def methods(config: StudyConfig) -> dict[str, Method]:
    """Return all methods of a study by name, in the order of the tables."""
    rows = [_oracle(config), *map(_online_oracle, VIEWS), *_heuristics(), _end_to_end(config)]
    learned = (*_imitation(config), *_reinforcement(config))
    return {method.name: method for method in (*rows, *learned)}


def _oracle(config: StudyConfig) -> Method:
    def make(context: Context) -> Scheduler:
        from edge_marl.algorithms.tandem.imitation.demonstrations import (
            SchedulePolicy,
            canonical_slots,
        )

        def scheduler(traces: TraceSet) -> SchedulePolicy:
            solved = [
                solve(traces[k], drop_penalty=config.drop_penalty) for k in range(len(traces))
            ]
            return SchedulePolicy(canonical_slots(solved))

        return scheduler

    return Method(
        ORACLE, "oracle (clairvoyant)", "oracle", make,
        modules=(
            "edge_marl.algorithms.tandem.imitation.demonstrations",
            "edge_marl.tandem.oracle.solver",
        ),
    )  # fmt: skip


def _online_oracle(view: Literal["global", "local"]) -> Method:
    def make(context: Context) -> Scheduler:
        penalty = context.config.drop_penalty
        return lambda traces: OnlineOracle(view, downlink=traces.downlink, drop_penalty=penalty)

    return Method(
        f"online-oracle-{view}", f"online oracle, {view}", "online oracle", make,
        modules=("edge_marl.tandem.oracle.online",),
    )  # fmt: skip


def _heuristics() -> list[Method]:
    """Return every rule at both stages, and every pair of two rules."""
    pairs = [f"{a}+{b}" for a in PRIORITY_RULES for b in PRIORITY_RULES if a != b]

    def method(name: str) -> Method:
        def make(context: Context) -> Scheduler:
            return lambda traces: heuristic(name)

        return Method(name, name.upper(), "heuristic", make)

    return [method(name) for name in (*PURE_HEURISTICS, *pairs)]


def _end_to_end(config: StudyConfig) -> Method:
    from edge_marl.algorithms.tandem.imitation.config import EndToEndConfig

    default = EndToEndConfig()
    options = default.model_copy(update={"gradient_steps": config.steps(default.gradient_steps)})
    n_traces = 700  # the paper's training set

    def needs(training: Training, seed: int) -> Sequence[Schedules]:
        return (Schedules(config, training=training, n_traces=n_traces),)

    def make(context: Context) -> Scheduler:
        from edge_marl.algorithms.tandem.imitation import fit_end_to_end

        (solved,) = needs(context.training, context.seed)
        mine = options.model_copy(update={"seed": context.seed})
        return fit_end_to_end(mine, solved.traces, solved.read(context.needed[0])).plan

    return Method(
        END_TO_END, "SL-E2E", "learned", make, options.model_dump(mode="json"), (BASE_SPLIT,),
        modules=("edge_marl.algorithms.tandem.imitation.end_to_end",), needs=needs,
        effort=options.gradient_steps,
    )  # fmt: skip


def _imitation(config: StudyConfig) -> list[Method]:
    """Return the variants of SL-Step, from the paper's to ours."""
    from edge_marl.algorithms.tandem.imitation.config import ABLATIONS

    def method(number: int, label: str, default: ImitationConfig) -> Method:
        options = _cut_down(default, config)
        of_schedules = options.labels in ("raw", "canonical")

        def needs(training: Training, seed: int) -> Sequence[Unit]:
            if of_schedules:
                return (Schedules(config, training=training, n_traces=options.n_traces),)
            return (_imitated(config, options, training, seed),)

        def make(context: Context) -> Scheduler:
            from edge_marl.algorithms.tandem.imitation import fit, load_policy

            (needed,) = needs(context.training, context.seed)
            if isinstance(needed, Schedules):
                policy = fit(
                    options.model_copy(update={"seed": context.seed}), needed.traces,
                    needed.read(context.needed[0]), drop_penalty=config.drop_penalty,
                )  # fmt: skip
            else:
                policy = load_policy(context.needed[0])
            return lambda _: policy

        # A label that gives the number of traces gives the one that is used.
        shown = label.replace(f"{default.n_traces:,} traces", f"{options.n_traces:,} traces")
        ends = {0: " (the paper's)", len(ABLATIONS) - 1: " (ours)"}
        end = ends.get(number, "")
        classifier = default.labels == "canonical" and default.model != "attention"
        return Method(
            f"sl-step-{_slug(label)}",
            f"SL-Step{end}: {shown}",
            "learned",
            make,
            options.model_dump(mode="json"),
            (BASE_SPLIT, "mixed") if end else (BASE_SPLIT,),
            part="headline" if end else "classifier" if classifier else "ablation",
            modules=("edge_marl.algorithms.tandem.imitation.training",),
            needs=needs,
            effort=options.gradient_steps,
        )

    rows = [method(i, label, default) for i, (label, default) in enumerate(ABLATIONS.items())]
    return [row for row in rows if config.ablations or row.part != "ablation"]


def _reinforcement(config: StudyConfig) -> list[Method]:
    """Return VDN, QMIX and MAPPO as the paper has them, our fine-tuned imitation, and ablations."""
    from edge_marl.algorithms.tandem.imitation.config import BEST
    from edge_marl.experiments.tandem.learners import ReinforcementConfig, ablations, learners

    def method(label: str, default: ReinforcementConfig, part: Part) -> Method:
        options = default.model_copy(
            update={"n_traces": min(default.n_traces, config.most_train_traces)}
        )
        start = options.warm_start

        def needs(training: Training, seed: int) -> Sequence[Unit]:
            return () if start is None else (_imitated(config, start, training, seed),)

        def make(context: Context) -> Scheduler:
            from edge_marl.experiments.tandem.learners import train

            policy = train(
                options,
                context.training_traces(options.n_traces),
                seed=context.seed,
                drop_penalty=config.drop_penalty,
                imitated=None if start is None else context.needed[0],
            )
            return lambda _: policy

        return Method(
            _slug(label),
            label,
            "learned",
            make,
            options.model_dump(mode="json"),
            (BASE_SPLIT, "mixed") if part == "headline" else (BASE_SPLIT,),
            part=part,
            modules=(
                ALGORITHMS[options.algorithm].config_class.partition(":")[0],
                "edge_marl.envs.tandem_v0",
                "edge_marl.experiments.tandem.learners",
            ),
            needs=needs,
            # Environment steps are many, and dearer than gradient steps.
            effort=options.env_steps,
        )

    chosen = learners(config.env_step_share, _cut_down(BEST, config))
    rows = [method(label, options, "headline") for label, options in chosen.items()]
    if config.ablations:
        more = ablations(chosen)
        rows += [method(label, options, "ablation") for label, options in more.items()]
    return rows


def _cut_down(default: ImitationConfig, config: StudyConfig) -> ImitationConfig:
    """Cut the gradient steps and traces of a method down to what the study allows."""
    return default.model_copy(
        update={
            "gradient_steps": config.steps(default.gradient_steps),
            "n_traces": min(default.n_traces, config.most_train_traces),
        }
    )


def _imitated(
    config: StudyConfig, options: ImitationConfig, training: Training, seed: int
) -> Imitation:
    return Imitation(config, options.model_copy(update={"seed": seed}), training)


def _slug(label: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", label.lower()))
