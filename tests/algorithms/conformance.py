"""What every algorithm of the project has to do, whatever it learns.

The checks take a *recipe*: a function that returns a fresh configuration with small batches,
ready but for its environment. They need a running Ray.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from pettingzoo import ParallelEnv
from ray import tune
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.tune.trainable import trainable

from edge_marl.algorithms.actors import load_actor, save_actor
from edge_marl.errors import InputError

Recipe = Callable[[], AlgorithmConfig]
OUTSIDE_ENV = "leavers"
ENVS = ("tandem_v0", OUTSIDE_ENV)


class Leavers(ParallelEnv[str, Any, int]):
    """An environment as others write them: agents unlike each other that leave at their time.

    Names are in no alphabetical order; spaces differ in kind, shape and number of actions; one
    agent has a mask; there is no ``state()``. ``scout`` terminates after 2 to 4 steps, ``hauler``
    is truncated after 6, ``guard`` terminates after 5 to 8, so that either may be the last. An
    action equal to the number shown to the agent earns 1.
    """

    metadata: dict[str, Any] = {"name": OUTSIDE_ENV}  # noqa: RUF012

    def __init__(self) -> None:
        self.possible_agents = ["scout", "hauler", "guard"]
        self.agents: list[str] = []
        self.rng = np.random.default_rng(0)

    # PettingZoo wants the same object at every call.
    observation_spaces: dict[str, spaces.Space[Any]] = {  # noqa: RUF012
        "scout": spaces.Box(0, 1, (2,), np.float32),
        "hauler": spaces.Box(0, 1, (2, 2), np.float32),
        "guard": spaces.Dict(
            observation=spaces.Box(0, 1, (3,), np.float32), action_mask=spaces.MultiBinary(4)
        ),
    }
    action_spaces: dict[str, spaces.Space[Any]] = {  # noqa: RUF012
        "scout": spaces.Discrete(2),
        "hauler": spaces.Discrete(3),
        "guard": spaces.Discrete(4),
    }

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.t, self.agents = 0, list(self.possible_agents)
        ends = self.rng.integers([2, 6, 5], [5, 7, 9])
        self.ends = dict(zip(self.possible_agents, ends, strict=True))
        self.numbers: dict[str, int] = {}
        return self._observe(self.agents), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> Any:
        assert list(actions) == self.agents, "whoever is there acts, in order"
        for agent, action in actions.items():
            assert self.action_space(agent).contains(action), f"{agent} has no action {action}"
        assert actions.get("guard") != 3, "the mask forbids this"
        here = self.agents
        self.t += 1
        self.agents = [agent for agent in here if self.ends[agent] > self.t]
        rewards = {agent: float(actions[agent] == self.numbers[agent]) for agent in here}
        left = [agent for agent in here if agent not in self.agents]
        return (
            self._observe(here),
            rewards,
            {agent: agent in left and agent != "hauler" for agent in here},
            {agent: agent in left and agent == "hauler" for agent in here},
            {agent: {"slots": self.t} for agent in here},
        )

    def _observe(self, agents: list[str]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for agent in agents:
            number = self.numbers[agent] = int(self.rng.integers(2))
            if agent == "guard":
                observation = np.array([number, self.t / 8, 1], np.float32)
                mask = np.array([1, 1, 1, 0], np.int8)
                seen[agent] = {"observation": observation, "action_mask": mask}
            else:
                seen[agent] = np.full(self.observation_space(agent).shape, number, np.float32)
        return seen


def configured(recipe: Recipe, env: str) -> AlgorithmConfig:
    """The recipe for an environment, seeded."""
    # Each time, because what is registered goes when Ray is shut down between test modules.
    tune.register_env(OUTSIDE_ENV, lambda config: Leavers())
    return recipe().environment(env).debugging(seed=3)


def build(recipe: Recipe, env: str) -> Algorithm:
    """The algorithm of :func:`configured`."""
    return configured(recipe, env).build_algo()


def losses(result: dict[str, Any]) -> dict[str, float]:
    """The numbers the learner reports of an iteration, without times."""
    return {
        name: float(value)
        for name, value in result["learners"][DEFAULT_MODULE_ID].items()
        # RLlib reports the number of parameters once and NaN from then on.
        if np.isscalar(value) and not name.startswith("num_") and "throughput" not in name
    }


def outcome(result: dict[str, Any]) -> tuple[Any, ...]:
    """What two equal iterations have in common."""
    sampled = result["env_runners"]
    return (
        losses(result),
        sampled["num_env_steps_sampled_lifetime"],
        sampled.get("episode_return_mean"),
    )


def check_trains(recipe: Recipe, env: str) -> None:
    """Two iterations with finite losses that change the weights, and RLlib's usual metrics."""
    algorithm = build(recipe, env)
    before = {name: np.copy(value) for name, value in algorithm.get_module().get_state().items()}
    steps = [0]
    for _ in range(2):
        result = algorithm.train()
        assert losses(result)
        assert all(math.isfinite(number) for number in losses(result).values()), losses(result)
        steps.append(result["env_runners"]["num_env_steps_sampled_lifetime"])
        assert steps[-1] > steps[-2]
    sampled = result["env_runners"]
    assert math.isfinite(sampled["episode_return_mean"])
    assert sampled["episode_len_mean"] > 0
    assert len(sampled["agent_episode_returns_mean"]) == len(algorithm.actor().ids)
    assert math.isfinite(sampled["domain"]["slots"])
    after = algorithm.get_module().get_state()
    assert any(np.any(after[name] != before[name]) for name in before)
    algorithm.stop()


def check_is_exact(recipe: Recipe, env: str, folder: Path) -> None:
    """The same seed gives the same numbers, and so does going on from a checkpoint."""
    algorithm = build(recipe, env)
    first = [outcome(algorithm.train()) for _ in range(2)]
    algorithm.save_to_path(folder)
    then = [outcome(algorithm.train()) for _ in range(2)]
    algorithm.stop()

    again = build(recipe, env)
    assert [outcome(again.train()) for _ in range(2)] == first
    again.stop()

    restored = Algorithm.from_checkpoint(folder)
    assert [outcome(restored.train()) for _ in range(2)] == then
    restored.stop()


def check_evaluates(recipe: Recipe, env: str) -> None:
    """Evaluation plays as many episodes as asked, the same ones every time."""
    config = configured(recipe, env).evaluation(
        evaluation_interval=2, evaluation_duration=5, evaluation_config={"explore": False}
    )
    algorithm = config.build_algo()
    one, other = (algorithm.evaluate()["env_runners"] for _ in range(2))
    assert one["num_episodes"] == 5
    assert one["episode_return_mean"] == other["episode_return_mean"]
    algorithm.train()
    assert algorithm.train()["evaluation"]["env_runners"]["num_episodes"] == 5
    algorithm.stop()


def check_remote_runners(recipe: Recipe, env: str) -> None:
    """A remote env runner delivers fragments and gets the learner's weights."""
    algorithm = configured(recipe, env).env_runners(num_env_runners=1).build_algo()
    result = algorithm.train()
    assert losses(result)
    learnt = algorithm.get_module().actor.state_dict()
    learner = algorithm.learner_group._learner.module[DEFAULT_MODULE_ID].actor.state_dict()
    runners = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: runner.module[DEFAULT_MODULE_ID].actor.state_dict(), local_env_runner=False
    )
    assert len(runners) == 1
    for held in (learnt, *runners):
        for name, value in learner.items():
            torch.testing.assert_close(held[name], value, rtol=0, atol=0)
    algorithm.stop()


def check_actor_export(recipe: Recipe, env: str, folder: Path) -> None:
    """The actor read back from disk gives equal outputs from local observations alone."""
    algorithm = build(recipe, env)
    algorithm.train()
    actor = algorithm.actor()
    save_actor(actor, folder)
    N, F, A = len(actor.spec.agents), actor.spec.n_features, actor.spec.n_actions
    features, mask = torch.rand(7, N, F), torch.ones(7, N, A, dtype=torch.bool)
    with torch.no_grad():
        expected, _ = actor(features, mask)
        found, _ = load_actor(folder)(features, mask)
    assert torch.equal(found, expected)
    algorithm.stop()


def check_config(recipe: Recipe) -> None:
    """A configuration survives copying, a dictionary and pickling; typing errors are found."""
    config = configured(recipe, OUTSIDE_ENV)
    expected = config.to_dict()
    copies = (
        config.copy(),
        type(config)().update_from_dict(expected),
        pickle.loads(pickle.dumps(config)),
    )
    for copy in copies:
        assert type(copy) is type(config)
        assert copy.to_dict() == expected
    documented = type(config).training.__doc__
    for name in config.options_model.model_fields:
        assert f"\n    {name} (" in documented, name
    with pytest.raises(InputError, match=r"^netwrk: unknown option; did you mean network\?$"):
        config.training(netwrk={"kind": "mlp"})
    with pytest.raises(InputError, match=r"^network\.kind: .*found 'mpl'$"):
        config.training(network={"kind": "mpl"})
    # RLlib has it, and it would change nothing here.
    with pytest.raises(InputError, match=r"^shuffle_batch_per_epoch: unknown option"):
        config.training(shuffle_batch_per_epoch=False)
    merged = config.copy().update_from_dict({"network": {"hidden_sizes": (8, 8)}})
    assert merged.network == config.network.model_copy(update={"hidden_sizes": (8, 8)})


def check_tunes(recipe: Recipe, env: str, folder: Path) -> None:
    """Ray Tune runs it as a trial."""
    config = configured(recipe, env).training(lr=tune.choice([1e-3]))
    results = tune.Tuner(
        config.algo_class,
        param_space=config,
        run_config=tune.RunConfig(
            stop={"training_iteration": 1}, storage_path=str(folder), verbose=0
        ),
    ).fit()
    assert not results.errors
    assert results[0].metrics["training_iteration"] == 1
    assert results[0].metrics["config"]["lr"] == 1e-3
    assert (Path(results[0].path) / "result.json").is_file()


def check_leaves_nothing(recipe: Recipe, env: str, home: Path) -> None:
    """Without Ray Tune no folder outlives an algorithm, neither in the home nor elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainable, "DEFAULT_STORAGE_PATH", str(home / "ray_results"))
        algorithm = build(recipe, env)
        algorithm.train()
        algorithm.stop()
    assert not any(home.iterdir())
    assert not Path(algorithm.logdir).exists()
