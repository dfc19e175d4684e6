"""Command lines that nobody could mean, derived from what commands and options declare.

A value is tried on an option only where the option's own type and range refuse it.
"""

import json
from collections.abc import Iterator
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from edge_marl.experiments import cli

DIGITS = "9" * 5000
HUGE = "1" + "0" * 30
NUMBERS = ("NaN", "Infinity", "-Infinity", "-1", "0", "0.5", "1e308", HUGE, "3000000000")
VALUES = (*NUMBERS, "text", "[]", "{}", '{"a": 1}', "true", "[[1]]", "[NaN, NaN]", "[0, -1]")
"""Right for no option at all, or for few."""

NO_VALUES = (DIGITS, "[" * 100_000, '{"a":' * 50_000, '"\\ud800"', '"a\\u0000b"', "")
"""Right for none, whatever its type."""


def bad_texts(kind: Any, config: ConfigDict) -> Iterator[str]:
    """Those of :data:`VALUES` that a type, annotated with its range, refuses."""
    adapter: TypeAdapter[Any] = TypeAdapter(kind, config=config)
    for text in VALUES:
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        try:
            adapter.validate_python(value)
        except ValidationError:
            yield text


def bad_fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """``KEY=VALUE`` for all fields of a model and of the models in it."""
    for name, field in model.model_fields.items():
        inner = models_in(field.annotation)
        for one in inner:
            yield from bad_fields(one, f"{prefix}{name}.")
        if not inner:
            kind: Any = field.annotation
            for said in field.metadata:
                kind = Annotated[kind, said]
            for text in bad_texts(kind, model.model_config):
                yield f"{prefix}{name}={text}"


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that a field may hold."""
    several = get_origin(annotation) in (Union, UnionType)
    kinds = get_args(annotation) if several else (annotation,)
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]


def numbers_in(kind: Any, path: str, metadata: tuple[Any, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every number that a type is made of: where it is, and all that is said of its range."""
    if get_origin(kind) is Annotated:
        kind, *said = get_args(kind)
        parts = [part for one in said for part in (getattr(one, "metadata", None) or [one])]
        yield from numbers_in(kind, path, (*metadata, *parts))
    elif get_origin(kind) in (Union, UnionType, tuple, list, dict):
        for i, part in enumerate(get_args(kind)):
            yield from numbers_in(part, f"{path}.{i}", metadata)
    elif kind in (int, float):
        yield path, metadata


def bad_parameters(path: tuple[str, ...], rest: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Options of a command, each with what its own type refuses.

    Args:
        path: words that call the command.
        rest: arguments that it needs.
    """
    found = command(path)
    for parameter in found.params:
        if parameter.param_type_name != "option" or parameter.is_flag:
            continue
        for text in (*NUMBERS, DIGITS, "x" * 5000, ""):
            try:
                found.make_context("test", [*rest, parameter.opts[0], text])
            except Exception as error:
                if not hasattr(error, "format_message"):
                    raise
                yield parameter.opts[0], text


def numeric_options(path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Options of a command that are numbers, as its function declares them."""
    hints = get_type_hints(command(path).callback, include_extras=True)
    options = {p.name: p.opts[0] for p in command(path).params if p.param_type_name == "option"}
    for name, option in options.items():
        kind, said = get_args(hints[name])
        if {int, float} & {kind, *get_args(kind)}:
            yield option, said


@cache
def program() -> Any:
    """What typer makes of the command line, made once: it takes typer 20 ms."""
    return typer.main.get_command(cli.app)


def commands() -> list[tuple[str, ...]]:
    """Every command by the words that call it."""
    return list(_commands(program(), ()))


def command(path: tuple[str, ...]) -> Any:
    """What typer has made of a command."""
    found = program()
    for name in path:
        found = found.commands[name]
    return found


def _commands(group: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, found in group.commands.items():
        if hasattr(found, "commands"):
            yield from _commands(found, (*path, name))
        else:
            yield (*path, name)
