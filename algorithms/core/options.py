"""What options of training may be: types and ranges, declared once.

Our own options are declared by the annotations of ``training()``; RLlib's annotations have no
ranges, so those of its options that our algorithms use are declared here.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, get_type_hints

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    TypeAdapter,
    ValidationError,
)
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPOConfig

from edge_marl.limits import MOST
from edge_marl.options import Count, NotNegative, Positive, Share
from edge_marl.validation import invalid

Number = TypeVar("Number")
Step = Annotated[int, Field(ge=0, le=MOST**2)]
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

_OF_RLLIB: Mapping[type, Mapping[str, Any]] = MappingProxyType({
    AlgorithmConfig: {
        "gamma": Share,
        "lr": LearningRate,
        "grad_clip": Positive | None,
        "grad_clip_by": Literal["value", "norm", "global_norm"],
        "train_batch_size_per_learner": Count,
        "num_epochs": Count,
        "minibatch_size": Count | None,
        "shuffle_batch_per_epoch": bool,
        # Of env_runners().
        "num_envs_per_env_runner": Count,
        "rollout_fragment_length": Literal["auto"] | Count,
    },
    PPOConfig: {
        "use_critic": Literal[True],
        "use_gae": Literal[True],
        "lambda_": Share,
        "use_kl_loss": bool,
        "kl_coeff": NotNegative,
        "kl_target": NotNegative,
        "vf_loss_coeff": NotNegative,
        "entropy_coeff": Coefficient,
        "clip_param": Positive,
        "vf_clip_param": Positive,
    },
})  # fmt: skip


def declared_options(config: AlgorithmConfig) -> Mapping[str, Any]:
    """The annotated types of all options of training, by name."""
    from edge_marl.algorithms.core.config import JointConfig

    found: dict[str, Any] = {}
    for cls in reversed(type(config).__mro__):
        found |= _OF_RLLIB.get(cls, {})
        if issubclass(cls, JointConfig) and "training" in cls.__dict__:
            method = cls.__dict__["training"]
            hints = get_type_hints(method, include_extras=True)
            found |= {
                name: hints[name]
                for name, parameter in inspect.signature(method).parameters.items()
                if parameter.kind is inspect.Parameter.KEYWORD_ONLY
            }
    return found


def check_options(config: AlgorithmConfig) -> None:
    """Refuse the first option whose value is not what is declared.

    Raises:
        InputError: naming the option, what was expected and what was found.
    """
    adapters = _ADAPTERS.get(type(config))
    if adapters is None:
        declared = declared_options(config)
        adapters = {
            # A configuration of networks was validated when it was made.
            name: TypeAdapter(kind, config=_STRICT)
            for name, kind in declared.items()
            if name != "network"
        }
        _ADAPTERS[type(config)] = adapters
    for name, adapter in adapters.items():
        try:
            adapter.validate_python(getattr(config, name))
        except ValidationError as error:
            raise invalid(error, at=name, without=_TAGS) from None


# Strict: no text for a number. RLlib and torch would stumble over it much later.
_STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)

_ADAPTERS: dict[type, Mapping[str, TypeAdapter[Any]]] = {}
"""By class of a configuration: they take long to make."""
