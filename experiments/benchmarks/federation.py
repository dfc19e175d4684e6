"""Implement ``edge-marl benchmark federation``: measure the manager, its clients and FAuNO.

Calls to the manager are measured by the clock, for they take more than one process; learning is
measured in processor time, and in simulated ticks.
"""

from __future__ import annotations

import itertools
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from pydantic import Field

from edge_marl.algorithms.federation.manager import start_manager
from edge_marl.algorithms.federation.options import FederationOptions
from edge_marl.algorithms.federation.updates import Update
from edge_marl.algorithms.mappo.blocks import AgentBlock
from edge_marl.algorithms.mappo.critics import LocalCritic
from edge_marl.algorithms.networks.agents import Actor
from edge_marl.algorithms.networks.config import NetworkConfig
from edge_marl.algorithms.networks.normalisation import RunningMoments
from edge_marl.algorithms.networks.spec import ActorSpec
from edge_marl.envs.batched import make_batched
from edge_marl.experiments.benchmarks.report import Measurement, report
from edge_marl.experiments.benchmarks.simulators import measure_parts
from edge_marl.experiments.evaluate.episodes import play, validation_seeds
from edge_marl.experiments.parallel import built, local_ray
from edge_marl.experiments.training.recipe import Recipe
from edge_marl.files import check_output
from edge_marl.limits import MOST
from edge_marl.options import Count, Options, PositiveShare

ENV = "graph_offloading_v0"
_ENVS = 16
_FEATURES, _ACTIONS, _WEIGHTS = 186, 45, 16_000  # as on ether_4
_SLOW, _SLOWNESS = 0.1, 10
_FEDERATION_COSTS = 1.15

_DELAY_TICKS = 300
_LEARNS = {
    "lr": 2e-3, "critic_lr": 2e-3, "num_epochs": 8, "grad_clip": 10.0, "clip_param": 0.2,
    "vf_loss_coeff": 1.0, "entropy_coeff": 0.05, "lambda_": 0.5,
}  # fmt: skip
"""With which clients learn in few iterations, as in the FAuNO study."""


class FederationSizes(Options):
    """Configure how much the benchmark of a federation measures."""

    clients: tuple[Count, ...] = Field((37, 200, 1000), min_length=2)
    rounds: Count = Field(20, description="updates of every client that are sent to the manager")
    frames: int = Field(16_384, ge=32, le=MOST, description="env steps of a training iteration")
    iterations: Count = Field(5, description="measured, after one to warm up")
    target: PositiveShare = Field(0.945, description="ratio of finished tasks to be reached")
    longest: Count = Field(120, description="iterations until the target is given up")
    ticks: Count = Field(2000, description="of an episode")

    @classmethod
    def smallest(cls) -> FederationSizes:
        """Return sizes that only check that everything runs; the speeds they give mean nothing."""
        return cls(
            clients=(2, 4), rounds=2, frames=32 * _ENVS, iterations=1, target=0.01, longest=20,
            ticks=40,
        )  # fmt: skip


def benchmark(out: Path, sizes: FederationSizes | None = None) -> list[Measurement]:
    """Measure, print and write like :func:`.graph_offloading.benchmark`."""
    check_output(out)
    sizes = sizes or FederationSizes()
    torch.set_num_threads(1)
    parts: Sequence[Callable[[FederationSizes], Iterator[Measurement]]] = (
        _manager, _memory, _cost, _stragglers,
    )  # fmt: skip
    with local_ray(2):
        found = measure_parts(parts, sizes)
    report("edge-marl benchmark federation", found, out, sizes=sizes.model_dump())
    return found


def _manager(sizes: FederationSizes) -> Iterator[Measurement]:
    """Measure how many updates the manager takes in, by value, with every version on disk."""
    for n in sizes.clients:
        with tempfile.TemporaryDirectory(prefix="edge-marl-") as folder:
            options = FederationOptions(participants=0.5, staleness="polynomial")
            manager = start_manager(np.zeros(_WEIGHTS, np.float32), n, options, folder)
            ray.get(manager.process.remote())
            delta = np.full(_WEIGHTS, 1e-6, np.float32)
            begin = time.perf_counter()
            for sequence in range(1, sizes.rounds + 1):
                ray.get([
                    manager.receive.remote(Update(client, sequence, 0, 1, delta))
                    for client in range(n)
                ])  # fmt: skip
            passed = time.perf_counter() - begin
            version = ray.get(manager.report.remote())["version"]
            ray.kill(manager)
        yield Measurement(f"manager, {n} clients", n * sizes.rounds / passed, "updates/s")
        yield Measurement(f"manager, {n} clients: versions", version / passed, "versions/s")


def _memory(sizes: FederationSizes) -> Iterator[Measurement]:
    """Measure what a further client takes in a block that trains, by the peak of all memory."""
    few, many = sizes.clients[0], sizes.clients[-1]
    blocks = [_trained_block(few)]
    before = _peak_mb()
    blocks.append(_trained_block(many))
    yield Measurement("memory of a client", (_peak_mb() - before) / many, "MB")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000  # Linux counts in kilobytes


def _trained_block(n: int) -> AgentBlock:
    """Return a block of clients that has made a gradient step, so that Adam has its moments."""
    spec = ActorSpec(
        agents=tuple(map(str, range(n))), observation_shape=(_FEATURES,), n_actions=_ACTIONS,
        groups=tuple(range(n)), network=NetworkConfig(activation="tanh"), normalise=True,
    )  # fmt: skip
    actor = Actor(spec)
    block = AgentBlock(actor, LocalCritic(actor), RunningMoments((n, 1)), range(n))
    features, legal = torch.randn(1, n, _FEATURES), torch.ones(1, n, _ACTIONS, dtype=torch.bool)
    loss = actor(features, legal)[0].square().sum() + block.critic.values(features, legal)[0].sum()
    block.gradient_step(
        loss, torch.ones(n, dtype=torch.bool), lr=dict.fromkeys(block.weights, 1e-4),
        grad_clip=None, proximal=0.0,
    )  # fmt: skip
    return block


def _cost(sizes: FederationSizes) -> Iterator[Measurement]:
    """Compare an iteration of FAuNO with one of clients that share nothing, turn by turn."""
    alone: dict[str, Any] = {
        "critic": "local", "parameter_sharing": "independent", "team_reward": "own",
        "decisions_only": True, "independent_learners": True,
    }  # fmt: skip
    with (
        built(_recipe("ippo", sizes, **alone).config()) as independent,
        built(_recipe("fauno", sizes, critic_lr=5e-4).config()) as federated,
    ):
        spent = {"independent": 0.0, "federated": 0.0}
        for turn in range(sizes.iterations + 1):
            for name, algorithm in (("independent", independent), ("federated", federated)):
                begin = time.process_time()
                algorithm.train()
                spent[name] += (time.process_time() - begin) * (turn > 0)
    per_s = {name: sizes.frames * sizes.iterations / passed for name, passed in spent.items()}
    yield Measurement("independent clients, ether_4", per_s["independent"], "env-steps/CPU-s")
    yield Measurement("FAuNO, ether_4", per_s["federated"], "env-steps/CPU-s")
    yield Measurement(
        "iteration of FAuNO over one of independent clients",
        spent["federated"] / spent["independent"], "times", _FEDERATION_COSTS, "lower",
    )  # fmt: skip


def _stragglers(sizes: FederationSizes) -> Iterator[Measurement]:
    """Compare the ticks until the target, where a tenth of the clients is ten times slower."""
    found = {
        name: _ticks_to_target(sizes, stragglers=_SLOW, slowness=_SLOWNESS, **options)
        for name, options in (
            ("asynchronous", {}), ("synchronous", {"synchronous": True, "participants": 1.0}),
        )
    }  # fmt: skip
    for name, ticks in found.items():
        yield Measurement(
            f"ticks to {sizes.target:g} finished, {_SLOW:.0%} of the clients {_SLOWNESS} times "
            f"slower, {name}", ticks, "ticks",
        )  # fmt: skip
    ratio = found["synchronous"] / found["asynchronous"]
    yield Measurement("synchronous over asynchronous", ratio, "times", 3.0)


def _ticks_to_target(sizes: FederationSizes, **options: Any) -> float:
    """Return the simulated ticks until the policy finishes the share asked for; infinity if never.

    Clients that wait do not learn: nor do their actors, for a client that has sent an update waits.
    """
    recipe = _recipe("fauno", sizes, topology="ether_2", rate_per_s=2.0, **_LEARNS, **options)
    seeds = validation_seeds(4)
    env = make_batched(ENV, recipe.env_config, len(seeds), state=False)
    with built(recipe.config()) as algorithm:
        for iteration in itertools.count(1):
            algorithm.train()
            ratio = play(algorithm.actor(), env, seeds, sampled=False)["finished_ratio"].mean()
            if ratio >= sizes.target:
                return iteration * sizes.frames / _ENVS
            if iteration == sizes.longest:
                return float("inf")
    raise AssertionError


def _recipe(
    algorithm: str, sizes: FederationSizes, *, topology: str = "ether_4", rate_per_s: float = 1.0,
    **options: Any,
) -> Recipe:  # fmt: skip
    scenario = {"topology": topology, "rate_per_s": rate_per_s, "ticks": sizes.ticks}
    delay_ticks = min(_DELAY_TICKS, sizes.frames // _ENVS // 3)
    rewards = {"kind": "own", "delay_ticks": delay_ticks, "gamma": 0.9958}
    return Recipe(
        env=ENV,
        algorithm=algorithm,
        env_config={"scenario": scenario, "extended": True, "rewards": rewards},
        options={
            "num_envs_per_env_runner": _ENVS, "train_batch_size_per_learner": sizes.frames,
            "rollout_fragment_length": sizes.frames // _ENVS, "num_epochs": 2,
            "minibatch_size": sizes.frames // 8, "observation_normalisation": True,
            "gamma": 0.998, "lr": 5e-4, "entropy_coeff": 0.01,
        } | options,
    )  # fmt: skip
