"""The statistics against values worked out by hand."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_marl.errors import InputError
from edge_marl.experiments import statistics
from edge_marl.experiments.statistics import Estimate


def test_the_interquartile_mean_is_the_mean_of_the_middle_half() -> None:
    values = np.array([[0.0, 1, 2, 3], [4, 5, 6, 1000]])
    assert statistics.interquartile_mean(values).value == (2 + 3 + 4 + 5) / 4
    assert statistics.mean(values).value == 1021 / 8


def test_the_interval_of_one_unit_is_students_over_episodes() -> None:
    estimate = statistics.mean(np.array([[1.0, 2.0, 3.0]]))
    # Mean 2, standard error 1 / sqrt(3), t quantile of 2 degrees of freedom 4.3027.
    assert estimate.value == 2.0
    assert estimate.high == pytest.approx(2.0 + 4.302653 / 3**0.5)
    assert estimate.low == pytest.approx(2.0 - 4.302653 / 3**0.5)


def test_the_spread_between_units_is_part_of_the_interval() -> None:
    units_differ = np.array([[0.0], [1.0], [2.0]]) + np.zeros((1, 50))
    assert statistics.mean(units_differ).high == pytest.approx(1.0 + 4.302653 / 3**0.5)


def test_both_factors_add_up() -> None:
    rows, columns = np.array([[-1.0], [0.0], [1.0]]), np.array([[-1.0, 0.0, 1.0]])
    assert statistics.mean(rows + columns).high == pytest.approx(2**0.5 * 4.302653 / 3**0.5)


UNITS_AND_EPISODES = ((1, 20), (2, 20), (3, 20), (5, 20), (10, 20), (5, 300))
SPREADS = ((1.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.3, 1.0, 1.0), (0.0, 1.0, 1.0))
"""Of units, of episodes and of what is left, in the same measure."""
DRAWS = 1000


def coverage(
    estimate: Callable[[np.ndarray], Estimate], truth: float, draw: Callable[[], np.ndarray]
) -> float:
    """How often the interval holds what it is an interval of."""
    found = [estimate(draw()) for _ in range(DRAWS)]
    return float(np.mean([one.low <= truth <= one.high for one in found]))


@pytest.mark.parametrize("shape", UNITS_AND_EPISODES)
@pytest.mark.parametrize("spreads", SPREADS)
def test_an_interval_of_95_percent_covers_95_percent(
    shape: tuple[int, int], spreads: tuple[float, float, float]
) -> None:
    S, K = shape
    of_units, of_episodes, rest = spreads
    rng = np.random.default_rng(7)

    def draw() -> np.ndarray:
        # What a single unit is by itself cannot be told from it: the interval is about that one.
        units = of_units * rng.normal(size=(S, 1)) * (S > 1)
        return units + of_episodes * rng.normal(size=(1, K)) + rest * rng.normal(size=(S, K))

    assert coverage(statistics.mean, 0.0, draw) >= 0.95 - 3 * (0.95 * 0.05 / DRAWS) ** 0.5


@pytest.mark.parametrize("S", [2, 3, 5])
def test_ratios_cover_what_they_are_ratios_of(S: int) -> None:
    rng = np.random.default_rng(8)

    def draw() -> np.ndarray:
        baseline = 2.0 + rng.normal(size=(1, 30))
        values = 0.8 * baseline + 0.1 * rng.normal(size=(S, 1)) + 0.3 * rng.normal(size=(S, 30))
        return np.stack([values, np.broadcast_to(baseline, values.shape)])

    def change(both: np.ndarray) -> Estimate:
        return statistics.relative_change(both[0], both[1])

    assert coverage(change, -0.2, draw) >= 0.93


def test_skewed_values_are_covered_nearly_as_often() -> None:
    rng = np.random.default_rng(9)
    # As degradations are: half of the traces lose nothing, the others something like this.
    covered = coverage(
        statistics.mean, 0.5, lambda: rng.exponential(size=(1, 300)) * (rng.random((1, 300)) < 0.5)
    )
    assert covered >= 0.93


def test_the_middle_half_is_covered_too() -> None:
    rng = np.random.default_rng(10)
    drawn = coverage(statistics.interquartile_mean, 0.0, lambda: rng.standard_t(2, size=(1, 100)))
    assert drawn >= 0.93


def test_one_episode_of_one_unit_has_no_interval() -> None:
    estimate = statistics.mean(np.array([[0.5]]))
    assert estimate.value == 0.5
    assert np.isnan([estimate.low, estimate.high]).all()
    assert not estimate.surely_above_zero
    assert estimate.text() == "0.500"


def test_a_ratio_to_what_may_be_nothing_has_no_bounds() -> None:
    noise = np.array([[-1.0, 1.2, -0.9, 1.1]])
    change = statistics.relative_change(noise + 1.0, noise)
    assert np.isnan([change.low, change.high]).all()
    assert change.text() == f"{change.value:.3f}"


def test_a_relative_change_by_hand() -> None:
    baseline = np.array([[9.0, 10.0, 11.0]])
    change = statistics.relative_change(0.9 * baseline, baseline)
    # The same share on every episode: nothing is left to chance.
    assert change == pytest.approx((-0.1, -0.1, -0.1))


def test_the_gap_closed_by_hand() -> None:
    heuristic = np.array([[0.4, 0.6]])
    oracle = np.array([[0.0, 0.2]])
    assert statistics.gap_closed(np.array([[0.2, 0.4]]), heuristic, oracle).value == (
        pytest.approx(0.5)
    )
    assert statistics.gap_closed(heuristic, heuristic, oracle).value == 0.0
    assert statistics.gap_closed(oracle, heuristic, oracle).value == 1.0
    assert statistics.gap_closed(heuristic + 0.4, heuristic, oracle).value == pytest.approx(-1.0)


def test_without_a_gap_there_is_no_share_of_it() -> None:
    same = np.array([[0.1, 0.1]])
    assert np.isnan(statistics.gap_closed(same, same, same).value)


def test_a_comparison_by_hand() -> None:
    method = np.array([[1.0, 2, 3, 4, 5, 6]])
    baseline = np.array([[2.0, 4, 6, 8, 10, 6]])
    found = statistics.compare(method, baseline)
    # Five differences, all of one sign: 2 / 2**5.
    assert found.p_value == pytest.approx(2 / 32)
    assert found.probability_of_improvement == pytest.approx(5.5 / 6)


def test_equal_methods_do_not_differ() -> None:
    values = np.ones((1, 5))
    assert statistics.compare(values, values) == (1.0, 0.5)


def test_different_traces_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="same traces"):
        statistics.compare(np.ones((1, 5)), np.ones((1, 4)))


@settings(max_examples=20)
@given(arrays(np.float64, (2, 8), elements=st.floats(0, 10)))
def test_a_method_improves_on_another_as_often_as_it_is_worse(values: np.ndarray) -> None:
    first, second = values[:1], values[1:]
    forth = statistics.compare(first, second).probability_of_improvement
    back = statistics.compare(second, first).probability_of_improvement
    assert forth + back == pytest.approx(1.0)
