"""Exported actors decide as the trained ones, in onnxruntime and from their own files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edge_marl.algorithms.actors import load_actor
from edge_marl.errors import InputError
from edge_marl.experiments.export.agents import check, export_agent
from edge_marl.experiments.export.onnx_files import LocalActor, open_session, write_onnx
from edge_marl.experiments.training.checkpoints import read_checkpoint
from tests.experiments.checkpoint_files import untrained_actor, write_untrained
from tests.experiments.command_line import call


@pytest.mark.parametrize(
    "spec",
    [
        {"groups": (0, 0), "n_ids": 2, "normalise": True},
        {"network": {"gru": 8, "hidden_sizes": (16,)}},
        {"network": {"kind": "queue_mlp", "hidden_sizes": (16,)}},
        {"network": {"kind": "attention", "hidden_sizes": (16,)}},
    ],
    ids=["mlp", "gru", "queue_mlp", "attention"],
)
def test_onnx_equals_torch_on_random_observations(spec: dict[str, Any], tmp_path: Path) -> None:
    actor = untrained_actor(**spec)
    if actor.normaliser is not None:
        actor.normaliser.update(torch.randn(50, 2, 30) * 20 + 5, sets=actor.groups)
    local = LocalActor(actor.single(1))
    write_onnx(local, tmp_path / "actor.onnx")
    session = open_session(tmp_path / "actor.onnx")
    assert check(local, session) < 1e-4
    other = LocalActor(untrained_actor(1, **spec).single(1))
    with pytest.raises(RuntimeError, match="differs from torch"):
        check(other, session)
    # The same actions as the joint actor, which sees both agents.
    inputs = local.random_inputs(20, seed=3)
    mask = torch.from_numpy(inputs["action_mask"])
    features = torch.zeros(20, 2, 30)
    features[:, 1] = torch.from_numpy(inputs["observation"]).flatten(1)
    hidden = torch.zeros(20, 2, actor.hidden_size) if actor.is_recurrent else None
    if hidden is not None:
        hidden[:, 1] = torch.from_numpy(inputs["hidden"])
    outputs, _ = actor(features, torch.stack([mask, mask], dim=1), hidden)
    legal = outputs[:, 1].detach().masked_fill(~mask, -1e9)
    assert np.array_equal(local.decide(inputs)["action"], legal.argmax(-1).numpy())


POINTER = {
    "agents": ("placer",), "groups": (0,), "observation_shape": (7, 10), "n_actions": 7,
    "network": {"kind": "pointer", "hidden_sizes": (16,)},
}  # fmt: skip


def test_an_exported_actor_gives_vectors_between_the_bounds(tmp_path: Path) -> None:
    # The second number of the second agent's vector is none.
    boxes = (((-3.0, 5.0), (0.0, 1.0)), ((10.0, 20.0), (0.0, 0.0)))
    actor = untrained_actor(boxes=boxes, n_actions=3)
    for number, (box, name) in enumerate(zip(boxes, actor.spec.agents, strict=True)):
        local = LocalActor(actor.single(number))
        assert local.actor.spec.boxes == (box,)
        write_onnx(local, tmp_path / f"{name}.onnx")
        session = open_session(tmp_path / f"{name}.onnx")
        assert check(local, session) < 1e-4
        inputs = local.random_inputs(50, seed=1)
        scores, action, vector = session.run(["scores", "action", "vector"], inputs)
        assert (scores.shape, vector.shape) == ((50, 3), (50, 2))
        assert (scores.argmax(-1) == action).all()
        low, high = np.array(box).T
        assert ((low <= vector) & (vector <= high)).all()
        # The means of the Beta distributions of the joint actor.
        features = torch.zeros(50, 2, 30)
        features[:, number] = torch.from_numpy(inputs["observation"]).flatten(1)
        mask = torch.ones(50, 2, 3, dtype=torch.bool)
        raw = actor(features, mask)[0][:, number, 3:].detach()
        alpha, beta = (1.0 + torch.nn.functional.softplus(raw)).chunk(2, dim=-1)
        expected = low + (alpha / (alpha + beta)).numpy() * (high - low)
        np.testing.assert_allclose(vector, expected, atol=1e-4)


def test_the_card_of_an_export_names_the_bounds_of_vectors(tmp_path: Path) -> None:
    boxes = (((-3.0, 5.0),), ((0.0, 1.0),))
    folder = write_untrained(tmp_path / "run", untrained_actor(boxes=boxes))
    export_agent(read_checkpoint(folder), 0, tmp_path / "out")
    card = json.loads((tmp_path / "out" / "comm" / "card.json").read_text())
    assert card["outputs"]["vector"]["bounds"] == [[-3.0, 5.0]]
    assert card["actor"]["boxes"] == [[[-3.0, 5.0]]]
    assert load_actor(tmp_path / "out" / "comm").spec.boxes == (boxes[0],)


def softmax(scores: NDArray[Any]) -> NDArray[Any]:
    likely = np.exp(scores - scores.max())
    return likely / likely.sum()


def waits_or_best(scores: NDArray[Any]) -> NDArray[Any]:
    """Waiting, the last, as often as it is likely, otherwise the best server."""
    probabilities = np.zeros(len(scores))
    probabilities[-1] = softmax(scores)[-1]
    probabilities[scores[:-1].argmax()] = 1.0 - probabilities[-1]
    return probabilities


@pytest.mark.parametrize(
    ("spec", "sampled", "expected"),
    [({}, True, softmax), (POINTER, False, waits_or_best)],
    ids=["sampled", "pointer"],
)
def test_an_exported_actor_draws_what_is_drawn_in_evaluation(
    spec: dict[str, Any], sampled: bool, expected: Any, tmp_path: Path
) -> None:
    local = LocalActor(untrained_actor(**spec).single(0), sampled=sampled)
    write_onnx(local, tmp_path / "actor.onnx")
    session = open_session(tmp_path / "actor.onnx")
    assert check(local, session) < 1e-4
    one = {name: values[:1] for name, values in local.random_inputs(5, seed=2).items()}
    inputs = {name: np.repeat(values, 4000, axis=0) for name, values in one.items()}
    inputs["random"] = ((np.arange(4000) + 0.5) / 4000).astype(np.float32)
    scores, actions = session.run(["scores", "action"], inputs)
    shares = np.bincount(actions, minlength=7) / 4000
    assert shares == pytest.approx(expected(scores[0].astype(np.float64)), abs=1e-3)


def test_the_command_writes_each_agent_and_prints_sizes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_untrained(tmp_path / "run" / "best", env_config={"max_queue": 6})
    out = tmp_path / "out"
    # An export replaces an earlier one.
    export_agent(read_checkpoint(checkpoint), 0, out)
    assert call("export", checkpoint, "--out", out) == 0
    assert sorted(path.name for path in out.iterdir()) == ["comm", "comp"]
    assert "onnxruntime" in capsys.readouterr().out
    graph = (out / "comp" / "actor.onnx").read_bytes()
    assert len(graph) < 100_000  # so that it can be deployed anywhere
    assert str(Path(__file__).resolve().parents[2]).encode() not in graph
    card = json.loads((out / "comp" / "card.json").read_text())
    assert card["agent"] == "comp"
    assert card["inputs"]["observation"]["shape"] == ["batch", 6, 5]
    assert card["training"]["recipe"]["env_config"] == {"max_queue": 6}
    alone = load_actor(out / "comp")
    whole = read_checkpoint(checkpoint).actor
    inputs = LocalActor(alone).random_inputs(5, seed=0)
    joint = np.repeat(inputs["observation"].reshape(5, 1, 30), 2, axis=1)
    mask = np.repeat(inputs["action_mask"][:, None], 2, axis=1)
    expected, _ = whole(torch.from_numpy(joint), torch.from_numpy(mask))
    found, _ = alone(torch.from_numpy(joint[:, 1:]), torch.from_numpy(mask[:, 1:]))
    assert torch.allclose(found[:, 0], expected[:, 1])


def test_what_is_no_export_is_not_replaced(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(write_untrained(tmp_path / "run" / "best"))
    (tmp_path / "comm").mkdir()
    (tmp_path / "comm" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="earlier output"):
        export_agent(checkpoint, 0, tmp_path)
    assert (tmp_path / "comm" / "thesis.tex").exists()
