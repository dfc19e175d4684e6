"""What goes into the one line about an option that is not as it should be."""

from __future__ import annotations

import difflib
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


def invalid(error: ValidationError, prefix: str = "") -> InputError:
    """The first fault of a pydantic validation as one line."""
    first = error.errors()[0]
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, InputError) and not first["loc"]:
        return InputError(f"{prefix}{inner}")
    place = ".".join(map(str, first["loc"])) or "options"
    return InputError(f"{prefix}{place}: {first['msg']}, found {first['input']!r}")
