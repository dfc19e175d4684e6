"""How environments of others are taken in: who acts, what is legal, and what is refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from pettingzoo import ParallelEnv

from edge_marl.envs.batched import BatchedTransition, make_batched
from edge_marl.envs.rllib import ParallelEnvAdapter
from edge_marl.errors import InputError
from tests.envs import foreign
from tests.envs.foreign import Late, MaskedInInfos, Pictures, Plain

SEEDS = np.arange(2)


def batch(maker: Callable[[], Any], **options: Any) -> Any:
    """Two copies, both reset."""
    made = make_batched(lambda config: maker(), {}, 2, **options)
    made.reset(SEEDS)
    return made


def played(env: Any, *, steps: int = 1000) -> list[BatchedTransition]:
    """Random legal actions to the end of both episodes; copies of what came."""
    rng, found = np.random.default_rng(0), []
    while not env.done.all() and len(found) < steps:
        mask = env.observation.action_mask
        actions = np.where(mask, rng.random(mask.shape), -1.0).argmax(-1)
        seen, *rest = env.step(actions)
        seen = type(seen)(*(part.copy() for part in seen))
        found.append(BatchedTransition(seen, *(part.copy() for part in rest[:3])))
    return found


@pytest.mark.parametrize("kind", foreign.ENVIRONMENTS)
@pytest.mark.filterwarnings("ignore:environment Staying")
def test_what_works_is_played_to_its_end_twice(kind: str) -> None:
    env = batch(foreign.ENVIRONMENTS[kind])
    for _ in range(2):
        steps = played(env)
        assert len(steps) <= 8
        for _, reward, terminated, truncated, _ in steps:
            assert np.isfinite(reward).all()
            assert not (terminated & truncated).any()
        ended = steps[-1].terminated | steps[-1].truncated
        assert ended.any(axis=1).all(), "how an episode ended is known"
        env.reset(SEEDS)
        assert env.observation.active.any(axis=1).all()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("OneByOne", ["ab", "b", "b", ""]),
        ("CutOffAlone", ["ab", "b", "b", ""]),
        ("Late", ["a", "ab", "ab", ""]),
        ("LateForOneStep", ["a", "ab", "a", ""]),
        ("Pausing", ["ab", "a", "ab", ""]),
        ("Returning", ["ab", "a", "ab", ""]),
        ("Relay", ["a", "b", "a", ""]),
        ("Staying", ["ab", "ab", "ab", ""]),
        ("StayingOneByOne", ["ab", "ab", "b", "b"]),  # truncated at the end: what it sees counts
    ],
)
@pytest.mark.filterwarnings("ignore:environment Staying")
def test_whose_next_action_is_played_is_active(kind: str, expected: list[str]) -> None:
    env = batch(foreign.ENVIRONMENTS[kind])
    active = [env.observation.active.copy(), *(step.observation.active for step in played(env))]
    for b in range(2):
        found = ["".join(np.array(["a", "b"])[row[b]]) for row in active]
        assert found == expected


def test_who_joins_late_is_seen_and_paid_for_its_first_step() -> None:
    env = batch(Late)
    env.step(np.zeros((2, 2), int))
    numbers = [copy.numbers["b"] for copy in env.envs]
    assert env.observation.features[:, 1].tolist() == [[number, 1] for number in numbers]
    transition = env.step(np.array([[0, number] for number in numbers]))
    assert transition.reward[:, 1].tolist() == [1, 1]


def test_agents_that_stay_after_their_end_are_warned_of_once() -> None:
    env = batch(foreign.Staying)
    with pytest.warns(UserWarning, match=r"Staying: a is flagged .* stays in env\.agents"):
        played(env)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            env.reset(SEEDS)
            steps = played(env)
            assert len(steps) == 3
            assert steps[-1].terminated.all()
        played(batch(foreign.OneByOne))


def test_an_end_without_a_word_is_a_termination() -> None:
    steps = played(batch(foreign.Unflagged))
    assert len(steps) == 3
    assert steps[-1].terminated.all()
    assert not steps[1].terminated.any()


@pytest.mark.parametrize("kind", ["MaskedInObservations", "MaskedInInfos", "OnlyMasks"])
def test_masks_are_found_at_reset_and_in_steps(kind: str) -> None:
    env = batch(foreign.ENVIRONMENTS[kind])
    for _ in range(3):
        for b, copy in enumerate(env.envs):
            for n, agent in enumerate("ab"):
                expected = copy.mask(agent).astype(bool)
                assert env.observation.action_mask[b, n].tolist() == expected.tolist()
        env.step(np.zeros((2, 2), int))


def test_one_waits_while_it_is_the_others_turn() -> None:
    env = batch(foreign.turns)
    for step in range(6):
        turn = step % 2
        assert env.observation.active.all()
        assert env.observation.action_mask[:, turn].tolist() == [[False, True, True]] * 2
        assert env.observation.action_mask[:, 1 - turn].sum(axis=1).tolist() == [1, 1]
        env.step(np.full((2, 2), 1))
    assert env.done.all()


@pytest.mark.parametrize("kind", ["Pictures", "PicturesOfTwoSizes", "StateIsAPicture"])
def test_8_bit_pictures_stay_what_they_are(kind: str) -> None:
    env = batch(foreign.ENVIRONMENTS[kind])
    for _ in range(3):
        seen = env.observation
        part = seen.state if kind == "StateIsAPicture" else seen.features
        assert part.dtype == np.uint8
        env.step(np.zeros((2, 2), int))
    assert part.any()


def test_what_a_space_says_of_types_is_not_taken_at_its_word() -> None:
    env = batch(foreign.PicturesInFloats)
    numbers = [[copy.numbers[agent] for agent in "ab"] for copy in env.envs]
    assert env.observation.features[..., 0].tolist() == (0.5 * np.array(numbers)).tolist()


@pytest.mark.parametrize(
    ("kind", "size", "last"),
    [
        ("Plain", 4, None),  # all observations
        ("State", 3, [2, 3, 4]),
        ("StateIsNoMethod", 4, None),
        ("rounds", 8, None),
        ("StateIsNone", 4, None),
        ("StateOfThoseThere", 4, [1, 1, 0, 0]),
        ("StateThatGrows", 4, [1, 1, 1, 1]),
        ("StateOfChoices", 6, [0, 0, 1, 0, 0, 1]),
        ("StateIsAPicture", 192, [2] * 192),
    ],
)
def test_the_state_is_the_environments_own_or_all_observations(
    kind: str, size: int, last: list[float] | None
) -> None:
    env = batch(foreign.ENVIRONMENTS[kind])
    played(env, steps=2)
    assert env.observation.state.shape == (2, size) == (2, env.state_size)
    if last is None:
        last = env.observation.features[1].ravel().tolist()
    assert env.observation.state[1].tolist() == last


def test_a_state_that_nobody_looks_at_is_not_asked_for() -> None:
    class Broken(Plain):
        def state(self) -> Any:
            raise AssertionError

    env = batch(Broken, state=False)
    assert env.state_size == 0
    assert played(env)[-1].observation.state.shape == (2, 0)


# What is refused -----------------------------------------------------------------------------


class SequenceSeen(Plain):
    seen = spaces.Sequence(spaces.Discrete(2))


class GraphWithin(Plain):
    seen = spaces.Dict(graph=spaces.Graph(spaces.Box(0, 1, (2,)), None))


class Unbounded(Plain):
    acts: Any = spaces.Box(-np.inf, 1, (2,))


class ResetWithoutSeed(Plain):
    def reset(self, options: Any = None) -> Any:  # type: ignore[override]
        return super().reset()


class ResetToNothing(Plain):
    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed)


class OldStep(Plain):
    def step(self, actions: Any) -> Any:
        return super().step(actions)[:4]


class NobodyPossible(Plain):
    def __init__(self) -> None:
        super().__init__()
        del self.possible_agents


class AlikeAsText(Plain):
    names = (1, "1")


class NobodyThere(Plain):
    def here(self, t: int) -> list[Any]:
        return []


class Stranger(Plain):
    def here(self, t: int) -> list[Any]:
        return [*super().here(t), "c"] if t == 1 else super().here(t)


def differing(counter: list[int] = []) -> Any:  # noqa: B006  (counts the calls)
    counter.append(1)
    env = Plain()
    if len(counter) % 2 == 0:
        env.possible_agents = ["a"]
    return env


def late(what: str, value: Any) -> type[Plain]:
    """``value`` in step 2, of agent b, in the place of ``what``."""

    class Wrong(MaskedInInfos):
        def show(self, agent: Any, number: int) -> Any:
            wrong = what == "see" and agent == "b" and self.t == 2
            return value if wrong else super().show(agent, number)

        def info(self, agent: Any) -> dict[str, Any]:
            wrong = what == "mask" and agent == "b" and self.t == 2
            return {"action_mask": value} if wrong else super().info(agent)

        def step(self, actions: Any) -> Any:
            found = super().step(actions)
            if what in ("earn", "end") and self.t == 2:
                found[{"earn": 1, "end": 2}[what]]["b"] = value
            return found

        def state(self) -> Any:
            return value if what == "state" and self.t == 2 else np.zeros(2)

    return Wrong


class Outside(Plain):
    seen = spaces.Discrete(2)

    def show(self, agent: Any, number: int) -> Any:
        return -1


class Incomplete(Plain):
    seen = spaces.Dict(x=Plain.seen, y=Plain.seen)

    def show(self, agent: Any, number: int) -> Any:
        return {"x": np.ones(2)}


class ChangesItsMind(Pictures):
    def show(self, agent: Any, number: int) -> Any:
        picture = super().show(agent, number)
        return picture if self.t < 2 else picture.astype(float)


THE_SAME = Plain()

REFUSED: list[tuple[Any, str]] = [
    (foreign.Rounds, r"rounds: expected a PettingZoo ParallelEnv, found an AECEnv; .*aec_to_paral"),
    (lambda: THE_SAME, "Plain: expected a new one from every call, found the same again"),
    (differing, r"Plain: possible_agents: expected \['a', 'b'\] in every copy, found \['a'\]"),
    (NobodyPossible, r"possible_agents: expected all agents that there may be, .* found \[\]"),
    (AlikeAsText, r"possible_agents: .* by names that differ, found \[1, '1'\]"),
    (NobodyThere, "agents: expected some after reset, found none"),
    (Stranger, "agents: expected some of possible_agents, a, b, found c"),
    (SequenceSeen, "observation space of a: expected one of a fixed number of numbers, found Sequ"),
    (GraphWithin, r"observation space of a: expected one of a fixed number of numbers, found Dict"),
    (Unbounded, "action space of a: expected a Box of bounded floats, found Box"),
    (ResetWithoutSeed, "ResetWithoutSeed: reset: expected a parameter seed"),
    (ResetToNothing, "reset: expected to return observations and infos by agent, found NoneType"),
    (OldStep, "step: expected to return .* terminations, truncations .* found tuple of 4"),
    (Outside, r"observation of a after reset: expected one of Discrete\(2\), found -1"),
    (Incomplete, "observation of a after reset: expected an entry 'y'"),
    (ChangesItsMind, "observation of a in step 2: expected 8-bit integers, as at first, found flo"),
    (late("see", np.zeros(3)), "observation of b in step 2: expected 2 numbers, found 3"),
    (late("see", "ab"), "observation of b in step 2: expected 2 numbers, found 1"),
    (late("see", [0, None]), "observation of b in step 2: expected finite numbers, found None"),
    (late("see", [0.0, np.nan]), "observation of b in step 2: expected finite numbers, found nan"),
    (late("see", [-np.inf, 0]), "observation of b in step 2: expected finite numbers, found -inf"),
    (late("see", [0, 1e39]), "b in step 2: expected numbers that 32-bit floats can hold.*1e.39"),
    (late("mask", np.zeros(4)), "action mask of b in step 2: expected a legal action, found none"),
    (late("mask", np.ones(3)), r"action mask of b in step 2: expected 4 entries.*shape \(3,\)"),
    (late("mask", np.ones((1, 4))), r"action mask of b in step 2: .*shape \(1, 4\)"),
    (late("mask", [-np.inf] * 4), "action mask of b in step 2: expected a legal action, found no"),
    (late("mask", "all"), "action mask of b in step 2: expected 4 entries.*found str"),
    (late("earn", np.inf), "reward of b in step 2: expected finite numbers, found inf"),
    (late("earn", float("nan")), "reward of b in step 2: expected finite numbers, found nan"),
    (late("earn", -1e39), "reward of b in step 2: expected numbers that 32-bit floats can hold"),
    (late("earn", None), "reward of b in step 2: expected finite numbers, found None"),
    (late("earn", "1 000"), "reward of b in step 2: expected numbers, found .1 000"),
    (late("earn", np.ones(2)), r"reward of b in step 2: expected a number, .* of shape \(2,\)"),
    (late("end", np.zeros(2)), "termination and truncation of b in step 2: "),
    (late("state", np.zeros(3)), r"state\(\) in step 2: expected at most 2 numbers.*found 3"),
    (late("state", [np.nan]), r"state\(\) in step 2: expected finite numbers, found nan"),
    (late("state", None), r"state\(\) in step 2: expected finite numbers, found None"),
]  # fmt: skip


@pytest.mark.parametrize(("maker", "message"), REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(maker: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        played(batch(maker))
    assert "\n" not in str(refused.value)


# RLlib's own algorithms ----------------------------------------------------------------------


def through_adapter(env: ParallelEnv[Any, Any, Any], n_steps: int) -> list[Any]:
    adapter = ParallelEnvAdapter(env)
    adapter.reset(seed=0)
    return [adapter.step(dict.fromkeys(adapter.agents, 1)) for _ in range(n_steps)]


def test_the_adapter_ends_with_the_last_flag_wherever_agents_stay() -> None:
    steps = through_adapter(foreign.StayingOneByOne(), 3)
    assert [list(step[0]) for step in steps] == [["a", "b"], ["a", "b"], ["b"]]
    assert [step[3]["__all__"] for step in steps] == [False, False, True]


def test_the_adapter_finds_masks_in_infos() -> None:
    through_adapter(foreign.MaskedInInfos(), 3)  # it asserts that what it is sent is legal
    through_adapter(foreign.Started(), 3)


def test_the_adapter_takes_a_reset_of_the_old_form() -> None:
    observations, infos = ParallelEnvAdapter(foreign.OldReset()).reset(seed=0)
    assert (list(observations), infos) == (["a", "b"], {})
