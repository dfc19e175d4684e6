"""Command lines that nobody could mean: one line, exit code 2, and nothing is touched."""

import signal
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from edge_marl.algorithms.networks.config import NetworkConfig
from edge_marl.algorithms.prediction.training import PredictionConfig
from edge_marl.dag_placement.scenario import RecordedWorkflows
from edge_marl.envs import ENVIRONMENTS
from edge_marl.experiments import cli
from edge_marl.experiments.benchmarks.cooperative_offloading import CooperativeSizes
from edge_marl.experiments.benchmarks.cto import CTOSizes
from edge_marl.experiments.benchmarks.dag_placement import PlacementSizes
from edge_marl.experiments.benchmarks.federation import FederationSizes
from edge_marl.experiments.benchmarks.graph_offloading import GraphSizes
from edge_marl.experiments.benchmarks.learning_sizes import LearningSizes
from edge_marl.experiments.benchmarks.learning_spread import SpreadSizes
from edge_marl.experiments.benchmarks.peer_offloading import OffloadingSizes
from edge_marl.experiments.cto_tp.config import StudyConfig as CTOStudy
from edge_marl.experiments.fauno.config import StudyConfig as FAuNOStudy
from edge_marl.experiments.o2o_drl.config import StudyConfig as O2OStudy
from edge_marl.experiments.scale.config import StudyConfig as ScaleStudy
from edge_marl.experiments.tandem.config import StudyConfig as TandemStudy
from edge_marl.experiments.training.recipe import ALGORITHMS, default_config
from edge_marl.options import Options
from edge_marl.peer_offloading.scenario import OffloadingScenario
from edge_marl.tandem.scenario import TandemWorkload
from tests.experiments.command_line import call

from .checkpoint_files import write_untrained
from .malformed import (
    DIGITS,
    HUGE,
    NO_VALUES,
    bad_fields,
    bad_parameters,
    command,
    commands,
    numbers_in,
    numeric_options,
    program,
)

Line = tuple[str, ...]

NEEDED: dict[Line, Line] = {
    ("train",): ("tandem_v0", "mappo"),
    ("tune",): ("tandem_v0", "mappo"),
    ("evaluate",): ("checkpoint",),
    ("export",): ("checkpoint",),
    ("workflows",): ("batch_task.csv", "--format", "alibaba"),
    ("version",): (),
    ("workload", "generate"): ("t.parquet",),
    ("workload", "measure"): (),
    ("workload", "profile"): ("--transcoding", "a.csv", "--uplink", "b.csv", "--out", "c.json"),
    ("workload", "google"): ("--jobs", "a.csv", "--requests", "b.csv", "--out", "c.json"),
    ("predict", "train"): ("a.csv", "--format", "google2011", "--out", "predictors"),
    ("predict", "evaluate"): ("a.csv", "predictors", "--out", "scores"),
    ("oracle", "solve"): ("t.parquet", "--out", "schedules"),
    ("log", "collect"): ("log.sqlite",),
    ("log", "import"): ("from.sqlite", "log.sqlite"),
    ("log", "export"): ("from.sqlite", "folder"),
    ("log", "stats"): ("from.sqlite",),
    ("reproduce", "tandem"): (),
    ("reproduce", "o2o-drl"): (),
    ("reproduce", "scale"): (),
    ("reproduce", "fauno"): (),
    ("reproduce", "cto-tp"): (),
    ("benchmark", "tandem"): (),
    ("benchmark", "offloading"): (),
    ("benchmark", "dag"): (),
    ("benchmark", "graph"): (),
    ("benchmark", "federation"): (),
    ("benchmark", "cooperative"): (),
    ("benchmark", "cto"): (),
    ("benchmark", "learning"): (),
    ("benchmark", "spread"): (),
}
"""What a command asks for; the files are not there."""

MODELS: dict[Line, type[BaseModel]] = {
    ("workload", "generate"): TandemWorkload,
    ("workflows",): RecordedWorkflows,
    ("log", "collect"): OffloadingScenario,
    ("reproduce", "tandem"): TandemStudy,
    ("reproduce", "o2o-drl"): O2OStudy,
    ("reproduce", "scale"): ScaleStudy,
    ("reproduce", "fauno"): FAuNOStudy,
    ("reproduce", "cto-tp"): CTOStudy,
    ("predict", "train"): PredictionConfig,
    ("benchmark", "offloading"): OffloadingSizes,
    ("benchmark", "dag"): PlacementSizes,
    ("benchmark", "graph"): GraphSizes,
    ("benchmark", "federation"): FederationSizes,
    ("benchmark", "cooperative"): CooperativeSizes,
    ("benchmark", "cto"): CTOSizes,
    ("benchmark", "learning"): LearningSizes,
    ("benchmark", "spread"): SpreadSizes,
}
"""What the ``KEY=VALUE`` of a command are fields of."""

STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)

ENVIRONMENT_MODULES = {
    "no_python": "def make(:",
    "raises": "raise RuntimeError('two\\nlines')",
    "leaves": "raise SystemExit(3)",
    "constant": "make = 3",
    "fails": "def make():\n    raise KeyError('x')",
    "quits": "def make():\n    exit()",
    "nothing": "def make():\n    return None",
    "other": "def make():\n    return {'agents': []}",
}


class Hangs(BaseException):
    """A command goes on where it should have refused."""


@pytest.fixture(scope="module", autouse=True)
def precious(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder with things that nobody wants to lose, and environments that are none."""
    folder = tmp_path_factory.mktemp("precious")
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "thesis.txt").write_text("three years")
    (folder / "data.csv").write_text("a,b\n1,2\n")
    (folder / "checkpoint").mkdir()
    write_untrained(folder / "checkpoint")
    for name, text in ENVIRONMENT_MODULES.items():
        (folder / f"{name}_module.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.setenv("PYTHONPATH", "")
        yield folder


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


class Drill:
    """Calls the command line in this process and notes whatever is not a plain refusal."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capture = folder, capture
        self.before = contents(folder)
        self.calls = 0
        self.faults: list[str] = []

    def refuses(self, *arguments: str) -> str:
        """The line that a call ends with."""
        self.calls += 1
        code = self._code(arguments)
        out, err = self.capture.readouterr()
        plain = err.startswith("edge-marl: ") and err.count("\n") == 1 and not out
        if not (plain and code == cli.BAD_INPUT and "internal error" not in err):
            shown = " ".join(argument[:60] for argument in arguments)
            self.faults.append(f"{shown} -> {code}: {out[-200:]!r} {err[-300:]!r}")
        return err

    def _code(self, arguments: Line) -> object:
        signal.setitimer(signal.ITIMER_REAL, 30)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["edge-marl", *arguments])
            patch.setattr(cli, "app", program())
            try:
                cli.main()
            except SystemExit as exit_:
                return exit_.code
            except Hangs:
                return "hangs"
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        return "no exit code"


@pytest.fixture
def drill(precious: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Drill]:
    def hang(*_: object) -> None:
        raise Hangs

    handler = signal.signal(signal.SIGALRM, hang)
    made = Drill(precious, capfd)
    yield made
    signal.signal(signal.SIGALRM, handler)
    assert made.calls > 0
    assert not made.faults, f"{len(made.faults)} of {made.calls}:\n" + "\n".join(made.faults)
    assert contents(precious) == made.before


def environment_model(env: str) -> type[BaseModel]:
    return type(import_module(ENVIRONMENTS[env]).parallel_env().config)


# What is declared -----------------------------------------------------------------------------


def options_classes(base: type[Options] = Options) -> Iterator[type[Options]]:
    for one in base.__subclasses__():
        yield one
        yield from options_classes(one)


@pytest.mark.parametrize("model", list(options_classes()), ids=lambda model: model.__qualname__)
def test_every_number_of_every_model_has_a_range(model: type[Options]) -> None:
    assert model.model_config["allow_inf_nan"] is False
    for name, field in model.model_fields.items():
        assert_ranges(field.annotation, name, tuple(field.metadata))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_number_of_every_algorithm_has_a_range(algorithm: str) -> None:
    for name, field in default_config(algorithm).options_model.model_fields.items():
        assert_ranges(field.annotation, name, tuple(field.metadata))


def assert_ranges(kind: object, name: str, metadata: tuple[object, ...] = ()) -> None:
    for place, said in numbers_in(kind, name, metadata):
        names = {part for one in said for part in ("ge", "gt", "le", "lt") if hasattr(one, part)}
        assert names & {"ge", "gt"}, f"{place}: no lower bound"
        assert names & {"le", "lt"}, f"{place}: no upper bound"


def test_the_drill_knows_every_command() -> None:
    assert set(commands()) == set(NEEDED)
    takes_options = {
        path for path in commands() if any(p.name == "overrides" for p in command(path).params)
    }
    assert takes_options == {*MODELS, ("train",), ("tune",)}


@pytest.mark.parametrize("path", NEEDED, ids=" ".join)
def test_every_number_of_a_command_has_a_range(path: Line) -> None:
    command(path).make_context("test", list(NEEDED[path]))
    refused = set(bad_parameters(path, NEEDED[path]))
    for name, option in numeric_options(path):
        assert option.min is not None, name
        assert option.max is not None, name
        assert {(name, text) for text in ("NaN", "Infinity", HUGE, DIGITS)} <= refused


# The drill ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NEEDED, ids=" ".join)
def test_options_of_a_command(path: Line, drill: Drill) -> None:
    for name, text in bad_parameters(path, NEEDED[path]):
        drill.refuses(*path, *NEEDED[path], name, text)
    drill.refuses(*path, *NEEDED[path], "--no-such-option")
    drill.refuses(*path, *NEEDED[path], "\udcff")


@pytest.mark.parametrize("path", MODELS, ids=" ".join)
def test_fields_of_a_configuration(path: Line, drill: Drill) -> None:
    fields = sorted(bad_fields(MODELS[path]))
    for field in fields:
        drill.refuses(*path, *NEEDED[path], field)
    name, _, value = fields[0].partition("=")
    for text in NO_VALUES:
        drill.refuses(*path, *NEEDED[path], f"{name}={text}")
    drill.refuses(*path, *NEEDED[path], fields[0], f"{name}={value}")
    drill.refuses(*path, *NEEDED[path], "no_such_option=1")
    drill.refuses(*path, *NEEDED[path], "=1")
    drill.refuses(*path, *NEEDED[path], "a")


def test_options_of_algorithms(drill: Drill) -> None:
    tried: set[str] = set()
    for algorithm in ALGORITHMS:
        for option in bad_fields(default_config(algorithm).options_model):
            if option not in tried and not option.startswith("network."):
                drill.refuses("train", "dag_placement_v0", algorithm, option)
            tried.add(option)
    for option in bad_fields(NetworkConfig, "network."):
        drill.refuses("train", "tandem_v0", "mappo", option)


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_options_of_an_environment(env: str, drill: Drill) -> None:
    for option in bad_fields(environment_model(env), "env."):
        drill.refuses("train", env, "mappo", option)


def test_options_of_a_search_and_of_an_evaluation(drill: Drill) -> None:
    for option in ("lr=NaN", "lr=x", "gamma=2", "env.max_queue=-1", "network.hidden_sizes=[-1]"):
        drill.refuses("tune", "tandem_v0", "qmix", option)
    for option in bad_fields(environment_model("tandem_v0"), "env."):
        drill.refuses("evaluate", "checkpoint", option)


@pytest.mark.parametrize("start", [("train",), ("tune",)], ids=" ".join)
def test_environments_that_are_none(start: Line, drill: Drill) -> None:
    for name in ENVIRONMENT_MODULES:
        line = drill.refuses(*start, f"{name}_module:make", "mappo")
        assert f"environment {name}_module:make: " in line or "expected a PettingZoo" in line
    for env in ("", ":", "a:", ":a", "a", ".a:b", "a.b:c", "os:getcwd", "json:", "os:environ",
                "no_module:make", "nothing_module:no", "../x:y", "x" * 5000):  # fmt: skip
        drill.refuses(*start, env, "mappo")
    drill.refuses(*start, "tandem_v0", "no_algorithm")
    drill.refuses(*start, "tandem_v0")


TOO_MUCH = (
    ("workload generate t.parquet --traces 1000000000 files=1000000", "1000000000 traces"),
    ("workload generate t.parquet files=1000000000", "files"),
    ("workload generate t.parquet slot_s=1e-12", "slot_s"),
    ("workload generate t.parquet window_s=1e12", "window_s"),
    ("workload generate t.parquet arrivals=poisson mean_gap_s=1e12", "mean_gap_s"),
    ("log collect log.sqlite nodes=1000 slots=30000 --batch-size 100000", "nodes"),
    ("log collect log.sqlite deadline_s=[1e9,1e9]", "deadline_s"),
    ("log collect log.sqlite size_kb=[5,1]", "size_kb"),
    ("train tandem_v0 mappo num_envs_per_env_runner=1000000000", "num_envs_per_env_runner"),
    ("train tandem_v0 mappo env.max_queue=1000000000", "max_queue"),
    ("train tandem_v0 mappo env.workload.files=1000000000", "files"),
    ("train tandem_v0 mappo network.hidden_sizes=[100000,100000,100000,100000]", "hidden_sizes"),
    ("train tandem_v0 mappo network.gru=100000", "network.gru"),
    ("train tandem_v0 mappo rollout_fragment_length=1000000000 "
     "train_batch_size_per_learner=1000000000", "rollout_fragment_length"),
    ("train peer_offloading_v0 qmix env.scenario.nodes=1000 replay_capacity=1000000000",
     "replay_capacity"),
    ("train dag_placement_v0 scale env.scenario.workflows.primitives=[10000,10000]",
     "workflows.primitives"),
    ("train dag_placement_v0 scale env.scenario.horizon_s=1e12", "horizon_s"),
    ("train dag_placement_v0 scale env.scenario.arrival_rate_per_server_s=1e12",
     "arrival_rate_per_server_s"),
    ("tune tandem_v0 mappo network.hidden_sizes=[100000,100000,100000,100000]", "hidden_sizes"),
    ("train tandem_v0 scale", "network.kind"),
    ("train graph_offloading_v0 ippo env.rewards.delay_ticks=9", "delay_ticks: expected 0"),
    ("train graph_offloading_v0 ippo env.rewards.kind=own env.rewards.delay_ticks=9000",
     "rollout_fragment_length"),
    ("train graph_offloading_v0 ippo env.rewards.kind=own env.rewards.delay_ticks=10000",
     "delay_ticks: expected fewer than the 10000 ticks of an episode"),
    ("train graph_offloading_v0 qmix env.rewards.kind=own env.rewards.delay_ticks=9",
     "pays rewards at once"),
    ("train cooperative_offloading_v0 mappo env.scenario.tasks=1000000000", "tasks"),
    ("train cooperative_offloading_v0 mappo env.scenario.servers=200 env.scenario.max_targets=8",
     "max_targets"),
    ("train cooperative_offloading_v0 mappo env.scenario.bandwidth_mb_per_s=[[1,2],[3,4]]",
     "bandwidth_mb_per_s: expected a number, or 3 rows of 3 numbers"),
    ("train cooperative_offloading_v0 qmix", "expected discrete actions, found actions in a box"),
    ("train cooperative_offloading_v0 ippo network.kind=attention", "network.kind"),
)  # fmt: skip
"""Every value is in its range; together they are not to be had."""


@pytest.mark.parametrize(("line", "named"), TOO_MUCH)
def test_what_does_not_fit_is_refused_before_it_is_taken(
    line: str, named: str, drill: Drill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_marl.memory.memory_limit", lambda: 16.0 * 2**30)
    assert named in drill.refuses(*line.split())


def test_files_that_are_not_there(drill: Drill) -> None:
    for path, needed in NEEDED.items():
        if path in (("workflows",), ("workload", "profile"), ("oracle", "solve"),
                    ("log", "import"), ("log", "export"), ("log", "stats")):  # fmt: skip
            drill.refuses(*path, *needed)
    for line in (
        "evaluate missing", "evaluate deep", "evaluate data.csv", "export missing",
        "train --resume missing", "train --resume deep", "tune --resume missing",
        "tune tandem_v0 mappo --space missing.yaml", "tune tandem_v0 mappo --space deep",
        "workload generate t.parquet --transcoding missing.csv",
        "workload generate t.parquet uplink=missing.csv", "workload measure --folder missing",
        "train tandem_v0 mappo env.traces=missing.parquet",
        "train dag_placement_v0 scale env.scenario.workflows.path=missing "
        "env.scenario.workflows.format=stg",
        "workload generate data.csv/t.parquet", "log collect data.csv/log.sqlite",
    ):  # fmt: skip
        drill.refuses(*line.split())


# What is shown -------------------------------------------------------------------------------


def test_other_exceptions_end_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for raised, code, line in (
        (FileNotFoundError(2, "No such file", "x.csv"), 2, "x.csv: No such file"),
        (ConnectionError("no cluster"), 2, "no cluster"),
        (MemoryError("Unable to allocate 9 TiB"), 2, "memory: Unable to allocate 9 TiB"),
        (KeyError("x"), 1, "internal error: KeyError: 'x'; run with --debug for the traceback"),
    ):

        def fail(*_: object, raised: Exception = raised) -> None:
            raise raised

        monkeypatch.setattr("edge_marl.tandem.measure.measure_storage", fail)
        for arguments in (("workload", "measure"), ("workload", "measure", "--debug")):
            assert call(*arguments) == code
            err = capsys.readouterr().err
            assert err.splitlines()[-1].startswith("edge-marl: ")
            assert err.splitlines()[-1].endswith(line)
            assert ("Traceback" in err) == ("--debug" in arguments)
            assert err.count("\n") == 1 or "--debug" in arguments
