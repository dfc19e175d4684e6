"""Fragments: what is sampled, in which order, and that nothing of it depends on the batch."""

import pickle
import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME

from edge_marl.algorithms import playing
from edge_marl.algorithms.actors import greedy
from edge_marl.algorithms.core.config import JointConfig
from edge_marl.algorithms.core.module import JointModule
from edge_marl.algorithms.sampling import BatchedEnvRunner, Fragment
from edge_marl.envs.batched import make_batched
from edge_marl.errors import InputError
from edge_marl.tandem import TandemSimulator
from edge_marl.tandem.scenario import TandemWorkload
from tests.algorithms.conformance import OUTSIDE_ENV, Leavers


class GreedyModule(JointModule):
    """Plays the legal action with the largest output, of a random network."""

    def _forward_inference(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
        seen = batch["obs"]
        mask = seen[Fragment.ACTION_MASK]
        outputs, hidden = self.actor(seen[Fragment.FEATURES], mask, batch.get("state_in"))
        actions = {"actions": greedy(outputs, mask)}
        return actions if hidden is None else {**actions, "state_out": hidden}

    _forward_exploration = _forward_inference


class GreedyConfig(JointConfig):
    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=GreedyModule)


def leavers(env_config: Any) -> Leavers:
    return Leavers()


def runner(env: str = "tandem_v0", *, B: int = 4, T: int = 20, **options: Any) -> BatchedEnvRunner:
    torch.manual_seed(0)
    made = leavers if env == OUTSIDE_ENV else env
    config = GreedyConfig().environment(made, env_config=options.pop("env_config", {}))
    config.training(**options).debugging(seed=5)
    config.env_runners(num_envs_per_env_runner=B, rollout_fragment_length=T)
    return BatchedEnvRunner(config=config, worker_index=0)


def sampled(made: BatchedEnvRunner, **how: Any) -> dict[str, NDArray[Any]]:
    (batch,) = made.sample(**how)
    columns = dict(batch.policy_batches[DEFAULT_MODULE_ID])
    assert batch.env_steps() == columns[Fragment.VALID].sum()
    return columns


@pytest.mark.parametrize("env", ["tandem_v0", OUTSIDE_ENV])
def test_fragments_follow_each_other(env: str) -> None:
    made = runner(env, T=9)
    before = sampled(made)
    for _ in range(4):
        after = sampled(made)
        for name in (Fragment.FEATURES, Fragment.STATE, Fragment.ACTIVE, Fragment.FIRST):
            np.testing.assert_array_equal(before[name][:, -1], after[name][:, 0])
        before = after


@pytest.mark.parametrize("env", ["tandem_v0", OUTSIDE_ENV])
def test_an_episode_shows_its_final_observation_once_then_the_next_begins(env: str) -> None:
    columns = sampled(runner(env, T=200))
    valid, first = columns[Fragment.VALID], columns[Fragment.FIRST]
    ended = columns[Fragment.TERMINATED] | columns[Fragment.TRUNCATED]
    assert first[:, 0].all()
    for b in range(len(valid)):
        shown = np.flatnonzero(~valid[b])
        assert len(shown) > 0
        for t in shown:
            assert ended[b, t - 1].any()
            assert first[b, t + 1]
            assert not columns[Fragment.REWARDS][b, t].any()
            assert not ended[b, t].any()
        # And nowhere else does one begin.
        assert set(np.flatnonzero(first[b])) == {0, *(t + 1 for t in shown)}


def test_agents_that_leave_early_are_inactive_from_then_on() -> None:
    columns = sampled(runner(OUTSIDE_ENV, B=3, T=60))
    active, first = columns[Fragment.ACTIVE], columns[Fragment.FIRST]
    terminated, truncated = columns[Fragment.TERMINATED], columns[Fragment.TRUNCATED]
    scout, hauler = 0, 1
    for b in range(3):
        for t in range(60):
            if first[b, t]:
                assert active[b, t].all()
            if terminated[b, t, scout]:
                assert not active[b, t + 1, scout]
            if truncated[b, t, hauler]:
                # Cut off with the whole episode, what it sees still counts.
                episode_over = t + 1 < 60 and not columns[Fragment.VALID][b, t + 1]
                if t + 1 < 60:
                    assert active[b, t + 1, hauler] == episode_over
    assert terminated[..., scout].any()
    assert truncated[..., hauler].any()


def test_evaluation_plays_each_episode_once_whatever_the_batch() -> None:
    """Thirteen episodes on four slots have the results of the simulator on the same seeds."""
    made = runner(B=4)
    sampled(made)
    assert made.sample(num_episodes=13, explore=False)[0].env_steps() > 0
    domain = made.get_metrics()["domain"]
    actor = made.module[DEFAULT_MODULE_ID].actor
    simulator = TandemSimulator(TandemWorkload(), 13)
    seen = simulator.reset(np.arange(13))
    while not simulator.done.all():
        features = torch.from_numpy(seen.features).flatten(2)
        mask = torch.from_numpy(seen.action_mask)
        with torch.no_grad():
            actions = greedy(actor(features, mask)[0], mask).numpy()
        seen = simulator.step(actions).observation
    assert domain["objective"].peek() == pytest.approx(simulator.results.objective.mean())


@pytest.mark.parametrize(
    ("env", "options"),
    [
        ("tandem_v0", {}),
        ("tandem_v0", {"network": {"gru": 4}}),
        (OUTSIDE_ENV, {}),
    ],
)
def test_a_restored_runner_goes_on_exactly(env: str, options: dict[str, Any]) -> None:
    made, other = runner(env, T=15, **options), runner(env, T=15, **options)
    sampled(made)
    state = made.get_state()
    expected = [sampled(made, random_actions=choice) for choice in (False, True)]
    other.set_state(state)
    assert other.num_env_steps_sampled_lifetime == state[NUM_ENV_STEPS_SAMPLED_LIFETIME]
    for choice, columns in zip((False, True), expected, strict=True):
        again = sampled(other, random_actions=choice)
        for name, column in columns.items():
            np.testing.assert_array_equal(again[name], column)


def test_a_runner_in_the_place_of_a_lost_one_takes_the_weights_only() -> None:
    local = runner()
    sampled(local)
    config = local.config.copy(copy_frozen=False)
    remote = BatchedEnvRunner(config=config, worker_index=1)
    remote.set_state(local.get_state())
    ours, theirs = sampled(local), sampled(remote)
    assert not np.array_equal(ours[Fragment.FEATURES], theirs[Fragment.FEATURES])
    for name, value in local.module[DEFAULT_MODULE_ID].state_dict().items():
        assert torch.equal(value, remote.module[DEFAULT_MODULE_ID].state_dict()[name])


def test_memory_is_cleared_when_an_episode_begins() -> None:
    made = runner(network={"gru": 4}, T=300, B=2)
    columns = sampled(made)
    assert not columns[Fragment.HIDDEN].any()
    hidden = sampled(made)[Fragment.HIDDEN]
    assert hidden.shape == (2, 2, 4)
    assert hidden.any()


def test_metrics_add_up() -> None:
    made = runner(B=4, T=150)
    columns = sampled(made)
    steps = int(columns[Fragment.VALID].sum())
    metrics = made.get_metrics()
    assert metrics[NUM_ENV_STEPS_SAMPLED_LIFETIME].peek() == steps
    ended = columns[Fragment.TERMINATED].any(axis=2)
    assert metrics["num_episodes"].peek() == ended.sum()
    returns, lengths = [], []
    for b in range(4):
        start = 0
        for end in np.flatnonzero(ended[b]):
            returns.append(columns[Fragment.REWARDS][b, start : end + 1].sum())
            lengths.append(end + 1 - start)
            start = end + 2
    assert metrics["episode_return_mean"].peek() == pytest.approx(np.mean(returns), rel=1e-5)
    assert metrics["episode_len_mean"].peek() == pytest.approx(np.mean(lengths))
    by_agent = metrics["agent_episode_returns_mean"]
    assert sum(by_agent[agent].peek() for agent in ("comm", "comp")) == pytest.approx(
        np.mean(returns), rel=1e-5
    )


def test_random_actions_are_legal() -> None:
    columns = sampled(runner(OUTSIDE_ENV, T=50), random_actions=True)
    chosen = np.take_along_axis(
        columns[Fragment.ACTION_MASK][:, :-1], columns[Fragment.ACTIONS][..., None], axis=3
    )
    assert chosen.all()


def test_environments_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="environment: expected one of tandem_v0"):
        make_batched("tandem_v1", {}, 2)
    with pytest.raises(InputError, match="expected a PettingZoo ParallelEnv, found object"):
        make_batched(lambda config: object(), {}, 2)
    with pytest.raises(InputError, match="tandem_v0: horizn"):
        make_batched("tandem_v0", {"horizn": 3}, 2)


def test_environments_come_out_of_their_adapters() -> None:
    from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv

    made = make_batched(lambda config: ParallelPettingZooEnv(Leavers()), {}, 2)
    assert made.agents == ("scout", "hauler", "guard")
    assert made.observation_shape == (4,)
    assert made.action_spec.n == 4


@pytest.mark.parametrize("env", ["tandem_v0", OUTSIDE_ENV])
def test_sampling_that_was_left_goes_on_exactly_here_and_elsewhere(env: str) -> None:
    class Leave(Exception):  # noqa: N818
        pass

    steps = iter(range(1000))

    def check() -> None:
        if next(steps) == 4:
            raise Leave

    whole, left, elsewhere = (runner(env, T=9, network={"gru": 4}) for _ in range(3))
    for made in (whole, left):
        sampled(made)
    left.check = check
    with pytest.raises(Leave):
        left.sample()
    elsewhere.set_state(left.get_state())
    expected = sampled(whole)
    for made in (left, elsewhere):
        columns = sampled(made)
        assert columns.keys() == expected.keys()
        for name, column in expected.items():
            np.testing.assert_array_equal(columns[name], column)


def test_whole_episodes_without_an_end_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playing, "_MOST_STEPS", 3)
    made = runner(OUTSIDE_ENV)
    assert made.sample(num_episodes=6)[0].env_steps() == 18
    metrics = made.get_metrics()
    assert metrics["num_episodes"].peek() == 6
    assert metrics["episode_len_max"].peek() == 3


def test_what_an_environment_raises_is_returned_and_new_episodes_begin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = runner(OUTSIDE_ENV, T=9)
    with monkeypatch.context() as patch:
        patch.setattr(Leavers, "step", lambda *_: 1 / 0)
        fault = made.deliver()
    assert re.fullmatch(
        r"the environment raised ZeroDivisionError: division by zero \(.*test_sampling.py:\d+\)",
        str(fault),
    )
    assert str(pickle.loads(pickle.dumps(fault))) == str(fault)
    assert sampled(made)[Fragment.FIRST][:, 0].all()


def test_a_fraction_of_a_step_is_a_step() -> None:
    """RLlib asks for one where an evaluation is to last as long as a training iteration."""
    made = runner("tandem_v0", B=4)
    (batch,) = made.sample(num_timesteps=9.5)
    assert batch.policy_batches[DEFAULT_MODULE_ID][Fragment.VALID].shape == (4, 3)


def test_agents_that_have_left_take_no_steps() -> None:
    made = runner(OUTSIDE_ENV, B=3, T=60)
    columns = sampled(made)
    played = columns[Fragment.VALID][..., None] & columns[Fragment.ACTIVE][:, :-1]
    found = made.get_metrics()
    by_agent = [found["num_agent_steps_sampled"][agent].peek() for agent in made.env.agents]
    assert by_agent == played.sum((0, 1)).tolist()
    assert found["num_module_steps_sampled"][DEFAULT_MODULE_ID].peek() == played.sum()
    assert played.sum() < columns[Fragment.VALID].sum() * len(by_agent)
