"""The statistics against values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_marl.errors import InputError
from edge_marl.experiments import statistics


def test_the_interquartile_mean_is_the_mean_of_the_middle_half() -> None:
    values = np.array([[0.0, 1, 2, 3], [4, 5, 6, 1000]])
    assert statistics.interquartile_mean(values).value == (2 + 3 + 4 + 5) / 4
    assert statistics.mean(values).value == 1021 / 8


def test_an_interval_holds_its_value_and_narrows_with_more_traces() -> None:
    rng = np.random.default_rng(0)
    few, many = (statistics.mean(rng.normal(1.0, 0.5, (3, k))) for k in (20, 2000))
    for estimate in (few, many):
        assert estimate.low < estimate.value < estimate.high
    assert many.high - many.low < few.high - few.low


def test_a_bootstrap_interval_is_close_to_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(0.0, 1.0, (1, 400))
    estimate = statistics.mean(values)
    half = 1.96 * values.std() / 20
    assert estimate.high - estimate.low == pytest.approx(2 * half, rel=0.1)


def test_the_spread_between_seeds_is_part_of_the_interval() -> None:
    seeds_differ = np.array([[0.0], [1.0], [2.0]]) + np.zeros((1, 50))
    estimate = statistics.mean(seeds_differ)
    assert estimate.value == 1.0
    assert estimate.high - estimate.low > 1.0


def test_intervals_are_the_same_on_every_run() -> None:
    values = np.random.default_rng(2).random((2, 30))
    assert statistics.mean(values) == statistics.mean(values)


def test_one_trace_has_no_interval() -> None:
    assert statistics.mean(np.array([[0.5]])) == (0.5, 0.5, 0.5)


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


@settings(max_examples=20, deadline=None)
@given(arrays(np.float64, (2, 8), elements=st.floats(0, 10)))
def test_a_method_improves_on_another_as_often_as_it_is_worse(values: np.ndarray) -> None:
    first, second = values[:1], values[1:]
    forth = statistics.compare(first, second).probability_of_improvement
    back = statistics.compare(second, first).probability_of_improvement
    assert forth + back == pytest.approx(1.0)
