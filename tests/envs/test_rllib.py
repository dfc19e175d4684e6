"""Our way from PettingZoo into RLlib."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from pettingzoo import ParallelEnv
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.tune.registry import register_env

import edge_marl.algorithms  # noqa: F401  (registers the environments)
from edge_marl.envs.actions import ActionSpec
from edge_marl.envs.batched import make_batched
from edge_marl.envs.rllib import Creator, ParallelEnvAdapter
from edge_marl.envs.tandem_v0 import parallel_env
from edge_marl.envs.views import SimulatorBatch
from edge_marl.errors import InputError
from edge_marl.tandem.traces import TraceSet

TANDEM = "edge_marl.envs.tandem_v0"
TWO_JOBS = TraceSet.from_jobs([[(0, 1, 2, 50), (0, 2, 1, 50)]])


class LeavingAgents(ParallelEnv[str, np.ndarray, int]):
    """Agents with names in no alphabetical order; each leaves at a given step, in a given way."""

    metadata: dict[str, Any] = {"name": "leaving_v0", "render_modes": ["rgb_array"]}  # noqa: RUF012
    render_mode = "rgb_array"

    def __init__(self, leaves: dict[str, tuple[int, str]]) -> None:
        self.leaves = leaves
        self.possible_agents = list(leaves)
        self.agents: list[str] = []

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Box(0, 100, (1 + self.possible_agents.index(agent),), np.float32)

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Discrete(2 + self.possible_agents.index(agent))

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.t, self.agents = 0, list(self.possible_agents)
        return self._observe(self.agents), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> Any:
        assert list(actions) == self.agents
        self.t += 1
        there = list(reversed(self.agents))  # any order will do for PettingZoo
        leaving = {agent: self.leaves[agent][0] == self.t for agent in there}
        self.agents = [agent for agent in self.agents if not leaving[agent]]
        flags = [
            {agent: leaving[agent] and self.leaves[agent][1] == how for agent in there}
            for how in ("terminated", "truncated")
        ]
        rewards = dict.fromkeys(there, 1.0)
        return self._observe(there), rewards, *flags, {agent: {} for agent in there}

    def _observe(self, agents: list[str]) -> dict[str, np.ndarray]:
        return {a: np.full(self.observation_space(a).shape, self.t, np.float32) for a in agents}

    def render(self) -> np.ndarray:
        return np.full((2, 2, 3), self.t, np.uint8)


def played_by_rllib(env: ParallelEnvAdapter) -> MultiAgentEpisode:
    """The episode as RLlib records it; the environment has to end it."""
    episode = MultiAgentEpisode(
        observation_space=env.observation_spaces,
        action_space=env.action_spaces,
        agent_to_module_mapping_fn=lambda agent, _: agent,
    )
    observations, infos = env.reset()
    episode.add_env_reset(observations=observations, infos=infos)
    for _ in range(100):
        actions = dict.fromkeys(env.agents, 0)
        observations, rewards, terminateds, truncateds, infos = env.step(actions)
        episode.add_env_step(
            observations, actions, rewards, infos, terminateds=terminateds, truncateds=truncateds
        )
        if terminateds["__all__"] or truncateds["__all__"]:
            return episode
    raise AssertionError("the episode did not end")


def test_agents_keep_their_order() -> None:
    names = ["zeta", "alpha", "mid"]
    env = ParallelEnvAdapter(LeavingAgents(dict.fromkeys(names, (2, "terminated"))))
    observations, _ = env.reset()
    stepped = env.step(dict.fromkeys(names, 0))
    assert env.possible_agents == env.agents == names
    assert list(env.observation_spaces) == list(env.action_spaces) == names
    assert list(observations) == list(stepped[0]) == list(stepped[1]) == names


def test_each_agent_has_its_own_spaces() -> None:
    env = ParallelEnvAdapter(LeavingAgents({"b": (1, "terminated"), "a": (1, "terminated")}))
    assert env.get_observation_space("a").shape == (2,)
    assert env.get_action_space("b") == spaces.Discrete(2)


@pytest.mark.parametrize(
    ("last", "ends_terminated"),
    [
        ({"b": (3, "terminated"), "a": (3, "terminated")}, True),
        ({"b": (1, "terminated"), "a": (3, "terminated")}, True),
        ({"b": (3, "truncated"), "a": (3, "truncated")}, False),
        ({"b": (1, "terminated"), "a": (3, "truncated")}, False),
        ({"b": (1, "truncated"), "a": (3, "terminated")}, False),
        ({"b": (3, "terminated"), "a": (3, "truncated")}, False),
    ],
)
def test_the_episode_ends_when_the_last_agent_leaves(
    last: dict[str, tuple[int, str]], ends_terminated: bool
) -> None:
    env = ParallelEnvAdapter(LeavingAgents(last))
    env.reset()
    for t in (1, 2, 3):
        *_, terminateds, truncateds, _ = env.step(dict.fromkeys(env.agents, 0))
        assert terminateds["__all__"] == (t == 3 and ends_terminated)
        assert truncateds["__all__"] == (t == 3 and not ends_terminated)
    assert env.agents == []


@pytest.mark.parametrize("early", ["terminated", "truncated"])
@pytest.mark.parametrize("late", ["terminated", "truncated"])
@pytest.mark.parametrize("early_step", [1, 3])
def test_rllib_records_how_each_agent_left(early: str, late: str, early_step: int) -> None:
    env = ParallelEnvAdapter(LeavingAgents({"b": (early_step, early), "a": (3, late)}))
    episode = played_by_rllib(env)
    for agent, how, length in (("b", early, early_step), ("a", late, 3)):
        recorded = episode.agent_episodes[agent]
        assert len(recorded) == length
        assert recorded.is_done
        # Learners bootstrap at the end of what is not terminated.
        assert recorded.is_terminated == (how == "terminated")


def test_rendering_is_passed_on() -> None:
    env = ParallelEnvAdapter(LeavingAgents({"b": (3, "truncated")}))
    env.reset()
    env.step({"b": 0})
    assert env.render_mode == "rgb_array"
    assert env.render().max() == 1


def test_dictionaries_are_flattened_in_the_order_of_the_space() -> None:
    env = ParallelEnvAdapter(parallel_env(traces=TWO_JOBS, max_queue=2))
    observations, _ = env.reset(seed=0)
    assert observations["comm"].tolist() == [1, 1, 0, 50, 1, 2, 0, 0, 50, 2, 1, 0, 0]
    assert env.observation_spaces["comm"].contains(observations["comm"])


def test_a_forbidden_action_of_a_flattened_agent_becomes_the_first_legal_one() -> None:
    env = ParallelEnvAdapter(parallel_env(traces=TWO_JOBS))
    env.reset(seed=0)
    observations, *_ = env.step({"comm": 6, "comp": 3})  # plays job 0 and idling
    assert observations["comp"][7:12].tolist() == [49, 0, 2, 0, 0]


def test_without_flattening_dictionaries_and_actions_pass_unchanged() -> None:
    env = ParallelEnvAdapter(parallel_env(traces=TWO_JOBS), flatten=False)
    observations, _ = env.reset(seed=0)
    assert set(observations["comm"]) == {"observation", "action_mask"}
    with pytest.raises(InputError, match="legal actions"):
        env.step({"comm": 6, "comp": 6})


def test_registered_copies_without_a_seed_differ_and_with_one_agree() -> None:
    def arrivals(config: dict[str, Any]) -> list[list[float]]:
        env = Creator(TANDEM)(config)
        return [env.reset()[0]["comm"].tolist() for _ in range(8)]

    assert arrivals({}) != arrivals({})
    assert arrivals({"seed": 4}) == arrivals({"seed": 4})


def test_a_bad_option_of_a_registered_environment_is_named() -> None:
    with pytest.raises(InputError, match="tandem_v0: speed: "):
        Creator(TANDEM)({"speed": 1})


def one_controller(config: AlgorithmConfig) -> AlgorithmConfig:
    return config


def shared_policy(config: AlgorithmConfig) -> AlgorithmConfig:
    return config.multi_agent(policies={"both"}, policy_mapping_fn=lambda *_, **__: "both")


def policy_each(config: AlgorithmConfig) -> AlgorithmConfig:
    mapping = lambda agent, *_, **__: agent  # noqa: E731  (as RLlib's users write it)
    return config.multi_agent(policies={"comm", "comp"}, policy_mapping_fn=mapping)


@pytest.mark.parametrize(
    ("setting", "modules"),
    [
        (one_controller, {"default_policy"}),
        (shared_policy, {"both"}),
        (policy_each, {"comm", "comp"}),
    ],
)
def test_stock_ppo_trains(
    local_ray: None, setting: Callable[[AlgorithmConfig], AlgorithmConfig], modules: set[str]
) -> None:
    check_stock_ppo("tandem_v0", {"horizon": 60}, setting, modules)


@pytest.mark.parametrize(
    ("setting", "modules"), [(one_controller, {"default_policy"}), (shared_policy, {"both"})]
)
def test_stock_ppo_trains_on_actions_with_vectors(
    local_ray: None, setting: Callable[[AlgorithmConfig], AlgorithmConfig], modules: set[str]
) -> None:
    env_config = {"scenario": {"tasks": 20}}
    check_stock_ppo("cooperative_offloading_v0", env_config, setting, modules)


def check_stock_ppo(
    env: str,
    env_config: dict[str, Any],
    setting: Callable[[AlgorithmConfig], AlgorithmConfig],
    modules: set[str],
) -> None:
    from ray.rllib.algorithms.ppo import PPOConfig

    config = (
        PPOConfig()
        .environment(env, env_config=env_config)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=2)
        .training(train_batch_size_per_learner=200, minibatch_size=100, num_epochs=1)
        .debugging(seed=0)
    )
    algorithm = setting(config).build_algo()
    try:
        result = algorithm.train()
    finally:
        algorithm.stop()
    assert modules <= set(result["learners"])
    for module in modules:
        assert np.isfinite(result["learners"][module]["total_loss"])
    assert result["env_runners"]["num_episodes"] > 0
    assert np.isfinite(result["env_runners"]["episode_return_mean"])


def test_an_environment_that_only_rays_registry_knows_brings_its_batched_form() -> None:
    # As on a remote worker, which has not run what added the environment.
    register_env("of_another_package_v0", Creator(TANDEM))
    made = make_batched("of_another_package_v0", {"max_queue": 4}, 3)
    assert isinstance(made, SimulatorBatch)
    assert made.action_spec == ActionSpec(5)
