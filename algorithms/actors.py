"""Save, load and run trained actors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from safetensors.torch import save
from torch import Tensor

from edge_marl.algorithms.networks import MASKED
from edge_marl.algorithms.networks.agents import Actor
from edge_marl.algorithms.networks.spec import ActorSpec
from edge_marl.algorithms.networks.weights import load_weights
from edge_marl.errors import InputError
from edge_marl.files import put_back, write_aside
from edge_marl.json_files import read_json, write_json
from edge_marl.simulation import Actions, Hybrid
from edge_marl.validation import invalid, shown

FORMAT = "edge-marl actor 1"
WEIGHTS, CARD = "actor.safetensors", "card.json"
PARTS = (CARD, WEIGHTS)

__all__ = ["Actor", "ActorSpec", "load_actor", "read_card", "save_actor"]


def save_actor(actor: Actor, folder: Path, extra: Mapping[str, Any] | None = None) -> None:
    """Write ``actor.safetensors`` and ``card.json``.

    Args:
        actor: what to write.
        folder: made if missing.
        extra: further entries of the card, such as the training configuration.
    """
    weights = {name: value.contiguous().cpu() for name, value in actor.state_dict().items()}
    card = {"format": FORMAT, "actor": actor.spec.model_dump(mode="json"), **(extra or {})}
    write_aside(folder / WEIGHTS, save(weights))
    write_json(folder / CARD, card)


def read_card(folder: Path) -> dict[str, Any]:
    """Read the card of a saved actor.

    Raises:
        InputError: naming the file that is missing, damaged or of another format.
    """
    put_back(folder)
    path = folder / CARD
    card = read_json(path)
    found = card.get("format") if isinstance(card, dict) else None
    if found != FORMAT:
        raise InputError(f"{path}: format: expected {FORMAT!r}, found {shown(found)}")
    return dict(card)


def load_actor(folder: Path) -> Actor:
    """Read back what :func:`save_actor` wrote; no pickle is involved.

    Raises:
        InputError: naming the file that is missing, damaged or of another format.
    """
    card = read_card(folder)
    try:
        spec = ActorSpec.model_validate(card.get("actor"))
    except ValidationError as error:
        raise invalid(error, f"{folder / CARD}: actor: ") from error
    return load_weights(folder / WEIGHTS, lambda: Actor(spec)).eval()


def greedy(outputs: Tensor, action_mask: Tensor) -> Tensor:
    """Return the legal actions ``[...]`` that have the largest of the outputs ``[..., A]``."""
    return outputs.masked_fill(~action_mask, MASKED).argmax(dim=-1)


def chosen_values(values: Tensor, actions: Tensor) -> Tensor:
    """Pick the value of each agent's action.

    This maps ``values [..., A]`` and ``actions [...]`` to ``[...]``.
    """
    return values.gather(-1, actions.unsqueeze(-1)).squeeze(-1)


def sample_categorical(probabilities: Tensor, random: Tensor) -> Tensor:
    """Draw an index from each distribution; never one of probability zero.

    Inverting the cumulative sum takes a tenth of the time of ``torch.multinomial``.

    Args:
        probabilities: ``[..., A]``.
        random: ``[..., 1]`` uniform in [0, 1), which decides.

    Returns:
        ``[..., 1]``.
    """
    cumulative = probabilities.cumsum(-1)
    total = cumulative[..., -1:]
    return (cumulative <= random * total).sum(-1, keepdim=True)


def is_stochastic(actor: Actor, *, sampled: bool) -> bool:
    """Return whether :func:`decide` needs random numbers."""
    return sampled or actor.kind.is_stochastic


class Decision(NamedTuple):
    """Hold the actions that actors decide on."""

    actions: Tensor
    """``[...]``: choices."""
    vectors: Tensor | None
    """``[..., d]``, each number in [0, 1]; None where actions are choices alone."""

    @property
    def played(self) -> Actions:
        """Return the actions as environments take them."""
        if self.vectors is None:
            return self.actions.numpy()
        return Hybrid(self.actions.numpy(), self.vectors.numpy())


def decide(
    actor: Actor,
    features: Tensor,
    outputs: Tensor,
    action_mask: Tensor,
    random: Tensor | float = 0.5,
    *,
    sampled: bool = False,
) -> Decision:
    """Return the actions of an actor that is evaluated or deployed; vectors are the means.

    Args:
        actor: whose outputs these are.
        features: ``[..., N, F]``, what they are outputs for.
        outputs: ``[..., N, A]``.
        action_mask: ``[..., N, A]`` bool.
        random: ``[..., N]`` uniform in [0, 1), which decides where :func:`is_stochastic` says so.
        sampled: draw choices from the softmax of the outputs, which have to be logits, instead of
            taking the largest.
    """
    scores, distributions = actor.parts(outputs)
    if not sampled:
        choices = actor.greedy(scores, action_mask, random)
    else:
        probabilities = torch.softmax(scores.masked_fill(~action_mask, MASKED), dim=-1)
        random = torch.as_tensor(random).expand(probabilities.shape[:-1])
        choices = sample_categorical(probabilities, random[..., None]).squeeze(-1)
    if actor.allocator is not None:
        return Decision(choices, actor.allocations(features, choices))
    return Decision(choices, None if distributions is None else distributions.mean)
