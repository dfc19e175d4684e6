"""The command line ``edge-marl``.

Commands import what they need when they run, so that ``--help`` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from edge_marl.errors import InputError
from edge_marl.experiments import cli_learning, cli_log, cli_workflows

BAD_INPUT = 2
INTERRUPTED = 130

app = typer.Typer(
    name="edge-marl",
    help="Scheduling at the network edge: workloads, oracles, logs, learning, studies, benchmarks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
workload_app = typer.Typer(help="Traces of jobs, and the measurements behind them.")
oracle_app = typer.Typer(help="Exact schedules with all arrivals known.")
reproduce_app = typer.Typer(help="Redo the figures of a paper.")
benchmark_app = typer.Typer(help="Measure speed and memory on this machine.")
app.command()(cli_learning.train)
app.command()(cli_learning.tune)
app.command()(cli_learning.evaluate)
app.command()(cli_learning.export)
app.command()(cli_workflows.workflows)
app.add_typer(workload_app, name="workload", no_args_is_help=True)
app.add_typer(oracle_app, name="oracle", no_args_is_help=True)
app.add_typer(cli_log.app, name="log", no_args_is_help=True)
app.add_typer(reproduce_app, name="reproduce", no_args_is_help=True)
app.add_typer(benchmark_app, name="benchmark", no_args_is_help=True)

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Options of the configuration to change."),
]
Seeds = Annotated[int | None, typer.Option(min=1, help="Training seeds.", show_default=False)]
Workers = Annotated[
    int | None,
    typer.Option(min=0, help="Tasks at a time; 0: in this process. Default: all cores.",
                 show_default=False),
]  # fmt: skip


@app.command()
def version() -> None:
    """Print the version."""
    import edge_marl

    typer.echo(edge_marl.__version__)


@workload_app.command("generate")
def workload_generate(
    out: Annotated[Path, typer.Argument(help="Parquet file to write.")],
    overrides: Overrides = None,
    traces: Annotated[int, typer.Option(min=1, help="How many traces.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first trace.")] = 0,
    transcoding: Annotated[
        Path | None,
        typer.Option(help="CSV file of transcoding runs, instead of the shipped profile."),
    ] = None,
    uplink: Annotated[
        Path | None, typer.Option(help="CSV file of uplink rates, instead of the shipped profile.")
    ] = None,
) -> None:
    """Draw traces, such as: edge-marl workload generate t.parquet files=2 videos=4"""
    from edge_marl.experiments.overrides import apply_overrides
    from edge_marl.tandem.trace_files import write_traces
    from edge_marl.tandem.workload import TandemWorkload

    files = [f"{name}={path}" for name, path in (("transcoding", transcoding), ("uplink", uplink))
             if path is not None]  # fmt: skip
    workload = apply_overrides(TandemWorkload(), [*files, *(overrides or ())])
    write_traces(workload.make(traces, seed=seed), out)
    typer.echo(f"{out}: {traces} traces of {workload.n_jobs} jobs")


@workload_app.command("measure")
def workload_measure(
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each file size.")] = 5,
    folder: Annotated[
        Path | None, typer.Option(help="Folder on the disk to measure.", show_default=False)
    ] = None,
) -> None:
    """Time checksum-and-store, the compute stage of a file transfer, on this machine."""
    from edge_marl.tandem.measure import measure_storage

    model = measure_storage(repeats, folder)
    typer.echo(f"file_fixed_s={model.fixed_s:g} file_s_per_mb={model.s_per_mb:g}")


@workload_app.command("profile")
def workload_profile(
    transcoding: Annotated[Path, typer.Option(help="CSV file of transcoding runs.")],
    uplink: Annotated[Path, typer.Option(help="CSV file of uplink rates, or a folder of them.")],
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
) -> None:
    """Measure the quantile tables of a workload from full public files."""
    from edge_marl.tandem.profile import measure_profile

    profile = measure_profile(transcoding, uplink)
    profile.write(out)
    measured = [found for codecs in profile.segments.values() for found in codecs.values()]
    n_segments = sum(found.segments for found in measured)
    n_failed = sum(found.failed_runs for found in measured)
    typer.echo(f"{out}: {n_segments} segments, {n_failed} failed runs left out")


@oracle_app.command("solve")
def oracle_solve(
    traces: Annotated[Path, typer.Argument(help="Parquet file of traces.")],
    out: Annotated[Path, typer.Option(help="Folder for the schedules; solved parts are kept.")],
    drop_penalty: Annotated[
        float | None, typer.Option(min=0, help="Slots per dropped job.", show_default=False)
    ] = None,
    method: Annotated[
        Literal["auto", "search", "ilp"], typer.Option(help="How to solve.")
    ] = "auto",
    time_limit: Annotated[float, typer.Option(help="Seconds per integer programme.")] = 60.0,
    workers: Workers = None,
) -> None:
    """Solve every trace exactly; a run that was stopped continues where it was."""
    from edge_marl.experiments.oracle_sets import solve_set
    from edge_marl.experiments.parallel import all_cores
    from edge_marl.tandem.simulator import DROP_PENALTY
    from edge_marl.tandem.trace_files import read_traces

    schedules = solve_set(
        read_traces(traces),
        out,
        drop_penalty=DROP_PENALTY if drop_penalty is None else drop_penalty,
        method=method,
        time_limit=time_limit,
        workers=all_cores() if workers is None else workers,
    )
    n = len(schedules)
    optimal = sum(schedule.optimal for schedule in schedules)
    objective = sum(schedule.objective for schedule in schedules) / n
    dropped = sum(len(schedule.dropped) for schedule in schedules) / n
    seconds = sum(schedule.solve_s for schedule in schedules) / n
    typer.echo(
        f"{out}: {n} traces, {optimal} proved optimal; mean objective {objective:.2f} slots, "
        f"{dropped:.3f} drops, {1e3 * seconds:.3g} CPU-ms a trace"
    )


@reproduce_app.callback()
def reproduce() -> None:
    """Redo the figures of a paper."""


@reproduce_app.command("tandem")
def reproduce_tandem(
    overrides: Overrides = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small enough for a demonstration.")] = (
        False
    ),
    seeds: Seeds = None,
    out: Annotated[Path, typer.Option(help="Folder for tables, figures and episodes.")] = Path(
        "results/tandem"
    ),
    workers: Workers = None,
) -> None:
    """Figures 2 to 6 of the tandem paper: tables, CSV, PNG and every episode as Parquet."""
    from edge_marl.experiments.overrides import apply_overrides
    from edge_marl.experiments.tandem.config import StudyConfig
    from edge_marl.experiments.tandem.study import reproduce as reproduce_study

    options = [f"{name}={value}" for name, value in (("seeds", seeds), ("workers", workers))
               if value is not None]  # fmt: skip
    config = StudyConfig.quick() if quick else StudyConfig()
    reproduce_study(apply_overrides(config, [*options, *(overrides or ())]), out)


@reproduce_app.command("o2o-drl")
def reproduce_o2o_drl(
    overrides: Overrides = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small enough for a demonstration.")] = (
        False
    ),
    out: Annotated[Path, typer.Option(help="Folder for tables, figures and outcomes.")] = Path(
        "results/o2o-drl"
    ),
    workers: Workers = None,
) -> None:
    """Figures 3 to 6 and 8 of the O2O-DRL paper: tables, CSV and PNG."""
    from edge_marl.experiments.o2o_drl.config import StudyConfig
    from edge_marl.experiments.o2o_drl.study import reproduce as reproduce_study
    from edge_marl.experiments.overrides import apply_overrides

    options = [] if workers is None else [f"workers={workers}"]
    config = StudyConfig.quick() if quick else StudyConfig()
    reproduce_study(apply_overrides(config, [*options, *(overrides or ())]), out)


@reproduce_app.command("scale")
def reproduce_scale(
    overrides: Overrides = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small enough for a demonstration.")] = (
        False
    ),
    out: Annotated[Path, typer.Option(help="Folder for tables, figures and outcomes.")] = Path(
        "results/scale"
    ),
    seeds: Seeds = None,
    workers: Workers = None,
) -> None:
    """Tables 3 to 5, Figures 5 and 6 of the SCALE paper, and larger and other clusters."""
    from edge_marl.experiments.overrides import apply_overrides
    from edge_marl.experiments.scale.config import StudyConfig
    from edge_marl.experiments.scale.study import reproduce as reproduce_study

    options = [f"{name}={value}" for name, value in (("seeds", seeds), ("workers", workers))
               if value is not None]  # fmt: skip
    config = StudyConfig.quick() if quick else StudyConfig()
    reproduce_study(apply_overrides(config, [*options, *(overrides or ())]), out)


@benchmark_app.callback()
def benchmark() -> None:
    """Measure speed and memory on this machine."""


@benchmark_app.command("tandem")
def benchmark_tandem(
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path(
        "results/benchmark-tandem.json"
    ),
    traces: Annotated[int, typer.Option(min=1, help="Traces for the oracles.")] = 1000,
) -> None:
    """Simulator, oracles and policies, each beside its target."""
    from edge_marl.experiments.benchmarks.tandem import benchmark as run_benchmark

    run_benchmark(out, traces=traces)


@benchmark_app.command("offloading")
def benchmark_offloading(
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path(
        "results/benchmark-offloading.json"
    ),
) -> None:
    """Peer offloading and O2O-DRL: simulator, heuristics, bound, task log, learning."""
    from edge_marl.experiments.benchmarks.peer_offloading import OffloadingSizes
    from edge_marl.experiments.benchmarks.peer_offloading import benchmark as run_benchmark
    from edge_marl.experiments.overrides import apply_overrides

    run_benchmark(out, apply_overrides(OffloadingSizes(), overrides or ()))


@benchmark_app.command("dag")
def benchmark_dag(
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path(
        "results/benchmark-dag.json"
    ),
) -> None:
    """DAG placement and SCALE: simulator, heuristics, one decision by cluster size, learning."""
    from edge_marl.experiments.benchmarks.dag_placement import PlacementSizes
    from edge_marl.experiments.benchmarks.dag_placement import benchmark as run_benchmark
    from edge_marl.experiments.overrides import apply_overrides

    run_benchmark(out, apply_overrides(PlacementSizes(), overrides or ()))


@benchmark_app.command("learning")
def benchmark_learning(
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path(
        "results/benchmark-learning.json"
    ),
    benchmarl_venv: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a virtual environment for BenchMARL, made if it is not there; "
            "without it BenchMARL is left out.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Sampling and training beside stock RLlib and BenchMARL, as ratios with targets."""
    from edge_marl.experiments.benchmarks.learning import benchmark as run_benchmark
    from edge_marl.experiments.benchmarks.learning_sizes import LearningSizes
    from edge_marl.experiments.overrides import apply_overrides

    sizes = apply_overrides(LearningSizes(), overrides or ())
    run_benchmark(out, sizes, benchmarl_venv=benchmarl_venv)


@benchmark_app.command("spread")
def benchmark_spread(
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder for table, curves and picture.")] = Path(
        "results/benchmark-spread"
    ),
) -> None:
    """What MAPPO and QMIX learn in simple_spread of mpe2, an environment of others."""
    from edge_marl.experiments.benchmarks.learning_spread import SpreadSizes
    from edge_marl.experiments.benchmarks.learning_spread import benchmark as run_benchmark
    from edge_marl.experiments.overrides import apply_overrides

    run_benchmark(out, apply_overrides(SpreadSizes(), overrides or ()))


def main() -> None:
    """Run the command line; bad input is one line on standard error and exit code 2."""
    # click's own errors are caught by their shape: typer carries its own copy of click.
    try:
        code = app(standalone_mode=False)
    except InputError as error:
        _fail(str(error))
    except typer.Abort:
        typer.echo("edge-marl: stopped; run the same command again to continue", err=True)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(error.format_message())
            sys.exit(BAD_INPUT)
        _fail(error.format_message())
    sys.exit(code or 0)


def _fail(message: str) -> None:
    typer.echo(f"edge-marl: {' '.join(message.split())}", err=True)
    sys.exit(BAD_INPUT)
