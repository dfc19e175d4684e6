"""Declare the options of a federation."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from edge_marl.errors import InputError
from edge_marl.options import Count, NotNegative, Options, Positive, PositiveShare, Share

ByzantineShare = Annotated[float, Field(ge=0, lt=0.5)]


def how_many(share: float, n: int) -> int:
    """Return how many of n clients a share is, rounded up, but not for a rounding error."""
    return math.ceil(round(share * n, 9))


def drawn_clients(share: float, n: int, chance: np.random.Generator) -> NDArray[np.bool_]:
    """Draw which of n clients a share is, ``[n]``."""
    drawn: NDArray[np.bool_] = chance.permutation(n) < how_many(share, n)
    return drawn


class FederationOptions(Options):
    """Declare how the manager of a federation turns updates into versions."""

    participants: PositiveShare = Field(
        0.5, description="K, as a share of the clients: a version needs updates of so many"
    )
    staleness: Literal["exact", "polynomial", "none"] = Field(
        "exact",
        description='"exact": only updates of the current version count; "polynomial": others '
        'count less, by (1 + versions since)^-exponent; "none": all count alike',
    )
    staleness_exponent: NotNegative = Field(0.5, description="of the polynomial rule")
    coefficients: Literal["steps", "equal"] = Field(
        "steps", description="weights of the mean: by local trainings (Algorithm 3), or equal"
    )
    aggregation: Literal["mean", "median", "trimmed_mean", "krum"] = Field(
        "mean", description="of the updates; all but the mean bear some Byzantine clients"
    )
    byzantine: ByzantineShare = Field(
        0.0, description="share of the clients that a trimmed mean and Krum are to bear"
    )
    server_optimiser: Literal["sgd", "adam"] = Field(
        "sgd", description="sgd with server_lr 1 is equation 15, adam is FedAdam"
    )
    server_lr: Positive = Field(1.0, description="learning rate of the server's optimiser")
    norm_bound: Positive = Field(1000.0, description="updates of a larger norm are refused")
    clip_norm: Positive | None = Field(
        None, description="updates of a larger norm are scaled down to it; None: they are not"
    )
    noise_multiplier: NotNegative = Field(
        0.0,
        description="standard deviation of the noise on the sum of a version's updates, over "
        "clip_norm; 0: no privacy",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.noise_multiplier > 0:
            for name, expected in (("aggregation", "mean"), ("coefficients", "equal")):
                found = getattr(self, name)
                if found != expected:
                    raise InputError(
                        f"{name}: expected {expected!r} with noise, which makes nothing else "
                        f"private, found {found!r}"
                    )
            if self.clip_norm is None:
                raise InputError("clip_norm: expected a norm, which noise is relative to")
        return self


class ClientOptions(FederationOptions):
    """Declare also what clients send and when, and what goes wrong on the way."""

    synchronous: bool = Field(
        False,
        description="whether a client that has sent an update waits for the next version, which "
        "takes an update of every client",
    )
    proximal: NotNegative = Field(
        0.0, description="mu of the proximal term (FedProx), 0.005 in the paper's variant"
    )
    share_every: Count = Field(1, description="T, local trainings from one update to the next")
    drop_rate: Share = Field(0.0, description="share of the updates that are lost on their way")
    late_ticks: NotNegative = Field(
        0.0, description="updates are late by up to so many ticks, drawn for each"
    )
    shares_links: bool = Field(
        False,
        description="whether updates and versions take turns with tasks on the links of the "
        "environment, which has to simulate contention: then it is measured how long they take",
    )
    stragglers: Share = Field(0.0, description="share of the clients that are slow")
    slowness: Count = Field(10, description="how many times as long as others they train")
    attackers: Share = Field(0.0, description="share of the clients whose updates are forged")
    attack: Literal["sign_flip", "times_100", "nan"] = Field(
        "sign_flip", description="what an attacker sends instead of what it has learned"
    )

    @model_validator(mode="after")
    def _waits_for_all(self) -> Self:
        if self.synchronous and self.participants != 1.0:
            raise InputError(
                f"participants: expected 1 with synchronous, found {self.participants:g}"
            )
        return self
