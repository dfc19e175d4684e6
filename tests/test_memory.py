"""What would not fit is refused before it is taken."""

import pytest

from edge_marl.errors import InputError
from edge_marl.memory import check_memory, memory_limit


def test_what_fits_is_let_through() -> None:
    check_memory(0, "nothing")
    check_memory(memory_limit(), "just enough")


def test_what_does_not_fit_is_refused_with_estimate_and_options() -> None:
    with pytest.raises(InputError, match=r"^traces \(--traces\): .* would take 1.86e\+06 GiB$"):
        check_memory(2e15, "traces (--traces)")
    with pytest.raises(InputError, match=r"^more than everything: "):
        check_memory(float("inf"), "more than everything")


def test_the_limit_is_most_of_the_memory_of_the_machine() -> None:
    assert 2**28 < memory_limit() < 2**50
