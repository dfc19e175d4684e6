"""``edge-marl reproduce tandem``: Figures 2 to 6 of the tandem paper.

The study is a list of units (method, training set, seed), each played on the test traces of all
splits. Finished units are kept on disk, so a study that was stopped goes on where it was, and one
that is run again only draws its tables and figures.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console

from edge_marl.experiments.machine import provenance
from edge_marl.experiments.oracle_sets import schedule_folder, solve_set
from edge_marl.experiments.parallel import run_tasks
from edge_marl.experiments.progress import progress_bar, stdout
from edge_marl.experiments.publish import as_markdown, write_csv
from edge_marl.experiments.tandem import figures
from edge_marl.experiments.tandem.config import BASE_SPLIT, StudyConfig, Training
from edge_marl.experiments.tandem.methods import (
    END_TO_END,
    ONLINE_ORACLES,
    ORACLE,
    PURE_HEURISTICS,
    Context,
    Method,
    methods,
)
from edge_marl.experiments.tandem.tables import (
    Results,
    full_table,
    split_table,
    summarise,
)
from edge_marl.experiments.tandem.units import Unit, UnitResult, play, read_unit, write_unit
from edge_marl.files import aside, write_aside
from edge_marl.json_files import write_json
from edge_marl.locks import sole_writer
from edge_marl.oracle import Schedule
from edge_marl.oracle.schedule_files import trace_hash
from edge_marl.tandem.evaluation import degradation, run
from edge_marl.tandem.heuristics import heuristic
from edge_marl.tandem.splits import SPLITS
from edge_marl.tandem.traces import TraceSet

FloatArray = NDArray[np.float64]

PAPER_CLAIM = 0.37
"""The paper's "up to 37%" below static heuristics, on its own workloads."""

NOTES = f"""\
degradation: mean over traces and seeds of (objective - oracle) / oracle, the headline; IQM is \
the mean of the middle half of the episodes; both with 95% t intervals over trainings and traces, \
where there is one training over traces alone.
gap closed: (best heuristic - method) / (best heuristic - global online oracle), the best \
heuristic being the best pair of rules on these very traces in hindsight.
better than: share of episodes with a lower objective than EDF or SRTF on the same trace (ties \
half), with the p value of a two-sided Wilcoxon signed-rank test over traces, of these trainings.
µs per decision: one slot, both stages, one episode at a time.
All figures are measured here. The paper gives one number, "up to {PAPER_CLAIM:.0%}" below the \
heuristics, on workloads that are not public."""


def reproduce(config: StudyConfig, out: Path) -> Results:
    """Run what is missing of the study, print its tables and write everything to ``out``."""
    with sole_writer(out):
        return _reproduce(config, out.resolve())  # Ray's workers may work in another folder


def _reproduce(config: StudyConfig, out: Path) -> Results:
    console = stdout()
    begin = time.perf_counter()
    table_of_methods = methods(config)
    # The base split first: decisions are timed on it.
    tests = {split: config.test_set(split) for split in (BASE_SPLIT, *SPLITS)}
    schedules = {
        split: solve_set(
            traces,
            schedule_folder(out / "oracle", traces, config.drop_penalty),
            drop_penalty=config.drop_penalty,
            workers=config.workers,
        )
        for split, traces in tests.items()
    }
    oracle = {
        split: np.array([schedule.objective for schedule in found])
        for split, found in schedules.items()
    }
    units = _play_all(config, table_of_methods, out)
    results = summarise(units, table_of_methods, oracle)
    _print_tables(console, config, table_of_methods, results, out / "tables.md")
    _draw(config, table_of_methods, results, tests[BASE_SPLIT], schedules[BASE_SPLIT], out)
    write_csv([row.record() for row in results.rows], out / "results.csv")
    _write_episodes(units, oracle, out / "episodes.parquet")
    seconds = time.perf_counter() - begin
    _write_summary(config, results, schedules, seconds, out / "summary.json")
    console.print(f"{out}: tables, figures and episodes written in {seconds:.0f} s", soft_wrap=True)
    return results


def _play_all(
    config: StudyConfig, table_of_methods: Mapping[str, Method], out: Path
) -> list[UnitResult]:
    """Results of every unit; those whose file is there are read."""
    # Whatever traces are drawn from, a measured profile for one, shows in them.
    drawn = trace_hash(config.test_set(BASE_SPLIT))
    units = [
        _unit(config, method, training, seed, drawn)
        for method in table_of_methods.values()
        for training in method.trainings
        for seed in range(config.seeds if method.group == "learned" else 1)
    ]
    folder = out / "units"
    missing = [unit for unit in units if not (folder / unit.path).exists()]
    learned = [unit for unit in missing if table_of_methods[unit.method].group == "learned"]
    quick = [unit for unit in missing if unit not in learned]
    with progress_bar() as bar:
        shown = bar.add_task("study", total=len(units), completed=len(units) - len(missing))
        # Rules and oracles take less than a second each: not worth a task of their own.
        for batch, workers in ((quick, 0), (learned, config.workers)):
            # The headline's split first; of each the largest, so that no core is left with it.
            batch = sorted(batch, key=lambda u: (u.training != BASE_SPLIT, -_training_size(u)))
            arguments = [(config, unit, str(out)) for unit in batch]
            for _ in run_tasks(_do_unit, arguments, workers=workers):
                bar.advance(shown)
    return [read_unit(folder / unit.path) for unit in units]


def _unit(config: StudyConfig, method: Method, training: Training, seed: int, drawn: str) -> Unit:
    behind = {"workload", "test_traces", "drop_penalty", "decision_traces", "trace_seed"}
    if method.group == "learned":
        behind |= {"most_train_traces", "step_share"}
    depends_on = {
        **config.model_dump(mode="json", include=behind),
        "options": method.options,
        "traces": drawn,
    }
    return Unit(method.name, training, seed, json.dumps(depends_on, sort_keys=True))


def _training_size(unit: Unit) -> int:
    options = json.loads(unit.configuration)["options"]
    sizes = json.loads(options) if options else {}
    # Environment steps are many more, and dearer, than gradient steps.
    return int(sizes.get("env_steps", sizes.get("gradient_steps", 0)))


def _do_unit(config: StudyConfig, unit: Unit, out: str) -> None:
    """Train and play one unit, and keep it; a Ray task, so it is given only what is small."""
    folder = Path(out)
    context = Context(config, unit.training, unit.seed, folder / "oracle")
    method = methods(config)[unit.method]
    if method.group == "learned":
        import torch

        torch.set_num_threads(1)  # small networks, one task per core: threads only contend
    begin = time.perf_counter()
    scheduler = method.make(context)
    train_s = time.perf_counter() - begin
    tests = {split: config.test_set(split) for split in (BASE_SPLIT, *SPLITS)}
    result = play(
        scheduler, unit, tests, train_s,
        drop_penalty=config.drop_penalty, decision_traces=config.decision_traces,
    )  # fmt: skip
    write_unit(result, folder / "units" / unit.path)


def _headline(table_of_methods: Mapping[str, Method], results: Results, split: str) -> list[str]:
    """Rows of the main tables: oracles, rules, learned methods."""
    learned = [m.name for m in table_of_methods.values() if _is_headline_learner(m)]
    return [ORACLE, *ONLINE_ORACLES, *results.heuristics(split), *learned]


def _is_headline_learner(method: Method) -> bool:
    return method.group == "learned" and method.part == "headline"


def _is_reinforced(method: Method) -> bool:
    return _is_headline_learner(method) and "env_steps" in method.options


def _of_every_split(table_of_methods: Mapping[str, Method]) -> list[str]:
    """Methods of Figures 4 and 6: the oracles, the rules of the paper and the learners."""
    learned = [m.name for m in table_of_methods.values() if _is_headline_learner(m)]
    return [*ONLINE_ORACLES, *PURE_HEURISTICS, *(n for n in learned if n != END_TO_END)]


def _print_tables(
    console: Console,
    config: StudyConfig,
    table_of_methods: Mapping[str, Method],
    results: Results,
    page: Path,
) -> None:
    """Print the tables, and write them as Markdown."""
    names = _headline(table_of_methods, results, BASE_SPLIT)
    rows = results.select(BASE_SPLIT, names, ("none", "3-3", "mixed"))
    n = config.test_traces
    title = f"Figures 3 and 5: {n} held-out 3-3 traces (* retrained on all splits)"
    tables = [full_table(title, rows)]
    names = _of_every_split(table_of_methods)
    by_split: tuple[tuple[int, Training, str], ...] = (
        (4, "3-3", "trained on 3-3 only (zero-shot elsewhere)"),
        (6, "mixed", "retrained on all splits"),
    )
    for number, training, what in by_split:
        tables.append(split_table(f"Figure {number}: {what}", results, names, training))
    learned = [m.name for m in table_of_methods.values() if m.group == "learned"]
    tables.append(full_table("Ablations", results.select(BASE_SPLIT, learned, ("3-3",))))
    for number, table in enumerate(tables):
        console.print(table)
        console.print(NOTES if number == 0 else "", soft_wrap=True)
    write_aside(page, "\n".join([*map(as_markdown, tables), NOTES, ""]))


def _draw(
    config: StudyConfig,
    table_of_methods: Mapping[str, Method],
    results: Results,
    traces: TraceSet,
    schedules: Sequence[Schedule],
    out: Path,
) -> None:
    groups = {method.name: method.group for method in table_of_methods.values()}

    def rows(names: Sequence[str]) -> list[Any]:
        return results.select(BASE_SPLIT, names, ("none", "3-3"))

    _draw_timelines(config, traces, schedules, out / "figure2.png")
    learned = [m.name for m in table_of_methods.values() if _is_headline_learner(m)]
    online = [name for name in learned if name != END_TO_END]
    main = rows([*PURE_HEURISTICS[1:4], *online, *ONLINE_ORACLES[::-1]])
    figures.bars(main, groups, out / "figure3a.png", "3a: held-out 3-3 traces")
    figures.starvation_bars(
        rows([ORACLE, *PURE_HEURISTICS[1:4], *online, *ONLINE_ORACLES[::-1]]),
        groups, out / "figure3b.png", "3b: pipeline starvation",
    )  # fmt: skip
    figures.bars(rows(["edf", "srtf", *learned]), groups, out / "figure5a.png", "5a: SL-E2E")
    classifiers = [m.name for m in table_of_methods.values() if m.part == "classifier"]
    figures.bars(
        rows(["edf", "srtf", *classifiers]), groups, out / "figure5b.png", "5b: classifiers"
    )
    reinforced = [m.name for m in table_of_methods.values() if _is_reinforced(m)]
    figures.bars(
        rows(["edf", "srtf", *reinforced]), groups, out / "figure5c.png", "5c: multi-agent RL"
    )
    names = ["edf", "srtf", "llf", *online, *ONLINE_ORACLES[::-1]]
    figures.split_bars(results, names, "3-3", out / "figure4.png", "4: trained on 3-3 only")
    figures.split_bars(results, names, "mixed", out / "figure6.png", "6: retrained on all splits")


def _draw_timelines(
    config: StudyConfig, traces: TraceSet, schedules: Sequence[Schedule], path: Path
) -> None:
    """Figure 2, on the trace that is typical among those where both rules drop a job too many.

    Typical: the median of EDF's and SRTF's mean degradation, among the test traces of which the
    oracle drops no job and both rules drop one (any trace, where there is none such).
    """
    played = {
        rule: run(heuristic(rule), traces, drop_penalty=config.drop_penalty, record=True)
        for rule in ("edf", "srtf")
    }
    oracle = np.array([schedule.objective for schedule in schedules])
    objectives = [r.results.objective for r in played.values()]
    loss = np.mean([degradation(values, oracle) for values in objectives], axis=0)
    telling = np.array([not schedule.dropped for schedule in schedules])
    for one in played.values():
        telling &= one.results.dropped > 0
    candidates = np.flatnonzero(telling) if telling.any() else np.arange(len(traces))
    k = int(candidates[np.argsort(loss[candidates])[(len(candidates) - 1) // 2]])
    timelines = {}
    for rule, one in played.items():
        assert one.timeline is not None
        slots = one.timeline[k, : int(one.results.slots[k])]
        note = _note(one.results.makespan[k], one.results.dropped[k])
        timelines[rule.upper()] = (slots, note)
    best = schedules[k]
    slots = np.stack([best.comm, best.comp], axis=1)
    timelines["oracle"] = (slots, _note(best.makespan, len(best.dropped)))
    figures.figure_2(timelines, traces[k], path)


def _note(makespan: int, dropped: int) -> str:
    return f"makespan {makespan} slots, {dropped} dropped"


def _write_episodes(
    units: Sequence[UnitResult], oracle: Mapping[str, FloatArray], path: Path
) -> None:
    """Every episode, with the clairvoyant oracle's objective beside its own."""
    tables = []
    for unit in units:
        for split, metrics in unit.episodes.items():
            n = len(oracle[split])
            who = {"method": unit.method, "training": unit.training, "seed": unit.seed}
            columns = {name: [value] * n for name, value in who.items()}
            columns |= {"split": [split] * n, "trace": list(range(n))}
            tables.append(pa.table({**columns, **metrics, "oracle_objective": oracle[split]}))
    with aside(path) as place:
        pq.write_table(pa.concat_tables(tables), place)


def _write_summary(
    config: StudyConfig,
    results: Results,
    schedules: Mapping[str, Sequence[Schedule]],
    seconds: float,
    path: Path,
) -> None:
    summary = {
        **provenance(),
        "seconds": round(seconds, 1),
        "configuration": config.model_dump(mode="json"),
        "seeds": list(range(config.seeds)),
        "paper": {"up to this share below static heuristics": PAPER_CLAIM},
        "oracle": {
            split: {
                "optimal": sum(schedule.optimal for schedule in found) / len(found),
                "drops": sum(len(schedule.dropped) for schedule in found) / len(found),
                "cpu_s_per_trace": sum(schedule.solve_s for schedule in found) / len(found),
            }
            for split, found in schedules.items()
        },
        "best_heuristic": results.best_heuristic,
        "rows": [row.record() for row in results.rows],
    }
    write_json(path, summary)
