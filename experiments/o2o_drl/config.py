"""Configure the O2O-DRL study, and declare the settings that its figures vary (section V)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import Field

from edge_marl.experiments.study.engine import StudyOptions
from edge_marl.options import Count, CountOrZero, Several
from edge_marl.peer_offloading.scenario import OffloadingScenario
from edge_marl.peer_offloading.simulator import Reward
from edge_marl.seeds import NETWORKS_PER_SWEEP

Sweep = Literal["size", "arrival", "failure", "nodes", "testbed"]


MOST_NETWORKS = 100
"""Networks that a point has at most, so that no two points share any."""

"""Networks below are those in which settings were chosen: none of them is in a table."""


Networks = Annotated[int, Field(ge=1, le=MOST_NETWORKS)]


class Point(NamedTuple):
    """Describe the scenario behind one value on the x axis of a figure."""

    sweep: Sweep
    value: float
    changes: tuple[tuple[str, Any], ...]
    """Fields of :class:`OffloadingScenario` that differ from the default."""
    first_network: int
    """Seed of the first of this point's own networks."""

    def scenario(self, network: int) -> OffloadingScenario:
        """Return the scenario of network number ``network``, which is the same in every episode."""
        if not 0 <= network < MOST_NETWORKS:
            raise ValueError(f"network: expected 0 to {MOST_NETWORKS - 1}, found {network}")
        return OffloadingScenario.model_validate(
            {**dict(self.changes), "network_seed": self.first_network + network}
        )

    def offered_load(self, network: int) -> float:
        """Return the work that arrives in a network over the work that its nodes can do."""
        return float(self.scenario(network).offered_load([0])[0])  # the same in every episode

    @property
    def labels(self) -> dict[str, str | float]:
        """Return what tells its rows from those of other points."""
        return {"sweep": self.sweep, "value": self.value}

    def is_default(self) -> bool:
        """Return whether it is the default scenario, which lies on several axes."""
        return OffloadingScenario.model_validate(dict(self.changes)) == OffloadingScenario()


class SweepAxis(NamedTuple):
    """Describe one panel of the paper's figures."""

    figure: str
    label: str
    points: tuple[Point, ...]


def _points(sweep: Sweep, *values: tuple[float, dict[str, Any]]) -> tuple[Point, ...]:
    first = NETWORKS_PER_SWEEP * (2 + get_args(Sweep).index(sweep))
    return tuple(
        Point(sweep, value, tuple(changes.items()), first + MOST_NETWORKS * k)
        for k, (value, changes) in enumerate(values)
    )


SWEEPS: dict[Sweep, SweepAxis] = {
    "size": SweepAxis(
        "5a", "largest task, KB",
        _points("size", *((high, {"size_kb": (1000.0, high)})
                          for high in (6000.0, 7000.0, 8000.0, 9000.0, 10000.0))),
    ),
    "arrival": SweepAxis(
        "5b", "largest arrival probability",
        _points("arrival", *((high, {"arrival_probability": (0.0, high)})
                             for high in (0.6, 0.7, 0.8, 0.9, 1.0))),
    ),
    "failure": SweepAxis(
        "5c", "largest failure rate of nodes, 1/s",
        _points("failure", *((high, {"failure_rate": (0.0, high)})
                             for high in (0.1, 0.15, 0.2, 0.25, 0.3))),
    ),
    "nodes": SweepAxis(
        "6", "nodes", _points("nodes", *((n, {"nodes": n}) for n in (10, 20, 30, 40, 50)))
    ),
    # Figure 8, of the authors' testbed. The paper does not give its sizes.
    "testbed": SweepAxis(
        "8", "largest task, KB (testbed)",
        _points("testbed", *((high, {"preset": "testbed", "size_kb": (500.0, high)})
                             for high in (1500.0, 2000.0, 2500.0, 3000.0))),
    ),
}  # fmt: skip
"""Panels by name. The ends of the axes are the paper's where it names them; it does not say which
values lie between them."""

BASE = Point("size", 8000.0, (), NETWORKS_PER_SWEEP)
"""The default scenario: Figures 3 and 4, and where the sweeps meet."""


class StudyConfig(StudyOptions):
    """Configure ``edge-marl reproduce o2o-drl``."""

    sweeps: tuple[Sweep, ...] = Field(tuple(SWEEPS), description="panels to redo")
    ends_only: bool = Field(False, description="only the ends and the middle of every sweep")
    networks: Networks = Field(10, description="at the default point, each trained in by itself")
    swept_networks: Networks = Field(5, description="at each other point, which has its own")
    episodes: Several = Field(20, description="test episodes per network")
    validation_episodes: Several = Field(10, description="episodes behind learning curves")
    bound_episodes: CountOrZero = Field(
        2, description="test episodes per network whose clairvoyant bound is computed"
    )
    log_episodes: Several = Field(300, description="episodes of heuristic control in a log")
    offline_updates: Count = Field(4_000, description="gradient steps of offline training")
    iterations: Count = Field(30, description="refits of online training")
    ablations: bool = Field(True, description="other offline methods, and the other reward")
    reward: Reward = Field(
        "own", description="feedback that learners are rewarded with; the paper's is team"
    )

    @classmethod
    def quick(cls) -> StudyConfig:
        """Return options with which the study takes at most 10 minutes on 2 cores."""
        return cls(
            sweeps=("arrival",), ends_only=True, networks=2, swept_networks=2, episodes=10,
            validation_episodes=5, log_episodes=50, offline_updates=2_000, iterations=15,
            bound_episodes=1, ablations=False,
        )  # fmt: skip

    def networks_at(self, point: Point) -> range:
        """Return the numbers of the networks of a point."""
        return range(self.networks if point == BASE else self.swept_networks)

    def points(self, sweep: Sweep) -> tuple[Point, ...]:
        """Return the points of a panel, with ``ends_only`` just its ends and its middle."""
        points = SWEEPS[sweep].points
        return (points[0], points[len(points) // 2], points[-1]) if self.ends_only else points

    def episodes_at_a_time(self, scenario: OffloadingScenario) -> int:
        """Return the episodes of a refit: 32, or more if they are shorter or have fewer nodes."""
        usual = OffloadingScenario()
        share = usual.nodes * usual.slots / (scenario.nodes * scenario.slots)
        return round(32 * max(1.0, share))
