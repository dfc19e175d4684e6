"""Print what Ray Tune has to say about errors, in a line each."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from edge_marl.envs.faults import described

_TOLD_BY_US = "Trials did not complete"
"""Beginning of what a search says itself, in its table and below it."""


class OneLine(logging.Filter):
    """Print errors without their tracebacks, and let everything else pass."""

    def __init__(self) -> None:
        super().__init__()
        self._last: logging.LogRecord | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Print an error, once and in a line; return whether the record is still to be handled."""
        if record.levelno < logging.ERROR:
            return True
        if record is self._last:  # as another handler has it
            return False
        self._last = record
        message = " ".join(record.getMessage().split())
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            # Of what was raised in a worker, the text would be its whole traceback.
            message += f": {described(getattr(error, 'cause', None) or error)}"
        if not message.startswith(_TOLD_BY_US):
            print(f"edge-marl: {message}", file=sys.stderr)
        return False


@contextmanager
def errors_in_a_line() -> Iterator[None]:
    """Print Ray's own errors as lines of ours within the block."""
    filter_ = OneLine()
    handlers = list(logging.getLogger("ray").handlers)
    for handler in handlers:
        handler.addFilter(filter_)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(filter_)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Treat SIGTERM as SIGINT within the block, after which Ray Tune saves where it is."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
