"""List the kinds of actor networks by name; a further kind is one more entry."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from edge_marl.algorithms.networks.base import ActorNetwork
from edge_marl.algorithms.networks.layered import MLP, StructuredMLP
from edge_marl.algorithms.networks.pointer import PointerNetwork
from edge_marl.algorithms.tandem.queues import QueueAttention, QueueMLP

KINDS: Mapping[str, type[ActorNetwork]] = MappingProxyType({
    "mlp": MLP,
    "structured_mlp": StructuredMLP,
    "pointer": PointerNetwork,
    "queue_mlp": QueueMLP,
    "attention": QueueAttention,
})  # fmt: skip
