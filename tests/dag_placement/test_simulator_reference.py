"""The batched simulator against the plain reference, decision by decision."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_marl.dag_placement.scenario import TIERS, DagScenario, RandomWorkflows
from edge_marl.dag_placement.simulator import DagPlacementSimulator
from tests.dag_placement.reference import Reference, arrived


@st.composite
def scenarios(draw: st.DrawFn) -> DagScenario:
    """Small clusters, all modes, servers that come and go."""
    return DagScenario(
        servers=draw(st.integers(1, 5)),
        tiers=draw(st.sampled_from([TIERS, TIERS[1:], TIERS[2:]])),
        communication=draw(st.sampled_from(["physical", "reward"])),
        bandwidth_gb_per_s=draw(st.sampled_from([0.2, 10.0])),
        latency_s=draw(st.sampled_from([0.0, 0.5])),
        workflows=RandomWorkflows(
            primitives=(1, 6),
            memory_gb=(16, 8, 1, 32),
            shape=draw(st.sampled_from(["random", "chain", "fan_out"])),
            edge_probability=draw(st.sampled_from([0.0, 0.5])),
        ),
        arrival_rate_per_server_s=draw(st.sampled_from([0.1, 1.0])),
        horizon_s=draw(st.sampled_from([2.0, 8.0])),
        time=draw(st.sampled_from(["event", "paper"])),
        step_s=draw(st.sampled_from([0.1, 2.0])),
        decisions=draw(st.sampled_from([7, 60])),
        time_limit_s=draw(st.sampled_from([5.0, 600.0])),
        mean_up_s=draw(st.sampled_from([None, 2.0, 20.0])),
        mean_away_s=draw(st.sampled_from([0.5, 5.0])),
        failure_share=draw(st.sampled_from([0.0, 0.5, 1.0])),
    )


@settings(max_examples=60)
@given(
    scenario=scenarios(),
    seed=st.integers(0, 2**31),
    reward=st.sampled_from(["response", "paper"]),
    features=st.sampled_from(["extended", "paper"]),
    selector=st.sampled_from(["longest_path", "learned"]),
    waiting=st.sampled_from([0.1, 0.5]),
)
def test_every_step_is_that_of_the_reference(
    scenario: DagScenario, seed: int, reward: str, features: str, selector: str, waiting: float
) -> None:
    simulator = DagPlacementSimulator(
        scenario, 2, reward=reward, features=features, selector=selector
    )  # type: ignore[arg-type]
    simulator.reset([seed, seed + 1])
    references = [
        Reference(scenario, *arrived(simulator, b), seed + b, reward, selector == "learned")
        for b in range(2)
    ]
    rng = np.random.default_rng(seed)
    check_state(simulator, references)
    for _ in range(2000):
        if simulator.done.all():
            break
        actions = np.zeros((2, len(simulator.agents)), dtype=np.int64)
        expected = [0.0, 0.0]
        going = [not (it.over or it.cut_off) for it in references]
        for b, it in enumerate(references):
            if going[b]:
                actions[b] = [choose(legal, waiting, rng) for legal in it.legal()]
                known = it.awaitable()
                if known and rng.random() < waiting:
                    actions[b, 0] = scenario.servers + 1 + rng.choice(known)
                expected[b] = it.step(actions[b].tolist())
        transition = simulator.step(actions)
        np.testing.assert_allclose(
            transition.reward.T, [expected] * len(simulator.agents), atol=1e-5
        )
        for b, it in enumerate(references):
            assert transition.terminated[b] == (going[b] and it.over)
            assert transition.truncated[b] == (going[b] and it.cut_off)
        check_state(simulator, references)


def choose(legal: list[int], waiting: float, rng: np.random.Generator) -> int:
    """Wait, which is the last of the legal actions, now and then."""
    if len(legal) == 1 or rng.random() < waiting:
        return legal[-1]
    return int(rng.choice(legal[:-1]))


def check_state(simulator: DagPlacementSimulator, references: list[Reference]) -> None:
    """Clocks, what has become of every primitive, observations and metrics."""
    results = simulator.results
    for b, it in enumerate(references):
        over = it.over or it.cut_off
        assert simulator.done[b] == over
        assert simulator.progress.now_s[b] == it.now
        primitives = [p for workflow in it.workflows for p in workflow]
        n = len(primitives)
        np.testing.assert_allclose(
            simulator.tasks.finish_s[b, :n], [p.finish for p in primitives], rtol=1e-12
        )
        placed = [-1 if p.server is None else p.server for p in primitives]
        assert simulator.tasks.server[b, :n].tolist() == placed
        check_metrics(it, {name: getattr(results, name)[b] for name in vars(results)})
        if over:
            continue
        for i, legal in enumerate(it.legal()):
            mask = simulator.observation.action_mask[b, i]
            assert np.flatnonzero(mask).tolist() == legal
        extended = simulator.observation.features.shape[-1] > 5
        for i, rows in enumerate(it.observe(extended)):
            np.testing.assert_allclose(
                simulator.observation.features[b, i], rows, rtol=1e-5, atol=1e-6
            )


def check_metrics(it: Reference, found: dict[str, float]) -> None:
    done = it.primitives("done")
    responses = [p.finish - it.arrivals[p.workflow] for p in done]
    ends = [
        max(p.finish for p in workflow) - it.arrivals[k]
        for k, workflow in enumerate(it.workflows)
        if all(p.state == "done" for p in workflow)
    ]
    known = it.primitives("blocked", "ready", "set aside", "running")
    expected = {
        "completed": len(done),
        "workflows": len(ends),
        "unfinished": len(known),
        "lost": it.lost,
        "decisions": it.decisions,
        "waits": it.waits,
        "duration_s": it.now,
        "response_s": np.mean(responses) if responses else math.nan,
        "workflow_response_s": np.mean(ends) if ends else math.nan,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, err_msg=name)
