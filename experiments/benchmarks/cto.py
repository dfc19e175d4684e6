"""Implement ``edge-marl benchmark cto``: measure learners at their own pace, and their updates.

A picture beside the file of results shows when learners work and when they wait.

Time to a return is measured by the clock, for it takes several processes; updates and decisions in
processor time.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from edge_marl.algorithms.cto.block import DecisionBlock, Lesson
from edge_marl.algorithms.cto.critics import CriticSpec, JointCritic
from edge_marl.algorithms.networks.agents import Actor
from edge_marl.algorithms.networks.allocation import AllocatorSpec
from edge_marl.algorithms.networks.config import NetworkConfig
from edge_marl.algorithms.networks.normalisation import RunningMoments
from edge_marl.algorithms.networks.spec import ActorSpec
from edge_marl.algorithms.replay.columns import DecisionTransition as Row
from edge_marl.envs.batched import make_batched
from edge_marl.experiments.benchmarks.report import Measurement, report
from edge_marl.experiments.benchmarks.simulators import measure_parts
from edge_marl.experiments.benchmarks.timeline import timeline
from edge_marl.experiments.benchmarks.timing import percentiles_s, seconds_each
from edge_marl.experiments.evaluate.episodes import play, validation_seeds
from edge_marl.experiments.export.onnx_files import LocalActor, open_session, write_onnx
from edge_marl.experiments.parallel import built, local_ray
from edge_marl.experiments.training.recipe import Recipe
from edge_marl.files import check_output
from edge_marl.options import Count, Options, Positive

ENV = "cooperative_offloading_v0"
_FEATURES, _CHOICES, _NUMBERS, _STATE = 20, 4, 3, 25  # of three servers
_HIDDEN, _CRITIC_HIDDEN, _SCALE_HIDDEN, _EMBEDDING = (64, 64), (128, 128), 64, 8
_TAU = 0.005
_SLOWNESS = 5
_DRAWN_S = 20.0

Turn = dict[str, Any]
"""See :func:`.pool.read_turns`."""


class CTOSizes(Options):
    """Configure how much the benchmark of CTO measures."""

    seconds: Positive = Field(3.0, description="of updates that are timed, at least")
    minibatch_size: Count = Field(512, description="decisions of an update")
    updates: Count = Field(50, description="that are timed together")
    decisions: Count = Field(3000, description="of an exported actor that are timed")
    trainings: Count = Field(3, description="with and without a barrier; who is slow is drawn")
    target: Positive = Field(1.6, description="weighted cost to be reached")
    longest_s: Positive = Field(600.0, description="after which it is given up")

    @classmethod
    def smallest(cls) -> CTOSizes:
        """Return sizes that only check that everything runs; the speeds they give mean nothing."""
        return cls(
            seconds=0.01, minibatch_size=8, updates=2, decisions=20, trainings=1, target=1000.0,
            longest_s=60.0,
        )  # fmt: skip


def benchmark(out: Path, sizes: CTOSizes | None = None) -> list[Measurement]:
    """Measure, print and write like :func:`.graph_offloading.benchmark`."""
    picture = out.with_name(f"{out.stem}-turns.png")
    for path in (out, picture):
        check_output(path)
    sizes = sizes or CTOSizes()
    torch.set_num_threads(1)
    turns: dict[str, Sequence[Turn]] = {}
    parts: Sequence[Callable[[CTOSizes], Iterator[Measurement]]] = (
        _updates, _decisions, partial(_paces, turns),
    )  # fmt: skip
    with local_ray(2):
        found = measure_parts(parts, sizes)
    report("edge-marl benchmark cto", found, out, sizes=sizes.model_dump())
    timeline(turns, picture, longest_s=_DRAWN_S)
    return found


def _updates(sizes: CTOSizes) -> Iterator[Measurement]:
    """Compare updates of one agent's learner with their arithmetic in plain torch."""
    n, size = sizes.updates, sizes.minibatch_size
    block = _block()
    block.keep(_transitions(20 * size))
    lesson = Lesson(
        lr=dict.fromkeys(block.weights, 1e-4), grad_clip=10.0, n_updates=n, minibatch_size=size,
        tau=_TAU, double_q=True, huber=True, policy_delay=1, taught=True,
    )  # fmt: skip
    plain, rows = _Plain(), _transitions(size)

    def updates() -> None:
        for _ in range(n):
            plain.update(rows)

    ours = n / seconds_each(lambda: block.learn(None, lesson), sizes.seconds)
    theirs = n / seconds_each(updates, sizes.seconds)
    yield Measurement("updates of one agent's learner", ours, "updates/CPU-s")
    yield Measurement("their arithmetic in plain torch", theirs, "updates/CPU-s")
    yield Measurement("learner over arithmetic", ours / theirs, "times", 0.6)


def _actor() -> Actor:
    return Actor(ActorSpec(
        agents=("server_0",), observation_shape=(_FEATURES,), n_actions=_CHOICES,
        boxes=(((0.0, 1.0),) * _NUMBERS,), groups=(0,),
        network=NetworkConfig(hidden_sizes=_HIDDEN, dueling=True), normalise=True,
        allocator=AllocatorSpec(hidden_sizes=_HIDDEN, activation="relu", embedding=_EMBEDDING),
    ))  # fmt: skip


def _block() -> DecisionBlock:
    spec = CriticSpec(_STATE, 1, _CHOICES, _NUMBERS, 1, _CRITIC_HIDDEN, "relu", _EMBEDDING)
    return DecisionBlock(
        _actor(), nn.ModuleList([JointCritic(1, spec)]), RunningMoments((1, _STATE)), [0],
        capacity=50_000, values=True, of_team=True,
    )  # fmt: skip


def _transitions(n: int) -> dict[str, Tensor]:
    """Draw transitions of one agent, in an environment in which agents take turns."""
    legal = torch.ones(n, _CHOICES, dtype=torch.bool)
    others = torch.zeros(n, 0, dtype=torch.int64)
    return {
        Row.NODE: torch.zeros(n, dtype=torch.int64),
        Row.NEXT_NODE: torch.zeros(n, dtype=torch.int64),
        Row.FEATURES: torch.randn(n, _FEATURES), Row.NEXT_FEATURES: torch.randn(n, _FEATURES),
        Row.ACTION_MASK: legal, Row.NEXT_ACTION_MASK: legal,
        Row.STATE: torch.randn(n, _STATE), Row.NEXT_STATE: torch.randn(n, _STATE),
        Row.ACTIONS: torch.randint(_CHOICES, (n,)), Row.VECTORS: torch.rand(n, _NUMBERS),
        Row.REWARDS: torch.randn(n), Row.IMMEDIATE: torch.randn(n), Row.DISCOUNTS: torch.rand(n),
        Row.OTHER_ACTIONS: others, Row.OTHERS_DECIDE: others.bool(),
        Row.OTHER_VECTORS: torch.zeros(n, 0, _NUMBERS),
        Row.NEXT_OTHER_FEATURES: torch.zeros(n, 0, _FEATURES),
        Row.NEXT_OTHER_MASKS: torch.zeros(n, 0, _CHOICES, dtype=torch.bool),
    }  # fmt: skip


class _Plain:
    """Make the updates of CTO as one would write them for one agent alone."""

    def __init__(self) -> None:
        def layers(*sizes: int) -> nn.Sequential:
            found: list[nn.Module] = []
            for n_in, n_out in itertools.pairwise(sizes):
                found += [nn.Linear(n_in, n_out), nn.ReLU()]
            return nn.Sequential(*found[:-1])

        def networks() -> nn.ModuleDict:
            return nn.ModuleDict({
                "seen": nn.Sequential(layers(_FEATURES, *_HIDDEN), nn.ReLU()),
                "advantages": nn.Linear(_HIDDEN[-1], _CHOICES), "value": nn.Linear(_HIDDEN[-1], 1),
                "embedded": nn.Embedding(_CHOICES, _EMBEDDING),
                "allocator": layers(_FEATURES + _EMBEDDING, *_HIDDEN, _NUMBERS),
                "judged": nn.Embedding(_CHOICES, _EMBEDDING),
                "critic": layers(_STATE + _EMBEDDING + _NUMBERS, *_CRITIC_HIDDEN, 2),
                "base": layers(_STATE, *(n // 2 for n in _CRITIC_HIDDEN), 1),
                "scales": layers(_STATE, _SCALE_HIDDEN, 3),
            })  # fmt: skip

        self.own, self.target = networks(), networks()
        groups = {name: ("embedded", "allocator") if name == "acts" else
                  ("seen", "advantages", "value", "judged", "critic", "base", "scales")
                  for name in ("acts", "judges")}  # fmt: skip
        self.optimisers = {
            name: torch.optim.Adam(
                [p for part in parts for p in self.own[part].parameters()], lr=1e-4, fused=True
            )
            for name, parts in groups.items()
        }

    def values(self, networks: nn.ModuleDict, seen: Tensor) -> Tensor:
        hidden = networks["seen"](seen)
        advantages = networks["advantages"](hidden)
        found: Tensor = networks["value"](hidden) + advantages - advantages.mean(1, keepdim=True)
        return found

    def allocated(self, networks: nn.ModuleDict, seen: Tensor, choices: Tensor) -> Tensor:
        together = torch.cat([seen, networks["embedded"](choices)], dim=1)
        found: Tensor = networks["allocator"](together).sigmoid()
        return found

    def judged(
        self, networks: nn.ModuleDict, state: Tensor, choices: Tensor, vectors: Tensor
    ) -> Tensor:
        """Return the immediate reward and the effect on what follows, over the scale of both."""
        together = torch.cat([state, networks["judged"](choices), vectors], dim=1)
        found: Tensor = networks["critic"](together)
        return found

    def update(self, rows: dict[str, Tensor]) -> None:
        seen, then = rows[Row.FEATURES], rows[Row.NEXT_FEATURES]
        state, following = rows[Row.STATE], rows[Row.NEXT_STATE]
        immediate = rows[Row.IMMEDIATE]
        both = rows[Row.ACTIONS], torch.randint(_CHOICES, rows[Row.ACTIONS].shape)
        with torch.no_grad():
            best = self.values(self.target, then).argmax(1)
            effects = self.judged(
                self.target, following, best, self.allocated(self.target, then, best)
            )
            scales = self.target["scales"](following).exp().unbind(1)
            follows = scales[0] * effects.sum(1)
            follows = follows + scales[1] * self.target["base"](following).squeeze(1)
            later = rows[Row.REWARDS] + rows[Row.DISCOUNTS] * follows - immediate
            taught = [
                self.judged(self.target, state, c, self.allocated(self.target, seen, c)).sum(1)
                for c in both
            ]
        logarithms = self.own["scales"](state)
        scales = logarithms.detach().exp().unbind(1)
        values = self.values(self.own, seen)
        reward, effect = self.judged(self.own, state, both[0], rows[Row.VECTORS]).unbind(1)
        base = self.own["base"](state).squeeze(1)
        loss = F.huber_loss(reward, immediate / scales[0])
        error = scales[0] * effect + scales[1] * base - later
        loss = loss + F.huber_loss(error / scales[2], torch.zeros(()).expand_as(error))
        sizes = torch.stack([
            immediate, torch.hypot(immediate, later), torch.hypot(0.3 * immediate, error.detach()),
        ], 1)  # fmt: skip
        loss = loss + (0.5 * (sizes * (-logarithms).exp()).square() + logarithms).sum(1).mean()
        chosen = [values.gather(1, c[:, None]).squeeze(1) for c in both]
        loss = loss + F.huber_loss(chosen[0] - chosen[1], taught[0] - taught[1])
        self._step("judges", loss)
        loss = torch.zeros(())
        for choices in both:
            vectors = self.allocated(self.own, seen, choices)
            effects = self.judged(self.own, state, choices, vectors).sum(1)
            loss = loss - (scales[0] * effects).mean()
        self._step("acts", loss)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.target.parameters()), list(self.own.parameters()), _TAU)

    def _step(self, name: str, loss: Tensor) -> None:
        optimiser = self.optimisers[name]
        optimiser.zero_grad()
        loss.backward()
        (group,) = optimiser.param_groups
        nn.utils.clip_grad_norm_(group["params"], 10.0)
        optimiser.step()


def _decisions(sizes: CTOSizes) -> Iterator[Measurement]:
    """Measure decisions of an exported actor, one at a time."""
    local = LocalActor(_actor())
    with tempfile.TemporaryDirectory(prefix="edge-marl-") as folder:
        path = Path(folder) / "actor.onnx"
        write_onnx(local, path)
        session = open_session(path)
        inputs = local.random_inputs(1, seed=0)
        middle_s, slow_s = percentiles_s(lambda: session.run(None, inputs), sizes.decisions)
    yield Measurement(
        "decision of an exported actor, choice and allocation", 1e3 * middle_s, "ms", 0.1, "lower"
    )
    yield Measurement("its 99th percentile", 1e3 * slow_s, "ms")


def _paces(turns: dict[str, Sequence[Turn]], sizes: CTOSizes) -> Iterator[Measurement]:
    """Compare the time to a cost with and without a barrier, where a learner is slow.

    The turns of a training of each kind are added to ``turns``.
    """
    found = {"at their own pace": 0.0, "with a barrier": 0.0}
    for seed in range(sizes.trainings):
        for name in found:
            passed_s, turns[name] = _until_target(sizes, seed, barrier=name == "with a barrier")
            found[name] += passed_s / sizes.trainings
    for name, passed_s in found.items():
        yield Measurement(
            f"to a cost of {sizes.target:g}, a third {_SLOWNESS} times slower, {name}",
            passed_s, "s",
        )  # fmt: skip
    ratio = found["with a barrier"] / found["at their own pace"]
    yield Measurement("with a barrier over own pace", ratio, "times", 2.0)


def _until_target(sizes: CTOSizes, seed: int, *, barrier: bool) -> tuple[float, Sequence[Turn]]:
    """Return how long training takes until the cost is reached; infinity if never.

    Also return the turns of the learners.
    """
    options: dict[str, Any] = {
        "asynchronous": True, "barrier": barrier, "stragglers": 0.3, "slowness": _SLOWNESS,
        "gamma": 0.9, "minibatch_size": sizes.minibatch_size, "updates_per_batch": 64,
    }  # fmt: skip
    recipe = Recipe(
        env=ENV, algorithm="cto", options=options, env_config={"reward": "saving"}, seed=seed
    )
    seeds = validation_seeds(16)
    env = make_batched(ENV, {}, len(seeds), state=False)
    passed_s, cost = 0.0, float("inf")
    with built(recipe.config()) as algorithm:
        while cost > sizes.target and passed_s < sizes.longest_s:
            begin = time.perf_counter()
            algorithm.train()
            passed_s += time.perf_counter() - begin
            cost = float(np.mean(play(algorithm.actor(), env, seeds, sampled=False)["cost"]))
        return passed_s if cost <= sizes.target else float("inf"), algorithm.turns()
