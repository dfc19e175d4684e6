"""Configure the FAuNO study, and the scenarios that its methods are trained and tested in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

from pydantic import Field

from edge_marl.experiments.evaluate.episodes import evaluation_seeds, validation_seeds
from edge_marl.experiments.study.engine import StudyOptions
from edge_marl.experiments.systems.system import Episodes
from edge_marl.graph_offloading.scenario import GraphScenario
from edge_marl.graph_offloading.topology import SHIPPED, Shipped
from edge_marl.options import Count, Positive, Several

ENVIRONMENT = "graph_offloading_v0"

RATES = (0.5, 1.0, 2.0)
"""lambda of Tables 2 to 5, per second."""

Method = Literal["IPPO", "MAPPO", "FAuNO", "Independent", "SCOF"]
Setting = Literal[
    "main",
    "components",
    "proximal",
    "sparse",
    "disagreement",
    "threshold",
    "byzantine",
    "privacy",
    "size",
    "failures",
    "ablation",
]
SETTINGS: tuple[Setting, ...] = get_args(Setting)


FAILURES = {"node_mttf_s": 300.0, "node_mttr_s": 30.0, "link_mttf_s": 300.0, "link_mttr_s": 30.0}
"""Mean times until nodes and links fail, and until they are repaired."""


class Cell(NamedTuple):
    """Name a column of Tables 2 to 5."""

    topology: str
    rate: float
    """lambda, per second."""
    load: Literal["alibaba", "regions"] = "alibaba"
    """Of the three regions of annex 6.1, each has tasks and a rate of its own."""
    failing: bool = False
    """Whether nodes and links fail now and then."""

    def scenario(self, ticks: int) -> GraphScenario:
        """Return what its episodes are drawn from: the preset ``published``."""
        return GraphScenario(
            topology=self.topology, rate_per_s=self.rate, load=self.load, ticks=ticks,
            **(FAILURES if self.failing else {}),
        )  # fmt: skip

    @property
    def title(self) -> str:
        """Return how tables call it."""
        own = f"{self.rate:g}" if self.load == "alibaba" else "three regions"
        return f"{self.topology}, {own}{', failing' if self.failing else ''}"

    @property
    def labels(self) -> dict[str, Any]:
        """Return what tells its units from those of others."""
        return self._asdict()

    @property
    def is_random(self) -> bool:
        """Return whether its graph is a random one, where giants decide."""
        return self.topology.startswith("random")


ABLATED = Cell("random_15", 2.0)
"""Where choices of IPPO are changed one by one: every reactive rule loses most there."""

LARGE = (Cell("random_200_seed_0", 0.5), Cell("random_1000_seed_0", 0.5))
"""Graphs like random 15, with as many neighbours per node."""

REGIONS = Cell("random_15", 1.0, "regions")
"""Where critics of Tables 6 and 7 disagree; its rates are the regions' own."""

FEDERATED = Cell("random_10", 2.0)
"""Where the federation is put to the test; Table 8 names neither topology nor lambda."""


FAILING = FEDERATED._replace(failing=True)
"""Where nodes and links fail."""


class StudyConfig(StudyOptions):
    """Configure ``edge-marl reproduce fauno``."""

    settings: tuple[Setting, ...] = Field(
        SETTINGS,
        min_length=1,
        description="main: Tables 2 to 5; components: 10 to 13; proximal: 14 to 17; sparse: 18 to "
        "25; disagreement: 6 and 7; threshold: 8; byzantine: forged updates and the rules against "
        "them; privacy: noise; size: 200 and 1,000 nodes; failures: of nodes and links; ablation: "
        "IPPO with one choice changed",
    )
    seeds: Count = Field(5, description="trainings of every method")
    episodes: Several = Field(20, description="test episodes of each topology and rate")
    ticks: Count = Field(10_000, description="of an episode")
    topologies: tuple[Shipped, ...] = Field(SHIPPED, min_length=1, description="of the paper")
    rates: tuple[Positive, ...] = Field(RATES, min_length=1, description="lambda, per second")
    methods: tuple[Method, ...] = Field(
        ("IPPO", "MAPPO", "FAuNO", "Independent", "SCOF"), description="of the main tables"
    )
    iterations: Count = Field(20, description="of a training, 65,536 ticks each")
    ablation_seeds: Count = Field(3, description="trainings of every variant of the ablation")

    @classmethod
    def quick(cls) -> StudyConfig:
        """Return options with which the study takes at most 10 minutes on 2 cores."""
        return cls(
            settings=("main",), seeds=1, episodes=4, topologies=("ether_2", "random_10"),
            rates=(2,), methods=("IPPO", "FAuNO", "SCOF"), iterations=10,
        )  # fmt: skip

    def cells(self) -> list[Cell]:
        """Return the columns of the tables."""
        return [Cell(topology, rate) for topology in self.topologies for rate in self.rates]

    def test(self, cell: Cell, env: Mapping[str, Any]) -> Episodes:
        """Return the test episodes of a cell, as agents see them with options ``env``."""
        return self._episodes(cell, env, evaluation_seeds(self.episodes))

    def validation(self, cell: Cell, env: Mapping[str, Any], n: int) -> Episodes:
        """Return n episodes of a cell on which trainings are watched."""
        return self._episodes(cell, env, validation_seeds(n))

    def _episodes(self, cell: Cell, env: Mapping[str, Any], seeds: Any) -> Episodes:
        scenario = cell.scenario(self.ticks)
        return Episodes({"scenario": scenario.model_dump(), **env}, seeds, cell.title)
