"""Imitation: labels that reproduce the oracle, losses by hand, networks, policies on disk."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from edge_marl.algorithms.tandem.imitation import (
    EndToEndConfig,
    ImitationConfig,
    fit,
    fit_end_to_end,
    load_policy,
    save_policy,
)
from edge_marl.algorithms.tandem.imitation.demonstrations import (
    SchedulePolicy,
    arbitrary_slots,
    canonical_labeller,
    canonical_slots,
)
from edge_marl.algorithms.tandem.imitation.networks import make_network
from edge_marl.algorithms.tandem.imitation.policies import NetworkScorer, ScoringPolicy, as_actor
from edge_marl.algorithms.tandem.imitation.training import label_loss, regret_loss
from edge_marl.algorithms.tandem.policy import ActorPolicy
from edge_marl.errors import InputError
from edge_marl.oracle import solve
from edge_marl.tandem import TandemSimulator, TraceSet
from edge_marl.tandem.heuristics import heuristic
from edge_marl.tandem.oracle.cost_to_go import regrets
from edge_marl.tandem.playing import run_traces
from edge_marl.tandem.scenario import TandemWorkload


@pytest.fixture(scope="module")
def traces():
    return TandemWorkload().make(200, seed=31_000_000)


@pytest.fixture(scope="module")
def schedules(traces):
    return [solve(traces[k]) for k in range(len(traces))]


@pytest.fixture(scope="module")
def optimum(schedules):
    return np.array([schedule.objective for schedule in schedules])


def play(traces, choose):
    """Play every trace by ``choose(simulator) -> actions [K, 2]``; the objectives ``[K]``."""
    simulator = TandemSimulator(traces, len(traces), max_queue=traces.max_jobs)
    simulator.reset(np.arange(len(traces)))
    while not simulator.done.all():
        simulator.step(choose(simulator))
    return simulator.results.objective


def cheapest(simulator, cost):
    """The cheapest queued job; the first one where there is no label."""
    queued = simulator.observation.action_mask[:, :, :-1]
    best = np.where(queued, np.nan_to_num(cost), np.inf).argmin(axis=2)
    return np.where(queued.any(axis=2), best, simulator.max_queue).astype(np.int32)


def test_canonical_labels_reproduce_the_oracles_objective(traces, schedules, optimum):
    label = canonical_labeller(canonical_slots(schedules), traces.max_jobs)
    everywhere = np.ones(len(traces), dtype=bool)
    objective = play(traces, lambda simulator: cheapest(simulator, label(simulator, everywhere)))
    assert np.array_equal(objective, optimum)


def test_arbitrary_slots_are_as_good_as_the_oracles_but_other_slots(traces, schedules, optimum):
    slots = arbitrary_slots(traces, schedules, np.random.default_rng(0))
    assert np.array_equal(run_traces(SchedulePolicy(slots), traces).objective, optimum)
    assert (slots != canonical_slots(schedules)).any(axis=(1, 2)).mean() > 0.3


@pytest.mark.parametrize("short_stage", ["comm", "comp"])
def test_never_taking_a_regret_reaches_the_oracles_objective(traces, short_stage):
    """With one stage that never queues; two stages may pick halves of different optima."""
    ones = {short_stage: np.ones_like(traces.comm)}
    if short_stage == "comm":
        ones["arrival"] = traces.arrival + np.arange(traces.max_jobs, dtype=np.int32)
        ones["deadline"] = traces.deadline + traces.max_jobs
    lopsided = replace(traces, **ones)
    optimum = [solve(lopsided[k]).objective for k in range(len(lopsided))]
    objective = play(lopsided, lambda simulator: cheapest(simulator, regrets(simulator)))
    assert np.array_equal(objective, optimum)


def test_the_regret_of_a_wrong_choice_is_what_it_costs():
    # Job 1 must go first or it is dropped; job 0 has all the time.
    traces = TraceSet.from_jobs([[(0, 3, 1, 60), (0, 2, 2, 4)]])
    simulator = TandemSimulator(traces, 1, drop_penalty=100)
    simulator.reset([0])
    # Optimum: 1 then 0, all done at 6. Starting with 0: job 1 dropped, job 0 done at 4.
    assert regrets(simulator)[0, 0, :2].tolist() == [100 + 4 - 6, 0]
    assert regrets(simulator, "local")[0, 0, :2].tolist() == [98, 0]


def test_losses_by_hand():
    scores = torch.tensor([[0.0, 1.0, 5.0]])
    queued = torch.tensor([[True, True, False]])
    log_policy = torch.log_softmax(torch.tensor([0.0, 1.0]), 0)
    label = label_loss(scores, queued, torch.tensor([[1.0, 0.0, 0.0]]))
    assert label.item() == pytest.approx(-log_policy[1].item())
    # Regrets 0 and 5 ln 3 slots: targets 3/4 and 1/4; at stake 5 ln 3 of 100 slots.
    regret = 5 * np.log(3)
    loss = regret_loss(scores, queued, torch.tensor([[0.0, regret, 0.0]], dtype=torch.float32))
    expected = regret / 100 * -(0.75 * log_policy[0] + 0.25 * log_policy[1])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("model", ["attention", "mlp"])
def test_scores_follow_the_jobs_not_their_places(model):
    torch.manual_seed(0)
    network = make_network(model, 16).eval()
    features = torch.rand(4, 5, 5) * 50
    queued = torch.tensor([[True] * 3 + [False] * 2]).expand(4, 5)
    order = torch.tensor([2, 0, 1, 3, 4])
    scores = network(features, queued)[:, :3]
    permuted = network(features[:, order], queued)[:, :3]
    assert torch.allclose(permuted, scores[:, order[:3]], atol=1e-5)
    trimmed = network(features[:, :3], queued[:, :3])
    assert torch.allclose(trimmed, scores, atol=1e-5)  # padding says nothing


def test_attention_scores_queues_longer_than_in_training():
    network = make_network("attention", 16).eval()
    scores = network(torch.rand(2, 40, 5), torch.ones(2, 40, dtype=torch.bool))
    assert scores.shape == (2, 40)
    assert scores.isfinite().all()


SMALL = {"n_traces": 200, "gradient_steps": 150, "batch_size": 128}


@pytest.mark.parametrize(
    ("model", "labels", "rounds"),
    [
        ("mlp", "raw", 1),
        ("forest", "canonical", 1),
        ("svm", "canonical", 1),
        ("attention", "canonical", 1),
        ("mlp", "online_global", 2),
        ("mlp", "online_local", 2),
        ("mlp", "cost_to_go", 2),
    ],
)
def test_every_kind_learns_and_repeats_itself(traces, schedules, model, labels, rounds):
    config = ImitationConfig(model=model, labels=labels, rounds=rounds, width=32, **SMALL)
    policy = fit(config, traces, schedules)
    test = TandemWorkload().make(100, seed=32_000_000)
    objective = run_traces(policy, test).objective
    assert objective.mean() < run_traces(heuristic("fifo"), test).objective.mean()
    again = fit(config, traces, schedules)
    assert np.array_equal(run_traces(again, test).objective, objective)


def test_aggregated_imitation_beats_every_rule_it_could_have_followed(traces):
    config = ImitationConfig(model="mlp", rounds=3, width=32, n_traces=1000, gradient_steps=600)
    policy = fit(config, TandemWorkload().make(1000, seed=33_000_000))
    test = TandemWorkload().make(500, seed=34_000_000)
    learned = run_traces(policy, test).objective.mean()
    rules = [run_traces(heuristic(rule), test).objective.mean() for rule in ("edf", "srtf", "llf")]
    assert learned < min(rules)


def test_a_saved_policy_decides_the_same_and_a_damaged_one_is_refused(traces, tmp_path):
    config = ImitationConfig(model="mlp", labels="online_local", width=16, **SMALL)
    policy = fit(config, traces)
    save_policy(policy, config, tmp_path)
    loaded = load_policy(tmp_path)
    assert np.array_equal(
        run_traces(loaded, traces).objective, run_traces(policy, traces).objective
    )
    (tmp_path / "comm.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(InputError, match=r"comm\.safetensors: not the weights of this network"):
        load_policy(tmp_path)
    with pytest.raises(InputError, match=r"card\.json"):
        load_policy(tmp_path / "nothing")


def test_options_that_do_not_go_together_are_refused(traces):
    with pytest.raises(InputError, match="rounds"):
        fit(ImitationConfig(labels="canonical", rounds=2), traces)
    with pytest.raises(InputError, match="labels"):
        fit(ImitationConfig(model="svm", labels="cost_to_go"), traces)


def test_end_to_end_memorises_a_few_schedules(traces, schedules, optimum):
    few = traces[:20]
    model = fit_end_to_end(EndToEndConfig(gradient_steps=600, batch_size=20), few, schedules[:20])
    objective = run_traces(model.plan(few), few).objective
    assert objective.mean() < run_traces(heuristic("edf"), few).objective.mean()
    assert np.isclose(objective, optimum[:20]).mean() > 0.5
    with pytest.raises(InputError, match="6 jobs"):
        model.plan(TraceSet.from_jobs([[(0, 1, 1, 9)]]))


@pytest.mark.parametrize("model", ["mlp", "attention"])
def test_an_imitated_policy_plays_on_as_an_actor(model: str) -> None:
    torch.manual_seed(0)
    scorers = tuple(NetworkScorer(make_network(model, 16)) for _ in range(2))
    policy = ScoringPolicy("imitated", scorers)
    traces = TandemWorkload().make(50, seed=3)
    ours = run_traces(policy, traces).objective
    theirs = run_traces(ActorPolicy("actor", as_actor(policy)), traces).objective
    np.testing.assert_array_equal(ours, theirs)
