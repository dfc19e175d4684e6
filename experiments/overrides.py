"""Change a configuration by ``key=value`` overrides, as given on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from edge_marl.errors import InputError
from edge_marl.validation import check_name, invalid, shown

Config = TypeVar("Config", bound=BaseModel)


def apply_overrides(config: Config, overrides: Iterable[str]) -> Config:
    """Return a configuration with some fields changed.

    Args:
        config: the defaults.
        overrides: such as ``"seeds=3"`` or ``"workload.slack=[1.5,4]"``: names of nested fields
            are joined by dots; values are JSON, or plain text where they are not.

    Raises:
        InputError: for an unknown name, with the nearest valid one, or a value out of range.
    """
    return apply_changes(config, parse_overrides(overrides))


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """Return the names and values of ``key=value`` overrides.

    Raises:
        InputError: as :func:`parse_override`, and for an option that is given twice, be it once as
            a whole and once in parts.
    """
    changes: dict[str, Any] = {}
    for override in overrides:
        name, value = parse_override(override)
        for other in changes:
            if f"{name}.".startswith(f"{other}.") or f"{other}.".startswith(f"{name}."):
                raise InputError(f"{shown(name)}: given twice")
        changes[name] = value
    return changes


def apply_changes(config: Config, changes: Mapping[str, Any], prefix: str = "") -> Config:
    """Return a configuration with fields changed; messages put ``prefix`` before their names.

    Raises:
        InputError: for an unknown name, with the nearest valid one, or a value out of range.
    """
    valid = list(option_names(config))
    for name in changes:
        check_name(name, valid)
    return _changed(config, changes, prefix)


def parse_override(override: str) -> tuple[str, Any]:
    """Return the name and value of one ``key=value``.

    Raises:
        InputError: without an equals sign or a value, and for a value that cannot be read or that
            holds a null character.
    """
    name, _, text = override.partition("=")
    if not text:
        raise InputError(f"{shown(override)}: expected key=value")
    try:
        value = json.loads(text)
        as_text = json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError:
        return name, text
    except (ValueError, RecursionError) as error:  # too many digits or brackets, half a character
        raise InputError(f"{shown(name)}: expected a value, found {shown(text)}") from error
    if rb"\u0000" in as_text:
        raise InputError(f"{shown(name)}: expected text, found {shown(text)}")
    return name, value


def option_names(config: BaseModel, prefix: str = "") -> Iterator[str]:
    """Yield the names of all fields, those of nested configurations joined by dots."""
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield from option_names(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def _changed(config: Config, changes: Mapping[str, Any], prefix: str = "") -> Config:
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
