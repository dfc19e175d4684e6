"""Search spaces as YAML files.

Each entry names an option of the algorithm, as ``edge-marl train`` takes it, and either a
distribution or a fixed value::

    lr: {loguniform: [0.0001, 0.003]}
    gamma: {uniform: [0.95, 1.0]}
    n_step: {randint: [1, 5]}                 # both ends included
    train_batch_size_per_learner: {choice: [64, 128]}
    network.kind: attention
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from edge_marl.errors import InputError
from edge_marl.experiments.training.recipe import Recipe, algorithm_options
from edge_marl.validation import check_name

RANGES = ("uniform", "loguniform", "randint")
DISTRIBUTIONS = (*RANGES, "choice")


@dataclass(frozen=True)
class Distribution:
    """Of one option."""

    kind: str
    values: tuple[Any, ...]
    """Lowest and highest of a range, or the choices."""

    @property
    def is_range(self) -> bool:
        """Whether there is an order, so that a value can be moved a little."""
        return self.kind in RANGES

    def domain(self) -> Any:
        """As Ray Tune has it."""
        from ray import tune

        if self.kind == "choice":
            return tune.choice(list(self.values))
        low, high = self.values
        if self.kind == "randint":
            return tune.randint(low, high + 1)
        return tune.uniform(low, high) if self.kind == "uniform" else tune.loguniform(low, high)

    def nearest(self, value: Any) -> Any:
        """``value`` moved into the range."""
        low, high = self.values
        return min(max(value, low), high)


@dataclass(frozen=True)
class SearchSpace:
    """What is searched, and what is fixed beside it."""

    searched: Mapping[str, Distribution]
    fixed: Mapping[str, Any]


def shipped_space(algorithm: str) -> Path:
    """The space that comes with an algorithm."""
    return Path(__file__).resolve().parent / "spaces" / f"{algorithm}.yaml"


def read_space(path: Path, recipe: Recipe) -> SearchSpace:
    """Read a space and try its outermost values.

    Args:
        path: YAML file.
        recipe: what the options are of.

    Raises:
        InputError: naming file and option, with the nearest valid name of an unknown one.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict) or not found:
        raise InputError(f"{path}: expected options and their distributions, found {found!r}")
    valid = algorithm_options(recipe.algorithm)
    searched: dict[str, Distribution] = {}
    fixed: dict[str, Any] = {}
    try:
        for name, entry in found.items():
            check_name(str(name), valid)
            if isinstance(entry, dict):
                searched[name] = _distribution(name, entry)
            else:
                fixed[name] = entry
        base = recipe.with_options(fixed)
        base.config()
        for name, distribution in searched.items():
            for value in distribution.values:
                base.with_options({name: value}).config()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if not searched:
        raise InputError(f"{path}: expected a distribution, found fixed values only")
    return SearchSpace(searched, fixed)


def _distribution(name: str, entry: Mapping[str, Any]) -> Distribution:
    if len(entry) != 1:
        kinds = ", ".join(DISTRIBUTIONS)
        raise InputError(f"{name}: expected one of {kinds}, found {', '.join(map(str, entry))}")
    ((kind, values),) = entry.items()
    try:
        check_name(str(kind), DISTRIBUTIONS)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    if kind == "choice":
        if not isinstance(values, list) or not values:
            raise InputError(f"{name}: choice: expected a list of values, found {values!r}")
        return Distribution(kind, tuple(values))
    number = int if kind == "randint" else (int, float)
    numbers = isinstance(values, list) and all(
        isinstance(value, number) and not isinstance(value, bool) for value in values
    )
    if not numbers or len(values) != 2 or not values[0] < values[1]:
        what = "whole numbers" if kind == "randint" else "numbers"
        raise InputError(
            f"{name}: {kind}: expected [lowest, highest], two {what}, found {values!r}"
        )
    if kind == "loguniform" and not values[0] > 0:
        raise InputError(f"{name}: loguniform: expected a lowest above 0, found {values[0]!r}")
    return Distribution(kind, tuple(values))


def explore(space: SearchSpace, config: dict[str, Any]) -> dict[str, Any]:
    """Keep what population based training has perturbed within the space."""
    return {
        name: space.searched[name].nearest(value)
        if name in space.searched and space.searched[name].is_range
        else value
        for name, value in config.items()
    }
