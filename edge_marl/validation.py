"""Provide checks that several parts share, and put what fails validation into one line."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Collection

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


def invalid(
    error: ValidationError, prefix: str = "", *, at: str = "", without: Collection[str] = ()
) -> InputError:
    """Put the first fault of a pydantic validation into an error of one line.

    Args:
        error: the validation's.
        prefix: put before the line.
        at: name of what was validated, where that is not a model, whose fields have names.
        without: parts of the fault's location that only say which alternative was tried.
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
    """Return a value as text that is short enough for a line."""
    try:
        return _short.repr(value)
    except ValueError:  # Python prints no number of thousands of digits
        return "a number of too many digits"


_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 80
