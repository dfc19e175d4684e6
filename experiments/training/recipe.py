"""Define what is trained: environment, algorithm and options, from a command or a file."""

from __future__ import annotations

import copy
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import TYPE_CHECKING, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, Field
from pydantic_core import to_jsonable_python

from edge_marl.errors import InputError
from edge_marl.experiments.overrides import apply_changes, option_names, parse_overrides
from edge_marl.experiments.systems import system_of, systems
from edge_marl.options import Options, Seed
from edge_marl.validation import check_name, shown

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig


class _Known(NamedTuple):
    """Describe an algorithm that the command line offers."""

    config_class: str
    preset: Mapping[str, Any] = MappingProxyType({})
    acts_by_sampling: bool = False
    """Whether its actors are deployed as they explore, drawing actions from their logits."""


ALGORITHMS: Mapping[str, _Known] = {
    "vdn": _Known("edge_marl.algorithms.value_decomposition:VDNConfig"),
    "qmix": _Known("edge_marl.algorithms.value_decomposition:QMIXConfig"),
    "mappo": _Known("edge_marl.algorithms.mappo:MAPPOConfig"),
    "ippo": _Known("edge_marl.algorithms.mappo:MAPPOConfig", MappingProxyType({"critic": "local"})),
    "o2o": _Known("edge_marl.algorithms.o2o:O2OConfig", acts_by_sampling=True),
    "scale": _Known("edge_marl.algorithms.scale:SCALEConfig"),
    "fauno": _Known("edge_marl.algorithms.fauno:FAuNOConfig"),
    "scof": _Known("edge_marl.algorithms.scof:SCOFConfig"),
    "madqn": _Known("edge_marl.algorithms.cto:MADQNConfig"),
    "maddpg": _Known("edge_marl.algorithms.cto:MADDPGConfig"),
    "cto": _Known("edge_marl.algorithms.cto:CTOConfig"),
    "sac": _Known("edge_marl.algorithms.sac:DiscreteSACConfig"),
}

PLACES = ("log",)
"""Options that name a file, or a database by its URL."""

ENV = "env."
"""What options of the environment begin with."""

_NETWORK = "network."


class Recipe(Options):
    """Hold everything that decides what a training run does, except for the machine."""

    env: str
    algorithm: str
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the algorithm that differ from its defaults; nested ones joined by dots."""
    env_config: dict[str, Any] = Field(default_factory=dict)
    seed: Seed = 0

    @property
    def acts_by_sampling(self) -> bool:
        """Return whether the actors draw their actions from the softmax of their outputs."""
        known = ALGORITHMS.get(self.algorithm)
        return known is not None and known.acts_by_sampling

    def config(self, *, workers: int = 0) -> AlgorithmConfig:
        """Build the algorithm's configuration and validate it.

        Args:
            workers: remote env runners; 0 samples in this process.

        Raises:
            InputError: naming the option at fault.
        """
        register_environment(self.env)
        config = default_config(self.algorithm)
        # RLlib warns at every start that the API in use is the new one, and of what it deprecates
        # in its own code. Importing it, as the line above does, sets the level.
        for name in ("ray", "ray.rllib"):
            logging.getLogger(name).setLevel(logging.ERROR)
        network: dict[str, Any] = {}
        training: dict[str, Any] = {}
        for name, value in self.options.items():
            part = network if name.startswith(_NETWORK) else training
            part[name.removeprefix(_NETWORK)] = value
        try:
            if network:
                training["network"] = apply_changes(config.network, network, _NETWORK)
            config.environment(self.env, env_config=self.env_config)
            config.env_runners(num_env_runners=workers)
            config.debugging(seed=self.seed, log_level="ERROR")
            config.training(**training)
            config.validate()
        except InputError as error:
            raise InputError(f"{self.algorithm}: {error}") from error
        except (ValueError, TypeError) as error:
            # RLlib's own checks explain at length; the first sentence says what is wrong.
            raise InputError(f"{self.algorithm}: {str(error).strip().splitlines()[0]}") from error
        return config

    def resolved(self) -> dict[str, Any]:
        """Return everything that the recipe decides, all defaults included, for a JSON file.

        Raises:
            InputError: as :meth:`config`.
        """
        config: Any = self.config()
        env_config: Any = self.env_config
        if self.env in systems():
            env_config = system_of(self.env).options(env_config)
        resolved: dict[str, Any] = to_jsonable_python(
            {
                "env": self.env,
                "env_config": env_config,
                "algorithm": self.algorithm,
                "options": {
                    name: getattr(config, name) for name in config.options_model.model_fields
                },
                "acts_by_sampling": self.acts_by_sampling,
                "seed": self.seed,
            }
        )
        return resolved

    def check_sizes(self) -> None:
        """Make the environment and measure what would be trained, before anything is begun.

        Raises:
            InputError: for an environment that cannot be made, for networks that do not fit it,
                and for what does not fit into memory.
        """
        from edge_marl.algorithms.core.sizes import check_sizes
        from edge_marl.envs.batched import make_batched

        config = self.config()
        check_sizes(config, make_batched(self.env, self.env_config, 1, state=config.uses_state))
        if self.env in systems():  # a simulator knows what it takes; others are made one by one
            make_batched(self.env, self.env_config, config.num_envs_per_env_runner)

    def with_options(self, options: Mapping[str, Any]) -> Recipe:
        """Return the same recipe with further options, as a trial of a search has."""
        return self.model_copy(update={"options": {**self.options, **options}})

    def with_env(self, options: Mapping[str, Any]) -> Recipe:
        """Return the same recipe with further options of the environment."""
        return self.model_copy(update={"env_config": {**self.env_config, **options}})


def parse_recipe(env: str, algorithm: str, overrides: Sequence[str] = (), seed: int = 0) -> Recipe:
    """Build a recipe from what the command line was given.

    Args:
        env: an environment of this project by name, or ``module:function`` of what makes a
            PettingZoo ParallelEnv from keyword arguments.
        algorithm: one of :data:`ALGORITHMS`.
        overrides: ``key=value``: options of the algorithm, ``network.*`` of its networks and
            ``env.*`` of the environment.
        seed: of everything random.

    Raises:
        InputError: for an unknown environment, algorithm or option, with the nearest valid name
            of the latter.
    """
    register_environment(env)
    valid = algorithm_options(algorithm)
    of_env = [override for override in overrides if override.startswith(ENV)]
    options = parse_overrides(override for override in overrides if override not in of_env)
    for name in options:
        check_name(name, [*valid, *(f"{ENV}{one}" for one in _environment_options(env) or ())])
    env_config = changed_environment(env, {}, of_env)
    options = _with_places_resolved(options)
    return Recipe(env=env, algorithm=algorithm, options=options, env_config=env_config, seed=seed)


def with_files_at(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Return the same recipe with the new places of files that were moved.

    Args:
        recipe: as recorded.
        overrides: ``key=value`` of options that name files and that the recipe has, such as ``log``
            or ``env.scenario.workflows.path``.

    Raises:
        InputError: for any other option, and for files that the environment cannot read.
    """
    of_env = [override for override in overrides if override.startswith(ENV)]
    files = {name for name in PLACES if name in recipe.options}
    if recipe.env in systems():
        model = type(system_of(recipe.env).options({}))
        files |= {f"{ENV}{name}" for name in _names_of(model, of=Path)
                  if _nested(recipe.env_config, name.split(".")) is not None}  # fmt: skip
    options = dict(recipe.options)
    for name, value in parse_overrides(overrides).items():
        if name not in files:
            one_of = f"one of {', '.join(sorted(files))}" if files else "none"
            raise InputError(
                f"{shown(name)}: expected an option that names a file of this run, {one_of}"
            )
        if not name.startswith(ENV):
            options[name] = value
    return recipe.model_copy(
        update={
            "options": _with_places_resolved(options),
            "env_config": changed_environment(recipe.env, recipe.env_config, of_env)
            if of_env
            else recipe.env_config,
        }
    )


def changed_environment(
    env: str, env_config: Mapping[str, Any], overrides: Iterable[str]
) -> dict[str, Any]:
    """Return the options of an environment with some of them changed.

    Args:
        env: as for :func:`parse_recipe`.
        env_config: the options before.
        overrides: ``env.key=value``.

    Raises:
        InputError: for an unknown option of an environment of this project, with the nearest
            valid name, and for a value that it refuses.
    """
    valid = _environment_options(env)
    changed = copy.deepcopy(dict(env_config))
    for name, value in parse_overrides(overrides).items():
        if valid is not None:
            check_name(name, [f"{ENV}{option}" for option in valid])
        _set_nested(changed, name.removeprefix(ENV).split("."), value)
    if env in systems():
        _resolve_paths(changed, system_of(env).options(changed))
    return changed


def default_config(algorithm: str) -> Any:
    """Make the configuration of an algorithm with its defaults.

    Raises:
        InputError: for an unknown name.
    """
    if algorithm not in ALGORITHMS:
        raise InputError(f"algorithm: expected one of {', '.join(ALGORITHMS)}, found {algorithm!r}")
    known = ALGORITHMS[algorithm]
    module, _, name = known.config_class.partition(":")
    return getattr(import_module(module), name)().training(**known.preset)


def algorithm_options(algorithm: str) -> list[str]:
    """Return the names of all options that an algorithm takes on the command line, sorted."""
    config = default_config(algorithm)
    network = [f"{_NETWORK}{name}" for name in option_names(config.network)]
    names = [name for name in config.options_model.model_fields if name != "network"]
    return sorted({*names, *network})


def register_environment(env: str) -> None:
    """Make an environment known to RLlib under the name that the command line has for it.

    Raises:
        InputError: if there is none of that name, or its module cannot be imported.
    """
    if env in systems():
        return
    module, colon, function = env.partition(":")
    if not colon:
        raise InputError(
            f"environment: expected {', '.join(systems())} or module:function of a PettingZoo "
            f"environment, found {env!r}"
        )
    _find_modules_here()
    try:
        make: Callable[..., Any] = getattr(import_module(module), function)
    except (Exception, SystemExit) as error:  # code of others may raise anything
        raise InputError(f"environment {env}: {_described(error)}") from error
    from ray.tune.registry import register_env

    def create(config: Mapping[str, Any]) -> Any:
        try:
            return make(**config)
        except (Exception, SystemExit) as error:
            raise InputError(f"environment {env}: {_described(error)}") from error

    register_env(env, create)


def _described(error: BaseException) -> str:
    """Describe an exception in one line."""
    if isinstance(error, InputError):
        return str(error)
    return " ".join(f"{type(error).__name__}: {error}".split())


def _find_modules_here() -> None:
    """Let modules of the current folder be imported, by Ray's workers too."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    found = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if here not in found:
        os.environ["PYTHONPATH"] = os.pathsep.join([here, *filter(None, found)])


def _environment_options(env: str) -> list[str] | None:
    """Return the names of an environment's options, or None where only it knows them."""
    if env not in systems():
        return None
    return list(_names_of(type(system_of(env).options({}))))


def _names_of(model: type[BaseModel], prefix: str = "", *, of: type = object) -> Iterator[str]:
    """Yield the names of all fields that may hold a type, nested ones joined by dots."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        several = get_origin(kind) in (Union, UnionType)
        kinds = get_args(kind) if several else (kind,)
        models = [one for one in kinds if isinstance(one, type) and issubclass(one, BaseModel)]
        if of is object or of in kinds:
            yield prefix + name
        for inner in models:
            yield from _names_of(inner, f"{prefix}{name}.", of=of)


def _with_places_resolved(options: Mapping[str, Any]) -> dict[str, Any]:
    """Make the paths of files absolute: env runners work in other folders."""
    return {
        name: str(Path(value).resolve())
        if name in PLACES and isinstance(value, str) and "://" not in value
        else value
        for name, value in options.items()
    }


def _nested(values: Any, path: Sequence[str]) -> Any:
    """Return what nested dictionaries hold at a path, or None if they hold nothing there."""
    for name in path:
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _set_nested(target: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        target = target.setdefault(name, {})
        if not isinstance(target, dict):
            raise InputError(f"env.{'.'.join(path)}: expected env.{name} to have no value itself")
    target[path[-1]] = value


def _resolve_paths(env_config: dict[str, Any], validated: BaseModel) -> None:
    """Make paths absolute: env runners work in other folders."""
    for name, value in env_config.items():
        found = getattr(validated, name)
        if isinstance(value, dict) and isinstance(found, BaseModel):
            _resolve_paths(value, found)
        elif isinstance(found, Path):
            env_config[name] = str(found.resolve())
