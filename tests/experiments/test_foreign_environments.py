"""Environments of others from the first iteration to the exported actor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from edge_marl.algorithms.actors import load_actor
from edge_marl.errors import InputError
from edge_marl.experiments.evaluate.command import evaluate
from edge_marl.experiments.export.agents import folder_names
from edge_marl.experiments.export.command import export
from edge_marl.experiments.training import run
from edge_marl.experiments.training.checkpoints import numbered_checkpoints, read_checkpoint
from edge_marl.experiments.training.recipe import Recipe
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
EXPORTED = (
    "Plain", "Late", "Alone", "Integers", "Punctuation", "Dictionaries", "MultiDiscretes",
    "Pictures", "UnlikeEachOther", "Started", "MaskedInInfos", "rounds",
)  # fmt: skip
"""Of these files for onnxruntime are made; the others' actors are read back from theirs."""

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
        limits=run.Limits(**limits or {"iterations": 2}),
        episodes=2,
        evaluate_every=2,
        checkpoint_every=1,
    )


@pytest.mark.parametrize("algorithm", ["mappo", "qmix"])
@pytest.mark.parametrize("kind", foreign.ENVIRONMENTS)
def test_it_is_trained_evaluated_and_exported(kind: str, algorithm: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run.start(settings(kind, algorithm), folder) == 0
    best = read_checkpoint(folder)
    assert best.card.iteration == 2
    evaluate([folder], env=MAKE, episodes=2, out=tmp_path / "evaluation")
    (row,) = json.loads((tmp_path / "evaluation" / "summary.json").read_text())["rows"]
    assert row["episodes"] == 2
    if kind in EXPORTED and algorithm == "mappo":
        exported = export(folder, tmp_path / "export")
        names = [str(agent) for agent in getattr(foreign.make(kind), "possible_agents", ())]
        assert [one.agent for one in exported] == names
        folders = {path.name for path in (tmp_path / "export").iterdir()}
        assert len(folders) == len(names), "none in another's place"
        return
    again = load_actor(best.folder / "policy")
    features = torch.rand(3, len(again.spec.agents), again.spec.n_features)
    mask = torch.ones(*features.shape[:2], again.spec.n_actions, dtype=torch.bool)
    assert torch.equal(again(features, mask)[0], best.actor(features, mask)[0])
