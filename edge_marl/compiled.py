"""Compile functions with Numba, and compile them anew when any of their sources has changed.

Numba keeps compiled functions in files beside their sources and compiles a function again when its
own file has changed. Compiled code also holds the code of the functions that it calls and the
values of constants. Here it is therefore compiled again when any module that it is made of has
changed: the module of the function, the modules of its package or of this project that are imported
at its top, those imported at theirs, and so on.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from typing import Any, TypeVar, overload

from numba import njit
from numba.core.caching import IndexDataCacheFile

Function = TypeVar("Function", bound=Callable[..., Any])

_IMPORT = re.compile(r"^(?:from\s+([\w.]+)\s+import\s+(\([^)]*\)|.*)|import\s+([\w.]+))", re.M)


@overload
def compiled(function: Function) -> Function: ...


@overload
def compiled(
    *, entry: bool = False, inline: bool = False, allocates: bool = False
) -> Callable[[Function], Function]: ...


def compiled(
    function: Function | None = None,
    *,
    entry: bool = False,
    inline: bool = False,
    allocates: bool = False,
) -> Function | Callable[[Function], Function]:
    """Decorate a function so that Numba compiles it when it is first called.

    Args:
        function: the function to compile.
        entry: whether Python code calls it. Any other function is called by compiled code only: it
            gets no wrapper that unpacks Python's records, which is half of the compilation, and
            becomes part of its callers, since to pass on records takes longer than what most
            functions do with them.
        inline: whether to copy its source into each function that calls it, which an entry needs
            that is to become part of its callers, and a function that returns part of a record.
        allocates: whether it makes arrays. If not, it is compiled without Numba's counting of
            references to arrays, which is atomic at every access through a tuple and makes a
            simulator's step take three times as long.

    Returns:
        The compiled function, or the decorator. A function that is not an entry raises TypeError
        when Python calls it.
    """

    def decorate(function: Function) -> Function:
        compile_: Any = njit  # whose annotations know no ``_nrt``
        made = compile_(
            inline="always" if inline else "never",
            _nrt=allocates,
            forceinline=not entry,
            no_cpython_wrapper=not entry,
            no_cfunc_wrapper=True,
        )(function)
        if not entry:
            _keep_from_python(made)
        made.enable_caching()
        cache = made._cache
        cache._cache_file = _CacheFile(  # type: ignore[no-untyped-call]
            cache.cache_path, cache._impl.filename_base, source_digest(function.__module__)
        )
        result: Function = made
        return result

    return decorate if function is None else decorate(function)


def _keep_from_python(function: Any) -> None:
    """Make a compiled function refuse calls from Python, which would crash without a wrapper.

    Numba's dispatcher for Python then finds neither the versions made for compiled callers nor a
    way to compile one.
    """

    def add_overload(compiled_: Any) -> None:
        function.overloads[tuple(compiled_.signature.args)] = compiled_

    def refuse(*_: object, **__: object) -> None:
        raise TypeError(
            f"{function.__name__}: called by Python, but compiled for compiled functions only "
            "(entry=True)"
        )

    function.add_overload = add_overload
    function._compile_for_args = refuse


class _CacheFile(IndexDataCacheFile):
    """Read Numba's index of a function's compiled versions even after a record was renamed.

    Numba unpickles the signatures in an index, and with them records, before it checks whether the
    index is out of date. An index that names a missing record counts as empty.
    """

    def _load_index(self) -> Any:
        try:
            return super()._load_index()  # type: ignore[no-untyped-call]
        except (AttributeError, ImportError):
            return {}


@cache
def source_digest(module: str) -> str:
    """Digest the sources that the compiled functions of an imported module are made of.

    Args:
        module: its full name.

    Returns:
        A hexadecimal SHA-256.
    """
    packages = {_package(module), _package(__name__)}
    behind: dict[str, bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in behind:
            source, imports = _read(name)
            behind[name] = hashlib.sha256(source).digest()
            waiting += [one for one in imports if _package(one) in packages]
    return hashlib.sha256(b"".join(behind[name] for name in sorted(behind))).hexdigest()


@cache
def _read(module: str) -> tuple[bytes, tuple[str, ...]]:
    """Return the source of an imported module and the modules that are imported at its top."""
    loaded = sys.modules.get(module)
    path = getattr(loaded, "__file__", None)
    if path is None or not Path(path).is_file():  # typed in, or in an archive
        return b"", ()
    source = Path(path).read_bytes()
    package = getattr(loaded, "__package__", None)
    found = set()
    for base, names, whole in _IMPORT.findall(source.decode("utf-8", "replace")):
        name = resolve_name(base or whole, package) if package else base or whole
        found |= {name, *(f"{name}.{one}" for one in re.findall(r"\w+", names))}
    return source, tuple(sorted(found & sys.modules.keys()))


def _package(module: str) -> str:
    return module.partition(".")[0]
