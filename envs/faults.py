"""Report in one line the exceptions that environments of others raise."""

from __future__ import annotations

import functools
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from edge_marl.errors import InputError

P = ParamSpec("P")
Result = TypeVar("Result")

_INSTALLED = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))


class EnvironmentFaultError(RuntimeError):
    """Signal that an environment raised an exception in ``reset`` or ``step``.

    The message is one line that says which exception, and where in the environment's own code. It
    is made of text alone, so that it travels between processes.
    """


def naming_faults(method: Callable[P, Result]) -> Callable[P, Result]:
    """Turn what an environment raises in ``method`` into an :class:`EnvironmentFaultError`."""

    @functools.wraps(method)
    def called(*args: P.args, **kwargs: P.kwargs) -> Result:
        try:
            return method(*args, **kwargs)
        except (InputError, EnvironmentFaultError):
            raise
        except Exception as error:
            raise EnvironmentFaultError(f"the environment raised {described(error)}") from error

    return called


def described(error: BaseException) -> str:
    """Describe an exception in one line: type, message and innermost line of the user's own code.

    Where only this project and installed packages are involved, that is the innermost line of all.
    """
    frames = [
        (frame.f_code.co_filename, line, str(frame.f_globals.get("__name__")))
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    own = [
        frame
        for frame in frames
        if frame[2].partition(".")[0] != "edge_marl" and not frame[0].startswith(_INSTALLED)
    ]
    where = "".join(f" ({Path(file)}:{line})" for file, line, _ in (own or frames)[-1:])
    text = " ".join(str(error).split())
    return f"{type(error).__name__}{': ' if text else ''}{text}{where}"
