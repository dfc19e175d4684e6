"""Provide the Ray that training runs on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from edge_marl.experiments.parallel import all_cores, local_ray


@contextmanager
def ray_for_training(workers: int, address: str | None = None) -> Iterator[None]:
    """Provide Ray within the block: the cluster at ``address``, or one of our own on loopback.

    Args:
        workers: remote tasks at a time that there should be room for.
        address: of a cluster, ``"auto"`` for the one that this machine belongs to. When None,
            ``RAY_ADDRESS`` if it is set, as it is in a job of a cluster.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    if address is None:
        with local_ray(max(all_cores(), workers)):
            yield
        return
    import ray

    ray.init(address=address, logging_level="error", log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()
