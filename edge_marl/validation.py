"""Checks that several parts share, and the one line about what is not as it should be."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Collection

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError

from edge_marl.errors import InputError
from edge_marl.seeds import EPISODE_SEED_LIMIT


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
        InputError: when there is not one integer from 0 to 2^63 - 1 per episode.
    """
    seeds = np.asarray(seeds)
    if (
        seeds.shape != (batch_size,)
        or seeds.dtype.kind not in "iu"
        or not 0 <= int(seeds.min()) <= int(seeds.max()) < EPISODE_SEED_LIMIT
    ):
        raise InputError(f"seeds: expected {batch_size} integers of at least 0")
    return seeds.astype(np.int64)


def invalid(
    error: ValidationError, prefix: str = "", *, at: str = "", without: Collection[str] = ()
) -> InputError:
    """The first fault of a pydantic validation as one line.

    Args:
        error: the validation's.
        prefix: put before the line.
        at: name of what was validated, where it is no model, whose fields have names.
        without: parts of the place that only say which alternative was tried.
    """
    first = error.errors()[0]
    place = ".".join([*filter(None, [at]), *(str(p) for p in first["loc"] if p not in without)])
    context = first.get("ctx", {})
    inner = context.get("error")
    if inner is not None:
        # Raised by a validator of ours: it says itself what was found.
        return InputError(f"{prefix}{place}{': ' if place else ''}{inner}")
    expected = _EXPECTED.get(first["type"])
    what = (
        expected.format(**{n: f"{v:g}" if isinstance(v, float) else v for n, v in context.items()})
        if expected is not None
        else first["msg"].replace("Input should be", "expected")
    )
    return InputError(f"{prefix}{place or 'options'}: {what}, found {shown(first['input'])}")


_EXPECTED = {
    "greater_than": "expected above {gt}",
    "greater_than_equal": "expected at least {ge}",
    "less_than": "expected below {lt}",
    "less_than_equal": "expected at most {le}",
    "extra_forbidden": "unknown option",
    "missing": "expected a value",
    **dict.fromkeys(("float_type", "float_parsing"), "expected a number"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "expected a whole number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "expected true or false"),
}
"""What pydantic says in other words, by its type of the error."""


def shown(value: object) -> str:
    """What was found, in so many characters that it fits into a line."""
    try:
        return _short.repr(value)
    except ValueError:  # Python prints no number of thousands of digits
        return "a number of too many digits"


_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 80
