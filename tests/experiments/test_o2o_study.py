"""The O2O-DRL study, at sizes that say nothing but show that everything runs."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_marl.errors import InputError
from edge_marl.experiments.o2o_drl.config import BASE, MOST_NETWORKS, SWEEPS, StudyConfig
from edge_marl.experiments.o2o_drl.methods import (
    O2O_DRL,
    OFFLINE,
    ONLINE,
    Outcome,
    write_log,
)
from edge_marl.experiments.o2o_drl.results import Results, canonical, holds
from edge_marl.experiments.o2o_drl.study import reproduce, units_of
from edge_marl.experiments.o2o_drl.units import BOUND, Unit, read_unit, write_unit
from edge_marl.experiments.statistics import Estimate
from edge_marl.task_log.episodes import open_log
from tests import snapshots

SMALLEST = StudyConfig(
    sweeps=(), networks=1, swept_networks=1, episodes=2, validation_episodes=2,
    bound_episodes=1, log_episodes=2,
    offline_updates=2, iterations=1, ablations=False, workers=0,
)  # fmt: skip


def test_a_study_is_written_and_goes_on_where_it_was(tmp_path: Path) -> None:
    results = reproduce(SMALLEST, tmp_path)
    written = {path.name for path in tmp_path.iterdir()}
    assert {"tables.md", "results.csv", "summary.json"} <= written
    assert {"figure3.png", "figure4.png", "figure-loads.png"} <= written
    assert not any((tmp_path / "logs").iterdir())
    played = {"ratc", "rda", OFFLINE, ONLINE, O2O_DRL, BOUND}
    assert played <= set(results.methods(BASE))
    snapshots.check_table("study-o2o-drl", tmp_path / "results.csv", rel=1e-6)
    # What is done is read: a unit whose file was changed keeps the change.
    (path,) = (tmp_path / "units").glob("*heuristics*")
    path.write_text(path.read_text().replace('"ratc"', '"changed"'))
    again = reproduce(SMALLEST.model_copy(update={"iterations": 1}), tmp_path)
    assert "changed" in again.methods(BASE)


def test_every_point_of_a_panel_is_done_once() -> None:
    config = StudyConfig(networks=3, swept_networks=2)
    units = units_of(config)
    assert len(units) == len(set(units))
    # The default scenario lies on four of the five axes.
    assert len({unit.point for unit in units}) == 4 * 4 + 1 + 4
    assert {len({u.network for u in units if u.point == point}) for point in SWEEPS["size"].points
            if canonical(point) != BASE} == {2}  # fmt: skip
    assert len({unit.network for unit in units if unit.point == BASE}) == 3
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


def test_outcomes_survive_their_file(tmp_path: Path) -> None:
    outcome = Outcome(
        {"ratc": {"success_rate": np.array([0.5, np.nan])}},
        (("online", 3, 0.25),),
        ((0.5, 0.75),),
    )
    write_unit(outcome, tmp_path / "unit.json", 1.0)
    found = read_unit(tmp_path / "unit.json")
    assert np.array_equal(
        found.test["ratc"]["success_rate"], outcome.test["ratc"]["success_rate"], equal_nan=True
    )
    assert (found.curve, found.hand_over) == (outcome.curve, outcome.hand_over)
    (tmp_path / "unit.json").write_text("{}")
    with pytest.raises(InputError, match=r"unit\.json: test: expected a value"):
        read_unit(tmp_path / "unit.json")


def test_a_log_of_two_heuristics_has_as_many_episodes_of_each(tmp_path: Path) -> None:
    log = tmp_path / "log.sqlite"
    config = SMALLEST.model_copy(update={"log_episodes": 6})
    write_log(config, BASE.scenario(0), ("rda", "ratc"), log)
    with open_log(log) as written:
        episodes = [(written.runs[row.run].policy, row.seed) for row in written.episodes]
    assert Counter(policy for policy, _ in episodes) == {"rda": 3, "ratc": 3}
    assert len({seed for _, seed in episodes}) == 6


def test_a_file_stands_for_its_configuration() -> None:
    unit = Unit(BASE, 0, O2O_DRL)
    paths = {
        unit.path(SMALLEST),
        unit.path(SMALLEST.model_copy(update={"iterations": 2})),
        Unit(BASE, 1, O2O_DRL).path(SMALLEST),
        Unit(SWEEPS["nodes"].points[0], 0, O2O_DRL).path(SMALLEST),
    }
    assert len(paths) == 4
    # What only others depend on makes no difference.
    assert unit.path(SMALLEST) == unit.path(SMALLEST.model_copy(update={"networks": 9}))


def results_of(**rates: list[list[float]]) -> Results:
    """Success rates ``[S][K]`` of methods at the default point, under their labels' names."""
    names = {"o2o": O2O_DRL, "offline": OFFLINE, "bound": BOUND, "ratc": "ratc"}
    outcomes = {
        Unit(BASE, network, O2O_DRL): Outcome(
            {names[k]: {"success_rate": np.array(v[network])} for k, v in rates.items()},
            hand_over=((0.5, 0.5), (0.25, 0.25)),
        )
        for network in range(len(next(iter(rates.values()))))
    }
    return Results(SMALLEST, outcomes)


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
