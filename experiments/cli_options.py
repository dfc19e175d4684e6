"""Declare options of commands with the ranges of the configurations that they end up in."""

from __future__ import annotations

import math
from typing import Any

import typer

from edge_marl.limits import LARGEST, MOST, SMALLEST
from edge_marl.seeds import SEED_LIMIT


def count(help_: str, *, least: int = 1, most: int = MOST, **how: Any) -> Any:
    """Declare an option that counts something."""
    return typer.Option(min=least, max=most, help=help_, **how)


def seed(help_: str) -> Any:
    """Declare an option that is a seed."""
    return typer.Option(min=0, max=SEED_LIMIT - 1, help=help_)


def quantity(help_: str, *, least: float = SMALLEST, **how: Any) -> Any:
    """Declare an option that is a real number."""
    return typer.Option(min=least, max=LARGEST, callback=_number, help=help_, **how)


def _number(value: float | None) -> float | None:
    """Refuse NaN, which no comparison finds to be out of range."""
    if value is not None and math.isnan(value):
        raise typer.BadParameter("nan is not a valid number.")
    return value
