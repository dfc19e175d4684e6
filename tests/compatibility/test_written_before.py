"""Runs, checkpoints, exports and logs of an earlier version go on where they were."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from edge_marl.algorithms.actors import load_actor
from edge_marl.errors import InputError
from edge_marl.experiments.evaluate.command import evaluate
from edge_marl.experiments.training import run
from edge_marl.experiments.training.checkpoints import numbered_checkpoints, read_checkpoint
from edge_marl.experiments.training.loop import Limits
from edge_marl.task_log.episodes import open_log

ARCHIVE = Path(__file__).parent / "written_before.tar.xz"


@pytest.fixture
def before(tmp_path: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def resumed(folder: Path) -> int:
    """Go on for an iteration; returns the one that was the last."""
    last = int(numbered_checkpoints(folder / "checkpoints")[-1].name)
    assert run.resume(folder, {"limits": Limits(iterations=last + 1)}) == 0
    return last


def test_a_run_goes_on(before: Path, local_ray: None) -> None:
    folder = before / "mappo"
    last = resumed(folder)
    assert int(numbered_checkpoints(folder / "checkpoints")[-1].name) == last + 1
    assert len((folder / "progress.csv").read_text().splitlines()) == last + 2


@pytest.mark.parametrize("name", ["qmix", "scale", "o2o"])
def test_a_run_whose_simulators_cannot_be_read_says_so(
    name: str, before: Path, local_ray: None
) -> None:
    expected = r"written by edge-marl 0\.1\.0 in format 1: this version \(format 2\) cannot go on"
    with pytest.raises(InputError, match=expected) as refused:
        resumed(before / name)
    assert "\n" not in str(refused.value)
    # What was learned is read.
    kept = numbered_checkpoints(before / name / "checkpoints")[-1]
    evaluate([kept], episodes=2, out=before / "evaluated")


def test_a_checkpoint_is_evaluated_as_it_was(before: Path) -> None:
    checkpoint = read_checkpoint(before / "mappo")
    assert checkpoint.card.evaluation is not None
    evaluate([before / "mappo"], episodes=2, out=before / "evaluated")
    summary = json.loads((before / "evaluated/summary.json").read_text())
    assert any(row["policy"] == "mappo/best" for row in summary["rows"])


def test_an_export_decides_as_the_checkpoint_does(before: Path) -> None:
    import onnxruntime
    import torch

    whole = read_checkpoint(before / "mappo").actor
    features = np.abs(np.random.default_rng(0).normal(size=(4, 2, 6, 5))).astype(np.float32) * 20
    mask = np.ones((4, 2, 7), dtype=bool)
    mask[..., -1] = False
    with torch.inference_mode():
        expected, _ = whole(torch.from_numpy(features).flatten(2), torch.from_numpy(mask))
    for k, agent in enumerate(("comm", "comp")):
        session = onnxruntime.InferenceSession(before / f"export/{agent}/actor.onnx")
        names = [one.name for one in session.get_inputs()]
        outputs = session.run(None, dict(zip(names, (features[:, k], mask[:, k]), strict=True)))
        own = load_actor(before / f"export/{agent}")
        with torch.inference_mode():
            found, _ = own(
                torch.from_numpy(features[:, [k]]).flatten(2), torch.from_numpy(mask[:, [k]])
            )
        np.testing.assert_allclose(found[:, 0], expected[:, k], atol=1e-6)
        (scores,) = (output for output in outputs if output.shape == (4, 7))
        legal = mask[:, k]
        np.testing.assert_allclose(scores[legal], expected[:, k].numpy()[legal], atol=1e-5)


def test_a_task_log_is_read(before: Path) -> None:
    with open_log(before / "log.sqlite") as log:
        assert len(log.episodes) == 3
