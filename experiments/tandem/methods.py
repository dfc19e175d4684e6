"""The methods of the study: a name and how to get a scheduler.

A new learner joins by one more entry: a :class:`Method` with its options and a ``make`` that
trains on ``context.training_traces(n)`` and returns the trained scheduler.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from edge_marl.experiments.oracle_sets import schedule_folder, solve_set
from edge_marl.experiments.tandem.config import BASE_SPLIT, StudyConfig, Training
from edge_marl.oracle import Schedule
from edge_marl.oracle.online import VIEWS, OnlineOracle
from edge_marl.tandem.heuristics import PRIORITY_RULES, heuristic
from edge_marl.tandem.policies import Policy
from edge_marl.tandem.traces import TraceSet

Scheduler = Callable[[TraceSet], Policy]
"""The policy that will play these traces. Online policies know no more of them than the constant
downlink; the oracle and SL-E2E plan for exactly these."""

Group = Literal["oracle", "online oracle", "heuristic", "learned"]

Part = Literal["headline", "classifier", "ablation"]

ORACLE = "oracle"
ONLINE_ORACLES = tuple(f"online-oracle-{view}" for view in VIEWS)
YARDSTICK = "online-oracle-global"
"""What is achievable without knowing the future: the end of the gap to close."""
END_TO_END = "sl-e2e"
PURE_HEURISTICS = tuple(PRIORITY_RULES)


@dataclass(frozen=True)
class Context:
    """What a method is made with."""

    config: StudyConfig
    training: Training
    seed: int
    schedules_root: Path

    @property
    def policies(self) -> Path:
        """Folder of the imitated policies."""
        return self.schedules_root.parent / "policies"

    def training_traces(self, n_traces: int) -> TraceSet:
        """Training traces, by the study's configuration perhaps fewer than asked for."""
        return self.config.training_set(self.training, n_traces)

    def schedules(self, traces: TraceSet) -> list[Schedule]:
        """The clairvoyant oracle's, solved once and kept."""
        penalty = self.config.drop_penalty
        folder = schedule_folder(self.schedules_root, traces, penalty)
        return solve_set(traces, folder, drop_penalty=penalty, show_progress=False)


@dataclass(frozen=True)
class Method:
    """A row of the tables."""

    name: str
    label: str
    group: Group
    make: Callable[[Context], Scheduler]
    options: str = ""
    """What its episodes depend on beside the study's configuration, as JSON."""
    trainings: tuple[Training, ...] = ("none",)
    part: Part = "headline"
    """A row of every table, of Figure 5b or of the ablation table only."""
    local: bool = True
    """Whether each stage decides from its own queue alone."""


def methods(config: StudyConfig) -> dict[str, Method]:
    """All methods of a study by name, in the order of the tables."""
    rows = [_oracle(), *map(_online_oracle, VIEWS), *_heuristics(), _end_to_end(config)]
    learned = (*_imitation(config), *_reinforcement(config))
    return {method.name: method for method in (*rows, *learned)}


def _oracle() -> Method:
    def make(context: Context) -> Scheduler:
        from edge_marl.algorithms.imitation.demonstrations import ScheduleReplay, canonical_slots

        return lambda traces: ScheduleReplay(canonical_slots(context.schedules(traces)))

    return Method(ORACLE, "oracle (clairvoyant)", "oracle", make, local=False)


def _online_oracle(view: Literal["global", "local"]) -> Method:
    def make(context: Context) -> Scheduler:
        penalty = context.config.drop_penalty
        return lambda traces: OnlineOracle(view, downlink=traces.downlink, drop_penalty=penalty)

    name = f"online-oracle-{view}"
    return Method(name, f"online oracle, {view}", "online oracle", make, local=view == "local")


def _heuristics() -> list[Method]:
    """Every rule at both stages, and every pair of two rules."""
    pairs = [f"{a}+{b}" for a in PRIORITY_RULES for b in PRIORITY_RULES if a != b]

    def method(name: str) -> Method:
        def make(context: Context) -> Scheduler:
            return lambda traces: heuristic(name)

        return Method(name, name.upper(), "heuristic", make)

    return [method(name) for name in (*PURE_HEURISTICS, *pairs)]


def _end_to_end(config: StudyConfig) -> Method:
    from edge_marl.algorithms.imitation.config import EndToEndConfig

    default = EndToEndConfig()
    options = default.model_copy(update={"gradient_steps": config.steps(default.gradient_steps)})
    n_traces = 700  # the paper's training set

    def make(context: Context) -> Scheduler:
        from edge_marl.algorithms.imitation import fit_end_to_end

        traces = context.training_traces(n_traces)
        mine = options.model_copy(update={"seed": context.seed})
        return fit_end_to_end(mine, traces, context.schedules(traces)).plan

    return Method(
        END_TO_END, "SL-E2E", "learned", make, _as_json(options), (BASE_SPLIT,), local=False
    )


def _imitation(config: StudyConfig) -> list[Method]:
    """SL-Step as in the paper first, ours last, and the ways between."""
    from edge_marl.algorithms.imitation.config import ABLATIONS, ImitationConfig

    def method(number: int, label: str, default: ImitationConfig) -> Method:
        slug = "".join(c if c.isalnum() else "-" for c in label.lower())
        options = default.model_copy(
            update={
                "gradient_steps": config.steps(default.gradient_steps),
                "n_traces": min(default.n_traces, config.most_train_traces),
            }
        )

        def make(context: Context) -> Scheduler:
            from edge_marl.algorithms.imitation import fit
            from edge_marl.experiments.tandem.imitated import imitated

            traces = context.training_traces(options.n_traces)
            mine = options.model_copy(update={"seed": context.seed})
            penalty = config.drop_penalty
            if options.labels in ("raw", "canonical"):
                policy = fit(mine, traces, context.schedules(traces), drop_penalty=penalty)
            else:
                policy = imitated(mine, traces, context.training, penalty, context.policies)
            return lambda _: policy

        # The label says how many traces, where that is what makes the row.
        label = label.replace(f"{default.n_traces:,} traces", f"{options.n_traces:,} traces")
        ends = {0: " (the paper's)", len(ABLATIONS) - 1: " (ours)"}
        end = ends.get(number, "")
        classifier = default.labels == "canonical" and default.model != "attention"
        return Method(
            "sl-step-" + "-".join(part for part in slug.split("-") if part),
            f"SL-Step{end}: {label}",
            "learned",
            make,
            _as_json(options),
            (BASE_SPLIT, "mixed") if end else (BASE_SPLIT,),
            part="headline" if end else "classifier" if classifier else "ablation",
        )

    rows = [method(i, label, default) for i, (label, default) in enumerate(ABLATIONS.items())]
    return [row for row in rows if config.ablations or row.part != "ablation"]


def _reinforcement(config: StudyConfig) -> list[Method]:
    """VDN, QMIX, MAPPO as in the paper, and imitation trained on by MAPPO, which is not in it."""
    from edge_marl.algorithms.imitation.config import BEST
    from edge_marl.experiments.tandem.learners import ReinforcementConfig, ablations, learners

    imitation = BEST.model_copy(
        update={
            "gradient_steps": config.steps(BEST.gradient_steps),
            "n_traces": min(BEST.n_traces, config.most_train_traces),
        }
    )

    def method(label: str, default: ReinforcementConfig, part: Part) -> Method:
        options = default.model_copy(
            update={"n_traces": min(default.n_traces, config.most_train_traces)}
        )

        def make(context: Context) -> Scheduler:
            from edge_marl.experiments.tandem.learners import train

            policy = train(
                options,
                context.training_traces(options.n_traces),
                seed=context.seed,
                training=context.training,
                drop_penalty=config.drop_penalty,
                policies=context.policies,
            )
            return lambda _: policy

        slug = "".join(c if c.isalnum() else "-" for c in label.lower())
        return Method(
            "-".join(word for word in slug.split("-") if word),
            label,
            "learned",
            make,
            _as_json(options),
            (BASE_SPLIT, "mixed") if part == "headline" else (BASE_SPLIT,),
            part=part,
        )

    chosen = learners(config.env_step_share, imitation)
    rows = [method(label, options, "headline") for label, options in chosen.items()]
    if config.ablations:
        more = ablations(chosen)
        rows += [method(label, options, "ablation") for label, options in more.items()]
    return rows


def _as_json(options: BaseModel) -> str:
    return json.dumps(options.model_dump(mode="json"), sort_keys=True)
