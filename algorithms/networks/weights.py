"""Load weights from files, checked before a network is made for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from edge_marl.errors import InputError
from edge_marl.reading import read_bytes
from edge_marl.validation import shown

Module = TypeVar("Module", bound=nn.Module)


def load_weights(path: Path, build: Callable[[], Module]) -> Module:
    """Build a network with the weights of a safetensors file.

    Args:
        path: of the file.
        build: makes the network, with any weights.

    Raises:
        InputError: naming the file that cannot be read, is damaged, has other weights than the
            network, or some that are not finite. A network that would be larger than the file is
            not made.
    """
    content = read_bytes(path, times=2)
    try:
        found = load(content)
        with torch.device("meta"):  # sizes without memory
            expected = build().state_dict()
        for name in expected.keys() ^ found.keys():
            expected_or_not = "none, found some" if name in found else "some, found none"
            raise InputError(f"{path}: {shown(name)}: expected {expected_or_not}")
        for name, weights in expected.items():
            if found[name].shape != weights.shape or found[name].dtype != weights.dtype:
                raise InputError(
                    f"{path}: {name}: expected {weights.dtype} {list(weights.shape)}, "
                    f"found {found[name].dtype} {list(found[name].shape)}"
                )
            if not found[name].isfinite().all():
                raise InputError(f"{path}: {name}: expected finite numbers")
        network = build()
        network.load_state_dict(found)
    except InputError:
        raise
    except (SafetensorError, RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{path}: not the weights of this network: {error}") from error
    return network
