"""Implement ``edge-marl benchmark learning``, a comparison with stock RLlib and BenchMARL.

It compares the speed of sampling and of training. Speeds depend on the machine, so the targets are
ratios of speeds measured in one run. Every measurement runs in a process of its own, so that its
peak memory is its own; the sides of a comparison take turns, and medians over the turns are
reported.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from edge_marl.errors import InputError
from edge_marl.experiments.benchmarks.learning_measures import AGENTS, STOCK_ENVS, Case
from edge_marl.experiments.benchmarks.learning_sizes import LearningSizes
from edge_marl.experiments.benchmarks.report import Measurement, report
from edge_marl.experiments.parallel import import_environment
from edge_marl.experiments.progress import progress_bar, stdout
from edge_marl.files import check_output

Found = Mapping[Case, list[dict[str, float]]]
"""What each turn of each case measured."""


@dataclass(frozen=True)
class Comparison:
    """Compare our speed with that of the best of the others."""

    ours: Case
    others: tuple[Case, ...]
    target: float

    def ratio(self, found: Found, speed: str) -> float:
        """Return the median over the turns of our speed divided by the best of the others'."""
        mine = np.array([turn[speed] for turn in found[self.ours]])
        theirs = [[turn[speed] for turn in found[case]] for case in self.others]
        return float(np.median(mine / np.max(theirs, axis=0)))

    def ratios(self, found: Found) -> Iterator[Measurement]:
        """Yield the speed ratio by the clock, with the target, and that by CPU time, without."""
        title = f"{_place(self.ours)}: {_subject(self.ours)} over {_subject(self.others[0])}"
        yield Measurement(title, self.ratio(found, "per_s"), "times", self.target)
        yield Measurement(f"{title}, by CPU time", self.ratio(found, "per_cpu_s"), "times")


def benchmark(
    out: Path, sizes: LearningSizes | None = None, *, benchmarl_venv: Path | None = None
) -> list[Measurement]:
    """Measure, print the table and write it as JSON with the machine and the versions.

    Args:
        out: JSON file.
        sizes: how much is measured.
        benchmarl_venv: folder of a virtual environment for BenchMARL, made if it is not there;
            without it BenchMARL is left out.

    Raises:
        InputError: if that virtual environment cannot be made or the file cannot be written, or
            if BenchMARL is asked for in an installed wheel.
    """
    check_output(out)
    sizes = sizes or LearningSizes()
    python = _benchmarl().prepare_venv(benchmarl_venv) if benchmarl_venv else None
    comparisons = [*_against_rllib(sizes), *(_against_benchmarl(sizes) if python else ())]
    found = measure_in_turns(
        [case for pair in comparisons for case in (*pair.others, pair.ours)], sizes, python
    )
    ratios = [line for pair in comparisons for line in pair.ratios(found)]
    stdout().print(table("edge-marl benchmark learning", found))
    report("ours over the better of the others", ratios, out,
           sizes=sizes.model_dump(), speeds=speeds(found))  # fmt: skip
    return ratios


def measure_in_turns(
    cases: Iterable[Case], sizes: LearningSizes, python: Path | None = None
) -> Found:
    """Measure all cases one after the other, ``sizes.repeats`` times over.

    Args:
        cases: what to measure; duplicates count once.
        sizes: how much to measure.
        python: the interpreter of BenchMARL's virtual environment, for its cases.
    """
    found: dict[Case, list[dict[str, float]]] = {case: [] for case in cases}
    with progress_bar() as bar:
        for case in bar.track([*found] * sizes.repeats, description="benchmark"):
            found[case].append(_measure(case, sizes, python))
    return found


def _against_rllib(sizes: LearningSizes) -> Iterator[Comparison]:
    stock: tuple[Case, ...]
    for env, target in (("peer_offloading_v0", 50), ("tandem_v0", 10)):
        stock = tuple(make_case("sampling", env, "stock", n) for n in (1, STOCK_ENVS))
        yield Comparison(make_case("sampling", env, "mappo", sizes.envs), stock, target)
    for env in ("peer_offloading_v0", "tandem_v0"):
        stock = (make_case("iteration", env, "stock", STOCK_ENVS),)
        for algorithm in ("ippo", "mappo"):
            yield Comparison(make_case("iteration", env, algorithm, sizes.envs), stock, 15)


def _against_benchmarl(sizes: LearningSizes) -> Iterator[Comparison]:
    for algorithm in ("mappo", "qmix"):
        envs = _benchmarl().ENVS
        theirs = make_case("iteration", "tandem_v0", f"benchmarl {algorithm}", envs)
        yield Comparison(make_case("iteration", "tandem_v0", algorithm, sizes.envs), (theirs,), 10)


def _benchmarl() -> Any:
    try:
        from edge_marl.experiments.benchmarks.peers import benchmarl
    except ImportError:
        raise InputError(
            "BenchMARL: expected a checkout of this project, found an installed wheel, "
            "of which its driver is no part"
        ) from None
    return benchmarl


def make_case(measure: str, env: str, subject: str, envs: int) -> Case:
    """Make a case from plain text and validate it."""
    return Case.model_validate({"measure": measure, "env": env, "subject": subject, "envs": envs})


def _measure(case: Case, sizes: LearningSizes, python: Path | None) -> dict[str, float]:
    """Measure one case in a fresh process with one thread."""
    environment = {**import_environment(), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    theirs, _, algorithm = case.subject.partition(" ")
    if theirs == "benchmarl":
        assert python is not None
        command = _benchmarl().command(python, algorithm, sizes)
        environment.pop("PYTHONPATH")
    else:
        module = "edge_marl.experiments.benchmarks.learning_measures"
        command = [sys.executable, "-m", module, case.model_dump_json(), sizes.model_dump_json()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise RuntimeError(f"{case}: {_last_line(done.stderr)}")
    return json.loads(_last_line(done.stdout))


def _last_line(text: str) -> str:
    """Return the last line that is not blank, or ``no output`` if there is none."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "no output")


def speeds(found: Found) -> list[dict[str, Any]]:
    """Return every case with the medians over its turns, for the JSON file."""
    return [{**case.model_dump(), **medians(turns)} for case, turns in found.items()]


def medians(turns: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median over the turns of each number, by name."""
    return {key: float(np.median([turn[key] for turn in turns])) for key in turns[0]}


def table(title: str, found: Found) -> Table:
    """Tabulate every case of B episodes at a time: speed, time of sampling and learning, memory."""
    made = Table(title=title, title_justify="left")
    made.add_column("measured", min_width=40)
    for name in ("env-steps/s", "per CPU-s", "sampling, s", "learning, s", "peak, MiB"):
        made.add_column(name, justify="right")
    for case, turns in found.items():
        middle = medians(turns)
        parts = (middle.get(key) for key in ("sampling_s", "learning_s"))
        made.add_row(
            f"{_place(case)}: {_subject(case)}, B = {case.envs}",
            f"{middle['per_s']:,.0f}",
            f"{middle['per_cpu_s']:,.0f}",
            *("" if part is None else f"{part:.3f}" for part in parts),
            f"{middle['peak_mib']:,.0f}",
        )
    return made


def _place(case: Case) -> str:
    agents = AGENTS[case.env]
    return f"{case.measure}, {agents} agent{'' if agents == 1 else 's'}"


def _subject(case: Case) -> str:
    if case.subject.startswith("stock"):
        return case.subject.replace("stock", "stock RLlib")
    side, _, algorithm = case.subject.rpartition(" ")
    return f"BenchMARL {algorithm.upper()}" if side else algorithm.upper()
