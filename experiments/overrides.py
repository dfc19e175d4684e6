"""``key=value`` overrides of a configuration, as given on the command line."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from edge_marl.errors import InputError

Config = TypeVar("Config", bound=BaseModel)


def apply_overrides(config: Config, overrides: Iterable[str]) -> Config:
    """A configuration with some fields changed.

    Args:
        config: the defaults.
        overrides: such as ``"seeds=3"`` or ``"workload.slack=[1.5,4]"``: names of nested fields
            are joined by dots; values are JSON, or plain text where they are not.

    Raises:
        InputError: for an unknown name, with the nearest valid one, or a value out of range.
    """
    changes: dict[str, Any] = {}
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise InputError(f"{override!r}: expected key=value")
        valid = list(_names(config))
        if name not in valid:
            raise InputError(f"{name}: unknown option{_suggestion(name, valid)}")
        changes[name] = _value(text)
    return _changed(config, changes)


def invalid(error: ValidationError, prefix: str = "") -> InputError:
    """The first fault of a pydantic validation as one line."""
    first = error.errors()[0]
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, InputError) and not first["loc"]:
        return InputError(f"{prefix}{inner}")
    place = ".".join(map(str, first["loc"]))
    return InputError(f"{prefix}{place}: {first['msg']}, found {first['input']!r}")


def _names(config: BaseModel, prefix: str = "") -> Iterator[str]:
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield from _names(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def _suggestion(name: str, valid: list[str]) -> str:
    near = difflib.get_close_matches(name, valid, n=1, cutoff=0.0)
    return f"; did you mean {near[0]}?" if near else ""


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _changed(config: Config, changes: dict[str, Any], prefix: str = "") -> Config:
    values: dict[str, Any] = {name: getattr(config, name) for name in type(config).model_fields}
    nested: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        head, dot, rest = name.partition(".")
        if dot:
            nested.setdefault(head, {})[rest] = value
        else:
            values[head] = value
    for head, inner in nested.items():
        values[head] = _changed(values[head], inner, f"{prefix}{head}.")
    try:
        return type(config).model_validate(values)
    except ValidationError as error:
        raise invalid(error, prefix) from error
    except InputError as error:
        raise InputError(f"{prefix}{error}") from error
