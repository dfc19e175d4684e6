"""Check what environments of others return, and bring it into one form.

Functions that look at single values raise one of :data:`FAULTS`; their callers, who know the agent
and the step, name these in an :class:`InputError`, see :func:`fault`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils.conversions import turn_based_aec_to_parallel_wrapper

from edge_marl.errors import InputError

AnyParallelEnv: TypeAlias = ParallelEnv[Any, Any, Any]
AnySpace: TypeAlias = spaces.Space[Any]
ByAgent: TypeAlias = Mapping[Any, Any]

ACTION_MASK = "action_mask"
"""Key of a mask beside an observation, or in the infos."""

FAULTS = (ValueError, TypeError, LookupError, AttributeError)
"""What a value that does not fit may raise."""

_LARGEST = float(np.finfo(np.float32).max)


def parallel(env: Any) -> AnyParallelEnv:
    """Return a PettingZoo environment, taken out of its adapter for RLlib if it is in one.

    Raises:
        InputError: for anything but a parallel environment.
    """
    candidates = (env, getattr(env, "par_env", None), getattr(env, "env", None))
    for candidate in candidates:
        if isinstance(candidate, ParallelEnv):
            return candidate
    if isinstance(env, AECEnv):
        raise InputError(
            f"environment {name_of(env)}: expected a PettingZoo ParallelEnv, found an AECEnv; "
            "return pettingzoo.utils.aec_to_parallel(env) of it, or, if agents take turns, "
            "turn_based_aec_to_parallel(env)"
        )
    # A wrapper of a ParallelEnv need not be one.
    if all(hasattr(env, name) for name in ("possible_agents", "observation_space", "step")):
        return env
    raise InputError(f"environment: expected a PettingZoo ParallelEnv, found {type(env).__name__}")


def name_of(env: Any) -> str:
    """Return what an environment calls itself, or the name of its class."""
    metadata = getattr(env, "metadata", None)
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return str(name or type(env).__name__)


def agents_of(env: AnyParallelEnv) -> dict[Any, str]:
    """Return the name of every possible agent, by the environment's own key for it.

    Raises:
        InputError: where there are none, or two of one name.
    """
    found = list(getattr(env, "possible_agents", None) or ())
    names = {agent: str(agent) for agent in found}
    if not found or len(set(names.values())) < len(found):
        raise InputError(
            f"environment {name_of(env)}: possible_agents: expected all agents that there may be, "
            f"by names that differ, found {found}"
        )
    return names


def present_in(env: AnyParallelEnv) -> set[Any]:
    """Return the keys of the agents that are there."""
    return set(getattr(env, "agents", ()))


def started(
    env: AnyParallelEnv, seed: int | None, options: dict[str, Any] | None = None
) -> tuple[ByAgent, ByAgent]:
    """Reset an environment and return its observations and infos.

    A ``reset`` of the old form returns no infos; they are empty then.

    Raises:
        InputError: for a ``reset`` that takes no seed or returns something else.
    """
    further = {} if options is None else {"options": options}
    try:
        found: Any = env.reset(seed=seed, **further)
    except TypeError as error:
        if "unexpected keyword argument 'seed'" not in str(error):
            raise
        raise InputError(
            f"environment {name_of(env)}: reset: expected a parameter seed, by which an episode "
            f"can be played again, found none"
        ) from error
    if isinstance(found, Mapping):
        return found, {}
    if isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], Mapping):
        return found[0], found[1] or {}
    raise InputError(
        f"environment {name_of(env)}: reset: expected to return observations and infos by agent, "
        f"found {_form(found)}"
    )


def stepped(env: AnyParallelEnv, actions: dict[Any, Any]) -> tuple[ByAgent, ...]:
    """Step an environment; return observations, rewards, terminations, truncations and infos.

    Raises:
        InputError: for a ``step`` that returns something else.
    """
    found: Any = env.step(actions)
    if isinstance(found, tuple) and len(found) == 5:
        *parts, infos = found
        if all(isinstance(part, Mapping) for part in parts):
            return (*parts, infos or {})
    raise InputError(
        f"environment {name_of(env)}: step: expected to return observations, rewards, "
        f"terminations, truncations and infos by agent, found {_form(found)}"
    )


def fault(env: AnyParallelEnv, what: str, step: int, error: Exception) -> InputError:
    """Return the error to raise for a value that does not fit.

    Args:
        env: the environment that gave it.
        what: what the value is.
        step: the step that gave it; 0: ``reset`` did.
        error: one of :data:`FAULTS`.
    """
    when = f"in step {step}" if step else "after reset"
    said = str(error).split("\n")[0]
    if isinstance(error, KeyError):
        said = f"expected an entry {said}"
    return InputError(f"environment {name_of(env)}: {what} {when}: {said}")


# Observations ----------------------------------------------------------------------------------


def without_mask(space: AnySpace) -> AnySpace:
    """Return the space of the observation itself, without the action mask."""
    if isinstance(space, spaces.Dict) and ACTION_MASK in space.spaces:
        rest = {name: part for name, part in space.spaces.items() if name != ACTION_MASK}
        return next(iter(rest.values())) if len(rest) == 1 else spaces.Dict(rest)
    return space


def width_of(space: AnySpace) -> int:
    """Return how many numbers :func:`flat` makes of an observation.

    Raises:
        ValueError: for a space of observations of varying size.
    """
    try:
        return int(spaces.flatdim(space))
    except (ValueError, NotImplementedError) as error:
        raise ValueError(f"expected one of a fixed number of numbers, found {space}") from error


def flat(space: AnySpace, value: Any) -> NDArray[Any]:
    """Flatten an observation into one row of numbers, in the type that it has.

    This is like Gymnasium's ``flatten``, which would cast to the type that the space declares.

    Raises:
        ValueError, TypeError, LookupError: for a value that is not of the space.
    """
    if isinstance(space, spaces.Dict):
        return _joined([flat(part, value[name]) for name, part in space.spaces.items()])
    if isinstance(space, spaces.Tuple):
        parts = zip(space.spaces, value, strict=True)
        return _joined([flat(part, own) for part, own in parts])
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        return np.asarray(value).ravel()
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        exact = np.asarray(value).astype(space.dtype).reshape(space.shape)
        if not space.contains(exact):
            raise ValueError(f"expected one of {space}, found {value}")
        value = exact
    return np.asarray(spaces.flatten(space, value))


def typed(row: NDArray[Any], *, eight_bit: bool) -> NDArray[Any]:
    """Return a row as finite 32-bit floats, or as the 8-bit integers that it has to consist of.

    Raises:
        ValueError: for a row of anything else.
    """
    if not eight_bit:
        return single(row)
    if row.dtype != np.uint8:
        raise ValueError(f"expected 8-bit integers, as at first, found {row.dtype}")
    return row


def mask_of(seen: Any, info: Any) -> Any | None:
    """Return an agent's action mask from beside its observation or its infos; None without one."""
    for place in (seen, info):
        if isinstance(place, Mapping) and ACTION_MASK in place:
            return place[ACTION_MASK]
    return None


def beside_mask(seen: Any) -> Any:
    """Return the observation itself, without the action mask beside it."""
    if isinstance(seen, Mapping) and ACTION_MASK in seen:
        seen = {name: part for name, part in seen.items() if name != ACTION_MASK}
        if len(seen) == 1:
            (seen,) = seen.values()
    return seen


def legal_actions(mask: Any, n_actions: int) -> NDArray[np.bool_]:
    """Return which actions are legal, ``[n_actions]``, by a mask as an environment gives it.

    Raises:
        ValueError: for a mask of another shape, or one that does not consist of numbers.
    """
    found = np.asarray(mask)
    if found.shape != (n_actions,) or found.dtype.kind not in "biuf":
        raise ValueError(
            f"expected {n_actions} entries, 1 for each legal action, "
            f"found {_form(mask)} of shape {found.shape}"
        )
    legal: NDArray[np.bool_] = found == 1
    return legal


def whose_turn(env: AnyParallelEnv) -> Any | None:
    """Return the one agent whose action is played next; None where all act at once."""
    if isinstance(env, turn_based_aec_to_parallel_wrapper):
        return env.aec_env.agent_selection
    return None


def state_of(env: AnyParallelEnv) -> Any | None:
    """Return what ``state()`` gives; None where the environment, or the one it wraps, has none."""
    method = getattr(env, "state", None)
    if not callable(method):
        return None
    try:
        return method()
    except (AttributeError, NotImplementedError):
        return None
    except TypeError as error:
        if "not callable" not in str(error):
            raise
        return None  # a wrapper called something that is not a method


# Numbers ---------------------------------------------------------------------------------------


def number(value: Any) -> float:
    """Return a reward as a float; it may come as an array of one element.

    Raises:
        ValueError: for anything that is not one finite number in 32 bits.
    """
    if isinstance(value, int | float) and abs(value) <= _LARGEST:
        return float(value)
    found = np.asarray(value)
    if found.size != 1:
        raise ValueError(f"expected a number, found {_form(value)} of shape {found.shape}")
    return float(single(found.ravel())[0])


def single(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return values as 32-bit floats, which have to be finite.

    Raises:
        ValueError: naming the first that is no such number.
    """
    try:
        with np.errstate(over="ignore"):
            found = values.astype(np.float32)
    except (TypeError, ValueError):
        raise ValueError(f"expected numbers, found {str(values.flat[0])!r}") from None
    fine = np.isfinite(found)
    if not fine.all():
        worst = values[~fine].ravel()[0]
        if np.isfinite(np.float64(worst)):
            raise ValueError(
                f"expected numbers that 32-bit floats can hold, up to {_LARGEST:.3g}, found {worst}"
            )
        raise ValueError(f"expected finite numbers, found {worst}")
    return found


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0)


def _form(value: Any) -> str:
    kind = type(value).__name__
    return f"{kind} of {len(value)}" if isinstance(value, tuple | list) else kind
