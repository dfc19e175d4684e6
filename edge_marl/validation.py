"""Checks that several parts share, and the one line about what is not as it should be."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Collection

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError

from edge_marl.errors import InputError


def check_name(name: str, valid: Collection[str]) -> None:
    """Refuse a name that is not among the valid ones.

    Raises:
        InputError: with the nearest valid name.
    """
    if name in valid:
        return
    near = difflib.get_close_matches(name, valid, n=1, cutoff=0.0)
    raise InputError(f"{name}: unknown option" + (f"; did you mean {near[0]}?" if near else ""))


def checked_seeds(seeds: ArrayLike, batch_size: int) -> NDArray[np.int64]:
    """The seeds ``[B]`` of a simulator's episodes.

    Raises:
        InputError: when there is not one non-negative integer per episode.
    """
    seeds = np.asarray(seeds)
    if seeds.shape != (batch_size,) or seeds.dtype.kind not in "iu" or seeds.min() < 0:
        raise InputError(f"seeds: expected {batch_size} integers of at least 0")
    return seeds.astype(np.int64)


def invalid(error: ValidationError, prefix: str = "") -> InputError:
    """The first fault of a pydantic validation as one line."""
    first = error.errors()[0]
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, InputError) and not first["loc"]:
        return InputError(f"{prefix}{inner}")
    place = ".".join(map(str, first["loc"])) or "options"
    return InputError(f"{prefix}{place}: {first['msg']}, found {shown(first['input'])}")


def shown(value: object) -> str:
    """What was found, in so many characters that it fits into a line."""
    try:
        return _short.repr(value)
    except ValueError:  # Python prints no number of thousands of digits
        return "a number of too many digits"


_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 80
