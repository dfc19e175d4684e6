"""Read search spaces from YAML files.

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
from edge_marl.reading import read_bytes
from edge_marl.validation import check_name, shown

RANGES = ("uniform", "loguniform", "randint")
DISTRIBUTIONS = (*RANGES, "choice")


@dataclass(frozen=True)
class Distribution:
    """Describe the distribution that one option is drawn from."""

    kind: str
    values: tuple[Any, ...]
    """Lowest and highest of a range, or the choices."""

    @property
    def is_range(self) -> bool:
        """Return whether the values have an order, so that one can be moved a little."""
        return self.kind in RANGES

    def domain(self) -> Any:
        """Return the distribution in Ray Tune's terms."""
        from ray import tune

        if self.kind == "choice":
            return tune.choice(list(self.values))
        low, high = self.values
        if self.kind == "randint":
            return tune.randint(low, high + 1)
        return tune.uniform(low, high) if self.kind == "uniform" else tune.loguniform(low, high)

    def nearest(self, value: Any) -> Any:
        """Return the value of the range that is nearest to ``value``."""
        low, high = self.values
        return min(max(value, low), high)


@dataclass(frozen=True)
class SearchSpace:
    """Hold the options that are searched, and those that are fixed beside them."""

    searched: Mapping[str, Distribution]
    fixed: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    """Where it gave way to what the user set, a line each."""


def shipped_space(algorithm: str) -> Path:
    """Return the path of the space that comes with an algorithm."""
    return Path(__file__).resolve().parent / "spaces" / f"{algorithm}.yaml"


def read_space(path: Path, recipe: Recipe) -> SearchSpace:
    """Read a space and try its outermost values.

    The options of the recipe, which the user set, take precedence: an entry for one of them is
    left out, and so are choices that are invalid in combination with them.

    Args:
        path: YAML file.
        recipe: what the options belong to.

    Raises:
        InputError: naming space and option, with the nearest valid name for an unknown one, and
            the user's option where it leaves nothing of an entry.
    """
    shipped = path == shipped_space(recipe.algorithm)
    label = f"search space of {recipe.algorithm}" if shipped else str(path)
    found = _read_yaml(path, label)
    if not isinstance(found, dict) or not found:
        raise InputError(f"{label}: expected options and their distributions, found {shown(found)}")
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
        notes = [f"{name}={value!r} is not searched" for name, value in recipe.options.items()
                 if name in found]  # fmt: skip
        searched = {name: d for name, d in searched.items() if name not in recipe.options}
        fixed = {name: value for name, value in fixed.items() if name not in recipe.options}
        at_fault = _error(recipe.with_options(fixed))
        if at_fault is None:
            for name, distribution in searched.items():
                searched[name], dropped = _compatible(name, distribution, recipe, fixed)
                notes += dropped
        elif _error(recipe) is None:
            raise at_fault
    except InputError as error:
        raise InputError(f"{label}: {error}") from error
    if at_fault is not None:
        raise at_fault  # without any space
    if not searched:
        raise InputError(f"{label}: expected a distribution, found fixed values only")
    return SearchSpace(searched, fixed, tuple(notes))


def _read_yaml(path: Path, label: str) -> Any:
    """Read a plain YAML file, refusing references, which can unfold to any size."""
    content = read_bytes(path)
    if len(content) > _MOST_BYTES:
        raise InputError(f"{label}: expected at most {_MOST_BYTES} bytes, found {len(content)}")
    depth = 0
    try:
        text = content.decode("utf-8-sig")
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > _DEEPEST:
                what = "values within one another" if depth > _DEEPEST else "references"
                raise InputError(f"{label}: expected options and their distributions, found {what}")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        keys = node.value if isinstance(node, yaml.MappingNode) else []
        names = [str(key.value) for key, _ in keys]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{label}: {shown(name)}: given twice")
        return yaml.safe_load(text)
    except InputError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"{label}: expected YAML: {' '.join(str(error).split())}") from error


_MOST_BYTES = 2**16
_DEEPEST = 20


def _compatible(
    name: str, distribution: Distribution, recipe: Recipe, fixed: Mapping[str, Any]
) -> tuple[Distribution, list[str]]:
    """Return what the user's options allow of a distribution, and why the rest was left out.

    Raises:
        InputError: for a value that is wrong whatever the user set, for an impossible end of a
            range, and if no choice is left.
    """
    kept: list[Any] = []
    dropped: list[str] = []
    for value in distribution.values:
        trial = {**fixed, name: value}
        error = _error(recipe.with_options(trial))
        if error is None:
            kept.append(value)
            continue
        culprits = [
            f"{option}={given!r}"
            for option, given in recipe.options.items()
            if _error(_without(recipe, option).with_options(trial)) is None
        ]
        if not culprits:
            raise error
        dropped.append(f"{name}={value!r} is left out beside {' and '.join(culprits)}: {error}")
    if not kept or (dropped and distribution.is_range):
        raise InputError(f"{dropped[0]}; set {name} too")
    return Distribution(distribution.kind, tuple(kept)), dropped


def _error(recipe: Recipe) -> InputError | None:
    try:
        recipe.config()
    except InputError as error:
        return error
    return None


def _without(recipe: Recipe, option: str) -> Recipe:
    rest = {name: value for name, value in recipe.options.items() if name != option}
    return recipe.model_copy(update={"options": rest})


def _distribution(name: str, entry: Mapping[str, Any]) -> Distribution:
    if len(entry) != 1:
        kinds = ", ".join(DISTRIBUTIONS)
        raise InputError(f"{name}: expected one of {kinds}, found {shown([*entry])}")
    ((kind, values),) = entry.items()
    try:
        check_name(str(kind), DISTRIBUTIONS)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    if kind == "choice":
        if not isinstance(values, list) or not values:
            raise InputError(f"{name}: choice: expected a list of values, found {shown(values)}")
        return Distribution(kind, tuple(values))
    number = int if kind == "randint" else (int, float)
    numbers = isinstance(values, list) and all(
        isinstance(value, number) and not isinstance(value, bool) for value in values
    )
    if not numbers or len(values) != 2 or not values[0] < values[1]:
        what = "whole numbers" if kind == "randint" else "numbers"
        raise InputError(
            f"{name}: {kind}: expected [lowest, highest], two {what}, found {shown(values)}"
        )
    if kind == "loguniform" and not values[0] > 0:
        raise InputError(f"{name}: loguniform: expected a lowest above 0, found {values[0]!r}")
    return Distribution(kind, tuple(values))


def explore(space: SearchSpace, config: dict[str, Any]) -> dict[str, Any]:
    """Move what population-based training has perturbed back into the space."""
    return {
        name: space.searched[name].nearest(value)
        if name in space.searched and space.searched[name].is_range
        else value
        for name, value in config.items()
    }
