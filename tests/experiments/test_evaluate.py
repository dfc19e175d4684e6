"""Evaluation: everything on the same episodes, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from edge_marl.algorithms.actors import sample_categorical
from edge_marl.algorithms.tandem.policy import ActorPolicy
from edge_marl.envs.batched import ParallelEnvBatch, make_batched
from edge_marl.errors import InputError
from edge_marl.experiments import cli
from edge_marl.experiments.evaluate.command import evaluate
from edge_marl.experiments.evaluate.episodes import evaluation_seeds, play
from edge_marl.experiments.systems.tandem import Tandem
from edge_marl.oracle import solve
from edge_marl.tandem.heuristics import heuristic
from edge_marl.tandem.playing import run_traces
from edge_marl.tandem.scenario import TandemWorkload
from edge_marl.tandem.trace_files import write_traces
from tests.experiments.checkpoint_files import untrained_actor, write_untrained
from tests.experiments.command_line import call
from tests.experiments.walkers import Walkers

ROOT = Path(__file__).resolve().parents[2]
WALKERS = "tests.experiments.walkers:parallel_env"


def test_batched_play_equals_the_domains_own_evaluation() -> None:
    seeds = evaluation_seeds(5)
    actor = untrained_actor()
    played = play(actor, make_batched("tandem_v0", {}, 2), seeds)
    results = run_traces(ActorPolicy("a", actor), TandemWorkload().sample(seeds))
    assert np.array_equal(played["objective"], results.objective)
    assert np.array_equal(played["length"], results.slots)


def test_sampled_actions_are_of_the_episode_not_of_its_batch() -> None:
    seeds = evaluation_seeds(5)
    actor = untrained_actor()
    played = play(actor, make_batched("tandem_v0", {}, 2), seeds, sampled=True)
    together = play(actor, make_batched("tandem_v0", {}, 5), seeds[::-1].copy(), sampled=True)
    for name, values in played.items():
        assert np.array_equal(values, together[name][::-1]), name
    greedy = play(actor, make_batched("tandem_v0", {}, 2), seeds)
    assert not np.array_equal(played["objective"], greedy["objective"])


def test_drawn_actions_have_the_probabilities_given() -> None:
    probabilities = torch.tensor([[0.125, 0.25, 0.0, 0.625], [0.125, 0.25, 0.625, 0.0]])
    draws = torch.tensor([0.0, 0.124, 0.126, 0.374, 0.376, 1 - 2**-53], dtype=torch.float64)
    actions = sample_categorical(
        probabilities.expand(6, 2, 4), draws[:, None, None].expand(6, 2, 1)
    )
    assert actions[..., 0].tolist() == [[0, 0], [0, 0], [1, 1], [1, 1], [3, 2], [3, 2]]


def test_policies_heuristics_and_oracle_play_the_same_traces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    traces = TandemWorkload(files=1, videos=2).make(6, seed=3)
    write_traces(traces, tmp_path / "traces.parquet")
    folders = [write_untrained(tmp_path / f"s{seed}" / "best", seed=seed) for seed in (0, 1)]
    out = tmp_path / "out"
    arguments = ("evaluate", *map(str, folders), "--on", str(tmp_path / "traces.parquet"))
    assert call(*arguments, "--out", str(out)) == 0
    printed = capsys.readouterr().out
    assert "vdn, 2 seeds" in printed
    assert "s0/best" in printed

    rows = pq.read_table(out / "episodes.parquet").to_pylist()

    def objectives(policy: str) -> list[float]:
        return [row["objective"] for row in rows if row["policy"] == policy]

    oracle = [solve(traces[k]).objective for k in range(6)]
    assert objectives("oracle (clairvoyant)") == oracle
    assert objectives("edf") == run_traces(heuristic("edf"), traces).objective.tolist()
    own = run_traces(ActorPolicy("a", untrained_actor(1)), traces, max_queue=6).objective
    assert objectives("s1/best") == own.tolist()
    of_s1 = [row["degradation"] for row in rows if row["policy"] == "s1/best"]
    assert of_s1 == pytest.approx((own - np.array(oracle)) / np.array(oracle))
    assert len(list(out.glob("worst-s0-best-*.png"))) == 3
    assert (out / "degradation.png").is_file()
    summary = json.loads((out / "summary.json").read_text())
    joint = next(row for row in summary["rows"] if row["policy"] == "vdn, 2 seeds")
    assert joint["seeds"] == 2
    assert joint["mean"]["low"] <= joint["mean"]["value"] <= joint["mean"]["high"]


def test_a_schedule_that_was_not_proved_optimal_bounds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = TandemWorkload(files=1, videos=2).make(2, seed=3)
    schedules = [solve(traces[0]), replace(solve(traces[1]), optimal=False)]
    monkeypatch.setattr(Tandem, "_schedules", lambda *_: schedules)
    system = Tandem()
    bound = system.bound(system.evaluation({}, 2, None), tmp_path)
    judged = system.judged({"objective": np.array([1e6, 1e6])}, bound)
    assert np.isnan(judged["degradation"]).tolist() == [False, True]


def test_checkpoints_of_other_environments_are_compared_by_return(tmp_path: Path) -> None:
    spec = {"agents": ("a", "b"), "observation_shape": (2,), "n_actions": 2}
    folders = []
    for action in (0, 1):
        actor = untrained_actor(**spec)
        for parameter in actor.head.parameters():
            parameter.data.zero_()
        actor.head.bias.data[:, action] = 1.0
        recipe = {"env": WALKERS, "env_config": {"steps": 4}, "algorithm": "qmix"}
        folders.append(write_untrained(tmp_path / f"always{action}" / "best", actor, **recipe))
    out = evaluate(folders, env=WALKERS, episodes=3, out=tmp_path / "out")
    rows = pq.read_table(out / "episodes.parquet").to_pylist()
    assert [row["return"] for row in rows] == [0.0] * 3 + [8.0] * 3
    assert {row["distance"] for row in rows} == {4.0}
    assert Walkers(1).possible_agents == ["a", "b"]


def test_episodes_that_do_not_end_are_cut_off_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    actor = untrained_actor(agents=("a", "b"), observation_shape=(2,), n_actions=2)
    env = ParallelEnvBatch([Walkers(9), Walkers(3)])
    for longest, cut in ((4, [1, 0]), (2, [1, 1])):
        played = play(actor, env, evaluation_seeds(2), max_steps=longest)
        assert played["cut"].tolist() == cut
        assert played["length"].tolist() == [longest, min(longest, 3)]
        of_those_that_ended = [np.nan, 3] if cut == [1, 0] else [np.nan, np.nan]
        distance = played.get("distance", np.full(2, np.nan))
        np.testing.assert_array_equal(distance, of_those_that_ended)
    assert "cut" not in play(actor, env, evaluation_seeds(2), max_steps=9)

    endless = {"env": WALKERS, "env_config": {"steps": 10**9}}
    folder = write_untrained(tmp_path / "run" / "best", actor, **endless)
    monkeypatch.chdir(ROOT)
    arguments = ("evaluate", str(folder), "--env", WALKERS, "--episodes", "3")
    out = ("--out", str(tmp_path / "out"))
    assert call(*arguments, *out, "--max-episode-steps", "20") == 0
    printed = capsys.readouterr().out
    assert "run/best: 3 of 3 episodes had not ended after 20 steps and were cut off" in printed
    rows = pq.read_table(tmp_path / "out" / "episodes.parquet").to_pylist()
    assert [(row["length"], row["cut"]) for row in rows] == [(20, 1)] * 3

    own = write_untrained(tmp_path / "own" / "best")
    assert call("evaluate", str(own), "--max-episode-steps", "20") == cli.BAD_INPUT
    assert "episodes of tandem_v0 end by themselves" in capsys.readouterr().err


def test_what_an_environment_raises_is_a_line(tmp_path: Path) -> None:
    troubled = "tests.experiments.troubled:parallel_env"
    actor = untrained_actor(agents=("a", "b"), observation_shape=(2,), n_actions=2)
    recipe = {"env": troubled, "env_config": {"raise_at": 2}}
    folder = write_untrained(tmp_path / "best", actor, **recipe)
    with pytest.raises(InputError, match=r"ValueError: the road is blocked .*troubled\.py:"):
        evaluate([folder], env=troubled, episodes=2, out=tmp_path / "out")


def test_code_of_others_is_run_only_when_told(tmp_path: Path) -> None:
    spec = {"agents": ("a", "b"), "observation_shape": (2,), "n_actions": 2}
    folder = write_untrained(tmp_path / "best", untrained_actor(**spec), env="os:system")
    with pytest.raises(InputError, match="to run its code, say --env os:system"):
        evaluate([folder])


@pytest.mark.parametrize(
    ("second", "options", "message"),
    [
        ({"env": WALKERS}, {}, "environment: expected tandem_v0, found tests"),
        ({"env_config": {"drop_penalty": 5}}, {"on": "3-3"}, "env.drop_penalty: expected 100"),
        (
            {"env_config": {"workload": {"files": 1}}},
            {},
            r"env\.workload\.files: expected 3 as in .*, found 1; or say --on, a split such as 3-3",
        ),
        ({}, {"on": "7-7"}, "--on: expected one of 1-5"),
        ({}, {"env": WALKERS}, "environment: expected tests"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, second: dict[str, object], options: dict[str, str], message: str
) -> None:
    folders = [write_untrained(tmp_path / "a" / "best"),
               write_untrained(tmp_path / "b" / "best", **second)]  # fmt: skip
    with pytest.raises(InputError, match=message) as refused:
        evaluate(folders, episodes=2, out=tmp_path / "out", **options)
    assert "\n" not in str(refused.value)


def test_who_learned_from_recorded_traces_is_evaluated_on_some_that_are_named(
    tmp_path: Path,
) -> None:
    write_traces(TandemWorkload().make(3, seed=3), tmp_path / "traces.parquet")
    config = {"traces": str(tmp_path / "traces.parquet")}
    folder = write_untrained(tmp_path / "best", env_config=config)
    with pytest.raises(InputError, match="no workload to draw traces from"):
        evaluate([folder], episodes=2, out=tmp_path / "out")
    evaluate([folder], on=config["traces"], episodes=2, out=tmp_path / "out")


def test_an_actor_of_other_observations_is_refused(tmp_path: Path) -> None:
    actor = untrained_actor(agents=("a", "b"), observation_shape=(2,), n_actions=2)
    folder = write_untrained(tmp_path / "best", actor)
    with pytest.raises(InputError, match="best: checkpoint: agents: the environment has"):
        evaluate([folder], on="3-3", episodes=2, out=tmp_path / "out")
    with pytest.raises(InputError, match="agents: the environment has"):
        play(actor, make_batched("tandem_v0", {}, 2), evaluation_seeds(2))
