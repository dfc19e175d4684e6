"""The command line, called in this process."""

from __future__ import annotations

import sys

import pytest

from edge_marl.experiments import cli


def call(*arguments: object) -> int:
    """Call ``edge-marl`` with some arguments; gives its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["edge-marl", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
    return int(exit_.value.code or 0)
