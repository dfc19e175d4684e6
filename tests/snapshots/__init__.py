"""Numbers of seeded runs as they were, so that a change of structure is seen to change none.

Where a change is wanted, ``UPDATE_SNAPSHOTS=1`` has the tests that compare them write them anew.
"""

import csv
import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent


def check(name: str, found: Mapping[str, Any], *, rel: float) -> None:
    """Compare nested mappings of numbers with what was written down.

    Args:
        name: of the file.
        found: numbers, texts and lists of them.
        rel: largest relative difference; processors round differently.
    """
    path = FOLDER / f"{name}.json"
    plain = json.loads(json.dumps(found))
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.write_text(json.dumps(plain, indent=1) + "\n")
    differences = list(_differences("", json.loads(path.read_text()), plain, rel))
    assert not differences, "\n".join(differences[:20])


def _differences(where: str, expected: Any, found: Any, rel: float) -> Any:
    if isinstance(expected, dict) and isinstance(found, dict) and expected.keys() == found.keys():
        for key in expected:
            yield from _differences(f"{where}/{key}", expected[key], found[key], rel)
    elif _is_list(expected) and _is_list(found) and len(expected) == len(found):
        for k, pair in enumerate(zip(expected, found, strict=True)):
            yield from _differences(f"{where}/{k}", *pair, rel)
    elif isinstance(expected, int | float) and isinstance(found, int | float):
        if found != pytest.approx(expected, rel=rel, abs=1e-9, nan_ok=True):
            yield f"{where}: expected {expected}, found {found}"
    elif expected != found:
        yield f"{where}: expected {expected}, found {found}"


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def check_table(
    name: str,
    path: Path,
    *,
    drawn: Collection[str],
    without: Sequence[str] = (),
    rel: float,
) -> None:
    """Compare a table of a study, a CSV file, column by column.

    Args:
        name: of the snapshot.
        path: the file.
        drawn: methods whose rows are not compared, because they learn from actions that they draw:
            where a processor rounds otherwise, one action differs and with it all that follows.
        without: columns that depend on the machine's speed.
        rel: as for :func:`check`.
    """
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] not in drawn]
    columns = {
        column: [_number(row[column]) for row in rows]
        for column in rows[0]
        if column not in without
    }
    check(name, columns, rel=rel)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
