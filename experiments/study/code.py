"""Digest the code that an outcome depends on, so that no study reuses what older code made."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import edge_marl

_HANDLING = tuple(
    f"edge_marl.{name}"
    for name in ("archives", "errors", "files", "json_files", "limits", "locks", "memory",
                 "parquet_files", "reading", "validation")
)  # fmt: skip
"""Modules that read, write and check; they decide no outcome."""


@cache
def code_digest(*modules: str, alone: tuple[str, ...] = ()) -> str:
    """Digest modules and all that they import of this project and of their own packages.

    Comments, docstrings and layout make no difference. Imports within functions count; those for
    type checkers alone do not, nor do modules that only read, write and check.

    Args:
        modules: full names, such as ``edge_marl.algorithms.mappo.config``.
        alone: modules whose own code counts, but not what they import.

    Returns:
        A hexadecimal SHA-256.

    Raises:
        ModuleNotFoundError: for a module that is not there.
    """
    packages = {edge_marl.__name__, *map(_package_of, modules)}
    behind: set[str] = {*_HANDLING}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in behind:
            behind.add(module)
            imported = _parsed(module).imports
            waiting += [name for name in imported if _package_of(name) in packages]
    counted = sorted(behind - {*_HANDLING} | {*alone})
    return hashlib.sha256("".join(_parsed(one).digest for one in counted).encode()).hexdigest()


class _Source:
    """Hold what matters about a module's source: a digest of its code, and what it imports."""

    def __init__(self, module: str) -> None:
        path = _file_of(module)
        if path is None:
            raise ModuleNotFoundError(f"no module named {module!r}", name=module)
        tree = _Runtime().visit(ast.parse(path.read_text(encoding="utf-8")))
        self.digest = hashlib.sha256(f"{module}\n{ast.unparse(tree)}".encode()).hexdigest()
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        self.imports = sorted(set(_imported(tree, package)))


@cache
def _parsed(module: str) -> _Source:
    return _Source(module)


class _Runtime(ast.NodeTransformer):
    """Leave out what never runs: strings that stand alone, and imports for type checkers."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Drop a docstring."""
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        """Drop ``if TYPE_CHECKING``, but not its ``else``."""
        self.generic_visit(node)
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return node.orelse
        return node


def _imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield the full names of all that a module of a package imports and that may be modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                # Nothing is looked up in other packages: finding it would import it.
                known = _package_of(base) in (edge_marl.__name__, _package_of(package))
                yield inner if known and _file_of(inner) else base


def _package_of(module: str) -> str:
    return module.partition(".")[0]


@cache
def _file_of(module: str) -> Path | None:
    """Return the source file of a module, None if there is none."""
    package, *parts = module.split(".")
    if package != edge_marl.__name__:
        try:
            spec = find_spec(module)
        except ModuleNotFoundError:  # its parent is a module, not a package
            return None
        return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None
    for folder in edge_marl.__path__:  # without importing any of ours
        place = Path(folder).joinpath(*parts)
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file():
                return path
    return None
