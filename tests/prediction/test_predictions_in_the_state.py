"""Critics see what a predictor expects of every server's next task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edge_marl.algorithms.prediction.networks import MEDIAN, Predictor, PredictorSpec
from edge_marl.cooperative_offloading import (
    HEURISTICS,
    CooperativeOffloadingSimulator,
    CooperativeScenario,
)
from edge_marl.envs import cooperative_offloading_v0
from edge_marl.errors import InputError
from edge_marl.experiments.predict.onnx_files import ONNX, export_predictor

H = 4
SCENARIO = CooperativeScenario(tasks=30)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> tuple[Predictor, Path]:
    torch.manual_seed(0)
    model = Predictor(PredictorSpec(history=H, width=8, layers=1, heads=2)).eval()
    folder = tmp_path_factory.mktemp("predictor")
    export_predictor(model, folder / ONNX)
    return model, folder


def expected_columns(
    model: Predictor, simulator: CooperativeOffloadingSimulator, b: int
) -> list[float]:
    """Computed anew from all tasks that have arrived in an episode."""
    task, now_s = int(simulator.progress.task[b]), float(simulator.progress.now_s[b])
    work, columns = simulator.workload, []
    for m, rate in enumerate(SCENARIO.rates_per_s):
        own = [i for i in range(task + 1) if work.home[b, i] == m]
        arrivals = [0.0, *work.arrival_s[b, own].tolist()]
        values = np.column_stack([
            np.diff(arrivals) * rate,
            work.gcycles[b, own] / SCENARIO.mean_gcycles,
            work.memory_gb[b, own] / SCENARIO.mean_memory_gb,
        ])[-H:]  # fmt: skip
        history = np.zeros((1, H, 3), dtype=np.float32)
        history[0, : len(values)] = values
        with torch.inference_mode():
            found = model(torch.from_numpy(history), torch.tensor([len(values)]))
        gaps, *demands = found[0, :, [0, MEDIAN, -1]].tolist()
        waits = [max(0.0, arrivals[-1] + gap / rate - now_s) * rate for gap in gaps]
        columns += [x / (1 + x) for quantiles in (waits, *demands) for x in quantiles]
    return columns


def test_predictions_follow_what_arrives(predictor: tuple[Predictor, Path]) -> None:
    model, folder = predictor
    simulator = CooperativeOffloadingSimulator(SCENARIO, 2, predictor=folder)
    plain = CooperativeOffloadingSimulator(SCENARIO, 2)
    policy = HEURISTICS["least_latency_full"]()
    for one in (simulator, plain):
        one.reset([1, 2])
    for _ in range(25):
        for b in range(2):
            found = simulator.observation.state[b]
            np.testing.assert_array_equal(found[:-27], plain.observation.state[b])
            assert found[-27:] == pytest.approx(expected_columns(model, simulator, b), abs=1e-4)
        for one in (simulator, plain):
            one.step(policy.act(one))


def test_an_episode_goes_on_from_its_state(predictor: tuple[Predictor, Path]) -> None:
    one, other = (
        CooperativeOffloadingSimulator(SCENARIO, 2, predictor=predictor[1]) for _ in range(2)
    )
    policy = HEURISTICS["equal_split_full"]()
    one.reset([1, 2])
    for _ in range(7):
        one.step(policy.act(one))
    other.set_state(one.get_state())
    for _ in range(10):
        for simulator in (one, other):
            simulator.step(policy.act(simulator))
    np.testing.assert_array_equal(one.observation.state, other.observation.state)
    one.reset([1, 1], where=np.array([False, True]))
    assert (one.observation.state[1] != other.observation.state[1]).any()


def test_the_environment_has_room_for_predictions(predictor: tuple[Predictor, Path]) -> None:
    env = cooperative_offloading_v0.parallel_env(
        scenario={"tasks": 10}, predictor=str(predictor[1])
    )
    env.reset(seed=0)
    assert env.state().shape == env.state_space.shape == (28 + 27,)
    while env.agents:
        env.step({agent: env.action_space(agent).sample() for agent in env.agents})
        assert env.state_space.contains(env.state())


def test_actors_that_foresee_see_what_is_expected_of_their_own_next_task(
    predictor: tuple[Predictor, Path],
) -> None:
    model, folder = predictor
    simulator = CooperativeOffloadingSimulator(SCENARIO, 2, predictor=folder, actors_foresee=True)
    plain = CooperativeOffloadingSimulator(SCENARIO, 2)
    policy = HEURISTICS["least_latency_full"]()
    for one in (simulator, plain):
        one.reset([1, 2])
    while not simulator.done.all():
        for b in range(2):
            found = simulator.observation.features[b]
            np.testing.assert_array_equal(found[:, :-9], plain.observation.features[b])
            expected = np.zeros((3, 9))
            if not simulator.done[b]:
                home = simulator.workload.home[b, simulator.progress.task[b]]
                expected[home] = np.reshape(expected_columns(model, simulator, b), (3, 9))[home]
            np.testing.assert_allclose(found[:, -9:], expected, atol=1e-4)
        for one in (simulator, plain):
            one.step(policy.act(one))
    with pytest.raises(InputError, match="predictor: expected a folder with actors_foresee"):
        cooperative_offloading_v0.parallel_env(actors_foresee=True)


def test_what_is_no_predictor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"predictor.onnx: cannot be read: No such file"):
        CooperativeOffloadingSimulator(SCENARIO, 1, predictor=tmp_path)
    (tmp_path / ONNX).write_bytes(b"not a graph")
    with pytest.raises(InputError, match=r"predictor.onnx: cannot be opened by onnxruntime"):
        CooperativeOffloadingSimulator(SCENARIO, 1, predictor=tmp_path)
