"""Define networks that map the last tasks of a server to quantiles of the next one."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from edge_marl.algorithms.prediction.series import TARGETS
from edge_marl.errors import InputError
from edge_marl.options import Options

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MEDIAN = QUANTILES.index(0.5)
SMALLEST = 0.01
"""Added to what is over its mean before its logarithm is taken, because intervals may be 0."""

Kind = Literal["transformer", "lstm"]
_Width = Annotated[int, Field(ge=1, le=4096)]


class PredictorSpec(Options):
    """Describe everything needed to build a :class:`Predictor`."""

    kind: Kind = Field("transformer", description="transformer; lstm: of the same size")
    history: Annotated[int, Field(ge=1, le=4096)] = Field(
        32, description="H, tasks of a server that a prediction is made from"
    )
    width: _Width = Field(32, description="of the transformer")
    layers: Annotated[int, Field(ge=1, le=32)] = 2
    heads: Annotated[int, Field(ge=1, le=64)] = 4
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _fits(self) -> PredictorSpec:
        if self.width % self.heads or self.width % 2:
            raise InputError(
                f"width: expected an even multiple of {self.heads} heads, found {self.width}"
            )
        return self


class Predictor(nn.Module):
    """Map the last tasks of a server to quantiles of the next one.

    A token stands for a task, behind one that stands for the beginning; each sees only what came
    before. Values are logarithms, standardised by the training part.
    """

    location: Tensor
    scale: Tensor

    def __init__(self, spec: PredictorSpec) -> None:
        super().__init__()
        self.spec = spec
        n = len(TARGETS)
        self.register_buffer("location", torch.zeros(n))
        self.register_buffer("scale", torch.ones(n))
        if spec.kind == "transformer":
            self.body: nn.Module = _Transformer(spec)
            size = spec.width
        else:
            size = _lstm_width(spec)
            self.body = _LSTM(size, spec)
        self.head = nn.Linear(size, n * len(QUANTILES))

    def standardised(self, values: Tensor) -> Tensor:
        """Return values over their means ``[..., 3]`` as the network takes them."""
        return ((values + SMALLEST).log() - self.location) / self.scale

    def original(self, standardised: Tensor) -> Tensor:
        """Invert :meth:`standardised`, for ``[..., 3, Q]``."""
        logarithms = standardised * self.scale[:, None] + self.location[:, None]
        return (logarithms.exp() - SMALLEST).clamp(min=0.0)

    def of_all(self, values: Tensor) -> Tensor:
        """Return standardised quantiles ``[R, L + 1, 3, Q]`` after none, one, ... L tasks.

        Args:
            values: ``[R, L, 3]``, over their means.
        """
        raw: Tensor = self.head(self.body(self.standardised(values)))
        raw = raw.unflatten(-1, (len(TARGETS), len(QUANTILES)))
        # Steps away from the median, so that quantiles do not cross.
        steps = F.softplus(raw)
        median = raw[..., MEDIAN : MEDIAN + 1]
        below = median - steps[..., :MEDIAN].flip(-1).cumsum(-1).flip(-1)
        above = median + steps[..., MEDIAN + 1 :].cumsum(-1)
        return torch.cat([below, median, above], dim=-1)

    def forward(self, history: Tensor, length: Tensor) -> Tensor:
        """Predict the next task of a server.

        Args:
            history: ``[R, H, 3]`` its last tasks, oldest first: :data:`.series.TARGETS` over their
                means; anything behind the last.
            length: ``[R]`` how many there are, from 0 to H.

        Returns:
            ``[R, 3, Q]``: :data:`QUANTILES`, over their means.
        """
        found = self.of_all(history)
        place = torch.arange(found.shape[1], device=found.device) == length[:, None]
        return self.original(torch.where(place[..., None, None], found, 0.0).sum(1))


class _Transformer(nn.Module):
    """Encode a sequence so that every position sees itself and what came before."""

    positions: Tensor
    hidden: Tensor

    def __init__(self, spec: PredictorSpec) -> None:
        super().__init__()
        self.embed = nn.Linear(len(TARGETS), spec.width)
        self.begin = nn.Parameter(torch.zeros(spec.width))
        layer = nn.TransformerEncoderLayer(
            spec.width, spec.heads, 2 * spec.width, spec.dropout, "gelu", batch_first=True,
            norm_first=True,
        )  # fmt: skip
        self.layers = nn.TransformerEncoder(
            layer, spec.layers, nn.LayerNorm(spec.width), enable_nested_tensor=False
        )
        L = spec.history + 1
        angles = torch.arange(L)[:, None] * torch.exp(
            torch.arange(0, spec.width, 2) * (-math.log(10_000.0) / spec.width)
        )
        positions = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
        self.register_buffer("positions", positions, persistent=False)
        later = torch.ones(L, L, dtype=torch.bool).triu(1)
        self.register_buffer("hidden", later, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x [R, L, 3]`` to ``[R, L + 1, width]``."""
        L = x.shape[1] + 1
        begin = self.begin.expand(x.shape[0], 1, -1)  # traced, which len is not
        tokens = torch.cat([begin, self.embed(x)], dim=1)
        found: Tensor = self.layers(
            tokens + self.positions[:L], mask=self.hidden[:L, :L], is_causal=True
        )
        return found


class _LSTM(nn.Module):
    """Remember a sequence, from an input of zeros that stands for the beginning."""

    def __init__(self, width: int, spec: PredictorSpec) -> None:
        super().__init__()
        between = spec.dropout if spec.layers > 1 else 0.0
        self.layers = nn.LSTM(len(TARGETS), width, spec.layers, batch_first=True, dropout=between)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x [R, L, 3]`` to ``[R, L + 1, width]``."""
        found: Tensor = self.layers(torch.cat([torch.zeros_like(x[:, :1]), x], dim=1))[0]
        return found


def _lstm_width(spec: PredictorSpec) -> int:
    """Return the width with which an LSTM has about as many parameters as the transformer."""

    def n_parameters(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    with torch.device("meta"):
        wanted = n_parameters(_Transformer(spec))
        width = 1
        while n_parameters(_LSTM(width + 1, spec)) <= wanted:
            width += 1
    return width


def pinball(quantiles: Tensor, values: Tensor) -> Tensor:
    """Return the pinball losses ``[..., Q]`` of quantiles ``[..., Q]`` for values ``[...]``.

    That of quantile q is ``max(q e, (q - 1) e)`` with ``e = value - quantile``: it is least in
    expectation where the quantile is the true one (Koenker and Bassett, 1978).
    """
    levels = quantiles.new_tensor(QUANTILES)
    errors = values[..., None] - quantiles
    return torch.maximum(levels * errors, (levels - 1.0) * errors)
