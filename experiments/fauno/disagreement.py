"""Measure how far critics of different agents are from one another (equations 16 and 17)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save
from scipy.spatial.distance import pdist

from edge_marl.experiments.study.outcomes import EPISODE
from edge_marl.experiments.study.policies import Play, Training, actor_of, one_thread
from edge_marl.experiments.study.units import Columns, Label
from edge_marl.files import write_aside

if TYPE_CHECKING:
    import torch

    from edge_marl.algorithms.networks.agents import Actor

FloatArray = NDArray[np.float64]

OWN, SAME, FROM_ORACLE = "own", "same", "from_oracle"
"""Columns: of critics that each see what their own agent does, as in equation 16; of critics that
all see the same; and how far an agent's critic is from the oracle's on what the agent sees."""

DISAGREEMENT = "disagreement"
"""The kind of these units."""

_CRITIC, _MOMENTS = "critic", "moments.safetensors"
_STATES = 500


class States(NamedTuple):
    """Hold M states of an episode as N agents see them."""

    features: torch.Tensor
    """``[M, N, F]``"""
    action_mask: torch.Tensor
    """``[M, N, A]`` bool"""


@dataclass(frozen=True, eq=False)
class CriticTraining(Training):
    """Train a policy, and keep its critic beside it."""

    def keep(self, algorithm: Any, folder: Path) -> None:
        """Keep the actors in a folder, and in one within it their critics."""
        from edge_marl.algorithms.actors import save_actor

        super().keep(algorithm, folder)
        (found,) = algorithm.learner_group.foreach_learner(_critic)
        critic, moments = found.get()
        save_actor(critic, folder / _CRITIC)
        write_aside(folder / _CRITIC / _MOMENTS, save(moments))


@dataclass(frozen=True, eq=False)
class Disagreement(Play):
    """Have critics value the states of test episodes, which the method's own policy plays.

    Values are in units of the return. Those of what each agent sees itself are over the rate at
    which its tasks arrive, for agents with more tasks earn more (annex 6.1).
    """

    oracle: Training | None = None
    """Whose critic the others are compared with."""

    @property
    def labels(self) -> Mapping[str, Label]:
        """Return those of a test, of another kind."""
        return {**super().labels, "kind": DISAGREEMENT}

    @property
    def needs(self) -> Sequence[Training]:
        """Return both trainings."""
        return tuple(one for one in (self.training, self.oracle) if one is not None)

    def compute(self, artefacts: Path, needed: Sequence[Path]) -> Columns:
        """Play all episodes, one after another."""
        from edge_marl.envs.batched import make_batched

        one_thread()
        folders = [folder / self.phase for folder in needed]
        actor = actor_of(needed[0], self.phase)
        scenario = self.episodes.env_config["scenario"]
        rates = _rates(scenario)
        found: dict[str, list[float]] = {OWN: [], SAME: [], FROM_ORACLE: []}
        for seed in self.episodes.seeds.tolist():
            env = make_batched(self.environment, self.episodes.env_config, 1, state=False)
            states = _states(actor, env, seed, scenario["ticks"])
            own = values(folders[0], states) / rates
            found[OWN].append(disagreement(own.T))
            found[SAME].append(disagreement(values(folders[0], _seen_by_all(states)).T))
            oracle = values(folders[1], states) / rates
            apart = np.sqrt(np.square(own - oracle).mean(axis=0))
            found[FROM_ORACLE].append(float(apart.mean()))
        columns = {name: np.array(column) for name, column in found.items()}
        return {EPISODE: np.arange(len(self.episodes.seeds)), **columns}


def disagreement(valued: FloatArray) -> float:
    """Return delta of equation 17 for the values ``[N, M]`` of M states by N critics.

    It is the mean over all pairs of critics of the root of their mean squared difference (16).
    """
    return float(pdist(valued).mean() / np.sqrt(valued.shape[1]))


def values(folder: Path, states: States) -> FloatArray:
    """Return what kept critics say, ``[M, N]``, in units of the return.

    Args:
        folder: where :class:`CriticTraining` has kept the actors.
        states: agent n's critic sees column n.
    """
    import torch

    critic = actor_of(folder, _CRITIC)
    moments = load_file(folder / _CRITIC / _MOMENTS)
    with torch.no_grad():
        found = critic(states.features, states.action_mask)[0][..., -1].double().numpy()
    scaled: FloatArray = found * moments["deviation"] + moments["mean"]
    return scaled


def _critic(learner: Any) -> tuple[Actor, dict[str, FloatArray]]:
    """Return a learner's critic, and mean and standard deviation ``[N]`` of its returns."""
    from ray.rllib.core import DEFAULT_MODULE_ID

    module = learner.module[DEFAULT_MODULE_ID].unwrapped()
    N = len(module.actor.spec.agents)
    mean, deviation = np.zeros(N), np.ones(N)
    if module.value_moments is not None:
        mean += module.value_moments.mean.double().numpy().ravel()
        deviation *= np.sqrt(module.value_moments.var.double().numpy().ravel())
    return module.critic.values, {"mean": mean, "deviation": deviation}


def _states(actor: Actor, env: Any, seed: int, ticks: int) -> States:
    """Play an episode, and return its states at equal distances."""
    import torch

    from edge_marl.algorithms.actors import decide
    from edge_marl.algorithms.networks import has_choice

    chosen = set(np.linspace(0, ticks - 1, min(_STATES, ticks)).round().astype(int).tolist())
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    observation = env.reset(np.array([seed]))
    for tick in itertools.count():
        if env.done.all():
            break
        features, mask = (
            torch.from_numpy(part.copy())
            for part in (observation.features, observation.action_mask)
        )
        if tick in chosen:
            kept.append((features[0], mask[0]))
        with torch.inference_mode():
            outputs = actor.where_chosen(features, mask, has_choice(mask))
            decision = decide(actor, features, outputs, mask, 0.5)
        observation = env.step(decision.played).observation
    features, masks = zip(*kept, strict=True)
    return States(torch.stack(features), torch.stack(masks))


def _seen_by_all(states: States) -> States:
    """Return what agents with a choice see, as if all agents saw it, ``[M, N, ...]``."""
    from edge_marl.algorithms.networks import has_choice

    chooses = has_choice(states.action_mask)
    N = chooses.shape[1]
    features, masks = (part[chooses][:_STATES] for part in states)
    return States(
        features[:, None].expand(-1, N, -1).contiguous(),
        masks[:, None].expand(-1, N, -1).contiguous(),
    )


def _rates(scenario: Mapping[str, Any]) -> FloatArray:
    """Return the rate ``[N]`` per second at which tasks of each agent's node arrive."""
    from edge_marl.graph_offloading.jobs import three_regions
    from edge_marl.graph_offloading.scenario import GraphScenario

    graph = GraphScenario.model_validate(scenario).graph()
    regions = three_regions(graph)
    has_agent = [node.has_agent for node in graph.nodes]
    rates: FloatArray = regions.rate_per_s[regions.region[has_agent]]
    return rates
