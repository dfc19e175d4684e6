"""Keep nested states of tensors in safetensors, without a pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from edge_marl.files import write_aside
from edge_marl.json_files import json_text, parse_json

_SHAPE = "nested"


def write_nested(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state of mappings, lists, tensors, arrays and numbers in place of an earlier one."""
    tensors: dict[str, Tensor] = {}
    shape = _taken_apart(state, tensors)
    write_aside(path, to_bytes(tensors, {_SHAPE: json_text(shape)}))


def read_nested(path: Path) -> dict[str, Any]:
    """Read back what :func:`write_nested` wrote; arrays come back as tensors."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        shape = parse_json(file.metadata()[_SHAPE], f"{path}: {_SHAPE}")
    found: dict[str, Any] = _put_together(shape, tensors)
    return found


def _taken_apart(state: Any, tensors: dict[str, Tensor]) -> Any:
    """Put the tensors of a state aside, and return the rest with their names in their places."""
    if isinstance(state, Mapping):
        items = [[key, _taken_apart(value, tensors)] for key, value in state.items()]
        return {"mapping": items}
    if isinstance(state, Sequence) and not isinstance(state, str):
        return {"list": [_taken_apart(value, tensors) for value in state]}
    if state is None or isinstance(state, bool | int | float | str):
        return {"value": state}
    name = str(len(tensors))
    tensors[name] = torch.as_tensor(state).contiguous()
    return {"tensor": name}


def _put_together(shape: Any, tensors: Mapping[str, Tensor]) -> Any:
    if "mapping" in shape:
        return {key: _put_together(value, tensors) for key, value in shape["mapping"]}
    if "list" in shape:
        return [_put_together(value, tensors) for value in shape["list"]]
    if "value" in shape:
        return shape["value"]
    return tensors[shape["tensor"]]
