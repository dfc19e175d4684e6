"""Run a study: compute what is missing, report what is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import pandas as pd
from pydantic import Field
from rich.table import Table

from edge_marl.experiments.machine import provenance
from edge_marl.experiments.parallel import all_cores, run_tasks
from edge_marl.experiments.progress import progress_bar, stdout
from edge_marl.experiments.publish import as_markdown, write_csv
from edge_marl.experiments.study.outcomes import Outcomes
from edge_marl.experiments.study.units import ARTEFACTS, Unit, compute_unit, read_unit
from edge_marl.files import aside, write_aside
from edge_marl.json_files import write_json
from edge_marl.locks import sole_writer
from edge_marl.options import Options, Workers

UNITS = "units"


class StudyOptions(Options):
    """Declare the options that every study has."""

    workers: Workers = Field(
        default_factory=all_cores, description="tasks at a time; 0: all in this process"
    )

    @classmethod
    def quick(cls) -> Self:
        """Return options with which the study takes at most 10 minutes on 2 cores."""
        return cls()


StudyConfig = TypeVar("StudyConfig", bound=StudyOptions)


@dataclass(frozen=True)
class Report:
    """Hold what a study reports."""

    tables: Sequence[Table]
    notes: str
    """Below the tables."""
    records: Sequence[Mapping[str, Any]]
    """Flat rows of ``results.csv``."""
    figures: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    """What draws each picture, by the name of its file."""
    summary: Mapping[str, Any] = field(default_factory=dict)
    """Further entries of ``summary.json``."""


@dataclass(frozen=True)
class Study(Generic[StudyConfig]):
    """Declare a study: which units it consists of, and what is reported about them."""

    options: type[StudyConfig]
    units: Callable[[StudyConfig], Sequence[Unit]]
    """Those that are reported, of the headline first; what they need is found by itself."""
    report: Callable[[StudyConfig, Outcomes], Report]
    check: Callable[[StudyConfig], None] = lambda config: None
    """What raises :class:`InputError` before anything is computed."""
    replicate: str = "seed"
    """The label of what is independent, see :class:`.outcomes.Outcomes`."""


def reproduce(study: Study[StudyConfig], config: StudyConfig, out: Path) -> Outcomes:
    """Compute what is missing of a study, print its tables and write everything to a folder.

    Args:
        study: what to do.
        config: its options.
        out: folder, of which there is one writer at a time. It holds the units, ``tables.md``,
            ``results.csv``, ``rows.parquet`` (every episode), ``summary.json`` and the figures.

    Raises:
        InputError: for a folder that another process writes to, a unit that is damaged, and for
            options that the study refuses.
    """
    with sole_writer(out):
        return _reproduce(study, config, out.resolve())  # workers may have another folder


def _reproduce(study: Study[StudyConfig], config: StudyConfig, out: Path) -> Outcomes:
    begin = time.perf_counter()
    study.check(config)
    units = list(dict.fromkeys(_with_needs(study.units(config))))
    compute_missing(units, out / UNITS, workers=config.workers)
    frame = pd.concat([read_unit(unit, out / UNITS) for unit in units], ignore_index=True)
    outcomes = Outcomes(frame, study.replicate)
    report = study.report(config, outcomes)
    console = stdout()
    for table in report.tables:
        console.print(table)
    console.print(report.notes, soft_wrap=True)
    write_aside(out / "tables.md", "\n".join([*map(as_markdown, report.tables), report.notes, ""]))
    for name, draw in report.figures.items():
        draw(out / name)
    write_csv(report.records, out / "results.csv")
    with aside(out / "rows.parquet") as place:
        frame.to_parquet(place)
    seconds = time.perf_counter() - begin
    summary = {
        **provenance(),
        "seconds": round(seconds, 1),
        "configuration": config.model_dump(mode="json"),
        **report.summary,
        "rows": report.records,
    }
    write_json(out / "summary.json", summary)
    console.print(f"{out}: tables and figures written in {seconds:.0f} s", soft_wrap=True)
    return outcomes


def compute_missing(units: Sequence[Unit], folder: Path, *, workers: int) -> None:
    """Compute the units that are not in a folder, each after those that it needs.

    Args:
        units: to compute, with all that they need.
        folder: of all units.
        workers: tasks at a time; 0: all in this process.
    """
    every = list(dict.fromkeys(_with_needs(units)))
    missing = _missing(every, folder)
    seconds = sum(unit.seconds for unit in missing)
    with progress_bar() as bar:
        if seconds:
            together = max(1, workers)
            bar.console.print(
                f"study: {len(missing)} of {len(every)} units to compute, roughly "
                f"{timedelta(seconds=round(seconds / together / 60) * 60)} with {together} at a "
                "time, if they have a core each; it goes on where it was stopped"
            )
        shown = bar.add_task("study", total=len(every), completed=len(every) - len(missing))
        while missing:
            absent = set(missing)
            # Python's sort is stable: of equal effort, the headline's first.
            ready = sorted(
                (unit for unit in missing if absent.isdisjoint(unit.needs)),
                key=lambda unit: -unit.effort,
            )
            arguments = [(unit, str(folder)) for unit in ready]
            for _ in run_tasks(compute_unit, arguments, workers=workers):
                bar.advance(shown)
            missing = [unit for unit in missing if not absent.isdisjoint(unit.needs)]


def _missing(every: Sequence[Unit], folder: Path) -> list[Unit]:
    """Return the units that have to be computed.

    Those that are there without artefacts, such as published ones, are among them if what has to
    be computed needs these.

    Args:
        every: all units, each after those that it needs.
        folder: of the units that are there.
    """
    missing: set[Unit] = set()
    needed: set[Unit] = set()
    for unit in reversed(every):
        there = folder / unit.name
        if not there.is_dir() or (unit in needed and not (there / ARTEFACTS).is_dir()):
            missing.add(unit)
            needed.update(unit.needs)
    return [unit for unit in every if unit in missing]


def _with_needs(units: Sequence[Unit]) -> list[Unit]:
    """Return units, each preceded by all that it needs, directly or not."""
    return [one for unit in units for one in (*_with_needs(unit.needs), unit)]
