"""Predictors: what they see, that they learn what there is to learn, and how they are scored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_pinball_loss, r2_score

from edge_marl.algorithms.prediction.artefact import load_predictor
from edge_marl.algorithms.prediction.baselines import BASELINES
from edge_marl.algorithms.prediction.networks import (
    MEDIAN,
    QUANTILES,
    Predictor,
    PredictorSpec,
    pinball,
)
from edge_marl.algorithms.prediction.scores import dependence, r2_of_moments, score
from edge_marl.algorithms.prediction.series import Series, series_of
from edge_marl.algorithms.prediction.training import PredictionConfig, predict, train
from edge_marl.errors import InputError
from edge_marl.experiments.predict.onnx_files import export_predictor
from edge_marl.google_traces import GoogleTasks
from tests.experiments.command_line import call

SMALL = PredictorSpec(history=8, width=16, layers=1, heads=2)


def tasks(n: int, demands: np.ndarray | None = None, seed: int = 0) -> GoogleTasks:
    """Tasks that arrive at random, as a renewal process unless demands are given."""
    rng = np.random.default_rng(seed)
    run_s = rng.lognormal(0, 1, n) if demands is None else demands
    return GoogleTasks(rng.exponential(1.0, n).cumsum(), run_s, np.full(n, np.nan), np.ones(n))


def waves(n: int) -> np.ndarray:
    """Demands that follow from the two before, as those of a sine do."""
    return np.exp(np.sin(2 * np.pi * np.arange(n) / 7.3))


# Series --------------------------------------------------------------------------------------


def test_parts_follow_one_another_and_means_are_of_the_first() -> None:
    series = series_of(tasks(1000), servers=3, seed=1)
    train_part, validation, test = (series.part(p) for p in ("train", "validation", "test"))
    assert [len(p) for p in (train_part, validation, test)] == [598, 199, 200]
    assert np.concatenate([train_part, validation, test]).tolist() == list(range(997))
    assert series.arrival_s[train_part].max() < series.arrival_s[validation].min()
    assert series.arrival_s[validation].max() < series.arrival_s[test].min()
    np.testing.assert_allclose(series.values[train_part].mean(axis=0), 1.0)
    # Nothing of what comes later changes what is learned from.
    given = tasks(1000)
    later = given._replace(duration_s=np.where(np.arange(1000) < 700, given.duration_s, 99.0))
    other = series_of(later, servers=3, seed=1)
    np.testing.assert_array_equal(other.values[train_part], series.values[train_part])


def test_a_history_is_what_came_before_at_the_same_server() -> None:
    given = tasks(300)
    series = series_of(given, servers=2, seed=0)
    asked = series.part("test")
    histories, lengths = series.histories(asked, 5)
    for k, task in enumerate(asked):
        own = [i for i in range(task) if series.server[i] == series.server[task]][-5:]
        assert lengths[k] == len(own)
        np.testing.assert_array_equal(histories[k, : len(own)], series.values[own])
    first, none = series.histories(np.array([0]), 5)
    assert none[0] == 0
    assert not first.any()
    with pytest.raises(InputError, match="trace: expected at least 250 tasks"):
        series_of(tasks(200), servers=2, seed=0)


# Networks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_no_prediction_depends_on_what_comes_later(kind: str) -> None:
    torch.manual_seed(0)
    model = Predictor(PredictorSpec(**{**SMALL.model_dump(), "kind": kind})).eval()
    values = torch.rand(2, 8, 3)
    changed = values.clone()
    changed[:, 5:] += 1.0
    found, other = model.of_all(values), model.of_all(changed)
    torch.testing.assert_close(found[:, :6], other[:, :6])
    assert not torch.allclose(found[:, 6:], other[:, 6:])
    # What is behind the last task of a history counts for nothing either.
    length = torch.tensor([5, 0])
    torch.testing.assert_close(model(values, length), model(changed, length))
    expected = model.original(found[torch.arange(2), length])
    torch.testing.assert_close(model(values, length), expected)


def test_quantiles_do_not_cross_and_scales_are_undone() -> None:
    torch.manual_seed(0)
    model = Predictor(SMALL)
    model.location.copy_(torch.tensor([0.3, -1.0, 0.0]))
    model.scale.copy_(torch.tensor([2.0, 0.5, 1.0]))
    found = model.of_all(10 * torch.rand(4, 8, 3))
    assert (found.diff(dim=-1) > 0).all()
    values = torch.rand(5, 3)
    again = model.original(model.standardised(values)[..., None])[..., 0]
    torch.testing.assert_close(again, values)


def test_both_kinds_have_about_as_many_parameters() -> None:
    sizes = [
        sum(p.numel() for p in Predictor(PredictorSpec(kind=kind)).parameters())
        for kind in ("transformer", "lstm")
    ]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.1)
    with pytest.raises(ValueError, match="width: expected an even multiple of 4 heads, found 30"):
        PredictorSpec(width=30)


def test_the_pinball_loss_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    quantiles, values = rng.normal(size=(50, len(QUANTILES))), rng.normal(size=50)
    found = pinball(torch.from_numpy(quantiles), torch.from_numpy(values)).mean(0)
    expected = [mean_pinball_loss(values, quantiles[:, q], alpha=level)
                for q, level in enumerate(QUANTILES)]  # fmt: skip
    assert found.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_a_trace_that_can_be_predicted_is(kind: str) -> None:
    series = series_of(tasks(1500, waves(1500)), servers=1, seed=0)
    spec = PredictorSpec(**{**SMALL.model_dump(), "kind": kind, "dropout": 0.0})
    config = PredictionConfig(network=spec, lr=1e-2, epochs=25, patience=25)
    losses: list[float] = []
    model = train(series, config, 0, lambda epoch, loss: losses.append(loss))
    predicted = predict(model, series, "test").numpy()
    test = series.part("test")
    assert r2_score(series.values[test, 1], predicted[:, 1, MEDIAN]) > 0.9
    # The intervals to the next arrival are independent of everything.
    assert abs(r2_score(series.values[test, 0], predicted[:, 0, MEDIAN])) < 0.25
    inside = (predicted[:, 0, 0] <= series.values[test, 0]) & (
        series.values[test, 0] <= predicted[:, 0, -1]
    )
    assert inside.mean() == pytest.approx(0.9, abs=0.07)
    # The weights are those of the best validation, not the last.
    assert min(losses) < losses[0]


# Simple methods and scores -------------------------------------------------------------------


def standardised(series: Series) -> np.ndarray:
    z: np.ndarray = np.log(series.values + 0.01)
    train_part = series.part("train")
    deviation = z[train_part].std(axis=0)
    return (z - z[train_part].mean(axis=0)) / np.where(deviation > 1e-9, deviation, 1.0)


def test_simple_methods_expect_what_their_names_say() -> None:
    series = series_of(tasks(1000), servers=2, seed=0)
    z = standardised(series)
    asked = series.part("test")
    for name in ("constant", "last value"):
        quantiles = BASELINES[name](series, z, "test")
        assert quantiles.shape == (len(asked), 3, len(QUANTILES))
        assert (np.diff(quantiles, axis=-1) >= 0).all()
    train_part = series.part("train")
    constant = BASELINES["constant"](series, z, "test")
    np.testing.assert_allclose(constant[0], np.quantile(z[train_part], QUANTILES, axis=0).T)
    last = BASELINES["last value"](series, z, "test")
    widths = np.ptp(last, axis=-1)
    np.testing.assert_allclose(widths, np.broadcast_to(widths[0], widths.shape))
    own = np.flatnonzero(series.server == series.server[asked[-1]])
    before = own[own < asked[-1]][-1]
    shift = last[-1, :, MEDIAN] - z[before]
    other = own[(own < before) & (own >= asked[0])][-1]
    again = last[list(asked).index(before), :, MEDIAN] - z[other]
    np.testing.assert_allclose(shift, again)


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "constant"])
def test_what_changes_slowly_is_predicted_by_simple_methods(name: str) -> None:
    slow = np.exp(np.sin(np.arange(1200) / 60))
    series = series_of(tasks(1200, slow), servers=1, seed=0)
    z = standardised(series)
    quantiles = BASELINES[name](series, z, "test")
    test = series.part("test")
    assert r2_score(z[test, 1], quantiles[:, 1, MEDIAN]) > 0.9


def test_scores_by_hand() -> None:
    z = np.array([[0.0, 1.0, 5.0], [2.0, 3.0, 5.0]])
    quantiles = np.tile(np.array([-1.0, 0.0, 1.0, 2.0, 3.0]), (2, 3, 1))
    found = score(quantiles, quantiles + 1.0, z, z + 1.0)
    assert found.r2[:2].tolist() == [0.0, pytest.approx(1 - 2.0)]
    assert np.isnan(found.r2[2])  # it never varies
    assert found.absolute_error[:2].tolist() == [1.0, 1.0]
    assert found.covered_50[:2].tolist() == [1.0, 0.5]
    assert found.covered_90[:2].tolist() == [1.0, 1.0]


def test_moments_of_arrival_are_explained_by_the_one_before() -> None:
    series = series_of(tasks(1000), servers=1, seed=0)
    nothing = np.zeros(len(series.part("test")))
    assert r2_of_moments(series, nothing) > 0.999
    assert r2_of_moments(series, series.values[series.part("test"), 0]) == pytest.approx(1.0)


def test_a_renewal_process_is_told_from_one_that_remembers() -> None:
    series = series_of(tasks(800, waves(800)), servers=1, seed=0)
    found = dependence(series, permutations=199)
    assert found.p_value[0] > 0.05
    assert found.p_value[1] == pytest.approx(1 / 200)
    assert abs(found.largest[1]) > 0.5
    assert np.isnan(found.p_value[2])
    # In any order, every p-value is as likely.
    p = [dependence(series_of(tasks(300, seed=k), 1, 0), 39).p_value[0] for k in range(40)]
    assert 2 <= sum(one <= 0.25 for one in p) <= 18


# Files and commands --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_an_exported_predictor_is_the_same_for_any_number_of_servers(
    kind: str, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    model = Predictor(PredictorSpec(**{**SMALL.model_dump(), "kind": kind}))
    exported = export_predictor(model, tmp_path / "predictor.onnx")
    assert exported.largest_difference < 1e-4
    assert (tmp_path / "predictor.onnx").stat().st_size < 200_000


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    rows = []
    for i, (at, run) in enumerate(zip(*tasks(400)[:2], strict=True)):
        begin_us = 1_000_000 + round(at * 1e6)
        for event, us in ((0, begin_us), (1, begin_us), (4, begin_us + 1 + round(run * 1e6))):
            rows.append((us, f"{us},,{i},{event},user,0,name,logical"))
    path = tmp_path / "part-00000.csv"
    path.write_text("\n".join(row for _, row in sorted(rows)) + "\n")
    return path


QUICK = ("epochs=2", "network.history=4", "network.width=8", "network.layers=1", "network.heads=2")


def test_commands_train_evaluate_and_keep_what_is_there(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, scores = tmp_path / "predictors", tmp_path / "scores"
    command = ["predict", "train", trace, "--format", "google2011", "--out", out]
    assert call(*command, "--seeds", 1, *QUICK) == 0
    assert call(*command, "--seeds", 1, *QUICK, "network.kind=lstm") == 0
    assert "399 tasks (239 train, 80 validation, 80 test)" in capsys.readouterr().out
    folders = sorted(path.name for path in out.iterdir())
    assert folders == ["lstm-0", "transformer-0"]
    weights = (out / "transformer-0" / "predictor.safetensors").stat()
    assert call(*command, "--seeds", 2, *QUICK) == 0
    assert (out / "transformer-0" / "predictor.safetensors").stat() == weights
    _, card = load_predictor(out / "transformer-1")
    assert (card.seed, card.servers, card.trace) == (1, 1, trace.name)
    capsys.readouterr()
    assert call("predict", "evaluate", trace, out, "--out", scores) == 0
    said = capsys.readouterr().out
    for name in (*BASELINES, "transformer (2", "lstm"):
        assert name.split()[0] in said
    assert "memory: the same for all tasks" in said
    assert (scores / "scores.json").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--servers", "300"), "trace: expected at least 250 tasks"),
        (("network.width=7",), "width: expected an even multiple of 4 heads, found 7"),
        (("speed=1",), "speed: unknown option"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    arguments: tuple[str, ...], message: str, trace: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "out"
    assert call("predict", "train", trace, "--format", "google2011", "--out", out, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_predictors_of_another_trace_are_refused(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "predictors"
    command: Callable[..., int] = lambda *more: call(  # noqa: E731
        "predict", "train", trace, "--format", "google2011", "--out", out, *QUICK, *more
    )
    assert command() == 0
    assert command("--division-seed", 1, "--servers", 2) == 2
    assert "holds a predictor of another trace, division or network" in capsys.readouterr().err
    lines = trace.read_text().splitlines()
    trace.write_text("\n".join(lines[: len(lines) - 60]) + "\n")
    assert call("predict", "evaluate", trace, out, "--out", tmp_path / "scores") == 2
    assert "expected the trace, and the division over servers" in capsys.readouterr().err
    assert call("predict", "evaluate", trace, tmp_path / "none", "--out", tmp_path / "scores") == 2
    assert "expected predictors (folders with card.json), found none" in capsys.readouterr().err
