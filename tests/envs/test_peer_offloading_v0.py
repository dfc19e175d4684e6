"""peer_offloading_v0: the specification in its docstring."""

from typing import Any

import pytest

from edge_marl.envs.peer_offloading_v0 import parallel_env
from edge_marl.errors import InputError
from tests.envs.conformance import play

SMALL = {"nodes": 4, "slots": 12}


def test_the_team_reward_is_the_sum_of_what_each_node_earns() -> None:
    team, own = (play(parallel_env(scenario=SMALL, reward=r), seed=3) for r in ("team", "own"))
    for (_, together, *_), (_, alone, *_) in zip(team[1:], own[1:], strict=True):
        assert set(together.values()) == {sum(alone.values())}


def test_all_are_cut_off_after_the_last_slot() -> None:
    returned = play(parallel_env(scenario=SMALL), seed=5)
    assert len(returned) == 1 + 12
    for step, (_, _, terminations, truncations, _) in enumerate(returned[1:], start=1):
        assert not any(terminations.values())
        assert set(truncations.values()) == {step == 12}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"scenario": "lab"}, "peer_offloading_v0: scenario.*found 'lab'"),
        ({"scenario": {"nodes": 1}}, "peer_offloading_v0: scenario.nodes: "),
        ({"scenario": {"size_kb": (2, 1)}}, "peer_offloading_v0: scenario.*size_kb"),
        ({"reward": "mine"}, "peer_offloading_v0: reward: "),
    ],
)
def test_a_bad_option_is_named(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        parallel_env(**config)
    assert "\n" not in str(raised.value)


def test_a_preset_is_a_scenario() -> None:
    assert len(parallel_env(scenario="testbed").possible_agents) == 10
