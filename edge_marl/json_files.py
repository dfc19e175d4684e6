"""Write JSON that any parser can read, and read JSON into plain values.

Python's own module writes ``NaN`` and ``Infinity``, which are not JSON. Here they are written as
``null``, and read as None.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ValidationError

from edge_marl.errors import InputError
from edge_marl.files import write_aside
from edge_marl.reading import lines, read_bytes
from edge_marl.validation import invalid, shown

Model = TypeVar("Model", bound=BaseModel)

Number = Annotated[float, BeforeValidator(lambda found: math.nan if found is None else found)]
"""Of a model: a number, NaN where a file has null."""

DEEPEST = 100
"""Values within one another; files of this project have about ten."""
_MOST_DIGITS = 300
"""Of a whole number, so that it is one as a float, too."""
_TIMES = 10.0
"""Memory of values over that of their text, roughly."""


def json_text(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """Return a value as JSON, with null for NaN and for infinite numbers."""
    return json.dumps(_plain(value), indent=indent, sort_keys=sort_keys, allow_nan=False)


def write_json(path: str | Path, value: Any, *, indent: int | None = 1) -> None:
    """Write a value or a model as JSON to a file that appears whole or not at all."""
    write_aside(path, json_text(value, indent=indent) + "\n")


def parse_json(text: str | bytes, place: str) -> Any:
    """Parse a JSON text; its numbers are finite, and NaN and infinities become None.

    Args:
        text: JSON; bytes are in UTF-8, with or without a byte-order mark.
        place: where it is from; error messages begin with this.

    Raises:
        InputError: for a text that is not JSON, an object with the same key twice, a number out of
            range, and more than :data:`DEEPEST` values within one another.
    """
    try:
        value = json.loads(
            text.decode("utf-8-sig") if isinstance(text, bytes) else text,
            object_pairs_hook=_object,
            parse_int=_whole,
            parse_float=_finite,
            parse_constant=lambda _: None,
        )
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: expected JSON, found {error}") from error
    level: list[Any] = [[value]]
    for _ in range(DEEPEST + 1):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return value
    raise InputError(f"{place}: expected at most {DEEPEST} values within one another, found more")


def read_json(path: str | Path) -> Any:
    """Parse a JSON file, as :func:`parse_json` does.

    Raises:
        InputError: naming the file that cannot be read, is too large or is not JSON.
    """
    return parse_json(read_bytes(path, times=_TIMES), str(path))


def json_lines(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the object in each line of a file, which may be compressed by gzip, with its number.

    Raises:
        InputError: as :func:`edge_marl.reading.lines` and :func:`parse_json`, and for a line with
            anything but an object.
    """
    for number, line in enumerate(lines(path, suffix=".json"), 1):
        if line.strip():
            value = parse_json(line, f"{path}: row {number}")
            if not isinstance(value, dict):
                raise InputError(f"{path}: row {number}: expected an object, found {shown(value)}")
            yield number, value


def read_model(path: str | Path, model: type[Model]) -> Model:
    """Read a model from a JSON file.

    Raises:
        InputError: as :func:`read_json`, and naming the first field that is not as it should be.
    """
    found = read_json(path)
    try:
        return model.model_validate(found)
    except ValidationError as error:
        raise invalid(error, f"{path}: ") from error


def check_lengths(name: str, columns: Sequence[Sequence[Any]]) -> None:
    """Refuse columns of a table that are empty or not equally long.

    Raises:
        InputError: naming the table.
    """
    found = sorted({len(column) for column in columns})
    if len(found) > 1 or found == [0]:
        raise InputError(f"{name}: expected lists of one length above 0, found {shown(found)}")


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {shown(twice)} twice in an object")
    return found


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"a number out of range, {digits[:40]}")
    return value
