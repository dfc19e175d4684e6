"""Say who helps by a choice, what is granted, and what it costs: what several kernels compute."""

from __future__ import annotations

from typing import Any

from edge_marl.compiled import compiled
from edge_marl.cooperative_offloading.records import NOBODY

_NOBODY = NOBODY


@compiled
def n_helpers(choice: Any, parameters: Any) -> Any:
    """Return how many servers help by a choice."""
    n = 0
    while n < parameters.subsets.shape[1] and parameters.subsets[choice, n] != _NOBODY:
        n += 1
    return n


@compiled
def helper(choice: Any, k: Any, home: Any, parameters: Any) -> Any:
    """Return the k-th server that helps."""
    other = parameters.subsets[choice, k]
    return other + (other >= home)


@compiled
def link(sender: Any, receiver: Any, parameters: Any) -> Any:
    """Return the resource that is the bandwidth from one server to another."""
    M = len(parameters.memory_gb)
    return M + M * sender + receiver


@compiled
def granted(asked: Any, left: Any, r: Any, parameters: Any) -> Any:
    """Return the grant of a share ``asked`` of what is left of a resource."""
    return min(max(parameters.limiting_factor * asked * left, parameters.smallest[r]), left)


@compiled
def share_asked(full: Any, gcycles: Any, parameters: Any) -> Any:
    """Return the share of what is left that a task asks for by a rule: all, or its proportion."""
    return 1.0 if full else gcycles / (gcycles + parameters.typical_gcycles)


@compiled
def equal_share(n: Any) -> Any:
    """Return the share that leaves where home and n helpers have the same."""
    return n / (n + 1.0)


@compiled
def computing_j(gcycles: Any, speed: Any, parameters: Any) -> Any:
    """Return ``kappa_e f²`` per cycle, for all of them."""
    return parameters.joule * speed * speed * gcycles


@compiled
def meeting_share(home_s: Any, each_s: Any, fixed_s: Any) -> Any:
    """Return the share that leaves with which home and a helper end together, 0 if none does.

    Home is done after ``(1 - share) home_s``, the helper after ``share each_s + fixed_s``.
    """
    return max(0.0, (home_s - fixed_s) / (home_s + each_s))
