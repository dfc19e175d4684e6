"""A study of it: IPPO beside the heuristics."""

from rich.table import Table

from edge_marl.experiments.evaluate.episodes import evaluation_seeds, validation_seeds
from edge_marl.experiments.study.engine import Report, Study, StudyOptions
from edge_marl.experiments.study.outcomes import Outcomes
from edge_marl.experiments.study.policies import TEST, Play, Training
from edge_marl.experiments.systems.system import Episodes
from edge_marl.experiments.training.loop import Limits
from edge_marl.experiments.training.recipe import Recipe
from edge_marl.options import Count

ENVIRONMENT, METHODS = "dispatching_v0", ("fastest", "shortest", "IPPO")


class Config(StudyOptions):
    seeds: Count = 2
    iterations: Count = 2


def units(config: Config) -> list[Play]:
    episodes = Episodes({}, evaluation_seeds(4), "")
    trainings = [
        Training(
            "IPPO",
            Recipe(
                env=ENVIRONMENT, algorithm="ippo", seed=seed,
                options={"num_envs_per_env_runner": 4, "train_batch_size_per_learner": 128,
                         "minibatch_size": 64},
            ),
            Limits(iterations=config.iterations),
            Episodes({}, validation_seeds(4), ""),
            metrics=("mean_wait",),
        )
        for seed in range(config.seeds)
    ]  # fmt: skip
    learned = [Play(ENVIRONMENT, episodes, "IPPO", training) for training in trainings]
    return [*(Play(ENVIRONMENT, episodes, name) for name in METHODS[:2]), *learned]


def report(config: Config, outcomes: Outcomes) -> Report:
    table, records = Table("method", "mean wait", title="Dispatching"), []
    for method in METHODS:
        found = outcomes.mean("mean_wait", kind=TEST, method=method)
        assert found is not None
        table.add_row(method, found.text())
        records.append({"method": method, "mean_wait": found.value})
    return Report([table], "Less is better.", records)


STUDY = Study(Config, units, report)
