"""Implement SL-E2E, which schedules a whole job set in one pass (tandem paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edge_marl.algorithms.tandem.imitation.config import EndToEndConfig
from edge_marl.algorithms.tandem.imitation.demonstrations import canonical_slots
from edge_marl.errors import InputError
from edge_marl.oracle import Schedule
from edge_marl.simulation import Policy
from edge_marl.tandem import AGENTS, TandemSimulator, TraceSet
from edge_marl.tandem.heuristics import greedy_actions
from edge_marl.tandem.traces import IntArray

_SLOTS = 40.0


def _job_set(traces: TraceSet) -> Tensor:
    """Encode traces as ``[K, J * 5]``: arrival, uplink time, compute time, deadline, presence."""
    present = np.arange(traces.max_jobs) < traces.n_jobs[:, None]
    times = np.stack([traces.arrival, traces.comm, traces.comp, traces.deadline], axis=2)
    inputs = np.concatenate([times / _SLOTS, present[:, :, None]], axis=2)
    return torch.from_numpy((inputs * present[:, :, None]).astype(np.float32)).flatten(1)


class EndToEndModel:
    """Score every job in every slot, with one network per stage.

    The networks need the whole job set in advance, future arrivals included, so the model is a
    planner and not an online policy: :meth:`plan` makes a policy for known traces.
    """

    def __init__(self, networks: Sequence[nn.Module], shape: tuple[int, int]) -> None:
        self.networks = networks
        self.shape = shape
        """Slots and jobs of the longest training schedule."""

    @torch.inference_mode()
    def plan(self, traces: TraceSet) -> PlannedPolicy:
        """Return a policy for exactly these traces, in their order.

        Raises:
            InputError: for traces with another number of jobs than those of training.
        """
        if traces.max_jobs != self.shape[1]:
            raise InputError(
                f"SL-E2E: expected traces of {self.shape[1]} jobs, found {traces.max_jobs}"
            )
        inputs = _job_set(traces)
        scores = [network(inputs).view(-1, *self.shape) for network in self.networks]
        return PlannedPolicy(torch.stack(scores, dim=2).numpy())


class PlannedPolicy(Policy[TandemSimulator]):
    """Serve in each slot the queued job that the plan scores highest for it."""

    name = "SL-E2E"

    def __init__(self, scores: NDArray[np.float32]) -> None:
        self.scores = scores
        """``[K, T, 2, J]``; the last slot stands for all after it."""

    def act(self, simulator: TandemSimulator) -> IntArray:
        """Return the positions ``[B, 2]`` of the planned jobs."""
        observation = simulator.observation
        K, T = self.scores.shape[:2]
        now = self.scores[np.arange(K), np.minimum(observation.t, T - 1)]
        queued = np.take_along_axis(now, np.maximum(observation.jobs, 0), axis=2)
        return np.stack(
            [greedy_actions(-queued[:, s], observation.action_mask[:, s]) for s in range(2)],
            axis=1,
        )


def fit_end_to_end(
    config: EndToEndConfig, traces: TraceSet, schedules: Sequence[Schedule]
) -> EndToEndModel:
    """Train both networks on the oracle's schedules, slot by slot (idle slots do not count).

    Args:
        config: sizes and steps.
        traces: K training traces, all of the same number of jobs.
        schedules: ``[K]`` the oracle's.
    """
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    slots = canonical_slots(schedules)
    T, J = slots.shape[1], traces.max_jobs
    inputs = _job_set(traces)
    networks = []
    for stage in range(len(AGENTS)):
        network = nn.Sequential(
            nn.Linear(inputs.shape[1], config.width), nn.SiLU(),
            nn.Linear(config.width, config.width), nn.SiLU(),
            nn.Linear(config.width, T * J),
        )  # fmt: skip
        optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate)
        target = torch.from_numpy(slots[:, :, stage].astype(np.int64))
        for _ in range(config.gradient_steps):
            rows = torch.from_numpy(rng.integers(0, len(inputs), config.batch_size))
            scores = network(inputs[rows]).view(-1, J)
            loss = F.cross_entropy(scores, target[rows].flatten(), ignore_index=-1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        networks.append(network.eval())
    return EndToEndModel(networks, (T, J))
