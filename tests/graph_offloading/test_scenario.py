"""Rules and loads of a scenario: what each does to an episode, and which options are refused."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from edge_marl.errors import InputError
from edge_marl.graph_offloading.generators import aot_clusters, random_geometric
from edge_marl.graph_offloading.scenario import (
    GraphScenario,
    mean_gap_ticks,
    shannon_rate_bit_per_s,
)
from edge_marl.graph_offloading.simulator import GraphOffloadingSimulator
from edge_marl.graph_offloading.topology import shipped, write_topology
from edge_marl.random_stream import uniform
from edge_marl.validation import invalid
from tests.graph_offloading.playing import beginning, coming, graph, jobs, places_used, play

PAIR = graph((0, 1))
SEND = {(1, 0): 1}  # what has arrived at moment 1, the first agent sends to its first neighbour

# Published against text: by hand, 1,000 instructions take a tick, and so does 1 MB on a link -----

Value = Any


def capacity_per(value: Value) -> object:
    # 2,000 instructions take 2 ticks, or 4 of half a second, and the result one tick.
    return play(coming(PAIR, [(0, 2, 0)], ticks=8, tick_s=0.5, capacity_per=value)).responses


def start_undecided(value: Value) -> object:
    # The agent sends on what it finds undecided: all, or half of the tasks of idle nodes.
    scenario = coming(PAIR, [(0, 1, 0)], ticks=6, start_undecided=value)
    seeds = [seed for seed in range(1000) if uniform(seed, 3) < 0.5]
    simulator = GraphOffloadingSimulator(scenario, len(seeds))
    simulator.reset(seeds)
    while not simulator.done.all():
        undecided = simulator.nodes.first_undecided[:, 0] >= 0
        simulator.step(np.stack([undecided, 0 * undecided], axis=1).astype(np.int32))
    return round(float((simulator.nodes.sent[:, 0] == 1).mean()), 1)


def queue_order(value: Value) -> object:
    # The first runs from 1 to 5; the others take 1 and 2 ticks and were created at 1 and 2.
    scenario = coming(PAIR, [(0, 4, 0), (1, 1, 0), (2, 2, 0)], ticks=10, queue_order=value)
    return play(scenario).responses


def grace_ticks(value: Value) -> object:
    # The second waits until 5, but its deadline is at 2.
    late = coming(PAIR, [(0, 4, 0), (0, 1, 0)], ticks=9, deadline_s=(2, 2), grace_ticks=value)
    return play(late).fates


def deadline_ends(value: Value) -> object:
    # It runs from 1 to 5, and its deadline is at 3.
    late = coming(PAIR, [(0, 4, 0)], ticks=9, deadline_s=(3, 3), deadline_ends=value)
    return play(late).fates


def deadline_s(value: Value) -> object:
    # The earliest and the latest of hundreds of tasks, in ticks from their creation on.
    scenario = GraphScenario(ticks=2000, deadline_s=value)
    simulator = GraphOffloadingSimulator(scenario, 1)
    simulator.reset([1])
    found = set()
    while not simulator.done[0]:
        simulator.step(np.zeros((1, len(simulator.agents)), dtype=np.int32))
        if simulator.tick[0] % 50 == 0:
            used = places_used(simulator, 0)
            lasts = simulator.tasks.deadline[0, used] - simulator.tasks.created[0, used]
            found |= set(lasts.round(6).tolist())
    return round(min(found), -1), round(max(found), -1)


def link(**option: Value) -> object:
    # The response of a task of 80 Mbit that is sent over 50 m at 1, and executed for a tick from
    # the first whole tick on at which it is there. The result takes as long, and a tick.
    scenario = coming(PAIR, [(0, 1, 10)], ticks=20, **{"link_model": "shannon", **option})
    (response,) = play(scenario, SEND).responses.values()
    return round(response, 2)


def clients(value: Value) -> object:
    both = graph((0, 1), receives=(0, 1))
    load = GraphScenario(topology=both, clients=value).streams(both)
    return list(zip(load.target.tolist(), load.link.tolist(), strict=True))


EFFECTS: dict[str, tuple[Callable[[Value], object], object, object]] = {
    "capacity_per": (capacity_per, {4: 4.0}, {6: 6.0}),
    "start_undecided": (start_undecided, 0.5, 1.0),
    "queue_order": (
        queue_order, {6: 6.0, 8: 8.0 - 2, 9: 9.0 - 1}, {6: 6.0, 7: 7.0 - 1, 9: 9.0 - 2}
    ),
    "grace_ticks": (grace_ticks, (2, 0, 0, 0), (1, 0, 1, 0)),
    "deadline_ends": (deadline_ends, (1, 0, 0, 0), (0, 0, 1, 0)),
    "deadline_s": (deadline_s, (300, 600), (1000, 1000)),
    # SNR: 20 dBm - 74.03 dB of free space + 89.2 dBm = 35.17 dB, hence 23.36 Mbit/s; or 20 dB more
    "bandwidth_hz": (lambda value: link(bandwidth_hz=value), 5 + 1 + 3.42 + 1, 3 + 1 + 1.71 + 1),
    "power_dbm": (lambda value: link(power_dbm=value), 5 + 1 + 3.42 + 1, 4 + 1 + 2.18 + 1),
    # -174 dBm + 10 log10(2e6) = -110.99 dBm
    "noise_dbm": (lambda value: link(noise_dbm=value), 5 + 1 + 3.42 + 1, 4 + 1 + 2.11 + 1),
    "clients": (clients, [(0, -1), (1, 0), (1, -1), (0, 1)], [(0, -1), (1, -1)]),
}  # fmt: skip
"""Of each rule in which the presets differ, its effect in ``published`` and in ``text``."""

PUBLISHED = GraphScenario(topology="random_10")
TEXT = GraphScenario(topology="random_10", preset="text")


def test_presets_differ_in_the_rules_that_are_tested_here() -> None:
    ether, random, text = (one.model_dump() for one in (GraphScenario(), PUBLISHED, TEXT))
    rules = text.keys() - {"preset", "topology"}
    assert {name for name in rules if not text[name] == ether[name] == random[name]} == set(EFFECTS)


@pytest.mark.parametrize("name", EFFECTS)
def test_a_rule_in_which_the_presets_differ_has_an_effect(name: str) -> None:
    effect, published, text = EFFECTS[name]
    preset = PUBLISHED if name == "clients" else GraphScenario()
    assert effect(getattr(preset, name)) == published
    assert effect(getattr(TEXT, name)) == text


def test_random_graphs_have_longer_deadlines_in_what_was_published() -> None:
    assert PUBLISHED.deadline_s == (100, 200)
    assert GraphScenario(topology="ether_4").deadline_s == (30, 60)
    assert GraphScenario(topology="random_15", clients="own").clients == "own"
    assert TEXT.deadline_s == (100, 100)


def test_every_idle_node_starts_what_it_has_if_it_may() -> None:
    assert start_undecided(1.0) == 0.0


# Links and loads ---------------------------------------------------------------------------------


def test_the_published_rate_over_50_m_is_23_mbit_per_s() -> None:
    # gain: 147.55 - 20 log10(50) - 20 log10(2.4e9) = -74.03 dB; 2e6 log2(1 + 10^3.517)
    rate = shannon_rate_bit_per_s(
        np.array([50.0]), bandwidth_hz=2e6, power_dbm=20.0, noise_dbm=-89.2
    )
    assert rate[0] == pytest.approx(23.36e6, rel=1e-3)
    # 38 MB take 13 s, which are 130 ticks.
    scenario = GraphScenario(topology=PAIR)
    assert 38 * scenario.network(PAIR).ticks_per_mb[0] == pytest.approx(130, abs=0.5)


def test_nodes_at_the_same_place_are_taken_as_a_metre_apart() -> None:
    here = PAIR.model_copy(
        update={"nodes": tuple(node.model_copy(update={"x_m": 0.0}) for node in PAIR.nodes)}
    )
    # 34 dB more than over 50 m: 2e6 log2(10^6.915)
    mbit_per_s = 8 / GraphScenario(tick_s=1.0).network(here).ticks_per_mb
    np.testing.assert_allclose(mbit_per_s, 2 * 6.915 / math.log10(2), rtol=1e-3)


def test_graphs_are_generated_by_name() -> None:
    random = GraphScenario(topology="random_24_seed_3")
    assert random.graph() == random_geometric(16, 8, seed=3)
    assert (random.clients, random.deadline_s) == ("own_and_neighbours", (100, 200))
    aot = GraphScenario(topology="aot_3_seed_5")
    assert aot.graph() == aot_clusters(3, seed=5, server_links="nucs")
    assert (aot.clients, aot.deadline_s) == ("own", (30, 60))
    again = GraphScenario.model_validate(random.model_dump(mode="json"))
    assert again.graph() == random.graph()


def test_numbers_of_generated_graphs_are_checked() -> None:
    with pytest.raises(InputError, match="sbcs: expected"):
        GraphScenario(topology="random_0_seed_1").graph()


@pytest.mark.parametrize(
    ("topology", "loads"),
    [
        ("ether_2", (0.10, 0.20, 0.40)),
        ("ether_4", (0.15, 0.30, 0.58)),
        ("random_10", (0.34, 0.68, 1.34)),
        ("random_15", (0.91, 1.81, 3.57)),
    ],
)
def test_offered_loads_are_those_that_the_published_tables_imply(
    topology: str, loads: tuple[float, ...]
) -> None:
    found = [
        GraphScenario(topology=topology, rate_per_s=rate).offered_load() for rate in (0.5, 1, 2)
    ]
    assert found == pytest.approx(loads, abs=0.006)


def test_the_load_that_is_met_is_the_one_offered() -> None:
    scenario = GraphScenario(load="constant", rate_per_s=3.0, ticks=400)
    simulator = GraphOffloadingSimulator(scenario, 8)
    simulator.reset(range(8))
    while not simulator.done.all():
        simulator.step(np.zeros((8, len(simulator.agents)), dtype=np.int32))
    load = simulator.results.offered_load
    assert load.mean() == pytest.approx(scenario.offered_load(), rel=0.02)
    # 16 nodes create 8e7 instructions every 3.89 ticks; the gap is rounded up to 1 tick where
    # it would be 0: 1 + exp(-1.5 x 0.3) / (1 - exp(-0.3)) = 3.46
    assert mean_gap_ticks(np.array([10 / 3]))[0] == pytest.approx(3.460, abs=0.001)


@pytest.mark.parametrize("mean", [0.3, 2.0, 10.0])
def test_the_mean_gap_is_that_of_rounded_draws(mean: float) -> None:
    gaps = np.maximum(1, np.floor(np.random.default_rng(1).exponential(mean, 10**6) + 0.5))
    assert mean_gap_ticks(np.array([mean]))[0] == pytest.approx(gaps.mean(), rel=3e-3)


def created(scenario: GraphScenario, seed: int) -> list[tuple[int, float]]:
    """Tick and instructions of all tasks of an episode that begins with this seed."""
    simulator = GraphOffloadingSimulator(scenario, 1)
    simulator.reset([seed])
    found, tasks = {}, simulator.tasks
    while not simulator.done[0]:
        simulator.step(np.zeros((1, len(simulator.agents)), dtype=np.int32))
        for p in places_used(simulator, 0):
            found[int(tasks.number[0, p])] = (
                int(tasks.created[0, p]), float(tasks.instructions[0, p])
            )  # fmt: skip
    return [found[number] for number in range(len(found))]


def test_recorded_jobs_come_in_their_order_at_twice_their_pace() -> None:
    # 4 jobs in 7 s, for 8/7 a second: 0, 0.5, 2.5 and 3 s, again from 3.5, from 7 s and so on.
    load = jobs((1e6, 1, 10), (2e6, 1, 11), (3e6, 1, 15), (4e6, 1, 16))
    scenario = GraphScenario(
        topology=PAIR, load=load, arrivals="recorded", rate_per_s=8 / 7, tick_s=1.0, ticks=9
    )
    assert created(scenario, beginning(scenario)) == [
        (0, 1e6), (1, 2e6), (3, 3e6), (3, 4e6), (4, 1e6), (4, 2e6), (6, 3e6), (7, 4e6), (7, 1e6),
        (8, 2e6),
    ]  # fmt: skip
    third = next(seed for seed in range(99) if int(4 * uniform(seed, 3)) == 2)
    assert created(scenario, third)[:5] == [(0, 3e6), (1, 4e6), (1, 1e6), (2, 2e6), (4, 3e6)]


def test_recorded_jobs_are_shared_out_over_all_clients() -> None:
    scenario = GraphScenario(topology="random_10", arrivals="recorded", rate_per_s=5.0, ticks=500)
    simulator = GraphOffloadingSimulator(scenario, 1)
    simulator.reset([1])
    assert simulator.episodes.next_arrival.tolist() == [[0]]
    while not simulator.done[0]:
        simulator.step(np.zeros((1, len(simulator.agents)), dtype=np.int32))
    load = scenario.streams(scenario.graph())
    targets = np.bincount(load.target, minlength=10) > 0
    assert ((simulator.nodes.received[0] > 0) == targets).all()


def test_recorded_jobs_that_hardly_ever_come_do_not_come() -> None:
    rare = GraphScenario(
        topology=PAIR, load=jobs((1e6, 1, 0), (1e6, 1, 4)), arrivals="recorded", rate_per_s=1e-9,
        tick_s=1.0, ticks=50,
    )  # fmt: skip
    # The second comes 1.6e9 or 4e8 ticks after the first.
    assert created(rare, 0) == created(rare, 1) == [(0, 1e6)]


def test_clients_of_three_regions_have_tasks_of_their_own() -> None:
    graph_15 = shipped("random_15")
    scenario = GraphScenario(topology="random_15", load="regions", clients="own", ticks=300)
    load = scenario.streams(graph_15)
    # The NUCs, 2, 2 and 1 of 5 nodes of each region, receive none.
    assert sorted(load.gap_ticks.tolist()) == [5.0] * 4 + [10.0] * 3 + [20.0] * 3
    simulator = GraphOffloadingSimulator(scenario, 1)
    simulator.reset([1])
    kinds: dict[int, set[tuple[float, float]]] = {}
    tasks = simulator.tasks
    while not simulator.done[0]:  # they are kept, and stay where they were for
        simulator.step(np.zeros((1, len(simulator.agents)), dtype=np.int32))
        for p in places_used(simulator, 0):
            kinds.setdefault(int(tasks.node[0, p]), set()).add(
                (float(tasks.instructions[0, p]), float(tasks.size_mb[0, p]))
            )
    by_gap = {20.0: (3.2e8, 38.0), 10.0: (6.4e8, 16.0), 5.0: (1.6e8, 64.0)}
    assert kinds == {
        node: {by_gap[gap]}
        for node, gap in zip(load.target.tolist(), load.gap_ticks.tolist(), strict=True)
    }


# What is refused ---------------------------------------------------------------------------------


def line(**options: Any) -> str:
    """The one line by which options are refused, when they are given or when they are used."""
    try:
        scenario = GraphScenario(**options)
        GraphOffloadingSimulator(scenario, 1)
    except ValidationError as error:
        found = str(invalid(error))
    except InputError as error:
        found = str(error)
    else:
        raise AssertionError("expected a refusal, found none")
    assert "\n" not in found
    assert len(found) < 300
    return found


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"ticks": 0}, "ticks: expected at least 1, found 0"),
        ({"ticks": 10**8}, "ticks: expected at most 10000000, found 100000000"),
        ({"ticks": 1.5}, "ticks: expected a whole number, found 1.5"),
        ({"tick_s": 0}, "tick_s: expected at least 1e-12, found 0"),
        ({"tick_s": math.nan}, "tick_s: expected a finite number, found nan"),
        ({"rate_per_s": math.inf}, "rate_per_s: expected a finite number, found inf"),
        ({"rate_per_s": -1}, "rate_per_s: expected at least 1e-12, found -1"),
        ({"start_undecided": 1.1}, "start_undecided: expected at most 1, found 1.1"),
        ({"grace_ticks": -1}, "grace_ticks: expected at least 0, found -1"),
        ({"broadcast_ticks": 0}, "broadcast_ticks: expected at least 1, found 0"),
        ({"power_dbm": 1001}, "power_dbm: expected at most 1000, found 1001"),
        ({"noise_dbm": -1001}, "noise_dbm: expected at least -1000, found -1001"),
        ({"most_tasks": 0}, "most_tasks: expected at least 1, found 0"),
        ({"lambda": 1}, "lambda: unknown option, found 1"),
        ({"preset": "paper"}, "preset: expected 'published' or 'text', found 'paper'"),
        ({"queue_order": "random"}, "queue_order: expected 'fifo' or 'lifo', found 'random'"),
        (
            {"deadline_s": (60, 30)},
            "deadline_s: expected a lower and an upper bound, found 60, 30",
        ),
        (
            {"deadline_s": (1, 1e7)},
            "deadline_s: expected at most 10000000 ticks of tick_s, 0.1 s, found 1e+07 s",
        ),
        (
            {"contention": True},
            "contention: expected false with link_model=shannon, found true",
        ),
        (
            {"arrivals": "recorded", "load": "constant"},
            "arrivals: expected poisson with load=constant, which was never recorded, "
            "found recorded",
        ),
        (
            {"arrivals": "recorded", "load": "regions", "topology": "random_15"},
            "arrivals: expected poisson with load=regions, which was never recorded, "
            "found recorded",
        ),
        (
            {"topology": graph((0, 1), mbit_per_s=None), "link_model": "topology"},
            "made: link 0 to 1: mbit_per_s: expected a number for link_model=topology, found none",
        ),
        (
            {"topology": graph((0, 1), latency_ms=None), "link_model": "topology"},
            "made: link 0 to 1: latency_ms: expected a number for link_model=topology, found none",
        ),
        (
            {"topology": PAIR, "load": "regions"},
            "made: nodes: expected 5 nuc, 3 rpi4, 3 rpi5_6g, 4 rpi5_8g for three regions, "
            "found 2 others",
        ),
    ],
)  # fmt: skip
def test_options_are_refused_in_one_line(options: dict[str, Any], expected: str) -> None:
    assert line(**options) == expected


def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "none"
    for name in ("topology", "load"):
        assert str(missing) in line(**{name: missing})


def test_a_graph_and_jobs_are_read_from_files(tmp_path: Path) -> None:
    path = tmp_path / "pair.json"
    write_topology(PAIR, path)
    scenario = GraphScenario(topology=path, load="constant")
    assert scenario.graph() == PAIR
    assert GraphOffloadingSimulator(scenario, 1).agents == ("node 0", "node 1")
    assert GraphScenario(topology=str(path)).graph() == PAIR


def test_episodes_that_do_not_fit_into_memory_are_refused() -> None:
    expected = "1 episodes of 23 nodes and 1000000000 tasks (topology, most_tasks, rate_per_s)"
    assert expected in line(most_tasks=10**9)
