"""Topologies: those of the paper, generated ones, files, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_marl.errors import InputError
from edge_marl.graph_offloading.generators import aot_clusters, random_geometric
from edge_marl.graph_offloading.topology import (
    MOST_NODES,
    SHIPPED,
    Topology,
    read_topology,
    shipped,
    write_topology,
)
from tests.fuzzing import damaged_json, fuzzed, refused_or_read

PUBLIC = Path(__file__).resolve().parents[3] / "shared" / "data" / "topologies"

TABLE_9 = {
    "ether_2": {"nuc-nuc": 0, "nuc-sbc": 8, "sbc-nuc": 1, "sbc-sbc": 0, "server-nuc": 2,
                "server-sbc": 16},
    "ether_4": {"nuc-nuc": 0, "nuc-sbc": 8, "sbc-nuc": 1, "sbc-sbc": 0, "server-nuc": 4,
                "server-sbc": 32},
    "random_10": {"nuc-nuc": 2.4, "nuc-sbc": 3.2, "sbc-nuc": 3.2, "sbc-sbc": 3.2},
    "random_15": {"nuc-nuc": 2.4, "nuc-sbc": 8.4, "sbc-nuc": 4.2, "sbc-sbc": 7.6},
}  # fmt: skip
"""As printed, with sbc for rpi: of a node of the first kind, mean neighbours of the second."""


def node(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name, "kind": "sbc", "cpu_millis": 7200, "memory_bytes": 6_442_450_944,
        "queue_limit": 20, "x_m": 0.0, "y_m": 0.0, "has_agent": True, "receives_tasks": True,
        **fields,
    }  # fmt: skip


def path_of_three() -> dict[str, Any]:
    """Nodes 0, 1 and 2 in a row, 30 and 40 m apart; node 1 names node 2 first."""
    return {
        "name": "path",
        "nodes": [node("a"), node("b", x_m=30.0), node("c", x_m=30.0, y_m=40.0)],
        "links": [
            {"source": 1, "target": 2, "mbit_per_s": 25.0, "latency_ms": 2.0},
            {"source": 0, "target": 1},
            {"source": 2, "target": 1, "mbit_per_s": 125.0, "latency_ms": 0.0},
            {"source": 1, "target": 0},
        ],
    }


def kinds(topology: Topology) -> np.ndarray:
    return np.array([one.kind for one in topology.nodes])


def neighbours(topology: Topology, i: int) -> list[int]:
    first, neighbour, _, _ = topology.adjacency
    return neighbour[first[i] : first[i + 1]].tolist()


def lengths_m(topology: Topology, source: str, target: str) -> np.ndarray:
    kind, ends = kinds(topology), topology.adjacency
    chosen = (kind[ends.source] == source) & (kind[ends.neighbour] == target)
    return topology.distance_m[chosen]


def check_adjacency(topology: Topology) -> None:
    """Rows hold the links in order; the reverse of the reverse is the link itself."""
    first, neighbour, back, source = topology.adjacency
    links = [(link.source, link.target) for link in topology.links]
    assert links == list(zip(source.tolist(), neighbour.tolist(), strict=True))
    assert source.tolist() == np.repeat(np.arange(len(first) - 1), np.diff(first)).tolist()
    assert {one.dtype for one in topology.adjacency} == {np.dtype(np.int32)}
    assert back[back].tolist() == list(range(len(links)))
    assert source[back].tolist() == neighbour.tolist()


# The paper's topologies


def test_topologies_of_the_paper_have_its_numbers_of_nodes() -> None:
    def counts(name: str) -> dict[str, int]:
        kind, count = np.unique(kinds(shipped(name)), return_counts=True)
        return dict(zip(kind.tolist(), count.tolist(), strict=True))

    assert counts("ether_2") == {"sbc": 16, "nuc": 2, "gpu": 4, "server": 1}  # Table 27
    assert counts("ether_4") == {"sbc": 32, "nuc": 4, "gpu": 8, "server": 1}
    assert counts("random_10") == {"sbc": 5, "nuc": 5}  # Table 33
    assert counts("random_15") == {"sbc": 10, "nuc": 5}
    assert [len(shipped(name).nodes) for name in SHIPPED] == [23, 45, 10, 15]


@pytest.mark.parametrize("name", SHIPPED)
def test_topologies_of_the_paper_have_the_connections_of_its_table_9(name: str) -> None:
    """Links of a kind over nodes of its source's kind; random columns count each link twice."""
    topology = shipped(name)
    kind, ends = kinds(topology), topology.adjacency
    pairs = [f"{a}-{b}" for a, b in zip(kind[ends.source], kind[ends.neighbour], strict=True)]
    times = 2 if name.startswith("random") else 1
    found = {
        pair: times * pairs.count(pair) / (kind == pair.split("-")[0]).sum()
        for pair in TABLE_9[name]
    }
    assert found == pytest.approx(TABLE_9[name])


@pytest.mark.parametrize(("name", "targets"), [("random_10", 13), ("random_15", 48)])
def test_clients_that_send_to_neighbouring_sbcs_too_have_so_many_targets(
    name: str, targets: int
) -> None:
    topology = shipped(name)
    receives = np.array([one.receives_tasks for one in topology.nodes])
    ends = topology.adjacency
    both = receives[ends.source] & receives[ends.neighbour]
    assert receives.sum() + both.sum() == targets


@pytest.mark.parametrize("name", SHIPPED)
def test_roles_and_adjacency_of_topologies_of_the_paper(name: str) -> None:
    topology = shipped(name)
    check_adjacency(topology)
    for one in topology.nodes:
        assert one.receives_tasks == (one.kind == "sbc")
        assert one.has_agent == (one.kind != "gpu")


def test_neighbours_are_numbered_as_in_the_file() -> None:
    assert neighbours(shipped("random_10"), 9) == [7, 1, 3, 6]
    assert neighbours(shipped("ether_2"), 0) == [6, 22]
    assert neighbours(shipped("ether_2"), 22) == list(range(22))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_topologies_are_those_that_the_authors_published(name: str) -> None:
    path = PUBLIC / f"{name}.json"
    if not path.exists():
        pytest.skip(f"../shared/data/topologies has no {name}.json")
    public, topology = json.loads(path.read_text()), shipped(name)
    own = [one.model_dump() for one in topology.nodes]
    assert own == [{key: one[key] for key in own[0]} for one in public["nodes"]]
    for i in range(len(own)):
        assert neighbours(topology, i) == public["neighbours"][str(i)]
    assert topology.source == public["source"]


def test_another_name_is_refused() -> None:
    with pytest.raises(InputError, match=r"^topology: expected one of ether_2, .*, found 'ether'$"):
        shipped("ether")


# Links


def test_links_are_sorted_by_source_and_keep_their_order_within_it() -> None:
    topology = Topology(**path_of_three())
    first, neighbour, back, source = topology.adjacency
    assert first.tolist() == [0, 1, 3, 4]
    assert source.tolist() == [0, 1, 1, 2]
    assert neighbour.tolist() == [1, 2, 0, 1]
    assert back.tolist() == [2, 3, 0, 1]
    assert topology.degree.tolist() == [1, 2, 1]
    check_adjacency(topology)


def test_attributes_of_links_are_in_the_order_of_the_links() -> None:
    topology = Topology(**path_of_three())
    assert topology.distance_m.tolist() == [30, 40, 30, 40]
    np.testing.assert_equal(topology.mbit_per_s, [np.nan, 25, np.nan, 125])
    np.testing.assert_equal(topology.latency_ms, [np.nan, 2, np.nan, 0])


def test_a_node_may_be_alone() -> None:
    topology = Topology(name="one", nodes=[node("a")], links=[])
    assert topology.adjacency.first.tolist() == [0, 0]
    assert topology.distance_m.shape == topology.mbit_per_s.shape == (0,)


# Files


@pytest.mark.parametrize("name", SHIPPED)
def test_a_written_topology_is_read_back(name: str, tmp_path: Path) -> None:
    write_topology(shipped(name), tmp_path / "t.json")
    assert read_topology(tmp_path / "t.json") == shipped(name)


def test_a_file_has_a_line_for_each_node_and_link(tmp_path: Path) -> None:
    topology = Topology(**path_of_three())
    write_topology(topology, tmp_path / "t.json")
    lines = (tmp_path / "t.json").read_text().splitlines()
    assert len(lines) == 2 + 1 + (3 + 2) + (4 + 2)  # braces, name, nodes, links
    assert '  {"source": 0, "target": 1},' in lines
    assert read_topology(tmp_path / "t.json") == topology


FAULTS = [
    (lambda t: t["links"].append({"source": 0, "target": 3}),
     "links: expected two nodes from 0 to 2, found 0 and 3"),
    (lambda t: t["links"].append({"source": 2, "target": 2}),
     "links: expected two nodes from 0 to 2, found 2 and 2"),
    (lambda t: t["links"].append({"source": 0, "target": 2}),
     "links: expected one from 2 to 0, the reverse of 0 to 2"),
    (lambda t: t["links"].append({"source": 1, "target": 2}),
     "links: expected one from 1 to 2, found two"),
    (lambda t: t["links"][1].update(target=-1), "links.1.target: expected at least 0, found -1"),
    (lambda t: t["links"][1].update(target=MOST_NODES),
     "links.1.target: expected below 10000, found 10000"),
    (lambda t: t["links"][0].update(mbit_per_s=0.0),
     "links.0.mbit_per_s: expected at least 1e-06, found 0.0"),
    (lambda t: t["links"][0].update(latency_ms="long"),
     "links.0.latency_ms: expected a number, found 'long'"),
    (lambda t: t["nodes"][2].update(x_m=float("nan")),
     "nodes.2.x_m: expected a number, found None"),
    (lambda t: t["nodes"][2].update(y_m=1e300),
     "nodes.2.y_m: expected at most 1e+07, found 1e+300"),
    (lambda t: t["nodes"][0].update(cpu_millis="fast"),
     "nodes.0.cpu_millis: expected a whole number, found 'fast'"),
    (lambda t: t["nodes"][1].update(queue_limit=0),
     "nodes.1.queue_limit: expected at least 1, found 0"),
    (lambda t: t["nodes"][1].update(kind="phone"),
     "nodes.1.kind: expected 'sbc', 'nuc', 'gpu' or 'server', found 'phone'"),
    (lambda t: t["nodes"][1].pop("y_m"), "nodes.1.y_m: expected a value, found {"),
    (lambda t: t["nodes"][1].update(colour="red"), "nodes.1.colour: unknown option, found 'red'"),
    (lambda t: t["nodes"][2].update(name="a"),
     "nodes.2.name: expected another than that of node 0, found 'a'"),
    (lambda t: [one.update(has_agent=False) for one in t["nodes"]],
     "nodes: expected one with has_agent, found none"),
    (lambda t: [one.update(receives_tasks=False) for one in t["nodes"]],
     "nodes: expected one with receives_tasks, found none"),
    (lambda t: t.update(nodes=[]), "nodes: "),
    (lambda t: t.update(links=None), "links: "),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "line"), FAULTS, ids=[line for _, line in FAULTS])
def test_a_file_with_a_fault_is_refused_naming_the_place(
    damage: Any, line: str, tmp_path: Path
) -> None:
    document, path = path_of_three(), tmp_path / "t.json"
    damage(document)
    path.write_text(json.dumps(document))
    assert refused_or_read(path, read_topology).startswith(f"{path}: {line}")


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("nodes: 3")
    with pytest.raises(InputError, match=r"t\.json: expected JSON, found"):
        read_topology(tmp_path / "t.json")


@fuzzed
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(data.draw(damaged_json(json.dumps(path_of_three()).encode())))
    refused_or_read(path, lambda path: check_adjacency(read_topology(path)))


def test_more_nodes_than_allowed_are_refused() -> None:
    with pytest.raises(ValidationError, match="at most 10000 items"):
        Topology(name="large", nodes=[node(f"{k}") for k in range(MOST_NODES + 1)], links=[])


# Generated topologies


@pytest.mark.parametrize("clusters", [2, 4])
def test_generated_clusters_have_the_structure_of_the_papers(clusters: int) -> None:
    made, paper = aot_clusters(clusters, seed=0), shipped(f"ether_{clusters}")
    assert sorted(kinds(made)) == sorted(kinds(paper))
    assert len(made.links) == len(paper.links)
    for nuc in np.flatnonzero(kinds(made) == "nuc"):
        assert kinds(made)[neighbours(made, nuc)].tolist() == ["sbc"] * 8 + ["gpu"] * 2 + ["server"]
    for kind in ("sbc", "gpu"):
        for i in np.flatnonzero(kinds(made) == kind):
            assert kinds(made)[neighbours(made, i)].tolist() == ["nuc", "server"]
    assert neighbours(made, len(made.nodes) - 1) == list(range(len(made.nodes) - 1))


def test_the_server_of_generated_clusters_may_be_linked_to_nucs_alone() -> None:
    made = aot_clusters(3, seed=0, server_links="nucs")
    assert neighbours(made, 33) == [8, 19, 30]
    assert neighbours(made, 0) == neighbours(made, 9) == [8]
    assert made.degree.max() == 11


def test_a_generated_device_has_the_capacity_and_the_queue_of_the_papers() -> None:
    made, paper = aot_clusters(2, seed=0), shipped("ether_2")

    def devices(topology: Topology) -> set[tuple[str, int, int, int]]:
        return {(n.kind, n.cpu_millis, n.memory_bytes, n.queue_limit) for n in topology.nodes}

    assert devices(made) == devices(paper)
    assert {limit for *_, limit in devices(made)} == {20, 27, 215, 588, 26}


def test_models_of_sbcs_come_in_equal_parts() -> None:
    for made in (aot_clusters(3, seed=0), random_geometric(24, 5, seed=0)):
        models = [one.name.rsplit("_", 1)[0] for one in made.nodes if one.kind == "sbc"]
        assert sorted(models) == ["rpi4"] * 8 + ["rpi5_6g"] * 8 + ["rpi5_8g"] * 8


@pytest.mark.parametrize("clusters", [2, 90])
def test_links_of_generated_clusters_are_as_long_as_in_the_papers(clusters: int) -> None:
    made = aot_clusters(clusters, seed=1)
    place = np.array([(one.x_m, one.y_m) for one in made.nodes])
    assert place.min() >= 0
    assert place.max() <= 100
    assert lengths_m(made, "sbc", "nuc").max() < lengths_m(shipped("ether_2"), "sbc", "nuc").max()
    assert lengths_m(made, "gpu", "nuc").max() < lengths_m(shipped("ether_2"), "gpu", "nuc").max()
    assert lengths_m(made, "server", "sbc").max() < 75


@settings(max_examples=40)
@given(
    sbcs=st.integers(1, 40),
    nucs=st.integers(0, 20),
    seed=st.integers(0, 2**31 - 1),
    radius_m=st.sampled_from([0.0, 10.0, 50.0, 1000.0]),
    data=st.data(),
)
def test_a_random_graph_links_nodes_within_the_radius_and_the_nearest(
    sbcs: int, nucs: int, seed: int, radius_m: float, data: st.DataObject
) -> None:
    N = sbcs + nucs
    least = data.draw(st.integers(0, min(3, N - 1)))
    made = random_geometric(sbcs, nucs, seed=seed, radius_m=radius_m, least_links=least)
    check_adjacency(made)
    place = np.array([(one.x_m, one.y_m) for one in made.nodes])
    distance_m = np.hypot(*(place[:, None] - place).T)
    np.fill_diagonal(distance_m, np.inf)
    nearest = distance_m.argsort(axis=1)[:, :least]
    wanted = distance_m <= radius_m
    wanted[np.arange(N)[:, None], nearest] = True
    wanted |= wanted.T
    assert [neighbours(made, i) for i in range(N)] == [row.nonzero()[0].tolist() for row in wanted]
    assert made.degree.min() >= least


@settings(max_examples=20)
@given(
    clusters=st.integers(1, 12),
    sbcs=st.integers(1, 12),
    seed=st.integers(0, 2**31 - 1),
    server_links=st.sampled_from(["all", "nucs"]),
)
def test_generated_clusters_are_connected_and_valid(
    clusters: int, sbcs: int, seed: int, server_links: Any
) -> None:
    made = aot_clusters(clusters, seed=seed, sbcs=sbcs, server_links=server_links)
    check_adjacency(made)
    assert len(made.nodes) == clusters * (sbcs + 3) + 1
    assert neighbours(made, len(made.nodes) - 1)[-1] <= len(made.nodes) - 2
    assert made.degree.min() == (2 if server_links == "all" else 1)


@given(seed=st.integers(0, 2**31 - 1))
@settings(max_examples=10)
def test_equal_seeds_give_equal_topologies_and_others_do_not(seed: int) -> None:
    for make in (lambda s: aot_clusters(2, seed=s), lambda s: random_geometric(8, 4, seed=s)):
        assert make(seed) == make(seed)
        assert make(seed).nodes != make((seed + 1) % 2**31).nodes


def test_a_random_graph_in_blocks_is_the_graph_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = random_geometric(30, 10, seed=5, radius_m=10, least_links=2)
    monkeypatch.setattr("edge_marl.graph_offloading.generators._BLOCK", 7 * 40)
    assert random_geometric(30, 10, seed=5, radius_m=10, least_links=2) == whole


def test_random_graphs_grow_at_the_same_density() -> None:
    """15 pi / 4 = 11.8 neighbours but for those beyond the border; 5.7 in the paper's 15 nodes."""
    degree = {n: random_geometric(n, n // 2, seed=2).degree.mean() for n in (10, 200, 1000)}
    assert 5 < degree[10] < 9
    assert 9.5 < degree[200] < degree[1000] < 11.8
    small = random_geometric(3, 2, seed=0)
    assert max(max(one.x_m, one.y_m) for one in small.nodes) <= 100


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: aot_clusters(0, seed=0), "clusters: expected a number from 1 to 909, found 0"),
        (lambda: aot_clusters(910, seed=0), "clusters: expected a number from 1 to 909, found 910"),
        (lambda: aot_clusters(1, seed=-1), "seed: expected a number from 0 to 2147483647, found"),
        (lambda: aot_clusters(1, seed=0, server_links="none"),  # type: ignore[arg-type]
         "server_links: expected all or nucs, found 'none'"),
        (lambda: random_geometric(0, 2, seed=0), "sbcs: expected a number from 1 to 10000"),
        (lambda: random_geometric(9999, 2, seed=0), "nucs: expected a number from 0 to 1, found 2"),
        (lambda: random_geometric(1, 0, seed=0), "least_links: expected a number from 0 to 0"),
        (lambda: random_geometric(2, 2, seed=0, side_m=float("nan")),
         "side_m: expected a number from 1 to 1000000, found nan"),
        (lambda: random_geometric(2, 2, seed=0, radius_m=float("inf")), "radius_m: expected"),
        (lambda: random_geometric(2000, 0, seed=0, radius_m=1e6),
         "radius_m, least_links: expected at most 500000 links, found more"),
    ],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(make: Any, line: str) -> None:
    with pytest.raises(InputError) as refused:
        make()
    assert str(refused.value).startswith(line)
