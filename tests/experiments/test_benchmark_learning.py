"""The learning benchmark in its smallest size: what it reports, not how fast things are."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from edge_marl.dag_placement.heuristics import HEURISTICS as PLACING
from edge_marl.envs import tandem_v0
from edge_marl.errors import InputError
from edge_marl.experiments.benchmarks import (
    cto,
    dag_placement,
    federation,
    graph_offloading,
    learning,
    learning_spread,
    peer_offloading,
)
from edge_marl.experiments.benchmarks.learning_measures import Case, measure
from edge_marl.experiments.benchmarks.learning_sizes import LearningSizes
from edge_marl.experiments.benchmarks.peers import benchmarl
from edge_marl.graph_offloading.heuristics import HEURISTICS as OFFLOADING
from edge_marl.peer_offloading.heuristics import HEURISTICS


def test_smallest_benchmark(
    tmp_path: Path,
    local_ray: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Processes of their own are for speed and memory alone, and half a minute of imports.
    monkeypatch.setattr(learning, "_measure", lambda case, sizes, python: measure(case, sizes))
    out = tmp_path / "learning.json"
    sizes = LearningSizes.smallest()
    ratios = learning.benchmark(out, sizes)
    assert {(line.name, line.target) for line in ratios if line.target} == {
        ("sampling, 20 agents: MAPPO over stock RLlib", 50),
        ("sampling, 2 agents: MAPPO over stock RLlib", 10),
        ("iteration, 20 agents: IPPO over stock RLlib", 15),
        ("iteration, 20 agents: MAPPO over stock RLlib", 15),
        ("iteration, 2 agents: IPPO over stock RLlib", 15),
        ("iteration, 2 agents: MAPPO over stock RLlib", 15),
    }
    written = json.loads(out.read_text())
    assert written["sizes"]["frames"] == sizes.frames
    assert [line["name"] for line in written["measurements"]] == [line.name for line in ratios]
    sampled = [case for case in written["speeds"] if case["measure"] == "sampling"]
    trained = [case for case in written["speeds"] if case["measure"] == "iteration"]
    assert (len(sampled), len(trained)) == (6, 6)
    assert all(case["per_s"] > 0 and case["peak_mib"] > 100 for case in written["speeds"])
    assert all(case["sampling_s"] > 0 and case["learning_s"] > 0 for case in trained)
    best = max(c["per_s"] for c in sampled if c["subject"] == "stock" and c["env"] == "tandem_v0")
    (ours,) = (c["per_s"] for c in sampled if c["subject"] == "mappo" and c["env"] == "tandem_v0")
    ratio = next(line for line in ratios if line.name.startswith("sampling, 2 agents"))
    assert ratio.value == pytest.approx(ours / best)
    printed = capsys.readouterr().out
    assert "peak, MiB" in printed
    assert "≥ 50" in printed


def test_smallest_benchmark_of_peer_offloading(
    tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "_measure", lambda case, sizes, python: measure(case, sizes))
    out = tmp_path / "offloading.json"
    found = peer_offloading.benchmark(out, peer_offloading.OffloadingSizes.smallest())
    assert {(line.name, line.target) for line in found if line.target} == {
        ("simulator, 20 nodes, B = 64", 2e5),
        ("growth of an env step, 2 to 3 nodes", 2.0),
        ("task log into SQLite", 50_000),
        ("iteration, 20 agents: O2O over stock RLlib", 15),
        ("offline phase, batch 16", 200),
    }
    value = {line.name: line.value for line in found}
    growth = np.log(value["env step of 3 nodes, B = 64"] / value["env step of 2 nodes, B = 64"])
    assert value["growth of an env step, 2 to 3 nodes"] == pytest.approx(growth / np.log(3 / 2))
    assert all(f"heuristic {name}" in value for name in HEURISTICS)
    assert all(line.value > 0 for line in found if not line.name.startswith("growth"))
    assert len(json.loads(out.read_text())["measurements"]) == len(found)


def test_smallest_benchmark_of_offloading_on_a_graph(tmp_path: Path, local_ray: None) -> None:
    out = tmp_path / "graph.json"
    found = graph_offloading.benchmark(out, graph_offloading.GraphSizes.smallest())
    value = {line.name: line.value for line in found}
    assert {(line.name, line.target) for line in found if line.target} == {
        ("random_15, B = 32", 150_000),
        ("ether_4, B = 32", 80_000),
        ("growth of an env step, random geometric, 42 to 200 links", 1.1),
    }
    assert all(f"heuristic {name}" in value for name in OFFLOADING)
    assert value["iteration of IPPO, ether_4, lambda 0.5, of all steps over decisions"] > 0
    assert all(line.value > 0 for line in found if not line.name.startswith("growth"))
    assert len(json.loads(out.read_text())["measurements"]) == len(found)


def test_smallest_benchmark_of_a_federation(tmp_path: Path, local_ray: None) -> None:
    out = tmp_path / "federation.json"
    found = federation.benchmark(out, federation.FederationSizes.smallest())
    assert {(line.name, line.target, line.better) for line in found if line.target} == {
        ("iteration of FAuNO over one of independent clients", 1.15, "lower"),
        ("synchronous over asynchronous", 3.0, "higher"),
    }
    value = {line.name: line.value for line in found}
    assert value["manager, 4 clients"] > value["manager, 4 clients: versions"]
    assert value["ticks to 0.01 finished, 10% of the clients 10 times slower, asynchronous"] == 32
    assert len(json.loads(out.read_text())["measurements"]) == len(found)


def test_smallest_benchmark_of_cto(tmp_path: Path, local_ray: None) -> None:
    out = tmp_path / "cto.json"
    found = cto.benchmark(out, cto.CTOSizes.smallest())
    assert {(line.name, line.target, line.better) for line in found if line.target} == {
        ("learner over arithmetic", 0.6, "higher"),
        ("decision of an exported actor, choice and allocation", 0.1, "lower"),
        ("with a barrier over own pace", 2.0, "higher"),
    }
    assert all(line.value > 0 for line in found)
    assert len(json.loads(out.read_text())["measurements"]) == len(found)
    assert (tmp_path / "cto-turns.png").is_file()


def test_smallest_benchmark_of_dag_placement(
    tmp_path: Path,
    local_ray: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(learning, "_measure", lambda case, sizes, python: measure(case, sizes))
    monkeypatch.setattr(dag_placement, "LARGE", 6)
    out = tmp_path / "dag.json"
    found = dag_placement.benchmark(out, dag_placement.PlacementSizes.smallest())
    assert {(line.name, line.target) for line in found if line.target} == {
        ("simulator, 16 servers, B = 64", 2e5),
        *((f"fan-out of {n}, response reward over none", 3) for n in (5, 6)),
        *((f"fan-out of {n}, decisions of HEFT per primitive", 3) for n in (5, 6)),
        ("decision among 6 servers, onnxruntime, p50", 1000),
        ("decision among 6 servers, torch, p50", 1000),
        ("growth of a decision, onnxruntime, 5 to 6 servers", 1.0),
        ("iteration, 1 agent: IPPO over stock RLlib", 15),
        ("iteration, 1 agent: SCALE over stock RLlib", 15),
    }
    value = {line.name: line.value for line in found}
    growth = np.log(value["placement, 6 servers, B = 64"] / value["placement, 5 servers, B = 64"])
    assert value["growth of a placement, 5 to 6 servers"] == pytest.approx(growth / np.log(6 / 5))
    assert all(f"heuristic {name}, 16 servers" in value for name in PLACING)
    assert all(line.value > 0 for line in found if not line.name.startswith("growth"))
    written = json.loads(out.read_text())
    assert len(written["measurements"]) == len(found)
    speed = {case["subject"]: case["per_s"] for case in written["speeds"]}
    best = max(speed["stock"], speed["stock single"])
    assert value["iteration, 1 agent: SCALE over stock RLlib"] == pytest.approx(
        speed["scale"] / best
    )
    if not torch.cuda.is_available():
        assert "on a GPU: not measured, there is none" in capsys.readouterr().out


def test_gradients_of_many_observations_are_measured_on_any_device() -> None:
    assert dag_placement.rows_per_s(5, 4, torch.device("cpu"), passes=1) > 0


def test_a_measurement_in_a_process_of_its_own() -> None:
    case = Case(measure="sampling", env="tandem_v0", subject="stock", envs=2)
    found = learning._measure(case, LearningSizes.smallest(), None)
    assert found["per_cpu_s"] > 0
    assert found["peak_mib"] > 100


def test_qmix_is_measured(local_ray: None) -> None:
    case = Case(measure="iteration", env="tandem_v0", subject="qmix", envs=4)
    assert measure(case, LearningSizes.smallest())["per_s"] > 0


def test_learning_curves(tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    # Any parallel environment will do to see the curves: mpe2 is an optional dependency.
    monkeypatch.setattr(learning_spread, "make_env", lambda _: tandem_v0.parallel_env())
    sizes = learning_spread.SpreadSizes(
        env_steps=100, seeds=2, envs=2, evaluations=2, episodes=2, workers=0
    )
    lines = learning_spread.benchmark(tmp_path, sizes)
    assert [line.name for line in lines] == [
        f"{name}, {when}: return"
        for name in ("MAPPO", "QMIX", "MAPPO, forces", "MADDPG, forces")
        for when in ("untrained", "trained")
    ]
    rows = (tmp_path / "curves.csv").read_text().splitlines()
    assert rows[0] == "algorithm,seed,env_steps,mean_return"
    # Four of them, two seeds, and the untrained policy before the two evaluations of each.
    assert len(rows) == 1 + 4 * 2 * 3
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "spread.json").read_text())["sizes"]["seeds"] == 2


def test_a_folder_of_something_else_is_no_virtual_environment(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match="expected a new folder or a virtual environment"):
        benchmarl.prepare_venv(tmp_path)
