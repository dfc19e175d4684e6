"""The command line, called in this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from edge_marl.experiments import cli


def call(*arguments: object) -> int:
    """Call ``edge-marl`` with some arguments; gives its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["edge-marl", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
    return int(exit_.value.code or 0)


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[Any] | None = None) -> None:
    """Wait until something has happened, while a process runs."""
    deadline = time.monotonic() + 120
    while not happened():
        assert process is None or process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def signal_when(happened: Callable[[], bool], number: signal.Signals) -> None:
    """Send this process a signal as soon as something has happened, and none if it never does."""

    def send() -> None:
        wait_for(happened)
        os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()
