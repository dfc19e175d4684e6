"""MAPPO and IPPO: targets, masks, what actors may see, and small games that they solve."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchCategorical
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.tune import register_env

from edge_marl.algorithms.core.spaces import JointObservation
from edge_marl.algorithms.mappo import MAPPOConfig
from edge_marl.algorithms.mappo.distribution import MaskedCategorical
from edge_marl.algorithms.mappo.module import OUTPUTS, MAPPOModule
from edge_marl.algorithms.mappo.rows import (
    AGENT,
    CHOOSES,
    VALUE_WEIGHTS,
    JointSteps,
    learning_targets,
    penalties,
)
from edge_marl.algorithms.networks import has_choice
from edge_marl.algorithms.networks.config import NetworkConfig
from edge_marl.algorithms.sampling.columns import Fragment
from edge_marl.algorithms.value_decomposition import QMIXConfig
from edge_marl.envs.actions import ActionSpec
from edge_marl.envs.batched import make_batched
from edge_marl.errors import InputError
from tests.algorithms.matrix_games import CORNER, MatrixGame, TwoAgentGame, TwoStepGame

B, T, N, F, A, S = 3, 5, 2, 4, 6, 7

SPACES = {
    DEFAULT_MODULE_ID: (
        JointObservation(("one", "two"), (F,), ActionSpec(A), S),
        spaces.MultiDiscrete([A] * N),
    )
}


def module(**options: Any) -> MAPPOModule:
    """A module for N agents with observations of length F."""
    space, action_space = SPACES[DEFAULT_MODULE_ID]
    config = {
        "network": NetworkConfig(**options.pop("network", {})).model_dump(),
        "parameter_sharing": "shared",
        "observation_normalisation": False,
        "critic": "central",
        "team_reward": "sum",
        "value_normalisation": True,
        "records_logits": True,
        "independent_learners": False,
        **options,
    }
    torch.manual_seed(0)
    return MAPPOModule(observation_space=space, action_space=action_space, model_config=config)


def random_fragments(seed: int = 0) -> dict[str, torch.Tensor]:
    """Fragments in which everybody is there and every step is played."""
    torch.manual_seed(seed)
    mask = torch.rand(B, T + 1, N, A) < 0.5
    mask[..., 0] = True
    return {
        Fragment.FEATURES: torch.randn(B, T + 1, N, F),
        Fragment.ACTION_MASK: mask,
        Fragment.STATE: torch.randn(B, T + 1, S),
        Fragment.ACTIVE: torch.ones(B, T + 1, N, dtype=torch.bool),
        Fragment.FIRST: torch.zeros(B, T + 1, dtype=torch.bool),
        Fragment.ACTIONS: torch.zeros(B, T, N, dtype=torch.long),
        Fragment.REWARDS: torch.randn(B, T, N),
        Fragment.TERMINATED: torch.zeros(B, T, N, dtype=torch.bool),
        Fragment.TRUNCATED: torch.zeros(B, T, N, dtype=torch.bool),
        Fragment.VALID: torch.ones(B, T, dtype=torch.bool),
        Fragment.ACTION_LOGP: torch.zeros(B, T, N),
        Fragment.ACTION_DIST_INPUTS: torch.zeros(B, T, N, A),
    }


def leaver() -> dict[str, torch.Tensor]:
    """One episode: agent 0 terminates in step 0, agent 1 in step 2; step 3 only shows the end."""
    fragments = {name: column[:1, :4] for name, column in random_fragments().items()}
    for name in (Fragment.FEATURES, Fragment.ACTION_MASK, Fragment.STATE, Fragment.FIRST):
        fragments[name] = random_fragments()[name][:1, :5]
    fragments[Fragment.REWARDS] = torch.tensor([[[1.0, 2.0], [0, 3], [0, 4], [0, 0]]])
    fragments[Fragment.ACTIVE] = torch.tensor(
        [[[1, 1], [0, 1], [0, 1], [0, 0], [1, 1]]], dtype=torch.bool
    )
    fragments[Fragment.TERMINATED] = torch.tensor(
        [[[1, 0], [0, 0], [0, 1], [0, 0]]], dtype=torch.bool
    )
    fragments[Fragment.VALID] = torch.tensor([[1, 1, 1, 0]], dtype=torch.bool)
    return fragments


def returns(**how: Any) -> list[list[float]]:
    """Value targets of :func:`leaver` without discount, from values that are all zero."""
    targets = learning_targets(leaver(), torch.zeros(1, 5, N), gamma=1.0, lambda_=1.0, **how)
    assert targets[Columns.LOSS_MASK][0].tolist() == [
        [True, True],
        [False, True],
        [False, True],
        [False, False],
    ]
    counted: list[list[float]] = targets[Postprocessing.VALUE_TARGETS][0].tolist()
    return counted


def test_own_rewards_end_with_the_agent() -> None:
    target = returns(team_reward="own", shared_end=False)
    assert [target[0], target[1][1], target[2][1]] == [[1, 9], 7, 4]


def test_team_rewards_until_the_agent_leaves() -> None:
    target = returns(team_reward="sum", shared_end=False)
    assert [target[0], target[1][1], target[2][1]] == [[3, 10], 7, 4]


def test_who_has_left_is_credited_with_what_the_team_earns_later() -> None:
    target = returns(team_reward="sum", shared_end=True)
    assert [target[0], target[1][1], target[2][1]] == [[10, 10], 7, 4]


def test_a_shared_reward_counts_once_for_those_who_are_there() -> None:
    target = returns(team_reward="shared", shared_end=True)
    assert target[0] == [1.5 + 3 + 4] * 2
    assert target[2][1] == 4


def test_rows_are_the_played_steps() -> None:
    fragments = leaver()
    targets = learning_targets(
        fragments,
        torch.zeros(1, 5, N),
        gamma=1.0,
        lambda_=1.0,
        team_reward="sum",
        shared_end=True,
    )
    fragments[Fragment.ACTION_MASK][0, 0, 1] = torch.arange(A) == 2  # agent 1: no choice at first
    features, choices = fragments[Fragment.FEATURES][0], [[0, 0], [1, 1], [2, 1]]
    central = JointSteps(fragments, targets, 1)
    assert central.n_rows == 3
    one, found = central.minibatches([torch.tensor([2, 0]), torch.tensor([2, 0, 1])])
    assert one[AGENT].tolist() == [1, 0]
    seen = torch.stack([features[t, n] for t, n in (choices[2], choices[0], choices[1])])
    torch.testing.assert_close(found[Fragment.FEATURES], seen)
    assert found[AGENT].tolist() == [1, 0, 1]
    assert found[VALUE_WEIGHTS].tolist() == [[1.0], [2.0], [1.0]]
    assert found[Postprocessing.VALUE_TARGETS].tolist() == [[4.0], [10.0], [7.0]]
    (local,) = JointSteps(fragments, targets, None).minibatches([torch.tensor([2, 0])])
    assert local[AGENT].tolist() == [1, 0, 1]  # the last has no choice, and a value all the same
    assert len(local[Columns.ACTIONS]) == 2
    assert local[Postprocessing.VALUE_TARGETS].tolist() == [4.0, 10.0, 10.0]


def test_rows_are_only_those_of_decisions_if_so_asked() -> None:
    fragments = leaver()
    fragments[Fragment.ACTION_MASK][:] = True
    fragments[Fragment.ACTION_MASK][0, 1] = torch.arange(A) == 2  # nobody has a choice in step 1
    fragments[Fragment.ACTION_MASK][0, 0, 1] = torch.arange(A) == 2
    targets = learning_targets(
        fragments,
        torch.zeros(1, 5, N),
        gamma=1.0,
        lambda_=1.0,
        team_reward="own",
        shared_end=False,
        decisions=True,
    )
    central, local = JointSteps(fragments, targets, N), JointSteps(fragments, targets, None)
    assert central.n_rows == local.n_rows == 2
    (rows,) = local.minibatches([torch.tensor([0, 1])])
    assert rows[AGENT].tolist() == [0, 1]
    assert rows[Postprocessing.VALUE_TARGETS].tolist() == [1.0, 4.0]
    (rows,) = central.minibatches([torch.tensor([0, 1])])
    assert rows[VALUE_WEIGHTS].tolist() == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize("size", [None, 1, 3, 4, 10, 100])
def test_minibatches_hold_every_row_once_per_epoch(size: int | None) -> None:
    learner = MAPPOConfig().debugging(seed=0).build_learner(spaces=SPACES)
    learner.build()
    parts = [part for parts in learner._epochs(10, size, 3) for part in parts]
    assert sorted(torch.cat(parts).tolist()) == sorted(list(range(10)) * 3)
    assert max(map(len, parts)) - min(map(len, parts)) <= 3


@pytest.mark.parametrize("critic", ["central", "local"])
@pytest.mark.parametrize("gru", [0, 3])
def test_values_are_denormalised(critic: str, gru: int) -> None:
    own = module(critic=critic, network={"gru": gru})
    fragments = random_fragments()
    before = own.values_of_return(fragments)
    assert before.shape == (B, T + 1, N)
    assert own.value_moments is not None
    own.value_moments.update(torch.tensor([90.0, 110.0]))
    torch.testing.assert_close(own.values_of_return(fragments), 100 + 10 * before)


@pytest.mark.parametrize(
    ("critic", "gru", "waiting"), [("local", 0, 0.0), ("local", 3, None), ("central", 0, None)]
)
def test_where_decisions_alone_matter_a_local_critic_is_asked_for_their_values_alone(
    critic: str, gru: int, waiting: float | None
) -> None:
    own = module(critic=critic, network={"gru": gru}, value_normalisation=False)
    fragments = {name: column.repeat(40, *[1] * (column.dim() - 1))
                 for name, column in random_fragments().items()}  # fmt: skip
    fragments[Fragment.ACTION_MASK][::2, ..., 1:] = False
    values, found = (own.values_of_return(fragments, decisions=only) for only in (False, True))
    chooses = has_choice(fragments[Fragment.ACTION_MASK])
    assert 0 < chooses.float().mean() < 1
    torch.testing.assert_close(found[chooses], values[chooses])
    others = values[~chooses] if waiting is None else torch.full_like(values[~chooses], waiting)
    torch.testing.assert_close(found[~chooses], others)


def test_observations_are_standardised_over_decisions_where_these_alone_are_learned_from(
    local_ray: None,
) -> None:
    config = MAPPOConfig().environment(
        "graph_offloading_v0", env_config={"scenario": {"topology": "random_10", "ticks": 60}}
    )
    config = config.env_runners(num_envs_per_env_runner=2)
    algorithm = config.training(
        train_batch_size_per_learner=120,
        minibatch_size=None,
        decisions_only=True,
        observation_normalisation=True,
    ).build_algo()
    fragments = algorithm._train_batch()
    assert fragments is not None
    algorithm.learn_from([fragments], [120], team_reward="own")
    decides = has_choice(torch.from_numpy(fragments[Fragment.ACTION_MASK])).numpy()
    expected = fragments[Fragment.FEATURES][decides & fragments[Fragment.ACTIVE]].mean(0)
    actor = algorithm.actor()
    algorithm.stop()
    assert 0 < decides.mean() < 0.5
    assert actor.normaliser is not None
    np.testing.assert_allclose(actor.normaliser.mean[0].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("team_reward", ["sum", "own"])
def test_a_central_critic_is_evaluated_once_per_step(team_reward: str) -> None:
    own = module(team_reward=team_reward)
    values = own.compute_values(random_fragments())
    assert values.shape == (B, T + 1, N)
    assert bool((values[..., 0] == values[..., 1]).all()) is (team_reward == "sum")
    assert own.critic(random_fragments()).shape == (B, T + 1, 1 if team_reward == "sum" else N)


def test_env_runners_hold_no_critic() -> None:
    state = module().get_state(inference_only=True)
    assert state
    assert not any(name.startswith(("critic", "value_moments")) for name in state)


def seen(fragments: dict[str, torch.Tensor]) -> dict[str, Any]:
    """What the runner gives to a module: the first observations of the fragments."""
    names = (Fragment.FEATURES, Fragment.ACTION_MASK, Fragment.STATE, Fragment.ACTIVE)
    return {Columns.OBS: {name: fragments[name][:, 0] for name in names}}


def test_masked_actions_have_no_probability_and_are_never_drawn() -> None:
    repeated = {name: column.repeat(300, 1, *[1] * (column.dim() - 2))
                for name, column in random_fragments().items()}  # fmt: skip
    own, batch = module(), seen(repeated)
    mask = batch[Columns.OBS][Fragment.ACTION_MASK]
    outputs = own.forward_exploration(batch)
    assert mask.gather(-1, outputs[Columns.ACTIONS][..., None]).all()
    distribution = own.get_train_action_dist_cls().from_logits(outputs[Columns.ACTION_DIST_INPUTS])
    every = [torch.full_like(outputs[Columns.ACTIONS], a) for a in range(A)]
    probabilities = torch.stack([distribution.logp(actions).exp() for actions in every])
    assert (probabilities.movedim(0, -1)[~mask] == 0).all()
    torch.testing.assert_close(distribution.logp(outputs[Columns.ACTIONS]),
                               outputs[Columns.ACTION_LOGP])  # fmt: skip
    assert torch.isfinite(distribution.entropy()).all()


def test_the_distribution_is_that_of_rllib() -> None:
    logits, other = torch.randn(5, 3, A, requires_grad=True), torch.randn(5, 3, A)
    actions = torch.randint(A, (5, 3))
    ours, theirs = MaskedCategorical(logits), TorchCategorical(logits)
    torch.testing.assert_close(ours.logp(actions), theirs.logp(actions))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    torch.testing.assert_close(
        ours.kl(MaskedCategorical(other)), theirs.kl(TorchCategorical(other))
    )
    gradients = [
        torch.autograd.grad((d.logp(actions) + 0.3 * d.entropy()).sum(), logits)[0]
        for d in (ours, theirs)
    ]
    torch.testing.assert_close(*gradients)


def test_greedy_actions_are_legal_and_the_most_probable() -> None:
    own, batch = module(), seen(random_fragments())
    chosen = own.forward_inference(batch)[Columns.ACTIONS]
    logits = own.forward_exploration(batch)[Columns.ACTION_DIST_INPUTS]
    assert (chosen == logits.argmax(-1)).all()


@pytest.mark.parametrize("critic", ["central", "local"])
def test_actors_see_nothing_but_their_own_observation(critic: str) -> None:
    own, batch = module(critic=critic), seen(random_fragments())
    before = own.forward_exploration(batch)[Columns.ACTION_DIST_INPUTS]
    others = seen(random_fragments())
    others[Columns.OBS][Fragment.FEATURES][:, 1] += 1.0
    others[Columns.OBS][Fragment.STATE] += 1.0
    after = own.forward_exploration(others)[Columns.ACTION_DIST_INPUTS]
    assert (before[:, 0] == after[:, 0]).all()
    assert (before[:, 1] != after[:, 1]).any()


def test_training_sees_what_sampling_saw() -> None:
    """The unrolled logits of a fragment are those of the steps, so the first ratio is 1."""
    own = module(network={"gru": 5})
    fragments = random_fragments()
    fragments[Fragment.FIRST][0, 2] = True
    hidden = fragments[Fragment.HIDDEN] = torch.randn(B, N, 5)
    logits = []
    for t in range(T):
        hidden = hidden * ~fragments[Fragment.FIRST][:, t, None, None]
        names = (Fragment.FEATURES, Fragment.ACTION_MASK)
        observation = {name: fragments[name][:, t] for name in names}
        outputs = own.forward_exploration({Columns.OBS: observation, Columns.STATE_IN: hidden})
        hidden = outputs[Columns.STATE_OUT]
        logits.append(outputs[Columns.ACTION_DIST_INPUTS])
    rows = {name: column[:, :T] for name, column in fragments.items()}
    mask = rows[Fragment.ACTION_MASK]
    rows[CHOOSES] = mask.sum(-1) > 1
    rows[Fragment.HIDDEN] = fragments[Fragment.HIDDEN]
    unrolled = own.forward_train(rows)[OUTPUTS] + penalties(mask[rows[CHOOSES]])
    torch.testing.assert_close(unrolled, torch.stack(logits, dim=1)[rows[CHOOSES]])


def test_a_subclass_may_have_a_training_method_of_its_own() -> None:
    class Tempered(MAPPOConfig):
        def training(self, *, temperature: float = 1.0, **kwargs: Any) -> Any:
            self.temperature = temperature
            return super().training(**kwargs)

    config = Tempered().training(temperature=2.0, lr=1e-4)
    assert (config.temperature, config.lr) == (2.0, 1e-4)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"critic": "centrl"}, "critic: expected 'central' or 'local', found 'centrl'"),
        (
            {"team_reward": "mean"},
            "team_reward: expected 'auto', 'sum', 'shared' or 'own', found 'mean'",
        ),
        ({"use_gae": False}, "use_gae: expected True, found False"),
        ({"entropy_cof": 0.1}, "entropy_cof: unknown option; did you mean entropy_coeff?"),
    ],
)
def test_bad_options(options: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=f"^{line.replace('?', '[?]')}$"):
        MAPPOConfig().training(**options).validate()


@pytest.mark.parametrize(
    ("env", "env_config", "given", "expected"),
    [
        ("peer_offloading_v0", {}, "auto", "shared"),
        ("peer_offloading_v0", {"reward": "own"}, "auto", "sum"),
        ("peer_offloading_v0", {}, "own", "own"),
        ("dag_placement_v0", {}, "auto", "shared"),
        ("tandem_v0", {}, "auto", "sum"),
        ("tandem_v0", {}, "shared", "every agent its own reward, found 'shared'"),
        ("peer_offloading_v0", {}, "sum", "every agent the team's reward, found 'sum'"),
    ],
)
@pytest.mark.parametrize("config", [MAPPOConfig, QMIXConfig])
def test_the_environment_says_whose_its_reward_is(
    config: Any, env: str, env_config: dict[str, Any], given: str, expected: str
) -> None:
    if config is QMIXConfig and given == "own":
        pytest.skip("a replay holds the team's reward")
    options = config().training(team_reward=given)
    batch = make_batched(env, env_config, 1)
    if " " in expected:
        with pytest.raises(InputError, match=f"^team_reward: expected 'auto' .* {expected}$"):
            options.check_sampled(batch)
    else:
        assert options.team_reward_in(batch) == expected


class RememberGame(TwoAgentGame):
    """A number is shown in the first of two steps and to be said by both in the second."""

    def __init__(self) -> None:
        super().__init__(n_stages=3, n_actions=2)
        self.rng = np.random.default_rng(0)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.number = int(self.rng.integers(2))
        _, infos = super().reset(seed, options)
        self.stage = self.number
        return self._for_both(self.state()), infos

    def play(self, one: int, two: int) -> tuple[float, bool]:
        if self.stage < 2:
            self.stage = 2
            return 0.0, False
        return float(one == self.number) + float(two == self.number), True


GAMES = {
    "corner": (lambda: MatrixGame(CORNER), 16.0),
    "two_step": (TwoStepGame, 14.0),
    "remember": (RememberGame, 4.0),
}


@pytest.fixture(scope="module")
def games(local_ray: None) -> None:
    """The games by name, for as long as this Ray runs."""
    for game, (make, _) in GAMES.items():
        register_env(f"mappo_{game}", lambda config, make=make: make())


@pytest.mark.parametrize(
    ("game", "options"),
    [
        ("corner", {"critic": "central"}),
        ("corner", {"critic": "local"}),
        ("corner", {"critic": "central", "parameter_sharing": "independent"}),
        ("two_step", {"critic": "central"}),
        ("two_step", {"critic": "local", "team_reward": "own"}),
        ("remember", {"critic": "central", "network": {"gru": 16}}),
        ("remember", {"critic": "local", "network": {"gru": 16}}),
    ],
)
def test_solves_small_cooperative_games(games: None, game: str, options: dict[str, Any]) -> None:
    algorithm = (
        MAPPOConfig()
        .environment(f"mappo_{game}")
        .env_runners(num_envs_per_env_runner=16)
        .training(
            train_batch_size_per_learner=256,
            minibatch_size=64,
            num_epochs=4,
            lr=3e-3,
            **options,
        )
        .evaluation(evaluation_duration=16, evaluation_duration_unit="episodes")
        .debugging(seed=1)
        .build_algo()
    )
    for _ in range(15):
        result = algorithm.train()
    assert result["learners"][DEFAULT_MODULE_ID]["vf_explained_var"] <= 1.0
    evaluated = algorithm.evaluate()["env_runners"]["episode_return_mean"]
    assert evaluated >= GAMES[game][1] - 1e-6
    algorithm.stop()


def test_options_of_the_loss(games: None) -> None:
    """Entropy schedule, clipping of the value loss and the KL penalty are RLlib's, and work."""
    algorithm = (
        MAPPOConfig()
        .environment("mappo_two_step")
        .env_runners(num_envs_per_env_runner=16)
        .training(
            train_batch_size_per_learner=256,
            minibatch_size=64,
            entropy_coeff=[[0, 0.1], [400, 0.0]],
            vf_clip_param=0.1,
            use_kl_loss=True,
        )
        .debugging(seed=1)
        .build_algo()
    )
    learnt = [algorithm.train()["learners"][DEFAULT_MODULE_ID] for _ in range(3)]
    assert 0.0 < learnt[0]["curr_entropy_coeff"] < 0.1
    assert learnt[2]["curr_entropy_coeff"] == 0.0
    assert learnt[0]["vf_loss"] < 0.1 + 1e-6 < learnt[0]["vf_loss_unclipped"]
    assert learnt[0]["mean_kl_loss"] > 0.0
    assert "curr_kl_coeff" in learnt[0]
    algorithm.stop()
