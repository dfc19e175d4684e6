"""dag_placement_v0: the specification in its docstring."""

from typing import Any

import numpy as np
import pytest

from edge_marl.envs.dag_placement_v0 import parallel_env
from edge_marl.errors import InputError
from tests.envs.conformance import play

WAIT = 5
SMALL = {"servers": WAIT, "horizon_s": 4.0, "arrival_rate_per_server_s": 0.25}


def test_an_episode_ends_by_termination() -> None:
    returned = play(parallel_env(scenario=SMALL), seed=5)
    for step, (_, _, terminations, truncations, _) in enumerate(returned[1:], start=1):
        assert terminations == {"placer": step == len(returned) - 1}
        assert not truncations["placer"]


def test_placer_and_selector_take_turns() -> None:
    env = parallel_env(scenario=SMALL, selector="learned")
    turns = set()
    for observations, *_ in play(env, seed=2)[:-1]:
        masks = {agent: seen["action_mask"] for agent, seen in observations.items()}
        waiting = [WAIT]  # the one legal action of who is not to decide
        if np.flatnonzero(masks["selector"]).tolist() == waiting:
            turns.add("placer")
            assert not observations["selector"]["observation"].any()
            assert masks["placer"][:WAIT].any()
        else:
            turns.add("selector")
            assert not observations["placer"]["observation"].any()
            assert np.flatnonzero(masks["placer"]).tolist() == waiting
            choices = masks["selector"][:WAIT].sum()
            assert choices > 1
            rows = observations["selector"]["observation"][1:]
            assert rows.any(axis=1).tolist() == [k < choices for k in range(WAIT)]
    assert turns == {"placer", "selector"}


def test_both_agents_earn_the_same() -> None:
    for _, rewards, *_ in play(parallel_env(scenario=SMALL, selector="learned"), seed=3)[1:]:
        assert rewards["placer"] == rewards["selector"]


def test_the_time_of_the_paper_ends_with_its_decisions() -> None:
    scenario = {**SMALL, "time": "paper", "decisions": 7, "horizon_s": 60.0}
    returned = play(parallel_env(scenario=scenario), seed=0)
    assert len(returned) == 8
    assert returned[-1][3] == {"placer": True}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"scenario": {"servers": 0}}, "dag_placement_v0: scenario.servers: "),
        ({"scenario": {"workflows": {"primitives": (3, 2)}}}, "dag_placement_v0: .*primitives"),
        ({"reward": "mine"}, "dag_placement_v0: reward: "),
        ({"features": "all"}, "dag_placement_v0: features: "),
        ({"terms": {"alpha": -1}}, "dag_placement_v0: terms.alpha: "),
    ],
)
def test_a_bad_option_is_named(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        parallel_env(**config)
    assert "\n" not in str(raised.value)
