"""Environments of others from the first iteration to the exported actor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_marl.algorithms.actors import load_actor
from edge_marl.errors import InputError
from edge_marl.experiments.evaluate.command import evaluate
from edge_marl.experiments.evaluate.comparison import Comparison
from edge_marl.experiments.export.agents import ONNX, export_agent, folder_names
from edge_marl.experiments.export.command import export
from edge_marl.experiments.export.onnx_files import open_session
from edge_marl.experiments.systems import system_of
from edge_marl.experiments.training import run
from edge_marl.experiments.training.checkpoints import (
    Checkpoint,
    numbered_checkpoints,
    read_checkpoint,
)
from edge_marl.experiments.training.loop import Limits
from edge_marl.experiments.training.recipe import Recipe
from tests.algorithms.archery import Archery
from tests.envs import foreign

MAKE = "tests.envs.foreign:make"
OPTIONS: dict[str, dict[str, Any]] = {
    "qmix": {
        "network.hidden_sizes": [8], "mixer_hypernet": 8, "mixer_embedding": 4,
        "num_envs_per_env_runner": 2, "rollout_fragment_length": 6, "replay_capacity": 60,
        "num_steps_sampled_before_learning_starts": 6, "train_batch_size_per_learner": 4,
        "training_intensity": 1.0,
    },
    "mappo": {
        "network.hidden_sizes": [8], "num_envs_per_env_runner": 2, "rollout_fragment_length": 6,
        "train_batch_size_per_learner": 12, "minibatch_size": 6, "num_epochs": 1,
    },
}  # fmt: skip
OPTIONS["vdn"] = {name: value for name, value in OPTIONS["qmix"].items() if "mixer" not in name}
OPTIONS["ippo"] = OPTIONS["mappo"]

pytestmark = [
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.filterwarnings("ignore:environment Staying"),
]


def settings(kind: str, algorithm: str, **limits: Any) -> run.RunSettings:
    recipe = Recipe(
        env=MAKE, algorithm=algorithm, env_config={"kind": kind}, options=OPTIONS[algorithm]
    )
    return run.RunSettings(
        recipe=recipe,
        limits=Limits(**limits or {"iterations": 2}),
        episodes=2,
        evaluate_every=2,
        checkpoint_every=1,
    )


def trained(kind: str, algorithm: str, folder: Path) -> Checkpoint:
    """What a run of two iterations leaves."""
    assert run.start(settings(kind, algorithm), folder) == 0
    best = read_checkpoint(folder)
    assert best.card.iteration == 2
    return best


# Slow: a second each. What is different with QMIX is the replay, and what it does with a state.
REPLAYED = ("Late", "Pictures", "StateIsAPicture", "UnlikeEachOther")


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        *((kind, "mappo") for kind in foreign.ENVIRONMENTS),
        *((kind, "qmix") for kind in REPLAYED),
        *(
            pytest.param(kind, "qmix", marks=pytest.mark.slow)
            for kind in foreign.ENVIRONMENTS
            if kind not in REPLAYED
        ),
    ],
)
def test_it_is_trained_evaluated_and_kept(kind: str, algorithm: str, tmp_path: Path) -> None:
    best = trained(kind, algorithm, tmp_path / "run")
    system = system_of(best.card.recipe.env)
    (played,), _ = Comparison(system, [best], episodes=2).play(tmp_path)
    assert np.isfinite(played.metrics["return"]).all()
    assert (played.metrics["length"] <= 6).all()
    again = load_actor(best.folder / "policy")
    features = torch.rand(3, len(again.spec.agents), again.spec.n_features)
    mask = torch.ones(*features.shape[:2], again.spec.n_actions, dtype=torch.bool)
    assert torch.equal(again(features, mask)[0], best.actor(features, mask)[0])


# Slow: three seconds each; an actor has a mask and flat features, whatever they were made of.
@pytest.mark.parametrize(
    "kind",
    [
        "Dictionaries",
        "UnlikeEachOther",
        "rounds",
        *(
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("Late", "Integers", "MultiDiscretes", "Pictures", "Started",
                         "MaskedInInfos")
        ),
    ],
)  # fmt: skip
def test_it_is_compared_and_exported(kind: str, tmp_path: Path) -> None:
    best = trained(kind, "mappo", tmp_path / "run")
    evaluate([best.folder], env=MAKE, episodes=2, out=tmp_path / "evaluation")
    (row,) = json.loads((tmp_path / "evaluation" / "summary.json").read_text())["rows"]
    assert row["policy"] == "run/best"
    # One agent, for the sake of time: it is checked against torch.
    exported = export_agent(best, 1, tmp_path / "export")
    assert exported.agent == str(foreign.make(kind).possible_agents[1])
    assert (exported.folder / ONNX).is_file()


def test_agents_that_choose_vectors_are_trained_compared_and_exported(tmp_path: Path) -> None:
    env = "tests.algorithms.archery:Archery"
    plain = settings("Plain", "ippo")
    recipe = plain.recipe.model_copy(update={"env": env, "env_config": {}})
    folder = tmp_path / "run"
    assert run.start(plain.model_copy(update={"recipe": recipe}), folder) == 0
    evaluate([folder], env=env, episodes=2, out=tmp_path / "evaluation")
    (row,) = json.loads((tmp_path / "evaluation" / "summary.json").read_text())["rows"]
    assert row["policy"] == "run/best"
    exported = export_agent(read_checkpoint(folder), 1, tmp_path / "export")
    session = open_session(exported.folder / ONNX)
    seen = np.random.default_rng(0).random((5, 3)).astype(np.float32)
    legal = np.ones((5, 3), dtype=np.bool_)
    (vector,) = session.run(["vector"], {"observation": seen, "action_mask": legal})
    space = Archery.action_spaces["archer"]
    assert all(space.contains(row) for row in vector)


# Slow: three exports. How folders are named is tested below.
@pytest.mark.slow
def test_agents_of_similar_names_are_not_exported_over_one_another(tmp_path: Path) -> None:
    best = trained("Punctuation", "mappo", tmp_path / "run")
    exported = export(best.folder, tmp_path / "export")
    assert [one.agent for one in exported] == list(foreign.Punctuation.names)
    assert {one.folder.name for one in exported} == {"a-b", "a-b-2", "agent"}
    assert len(list((tmp_path / "export").iterdir())) == 3


class StateWithoutEnd(foreign.Late):
    """The state grows, and nothing says how far."""

    def state(self) -> Any:
        return np.ones(max(1, len(self.agents)))


class Unbounded(foreign.Plain):
    """A reward is infinite."""

    def reward(self, earned: float) -> Any:
        return np.inf if self.t == 1 else earned


@pytest.mark.parametrize("algorithm", ["mappo", "qmix"])
def test_a_fault_in_training_is_one_line(
    algorithm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for maker, message in (
        (StateWithoutEnd, r"StateWithoutEnd: state\(\) in step 1: expected at most 1 numbers"),
        (Unbounded, "Unbounded: reward of a in step 2: expected finite numbers, found inf"),
    ):
        monkeypatch.setitem(foreign.ENVIRONMENTS, "faulty", maker)
        with pytest.raises(InputError, match=message) as refused:
            run.start(settings("faulty", algorithm), tmp_path / maker.__name__)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("algorithm", ["ippo", "vdn"])
def test_who_looks_at_no_state_does_not_mind_it(
    algorithm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(foreign.ENVIRONMENTS, "faulty", StateWithoutEnd)
    assert run.start(settings("faulty", algorithm), tmp_path / "run") == 0


@pytest.mark.parametrize("algorithm", ["mappo", "qmix"])
def test_a_run_goes_on_only_in_the_environment_that_it_began_in(
    algorithm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    monkeypatch.setitem(foreign.ENVIRONMENTS, "changing", foreign.Plain)
    assert run.start(settings("changing", algorithm), folder) == 0
    for changed, message in (
        (foreign.Many, r"checkpoint: agents: the environment has \('agent_0'.*found \('a', 'b'\)"),
        (foreign.MultiDiscretes, r"observation shape: the environment has \(5,\), found \(2,\)"),
        (foreign.Started, "actions: the environment has 3, found 2"),
        (foreign.StateIsAPicture, "of another environment or of other options: size mismatch"),
    ):
        monkeypatch.setitem(foreign.ENVIRONMENTS, "changing", changed)
        with pytest.raises(InputError, match=message) as refused:
            run.resume(folder, {"limits": Limits(iterations=3)})
        assert "\n" not in str(refused.value)
    monkeypatch.setitem(foreign.ENVIRONMENTS, "changing", foreign.Plain)
    assert run.resume(folder, {"limits": Limits(iterations=3)}) == 0
    assert len(numbered_checkpoints(folder / "checkpoints")) == 3


@pytest.mark.parametrize("algorithm", ["mappo", "qmix"])
def test_a_resumed_run_ends_as_one_that_was_never_stopped(algorithm: str, tmp_path: Path) -> None:
    """Agents come and go, masks are in the infos: all of it is in the checkpoint."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run.start(settings("NothingLegalWhenGone", algorithm, iterations=4), whole) == 0
    assert run.start(settings("NothingLegalWhenGone", algorithm, iterations=2), parts) == 0
    assert run.resume(parts, {"limits": Limits(iterations=4)}) == 0
    expected, found = (
        load_actor(folder / "checkpoints" / "000004" / "policy").state_dict()
        for folder in (whole, parts)
    )
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_every_agent_has_a_folder_of_its_own() -> None:
    names = ["a b", "a-b", "A/b", "a-b-2", "..", "", "übung", "x" * 300]
    folders = folder_names(names)
    assert folders[:7] == ["a-b", "a-b-2", "A-b-3", "a-b-2-2", "agent", "agent-2", "übung"]
    assert len(folders[7]) < 200
    assert folder_names(["comm", "agent_0", "7"]) == ["comm", "agent_0", "7"]
