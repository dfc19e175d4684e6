"""Ray of our own, which is the suite's: out of reach from the network."""

import socket

import pytest
import ray

from edge_marl.errors import InputError
from edge_marl.experiments.parallel import run_tasks
from edge_marl.tandem.splits import split_workload


def network_address() -> str:
    """This machine's address towards others; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def test_what_a_task_refuses_is_the_same_line_as_here(local_ray: None) -> None:
    lines = []
    for workers in (0, 1):
        with pytest.raises(InputError) as refused:
            next(run_tasks(split_workload, [("9-9",)], workers=workers))
        lines.append(str(refused.value))
    assert lines[0] == lines[1]
    assert lines[0].startswith("split: expected one of")


def test_nobody_on_the_network_reaches_our_ray(local_ray: None) -> None:
    address = network_address()
    if address.startswith("127."):
        pytest.skip("this machine has no network")
    host, port = ray.get_runtime_context().gcs_address.split(":")
    assert host == "127.0.0.1"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, int(port)), timeout=5)
