"""The command line: what it makes, and one line with exit code 2 for bad input."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_marl.experiments import cli
from edge_marl.tandem.profile import read_profile
from edge_marl.tandem.trace_files import read_traces
from tests.experiments.command_line import call

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("workload", "generate", "t.parquet", "fils=2"), "fils: unknown option; did you mean fil"),
        (("workload", "generate", "t.parquet", "files"), "'files': expected key=value"),
        (("workload", "generate", "t.parquet", "slot_s=-1"), "slot_s: "),
        (("workload", "generate", "t.parquet", "slack=[4,1]"), "slack: "),
        (("workload", "generate", "t.parquet", "machine=abacus"), "machine: "),
        (("workload", "generate", "t.parquet", "--traces", "0"), "--traces"),
        (("oracle", "solve", "missing.parquet", "--out", "o"), "missing.parquet"),
        (("oracle", "solve", "missing.parquet", "--out", "o", "--method", "luck"), "--method"),
        (("reproduce", "tandem", "seedz=2"), "seedz: unknown option; did you mean seeds"),
        (("reproduce", "tandem", "workload.fils=2"), "did you mean workload.files"),
        (("reproduce", "tandem", "workload.files=-2"), "workload.files: "),
        (("reproduce", "tandem", "seeds=0"), "seeds: "),
        (("reproduce", "tango"), "tango"),
        (("reproduce", "tandem", "--slow"), "--slow"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(*arguments) == cli.BAD_INPUT
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("edge-marl: ")
    assert message in captured.err
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_generated_traces_are_solved(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "traces.parquet"
    generate = ("workload", "generate", str(file), "files=1", "videos=2", "--traces", "4")
    assert call(*generate) == 0
    traces = read_traces(file)
    assert (len(traces), traces.max_jobs) == (4, 3)
    solve = ("oracle", "solve", str(file), "--out", str(tmp_path / "out"), "--workers", "0")
    assert call(*solve) == 0
    assert "4 traces, 4 proved optimal" in capsys.readouterr().out


def test_a_measured_profile_says_how_many_runs_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, rates, out = (tmp_path / name for name in ("runs.csv", "rates.csv", "profile.json"))
    header = ["machine", "size (kb)", "des_codec", "des_res", "des_fr"]
    lines = [[*header, *(f"run {i}" for i in range(1, 11))]]
    lines += [["vm", "900", "hevc", "360", "24", *["1"] * 9, last] for last in ("1", "0.1")]
    runs.write_text("\n".join(",".join(line) for line in lines))
    times = [f"Thu Aug 11 13:42:0{i} UTC 2022,{i + 1}" for i in range(3)]
    rates.write_text("\n".join(["Time,RATE(MBit/s)", *times]))
    measure = ("--transcoding", str(runs), "--uplink", str(rates), "--out", str(out))
    assert call("workload", "profile", *measure) == 0
    assert capsys.readouterr().out.endswith("2 segments, 1 failed runs left out\n")
    assert read_profile(out).segments["vm"]["hevc"].failed_runs == 1


def test_the_module_is_the_same_command_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge_marl.experiments", "version"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip().count(".") == 2


def test_help_answers_without_the_learning_stack() -> None:
    code = (
        "import sys\n"
        "from edge_marl.experiments import cli\n"
        "print(sorted({'ray', 'torch', 'numba', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert time.perf_counter() - begin < 5
