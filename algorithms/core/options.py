"""Declare options of training as fields of a model, with type, range, default and description.

A configuration of RLlib takes everything else from the model: attributes and their defaults, what
``training()`` accepts and documents, validation, what modules are told, and which options a
checkpoint fixes.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any, Literal, Self, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Strict, Tag, ValidationError

from edge_marl.algorithms.networks.config import NetworkConfig
from edge_marl.algorithms.networks.spec import ParameterSharing
from edge_marl.errors import InputError
from edge_marl.limits import MOST
from edge_marl.options import Count, NotNegative, Options, Positive, Share
from edge_marl.validation import invalid, shown

Number = TypeVar("Number")
Step = Annotated[int, Field(ge=0, le=MOST**2)]
_DOCUMENTATION_WIDTH = 92
_TAGS = _NUMBER, _SCHEDULE = "number", "schedule"


def _tag(value: Any) -> str:
    return _SCHEDULE if isinstance(value, list | tuple) else _NUMBER


Scheduled = Annotated[
    Annotated[Number, Tag(_NUMBER)]
    | Annotated[Sequence[Annotated[tuple[Step, Number], Strict(False)]], Tag(_SCHEDULE)],
    Discriminator(_tag),
]
"""A number, or ``[[environment steps, number], ...]`` with linear interpolation."""

LearningRate: TypeAlias = Scheduled[Annotated[float, Field(ge=0, le=1000)]]
Coefficient: TypeAlias = Scheduled[NotNegative]


class Mark(Enum):
    """Mark, in the annotation of an option's field, what it affects besides the training."""

    FIXED = "fixed"
    """A checkpoint has to be restored with the value that it was taken with."""
    MODULE = "module"
    """The module is told of it."""


class JointOptions(Options):
    """Declare the options of every algorithm; those of RLlib get the algorithm's own defaults.

    A subclass that declares a field again changes its type or its default; the description and
    the marks stay.
    """

    # Strict: no text for a number. RLlib and torch would stumble over it much later.
    model_config = ConfigDict(strict=True, arbitrary_types_allowed=True)

    parameter_sharing: Annotated[ParameterSharing, Mark.FIXED, Mark.MODULE] = Field(
        "shared",
        description='"shared" (one network for all agents), "independent" (one each) or the name '
        "of each agent's group",
    )
    network: Annotated[NetworkConfig, Mark.FIXED, Mark.MODULE] = Field(
        NetworkConfig(), description="of every agent; a mapping changes the named fields only"
    )
    observation_normalisation: Annotated[bool, Mark.FIXED, Mark.MODULE] = Field(
        False,
        description="standardise observations by running mean and variance, part of the weights; "
        "networks without a head scale what they see themselves and are not affected",
    )
    reward_scaling: bool = Field(
        False,
        description="divide rewards by their running standard deviation, part of the checkpoint",
    )
    team_reward: Literal["auto", "sum", "shared", "own"] = Field(
        "auto",
        description='"sum": every agent earns the rewards of all, with a central critic even '
        'after it has left, for as long as its team plays on; "shared": the same in an '
        'environment that pays every agent the team\'s reward; "auto": the environment says which '
        'of the two, "sum" if it does not; "own": every agent earns its own',
    )
    gamma: Share = Field(
        0.99, description="discount, of a step or of the time that the environment says it took"
    )
    lr: LearningRate = Field(1e-3, description="learning rate")
    grad_clip: Positive | None = Field(
        None, description="largest norm of the gradient; None: it is not clipped"
    )
    train_batch_size_per_learner: Count = Field(
        4096, description="environment steps of a train batch"
    )
    num_envs_per_env_runner: Count = Field(64, description="episodes that are played at once")
    rollout_fragment_length: Literal["auto"] | Count = Field(
        32, description="steps of a fragment; auto: as many as the train batch asks for"
    )

    @classmethod
    def of(cls, config: Any) -> Self:
        """Read the options from the attributes of a configuration, and validate them.

        Raises:
            InputError: naming the first option at fault, what was expected and what was found.
        """
        try:
            return cls.model_validate({name: getattr(config, name) for name in cls.model_fields})
        except ValidationError as error:
            raise invalid(error, without=_TAGS) from None

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return a copy of every option's default, by name."""
        return {name: field.get_default() for name, field in cls.model_fields.items()}

    @classmethod
    def marked(cls, mark: Mark) -> list[str]:
        """Return the names of the options with a mark."""
        return [
            name
            for name in cls.model_fields
            if any(mark in model.model_fields[name].metadata for model in cls._declaring(name))
        ]

    @classmethod
    def documentation(cls) -> str:
        """Return a text with the name, default and description of each option."""
        lines = []
        for name, default in cls.defaults().items():
            found = (model.model_fields[name].description for model in cls._declaring(name))
            shown_default = "..." if isinstance(default, BaseModel) else repr(default)
            line = f"{name} ({shown_default}): {next(filter(None, found))}."
            lines.append(textwrap.fill(line, _DOCUMENTATION_WIDTH, subsequent_indent=" " * 4))
        return "\n".join(lines)

    @classmethod
    def _declaring(cls, name: str) -> list[type[Options]]:
        """Return the classes that have an option, the most derived first."""
        bases = [base for base in cls.__mro__ if issubclass(base, Options)]
        return [base for base in bases if name in base.model_fields]

    def check(self, *checks: tuple[str, bool, str]) -> None:
        """Refuse the first option that does not fit the others.

        Args:
            checks: option, whether it fits, what is expected.

        Raises:
            InputError: naming the option, what was expected and what was found.
        """
        for name, fits, expected in checks:
            if not fits:
                raise InputError(f"{name}: expected {expected}, found {shown(getattr(self, name))}")


def set_documentation(method: Any, options: type[JointOptions]) -> None:
    """Make ``help()`` of a ``training()`` method list the options that it takes."""
    described = "\n    ".join(options.documentation().splitlines())
    method.__doc__ = f"{inspect.getdoc(method)}\n\nOptions, with their defaults:\n    {described}"
