"""No two purposes share a seed, or a random number of an episode."""

from itertools import combinations

import pytest

from edge_marl import seeds
from edge_marl.tandem.splits import SPLITS, split_seeds

EPISODES = {name: value for name, value in vars(seeds).items() if name.endswith("_SEEDS")}
PEER_OFFLOADING = ("TASK_DRAWS", "NETWORK_DRAWS", "LINK_DRAWS", "PROBE_DRAWS", "ACTION_DRAWS")
GRAPH_OFFLOADING = ("TASK_DRAWS", "NETWORK_DRAWS", "START_DRAWS", "PROBE_DRAWS", "ACTION_DRAWS")
DAG_PLACEMENT = ("TASK_DRAWS", "WORKFLOW_ARRIVAL_DRAWS", "SERVER_CHANGE_DRAWS", "ACTION_DRAWS")


def disjoint(one: range, other: range) -> bool:
    return one.stop <= other.start or other.stop <= one.start


@pytest.mark.parametrize(("one", "other"), list(combinations(EPISODES, 2)))
def test_episodes_of_different_purposes_share_no_seed(one: str, other: str) -> None:
    assert disjoint(EPISODES[one], EPISODES[other])


def test_seeds_that_a_person_may_give_are_no_training_seeds() -> None:
    assert seeds.TRAINING_SEEDS.start >= seeds.SEED_LIMIT
    assert max(value.stop for value in EPISODES.values()) <= seeds.EPISODE_SEED_LIMIT


def test_trace_sets_of_splits_are_not_those_of_validation_and_evaluation() -> None:
    assert seeds.SET_SEED_LIMIT * seeds.SETS_PER_SEED * seeds.TRACES_PER_SET <= 2**63
    for split in SPLITS:
        for part in ("train", "test"):
            for seed in (0, 1, seeds.SET_SEED_LIMIT - 1):
                first = int(split_seeds(split, part, 1, seed)[0])  # type: ignore[arg-type]
                of_split = range(first, first + seeds.TRACES_PER_SET)
                assert disjoint(of_split, seeds.TANDEM_VALIDATION_SEEDS)
                assert disjoint(of_split, seeds.TANDEM_EVALUATION_SEEDS)


@pytest.mark.parametrize("system", [PEER_OFFLOADING, GRAPH_OFFLOADING, DAG_PLACEMENT])
def test_draws_of_different_purposes_share_no_counter(system: tuple[str, ...]) -> None:
    for one, other in combinations(system, 2):
        assert disjoint(getattr(seeds, one), getattr(seeds, other))
