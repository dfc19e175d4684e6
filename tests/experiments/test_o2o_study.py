"""The O2O-DRL study, at sizes that say nothing but show that everything runs."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from edge_marl.experiments.o2o_drl import methods
from edge_marl.experiments.o2o_drl.config import BASE, MOST_NETWORKS, SWEEPS, Point, StudyConfig
from edge_marl.experiments.o2o_drl.methods import (
    O2O_DRL,
    OFFLINE,
    ONLINE,
    offline_part,
    training_of,
    write_log,
)
from edge_marl.experiments.o2o_drl.results import BOUND, Results, canonical, holds
from edge_marl.experiments.o2o_drl.study import STUDY, units_of
from edge_marl.experiments.statistics import Estimate
from edge_marl.experiments.study.engine import reproduce
from edge_marl.experiments.study.outcomes import Outcomes
from edge_marl.task_log.episodes import open_log
from tests import snapshots

SMALLEST = StudyConfig(
    sweeps=(), networks=1, swept_networks=1, episodes=2, validation_episodes=2,
    bound_episodes=1, log_episodes=2,
    offline_updates=2, iterations=1, ablations=False, workers=0,
)  # fmt: skip


def test_a_study_is_written_and_goes_on_where_it_was(tmp_path: Path) -> None:
    results = Results(SMALLEST, reproduce(STUDY, SMALLEST, tmp_path))
    written = {path.name for path in tmp_path.iterdir()}
    assert {"tables.md", "results.csv", "summary.json"} <= written
    assert {"figure3.png", "figure4.png", "figure-loads.png"} <= written
    # Logs are large: none is left.
    assert not list(tmp_path.rglob("*.sqlite*"))
    played = {"ratc", "rda", OFFLINE, ONLINE, O2O_DRL, BOUND}
    assert played <= set(results.methods(BASE))
    curves = results.curves(O2O_DRL)
    assert curves["offline"][0].tolist() == [1, 2]
    assert curves["online"][0].tolist() == [0, 32]
    assert len(results.hand_overs(BASE, O2O_DRL)) == 1
    learnt = {*methods.LEARNERS, *map(offline_part, methods.LEARNERS)}
    snapshots.check_table("study-o2o-drl", tmp_path / "results.csv", drawn=learnt, rel=1e-6)


def test_every_point_of_a_panel_is_done_once() -> None:
    config = StudyConfig(networks=3, swept_networks=2)
    units = units_of(config)
    assert len(units) == len(set(units))
    points = {(unit.labels["sweep"], unit.labels["value"]) for unit in units}
    # The default scenario lies on four of the five axes.
    assert len(points) == 4 * 4 + 1 + 4

    def networks(sweep: str, value: float) -> set[object]:
        return {
            unit.labels["network"]
            for unit in units
            if (unit.labels["sweep"], unit.labels["value"]) == (sweep, value)
        }

    swept = [point for point in SWEEPS["size"].points if canonical(point) != BASE]
    assert {len(networks("size", point.value)) for point in swept} == {2}
    assert len(networks(BASE.sweep, BASE.value)) == 3
    assert canonical(SWEEPS["arrival"].points[-1]) == BASE
    assert canonical(SWEEPS["testbed"].points[0]) != BASE


def test_no_two_points_share_a_network() -> None:
    points = {canonical(point) for axis in SWEEPS.values() for point in axis.points}
    seeds = [point.scenario(k).network_seed for point in points for k in (0, MOST_NETWORKS - 1)]
    assert len(set(seeds)) == len(seeds)
    assert all(a + MOST_NETWORKS - 1 == b for a, b in zip(seeds[::2], seeds[1::2], strict=True))
    gaps = np.diff(sorted(seeds[::2]))
    assert (gaps >= MOST_NETWORKS).all()


def test_each_network_is_the_same_in_every_episode() -> None:
    scenario = BASE.scenario(3)
    networks = scenario.networks([5, 9])
    assert np.array_equal(networks.capacity_hz[0], networks.capacity_hz[1])
    other = BASE.scenario(4).networks([5])
    assert not np.array_equal(networks.capacity_hz[0], other.capacity_hz[0])


def test_a_log_of_two_heuristics_has_as_many_episodes_of_each(tmp_path: Path) -> None:
    log = tmp_path / "log.sqlite"
    write_log(BASE.scenario(0), ("rda", "ratc"), 6, log)
    with open_log(log) as written:
        episodes = [(written.runs[row.run].policy, row.seed) for row in written.episodes]
    assert Counter(policy for policy, _ in episodes) == {"rda": 3, "ratc": 3}
    assert len({seed for _, seed in episodes}) == 6


def test_a_unit_stands_for_its_configuration() -> None:
    def name(network: int = 0, point: Point = BASE, **changes: object) -> str:
        return training_of(SMALLEST.model_copy(update=changes), point, network, O2O_DRL).name

    names = {name(), name(iterations=2), name(log_episodes=4), name(1),
             name(0, SWEEPS["nodes"].points[0])}  # fmt: skip
    assert len(names) == 5
    # What only others depend on makes no difference.
    assert name() == name(networks=9)


def test_learning_rates_are_behind_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    before = training_of(SMALLEST, BASE, 0, O2O_DRL)
    monkeypatch.setattr(methods, "_FIRST_RATE", 1e-3)
    training_of.cache_clear()
    assert training_of(SMALLEST, BASE, 0, O2O_DRL).name != before.name
    training_of.cache_clear()


def results_of(**rates: list[list[float]]) -> Results:
    """Success rates ``[S][K]`` of methods at the default point, under their labels' names."""
    names = {"o2o": O2O_DRL, "offline": OFFLINE, "bound": BOUND, "ratc": "ratc"}

    def rows(kind: str, method: str, values: list[list[float]], **more: object) -> list[Any]:
        return [
            {"kind": kind, "method": method, "network": network, "episode": k,
             "success_rate": rate, **BASE.labels, **more}
            for network, of_network in enumerate(values)
            for k, rate in enumerate(of_network)
        ]  # fmt: skip

    played = [row for name, values in rates.items() for row in rows("test", names[name], values)]
    n = len(next(iter(rates.values())))
    trained = [
        *rows("training", O2O_DRL, [[0.5, 0.5]] * n, iteration=1, phase="offline"),
        *rows("training", O2O_DRL, [[0.25, 0.25]] * n, iteration=2, phase="online"),
    ]
    return Results(SMALLEST, Outcomes(pd.DataFrame([*played, *trained]), "network"))


def test_gains_are_paired_and_bounds_count_where_they_are_known() -> None:
    nan = float("nan")
    results = results_of(
        o2o=[[0.8, 0.6], [0.9, 0.7]], ratc=[[0.7, 0.5], [0.8, 0.6]], bound=[[1.0, nan], [0.9, nan]]
    )
    gain = results.gain(BASE, O2O_DRL, "ratc")
    assert gain is not None
    assert gain.value == pytest.approx(0.1)
    assert gain.low == pytest.approx(0.1)  # the same on every episode
    share = results.share_of_possible(BASE, O2O_DRL)
    assert share is not None
    assert share.value == pytest.approx((0.8 + 1.0) / 2)
    assert results.gain(BASE, O2O_DRL, ONLINE) is None


def test_gains_of_every_network_stand_beside_its_load() -> None:
    results = results_of(o2o=[[0.8, 0.6], [0.9, 0.9]], ratc=[[0.7, 0.7], [0.8, 0.6]])
    results = replace(results, config=SMALLEST.model_copy(update={"networks": 2}))
    assert results.loads() == pytest.approx([BASE.offered_load(0), BASE.offered_load(1)])
    assert results.gains(O2O_DRL, "ratc") == pytest.approx(np.array([[0.1, -0.1], [0.1, 0.3]]))


def test_a_dip_after_the_hand_over_is_seen() -> None:
    (difference,) = results_of(o2o=[[0.8, 0.6]]).hand_overs(BASE, O2O_DRL)
    assert difference.value == pytest.approx(-0.25)
    assert difference.high < 0


def test_a_gain_is_sure_when_its_interval_is() -> None:
    sure, unsure, loss = Estimate(0.1, 0.05, 0.2), Estimate(0.1, -0.1, 0.2), Estimate(-0.1, -1, 1)
    assert holds([sure, sure]) == "yes"
    assert holds([sure, unsure]) == "yes, not surely"
    assert holds([sure, loss, None]) == "no"
