"""Make the tables of the tandem study, with one row per method, training set and test set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from edge_marl.experiments import statistics
from edge_marl.experiments.statistics import Comparison, Estimate
from edge_marl.experiments.study.outcomes import Outcomes
from edge_marl.experiments.study.policies import METHOD, TEST
from edge_marl.experiments.tandem.config import Training
from edge_marl.experiments.tandem.methods import ORACLE, PURE_HEURISTICS, YARDSTICK, Method
from edge_marl.experiments.tandem.units import (
    DECISION_US,
    SCHEDULES,
    SPLIT,
    TRAIN_S,
    TRAINED_ON,
)
from edge_marl.tandem.playing import degradation
from edge_marl.tandem.splits import SPLITS

FloatArray = NDArray[np.float64]
RULES_OF_THE_PAPER = ("edf", "srtf")


@dataclass(frozen=True)
class Row:
    """Hold the measures of a method on the test traces of one split."""

    method: str
    label: str
    training: Training
    split: str
    seeds: int
    degradation: Estimate
    """Mean over traces and seeds of (objective - oracle) / oracle: the headline."""
    degradation_iqm: Estimate
    gap_closed: Estimate
    below_rules: float
    """How far below the better of EDF and SRTF, as a share of it (the paper's "up to 37%")."""
    drops: float
    makespan: float
    starvation: float
    versus_edf: Comparison
    versus_srtf: Comparison
    decision_us: float
    train_s: float

    def record(self) -> dict[str, Any]:
        """Return flat columns for CSV and JSON."""
        flat: dict[str, Any] = {}
        for name, value in vars(self).items():
            if isinstance(value, (Estimate, Comparison)):
                parts = {f"{name}_{part}": number for part, number in value._asdict().items()}
                flat |= {key.removesuffix("_value"): number for key, number in parts.items()}
            else:
                flat[name] = value
        return flat


@dataclass(frozen=True)
class Results:
    """Hold the rows of a study, and its best heuristics."""

    rows: Sequence[Row]
    best_heuristic: Mapping[str, str]
    """Split: the heuristic, of all pairs of rules, that is best there in hindsight."""

    def select(self, split: str, names: Iterable[str], training: Sequence[Training]) -> list[Row]:
        """Return the rows of a split, in the order of the names."""
        found = {(row.method, row.training): row for row in self.rows if row.split == split}
        return [found[name, t] for name in names for t in training if (name, t) in found]

    def heuristics(self, split: str) -> list[str]:
        """Return the rules of the tables: each at both stages, and the best of all in hindsight."""
        return list(dict.fromkeys([*PURE_HEURISTICS, self.best_heuristic[split]]))


def summarise(outcomes: Outcomes, methods: Mapping[str, Method]) -> Results:
    """Return rows of all methods on all test sets; of the pairs of rules, only the best has one.

    Args:
        outcomes: of all units.
        methods: by name.
    """
    played = outcomes.where(kind=TEST)
    pairs = played[[METHOD, TRAINED_ON]].drop_duplicates().itertuples(index=False)
    keys: list[tuple[str, Training]] = [(name, training) for name, training in pairs]
    rows: list[Row] = []
    best: dict[str, str] = {}
    for split in SPLITS:
        on_split = Outcomes(played[played[SPLIT] == split])
        oracle = outcomes.values("objective", kind=SCHEDULES, split=split)
        assert oracle is not None
        values: dict[tuple[str, Training], FloatArray] = {}
        for name, training in keys:
            objective = on_split.values("objective", method=name, training=training)
            assert objective is not None
            values[name, training] = degradation(objective, oracle)
        heuristics = {n: v for (n, _), v in values.items() if methods[n].group == "heuristic"}
        best[split] = min(heuristics, key=lambda name: float(heuristics[name].mean()))
        shown = {*PURE_HEURISTICS, best[split]}
        for name, training in keys:
            if name in heuristics and name not in shown:
                continue
            rows.append(
                _row(
                    methods[name], training, split, on_split, values[name, training],
                    heuristics, heuristics[best[split]], values[YARDSTICK, "none"],
                )
            )  # fmt: skip
    return Results(rows, best)


def _row(
    method: Method,
    training: Training,
    split: str,
    outcomes: Outcomes,
    values: FloatArray,
    heuristics: Mapping[str, FloatArray],
    best: FloatArray,
    yardstick: FloatArray,
) -> Row:
    own = outcomes.where(method=method.name, training=training)

    def average(metric: str) -> float:
        return float(own[metric].mean())

    rules = min(float(heuristics[rule].mean()) for rule in RULES_OF_THE_PAPER)
    return Row(
        method=method.name,
        label=method.label,
        training=training,
        split=split,
        seeds=len(values),
        degradation=statistics.mean(values),
        degradation_iqm=statistics.interquartile_mean(values),
        gap_closed=statistics.gap_closed(values, best, yardstick),
        below_rules=1 - float(values.mean()) / rules if rules > 0 else float("nan"),
        drops=average("dropped"),
        makespan=average("makespan"),
        starvation=average("starvation"),
        versus_edf=statistics.compare(values, heuristics["edf"]),
        versus_srtf=statistics.compare(values, heuristics["srtf"]),
        decision_us=average(DECISION_US),
        train_s=average(TRAIN_S),
    )


def full_table(title: str, rows: Sequence[Row]) -> Table:
    """Tabulate every measure of each method on one split."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("method", min_width=18)
    for name in (
        "seeds", "degradation\n[95%]", "IQM\n[95%]", "gap closed\n[95%]", "below\nEDF, SRTF",
        "drops", "make-\nspan", "starv-\nation", "better than\nEDF (p)", "better than\nSRTF (p)",
        "µs per\ndecision",
    ):  # fmt: skip
        table.add_column(name, justify="right")
    for row in rows:
        clairvoyant = row.method == ORACLE
        table.add_row(
            row.label + (" *" if row.training == "mixed" else ""),
            str(row.seeds),
            row.degradation.text("\n"),
            row.degradation_iqm.text("\n"),
            row.gap_closed.text("\n", form=".0%"),
            f"{row.below_rules:.0%}",
            f"{row.drops:.2f}",
            f"{row.makespan:.1f}",
            f"{row.starvation:.1%}",
            row.versus_edf.text(),
            row.versus_srtf.text(),
            "-" if clairvoyant else f"{row.decision_us:.0f}",
        )
    return table


def split_table(title: str, results: Results, names: Sequence[str], training: Training) -> Table:
    """Tabulate degradation and gap closed of each method on every split (Figures 4 and 6)."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("method", min_width=18)
    for split in SPLITS:
        table.add_column(f"{split}\ndegradation [95%]\ngap closed [95%]", justify="right")
    by_split = {}
    for split in SPLITS:
        rows = results.select(split, names, ("none", training))
        by_split[split] = {row.label: row for row in rows}
    labels = dict.fromkeys(label for rows in by_split.values() for label in rows)
    for label in labels:
        cells = []
        for split in SPLITS:
            row = by_split[split].get(label)
            cells.append(
                "" if row is None
                else f"{row.degradation.text()}\n{row.gap_closed.text(form='.0%')}"
            )  # fmt: skip
        table.add_row(label, *cells)
    best = (f"{results.best_heuristic[split].upper()}" for split in SPLITS)
    table.add_section()
    table.add_row("best heuristic is", *best)
    return table
