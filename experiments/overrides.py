"""``key=value`` overrides of a configuration, as given on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from edge_marl.errors import InputError
from edge_marl.validation import check_name, invalid

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
    return apply_changes(config, dict(map(parse_override, overrides)))


def apply_changes(config: Config, changes: Mapping[str, Any], prefix: str = "") -> Config:
    """The same from names and values; messages put ``prefix`` before the names.

    Raises:
        InputError: for an unknown name, with the nearest valid one, or a value out of range.
    """
    valid = list(option_names(config))
    for name in changes:
        check_name(name, valid)
    return _changed(config, changes, prefix)


def parse_override(override: str) -> tuple[str, Any]:
    """Name and value of one ``key=value``.

    Raises:
        InputError: without an equals sign.
    """
    name, equals, text = override.partition("=")
    if not equals:
        raise InputError(f"{override!r}: expected key=value")
    try:
        return name, json.loads(text)
    except json.JSONDecodeError:
        return name, text


def option_names(config: BaseModel, prefix: str = "") -> Iterator[str]:
    """Names of all fields, those of nested configurations joined by dots."""
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
