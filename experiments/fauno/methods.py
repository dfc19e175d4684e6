"""Declare the learned methods of the FAuNO study, and how each gets its policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from edge_marl.experiments.fauno.config import (
    ABLATED,
    ENVIRONMENT,
    FAILING,
    FEDERATED,
    LARGE,
    REGIONS,
    Cell,
    Setting,
    StudyConfig,
)
from edge_marl.experiments.fauno.disagreement import CriticTraining
from edge_marl.experiments.fauno.hyperparameters import GAMMA, SCOF_GAMMA, hyperparameters
from edge_marl.experiments.study.policies import Training
from edge_marl.experiments.training.loop import Limits
from edge_marl.experiments.training.recipe import Recipe
from edge_marl.graph_offloading.scenario import GraphScenario

_ENVS, _STEPS = 32, 2048
_FEWER = {"random_200_seed_0": (8, 1024), "random_1000_seed_0": (2, 1024)}
"""Episodes at once and steps of a train batch, where more would not fit into the memory."""

_VALIDATION_EPISODES = 4
_EVALUATIONS = 5

_DELAY_TICKS = 300
"""An outcome counts for decisions up to so long before it."""

_AT_DEADLINE = 0.28
"""What an outcome is worth that is certain only at the earliest deadline."""

_NOTHING: Mapping[str, Any] = MappingProxyType({})

OWN: Mapping[str, Any] = MappingProxyType({"kind": "own", "delay_ticks": _DELAY_TICKS})
"""Own outcomes, credited to their decisions; their discount follows from the deadlines."""

SPARSE: Mapping[str, Any] = MappingProxyType({"kind": "sparse", "gamma": GAMMA})
"""Equations 23 to 33 in their policy-invariant form, which has the learner's own discount."""


@dataclass(frozen=True)
class Learner:
    """Describe a learned method, by what differs from its algorithm as the study has it."""

    algorithm: str = "mappo"
    options: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    """Of the algorithm."""
    rewards: Mapping[str, Any] = field(default_factory=lambda: OWN)
    """Of the environment."""
    extended: bool = True
    """Whether agents see rates, capacities and ages, and instructions on a logarithmic scale."""

    def env(self, scenario: GraphScenario) -> dict[str, Any]:
        """Return the options of the environment, all but the scenario."""
        rewards = dict(self.rewards)
        if "delay_ticks" in rewards:
            rewards["gamma"] = _AT_DEADLINE ** (scenario.tick_s / scenario.deadline_s[0])
        return {"extended": self.extended, "rewards": rewards}

    def but(self, **options: Any) -> Learner:
        """Return the method with some options of the algorithm changed."""
        return replace(self, options={**self.options, **options})


# Of a core, roughly: a training of IPPO with few tasks, and how many times as long others take, on
# Ether and on random graphs.
_SECONDS = {"ether_2": 35.0, "ether_4": 75.0, "random_10": 25.0, "random_15": 65.0}
_LARGE_SECONDS = 400.0
_COST = {"mappo": (1.0, 1.0), "fauno": (2.7, 1.5), "scof": (3.0, 1.7)}

IPPO = Learner(options={"critic": "local"})
MAPPO = Learner(options={"critic": "central"})
FAUNO, SCOF = Learner("fauno"), Learner("scof")

METHODS: Mapping[str, Learner] = {
    "IPPO": IPPO,
    "MAPPO": MAPPO,
    "FAuNO": FAUNO,
    # The same, but that nothing is federated: no update arrives.
    "Independent": FAUNO.but(drop_rate=1.0),
    "SCOF": SCOF,
}

VARIANTS: Mapping[str, Learner] = {
    "discount 0.9": IPPO.but(gamma=0.9),
    "discount 0.99": IPPO.but(gamma=0.99),
    "paid when known": replace(IPPO, rewards={"kind": "own"}),
    "paid when known, lambda 0.995": replace(IPPO.but(lambda_=0.995), rewards={"kind": "own"}),
    "dense reward": replace(IPPO, rewards={"kind": "dense"}),
    "sparse reward": replace(IPPO, rewards=SPARSE),
    "observation of annex 10.2": replace(IPPO, extended=False),
    "observations not standardised": IPPO.but(observation_normalisation=False),
    "all steps": IPPO.but(decisions_only=False),
    "values clipped": IPPO.but(vf_clip_param=10.0),
}
"""IPPO with one choice changed, by label."""


_LOST = (0.3, 0.5, 0.8)


def _lossy(k: float, lost: float) -> str:
    return f"K {k:g}, {lost:g} lost"


_LOSSY: Mapping[str, Learner] = {
    _lossy(k, lost): FAUNO.but(participants=k, drop_rate=lost) for k in (0.3, 0.5) for lost in _LOST
}
"""Settings of Table 8: K, and the share of updates that is lost."""

DISAGREEING: Mapping[float, str] = {**{lost: _lossy(0.5, lost) for lost in _LOST},
                                    1.0: "Independent"}  # fmt: skip
"""Methods of Tables 6 and 7 by the share of updates that is lost; with all, clients are alone."""

ORACLE = "One critic for all"


class Group(NamedTuple):
    """Describe methods that are compared with one another, apart from the main tables."""

    title: str
    methods: Mapping[str, Learner]
    beside: Sequence[str] = ()
    """Methods of the main tables that stand beside them."""
    cells: tuple[Cell, ...] = ()
    """Where; none: in all cells of the study."""
    papers: Mapping[str, str] = MappingProxyType({})
    """What the paper's tables call its methods, by the name that they have here."""
    tables: tuple[int, ...] = ()
    """Of the paper: ratio, response, ratio, response."""


NOISES: Mapping[str, float] = {f"noise {noise:g}": noise for noise in (0.5, 1.0, 2.0, 4.0)}
"""Standard deviation of the noise on a version, over what one client can change, by method."""

_ATTACKS = ("sign_flip", "times_100", "nan")
_FORGED = 0.2
_CLIP_NORM = 1.0

GROUPS: Mapping[Setting, Group] = {
    "components": Group(
        "what is federated, and when",
        {
            "FAuNO, actor": FAUNO.but(federated="actor"),
            "FAuNO, actor and critic": FAUNO.but(federated="both"),
            "FAuNO, synchronous": FAUNO.but(synchronous=True, participants=1.0),
        },
        ("FAuNO", "Independent"),
        papers={
            "FAuNO": "fauno",
            "FAuNO, actor": "fauno_actor",
            "FAuNO, actor and critic": "fauno_actor_critic",
            "FAuNO, synchronous": "fauno_sync",
        },
        tables=(12, 13, 10, 11),
    ),
    "proximal": Group(
        "with a proximal term",
        {"FAuNO, proximal": FAUNO.but(proximal=0.005)},
        ("FAuNO",),
        papers={"FAuNO": "fauno", "FAuNO, proximal": "fauno_prox"},
        tables=(14, 15, 16, 17),
    ),
    "sparse": Group(
        "with the sparse reward",
        {
            "FAuNO, sparse": replace(FAUNO, rewards=SPARSE),
            "SCOF, sparse": replace(SCOF, rewards={**SPARSE, "gamma": SCOF_GAMMA}),
            "MAPPO, sparse": replace(MAPPO, rewards=SPARSE),
        },
        ("least_queues",),
        papers={"FAuNO, sparse": "fauno", "SCOF, sparse": "scof", "MAPPO, sparse": "mappo"},
        tables=(18, 19, 20, 21, 22, 23, 24, 25),
    ),
    "disagreement": Group(
        "where tasks differ by region",
        {
            **{name: {**METHODS, **_LOSSY}[name] for name in DISAGREEING.values()},
            ORACLE: IPPO.but(network={"agent_id": False}),
        },
        ("least_queues",),
        (REGIONS,),
    ),
    "threshold": Group(
        "updates that a version takes, and updates that are lost (Table 8)",
        _LOSSY,
        ("FAuNO", "Independent"),
        (FEDERATED, REGIONS),
    ),
    "byzantine": Group(
        f"a share of {_FORGED:g} of the clients that forge their updates",
        {
            f"{attack}, {rule}": FAUNO.but(
                attackers=_FORGED, attack=attack, aggregation=rule, byzantine=_FORGED
            )
            for attack in _ATTACKS
            for rule in ("mean", "median", "trimmed_mean", "krum")
        },
        ("FAuNO", "Independent"),
        (FEDERATED,),
    ),
    "privacy": Group(
        "noise on the versions",
        {
            name: FAUNO.but(noise_multiplier=noise, clip_norm=_CLIP_NORM, coefficients="equal")
            for name, noise in NOISES.items()
        },
        ("FAuNO", "Independent"),
        (FEDERATED,),
    ),
    "size": Group(
        "200 and 1,000 nodes",
        {"FAuNO": FAUNO, "Independent": METHODS["Independent"]},
        ("least_queues", "least_queues_triage"),
        LARGE,
    ),
    "failures": Group(
        "where nodes and links fail",
        {name: METHODS[name] for name in ("IPPO", "FAuNO", "Independent", "SCOF")},
        ("least_queues", "triage_true", "least_queues_triage"),
        (FAILING,),
    ),
    "ablation": Group("IPPO with one choice changed", VARIANTS, ("IPPO",), (ABLATED,)),
}

LEARNERS: Mapping[str, Learner] = {
    **METHODS,
    **{name: learner for group in GROUPS.values() for name, learner in group.methods.items()},
}


@cache
def training_of(config: StudyConfig, method: str, cell: Cell, seed: int) -> Training:
    """Return the training of a method in a cell."""
    learner, scenario = LEARNERS[method], cell.scenario(config.ticks)
    env = learner.env(scenario)
    envs, steps = _FEWER.get(cell.topology, (_ENVS, _STEPS))
    recipe = Recipe(
        env=ENVIRONMENT,
        algorithm=learner.algorithm,
        options={
            "num_envs_per_env_runner": envs,
            "rollout_fragment_length": steps,
            "train_batch_size_per_learner": envs * steps,
            **hyperparameters(
                learner.algorithm,
                is_random=cell.is_random,
                iterations=config.iterations,
                train_batch_size=envs * steps,
            ),
            **learner.options,
        },
        env_config={"scenario": scenario.model_dump(), **env},
        seed=seed,
    )
    kind = CriticTraining if cell.load == "regions" else Training
    return kind(
        method,
        recipe,
        Limits(iterations=config.iterations),
        config.validation(cell, env, _VALIDATION_EPISODES),
        metrics=("finished_ratio", "response_ticks"),
        evaluations=_EVALUATIONS,
        played=("finished_ratio", "response_ticks"),
        further=cell.labels,
        seconds=_seconds(config, learner.algorithm, cell),
    )


def _seconds(config: StudyConfig, algorithm: str, cell: Cell) -> float:
    share = config.iterations / StudyConfig().iterations
    seconds = _SECONDS.get(cell.topology, _LARGE_SECONDS)
    return share * seconds * (1.0 + cell.rate) * _COST[algorithm][cell.is_random]
