"""Allocate the arrays of the records that hold the state of a batch of episodes."""

from __future__ import annotations

from functools import cache
from typing import Any, get_type_hints

import numpy as np


def side_by_side(record: type, *shape: int) -> Any:
    """Return a record of zeros, ``shape`` each, with all fields of an item side by side in memory.

    The cost of a step is mostly that of the memory it touches.
    """
    types = _types(record)
    whole = np.zeros(shape, dtype=np.dtype(list(types.items()), align=True))
    return record(*(whole[name] for name in types))


def one_by_one(record: type, *shape: int) -> Any:
    """Return a record of zeros, ``shape`` each, with every field in an array of its own.

    Side by side, the fields of a single item would have another memory layout than those of
    several, for which everything would be compiled once more.
    """
    return record(*(np.zeros(shape, dtype) for dtype in _types(record).values()))


@cache
def _types(record: type) -> dict[str, Any]:
    return {name: hint.__args__[1].__args__[0] for name, hint in get_type_hints(record).items()}
