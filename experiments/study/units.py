"""Define the units of a study, each of which is computed once and kept.

A unit is a folder of its own::

    rows.parquet     what came of it, one row per episode or per point of a learning curve
    unit.json        what it was computed from
    artefacts/       what other units need of it, such as a trained policy

It is written aside and then renamed. The folder's name ends in a digest of everything that the
outcome depends on: the resolved configuration and the files that it names, the code behind it, and
the units that it needs. A study that is run again reads what is there, and computes what has
another digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from edge_marl.errors import InputError
from edge_marl.experiments.machine import provenance
from edge_marl.experiments.study.code import code_digest
from edge_marl.files import aside
from edge_marl.json_files import write_json
from edge_marl.parquet_files import read_parquet, reading_parquet
from edge_marl.reading import check_file

ROWS, CARD, ARTEFACTS = "rows.parquet", "unit.json", "artefacts"

_KINDS = pa.types.is_string, pa.types.is_integer, pa.types.is_floating
"""What a column may hold."""

Label = str | int | float
Columns = Mapping[str, Any]
"""Columns of equal length, by name."""


class Unit(ABC):
    """Describe one computation, which a Ray task can run; units of the same name are equal."""

    seconds: float = 0.0
    """Of a core that it takes, roughly, where a study can tell: it says so before it begins."""

    @property
    @abstractmethod
    def labels(self) -> Mapping[str, Label]:
        """Return what tells its rows from those of other units, by column name."""

    @property
    @abstractmethod
    def configuration(self) -> Any:
        """Return all that decides the outcome, defaults included, as JSON can hold it."""

    @property
    @abstractmethod
    def modules(self) -> Sequence[str]:
        """Return the modules whose code decides the outcome, besides that of the unit's class."""

    @property
    def needs(self) -> Sequence[Unit]:
        """Return the units whose artefacts it reads."""
        return ()

    @property
    def effort(self) -> float:
        """Return roughly how long it takes relative to others: the longest are begun first."""
        return 1.0

    @abstractmethod
    def compute(self, artefacts: Path, needed: Sequence[Path]) -> Columns:
        """Compute the rows.

        Args:
            artefacts: a folder to make, if there is something to keep beside the rows.
            needed: the folders of artefacts of :attr:`needs`, in order.

        Returns:
            Columns of texts or numbers, of equal length.
        """

    @cached_property
    def digest(self) -> str:
        """Return a digest of everything that may decide the outcome."""
        configuration = self.configuration
        behind = {
            "configuration": configuration,
            "files": [_state_of(path) for path in _files_in(configuration)],
            "code": code_digest(*self.modules, alone=(type(self).__module__,)),
            "needs": [unit.digest for unit in self.needs],
        }
        text = json.dumps(behind, sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @cached_property
    def name(self) -> str:
        """Return the name of its folder, which is readable and shared with no other unit."""
        words = "-".join(str(label) for label in self.labels.values())
        return "-".join([*re.findall(r"[\w.]+", words.lower()), self.digest])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unit) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


def _files_in(value: Any) -> Iterator[Path]:
    """Yield the files that a configuration names by absolute paths, and all in such folders."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from _files_in(part)
    elif isinstance(value, str) and os.path.isabs(value) and os.path.exists(value):
        path = Path(value)
        yield from sorted(path.rglob("*")) if path.is_dir() else [path]


def _state_of(path: Path) -> tuple[str, int, int]:
    """Return what changes when a file does: not its content, which may be large."""
    found = path.stat()
    return str(path), found.st_size, found.st_mtime_ns


def compute_unit(unit: Unit, folder: str) -> None:
    """Compute a unit, as a Ray task can, and keep it in the folder of all units."""
    root = Path(folder)
    begin = time.perf_counter()
    with aside(root / unit.name, parts=(CARD, ROWS, ARTEFACTS)) as place:
        place.mkdir()
        needed = [root / one.name / ARTEFACTS for one in unit.needs]
        columns = dict(unit.compute(place / ARTEFACTS, needed))
        pq.write_table(pa.table(columns), place / ROWS)
        card = {
            **provenance(),
            "labels": dict(unit.labels),
            "configuration": unit.configuration,
            "needs": [one.name for one in unit.needs],
            "seconds": round(time.perf_counter() - begin, 1),
        }
        write_json(place / CARD, card)


def read_unit(unit: Unit, folder: Path) -> pd.DataFrame:
    """Read the rows of a unit that was computed, with its labels as further columns.

    Raises:
        InputError: as :func:`read_rows`.
    """
    return read_rows(folder / unit.name / ROWS).assign(**unit.labels)


def read_rows(path: Path) -> pd.DataFrame:
    """Read the rows of a unit.

    Raises:
        InputError: if the file is missing, damaged or not a study's.
    """
    path = check_file(path)
    with reading_parquet(path), pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
    table = read_parquet(path, names)
    if not len(table):
        raise InputError(f"{path}: expected rows, found none")
    for name in names:
        column = table.column(name)
        if not any(is_kind(column.type) for is_kind in _KINDS) or column.null_count:
            what = "missing values" if column.null_count else column.type
            raise InputError(f"{path}: column {name}: expected texts or numbers, found {what}")
        if pa.types.is_floating(column.type) and np.isinf(column.to_numpy()).any():
            raise InputError(f"{path}: column {name}: expected finite numbers, found inf")
    return table.to_pandas()
