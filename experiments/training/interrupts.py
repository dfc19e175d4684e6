"""Handle Ctrl-C and SIGTERM: the first asks a run to stop, the second ends it at once."""

from __future__ import annotations

import signal
from types import FrameType


class StopRequested(Exception):  # noqa: N818 (nothing went wrong)
    """Signal that the work under way is to stop before the next step of an environment."""


_HANDLED = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Note the first SIGINT or SIGTERM, and raise KeyboardInterrupt at the second.

    Use as a context manager, after Ray has installed handlers of its own.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def __enter__(self) -> Interrupts:
        self._before = {number: signal.signal(number, self._note) for number in _HANDLED}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def requested(self) -> bool:
        """Return whether a signal has asked to stop."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """Return 128 plus the number of the signal, as shells do, or 0 if there was none."""
        return 0 if self.signal is None else 128 + self.signal

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
