"""Run all studies with one engine: units computed once, one frame of rows, tables, figures.

A package of a third party adds a study by an entry point of the group ``edge_marl.studies``, whose
value names a :class:`.engine.Study`, such as ``my_package.study:STUDY``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_marl.experiments.study.engine import Study

GROUP = "edge_marl.studies"

_OWN = {
    "tandem": (
        "edge_marl.experiments.tandem.study:STUDY",
        "Figures 2 to 6 of the tandem paper: tables, CSV, PNG and every episode as Parquet.",
    ),
    "o2o-drl": (
        "edge_marl.experiments.o2o_drl.study:STUDY",
        "Figures 3 to 6 and 8 of the O2O-DRL paper: tables, CSV, PNG and every episode.",
    ),
    "scale": (
        "edge_marl.experiments.scale.study:STUDY",
        "Tables 3 to 5, Figures 5 and 6 of the SCALE paper, and larger and other clusters.",
    ),
    "cto-tp": (
        "edge_marl.experiments.cto_tp.study:STUDY",
        "Cooperative offloading with hybrid actions: policies, heuristics and bounds.",
    ),
    "fauno": (
        "edge_marl.experiments.fauno.study:STUDY",
        "Tables 2 to 8 and 10 to 25 of the FAuNO paper: heuristics, federated and other learners.",
    ),
}


@cache
def _places() -> Mapping[str, tuple[str, str]]:
    others = {
        entry.name: (entry.value, f"Study of {entry.value.partition('.')[0]}.")
        for entry in entry_points(group=GROUP)
    }
    return {**others, **_OWN}


def studies() -> Mapping[str, str]:
    """Return what each study is about, by name, without importing any."""
    return {name: about for name, (_, about) in _places().items()}


def load_study(name: str) -> Study[Any]:
    """Return a study by name."""
    module, _, attribute = _places()[name][0].partition(":")
    study: Study[Any] = getattr(import_module(module), attribute)
    return study
